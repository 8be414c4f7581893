"""What the frames look like, by captures: the way to a backend, the way back, and frames that are not the balancer's business."""

from __future__ import annotations

import re
import time

import pytest

from tests.lab.kit import BALANCER_MAC, CLIENT, MAC, ROUTER_MAC, TOOLS, VIPS, Lab, eventually
from tests.lab.traffic import verdicts

pytestmark = pytest.mark.root

ENOUGH = 12  # packets


def capture(lab: Lab, host: str, interface: str, expression: str, count: int = ENOUGH) -> list[str]:
    """What a capture of `count` packets shows while client1 asks the VIPs, one line a packet."""
    command = ["tcpdump", "-i", interface, "-l", "-e", "-n", "-v", "-t", "-c", str(count), expression]
    with lab.running(host, *command) as tcpdump:
        assert tcpdump.stdout is not None
        while "listening on" not in tcpdump.stdout.readline():
            assert tcpdump.poll() is None
        deadline = time.monotonic() + 10
        while tcpdump.poll() is None and time.monotonic() < deadline:
            for vip in VIPS.values():
                lab.get(vip)
        tcpdump.terminate()
        text = tcpdump.stdout.read()
    joined = re.sub(r"\n[ \t]+", " ", text)  # tcpdump -v breaks IPv4 packets over two lines
    return [line for line in joined.splitlines() if "ethertype" in line]


@pytest.mark.parametrize("version", [4, 6])
def test_to_the_backend(either: Lab, version: int) -> None:
    """The client's own packets to the VIP arrive at a backend with the balancer's source MAC and TTL 1."""
    vip, client = VIPS[version], CLIENT[version]
    frames = capture(either, "backend1", "eth0", f"tcp and dst host {vip} and src host {client}")
    assert len(frames) == ENOUGH
    ttl = "ttl 1," if version == 4 else "hlim 1,"
    for frame in frames:
        assert frame.startswith(f"{BALANCER_MAC} > {MAC}21,"), frame
        assert ttl in frame, frame
        assert re.search(rf"{re.escape(client)}\.\d+ > {re.escape(vip)}\.80:", frame), frame
        assert "bad cksum" not in frame, frame
        # in generic mode what clients sent still has the partial checksum that no veth ever completes
        assert either.xdp == "generic" or "incorrect" not in frame, frame


@pytest.mark.parametrize("version", [4, 6])
def test_reply_goes_straight(either: Lab, version: int) -> None:
    """Replies leave a backend from the VIP to the client, addressed to the router's MAC, not the balancer's."""
    vip, client = VIPS[version], CLIENT[version]
    frames = capture(either, "backend1", "eth0", f"tcp and src host {vip} and dst host {client}")
    assert len(frames) == ENOUGH
    assert all(frame.startswith(f"{MAC}21 > {ROUTER_MAC},") for frame in frames), frames


def test_balancer_sees_no_reply(either: Lab) -> None:
    """On the balancer's cable clients' packets go in and out again, and not one reply to a client passes."""
    clients = " or ".join(f"host {address}" for address in CLIENT.values())
    frames = capture(either, "switch", "balancer1", f"tcp and ({clients})", 60)
    assert len(frames) == 60
    for vip in VIPS.values():
        assert not [frame for frame in frames if f"{vip}.80 >" in frame]
    assert [frame for frame in frames if frame.startswith(f"{ROUTER_MAC} > {BALANCER_MAC},")]
    assert [frame for frame in frames if frame.startswith(f"{BALANCER_MAC} > {MAC}2")]


@pytest.mark.parametrize("version", [4, 6])
def test_flooded_frames(either: Lab, version: int) -> None:
    """A flooded frame for another MAC is not forwarded, and the switch learns no foreign MAC at the balancer's port."""
    before = verdicts(either)
    either.run("switch", "bridge", "fdb", "flush", "dev", "balancer1", check=False)
    either.run("router", "python3", str(TOOLS), "flood", "segment", f"{MAC}99", ROUTER_MAC, VIPS[version], "200")
    eventually(lambda: verdicts(either)["not_mine"] >= before["not_mine"] + 200)
    after = verdicts(either)
    assert after["forwarded"] == before["forwarded"]
    learned = either.run("switch", "bridge", "fdb", "show", "br", "br0", "dynamic", check=False)
    at_balancer = {line.split()[0] for line in learned.splitlines() if " dev balancer1 " in line}
    assert at_balancer <= {BALANCER_MAC}
    assert either.get(VIPS[version])
