"""Every tunnel, to backends that take the outer headers off: real TCP and UDP, and path-MTU discovery."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from tests.lab.kit import Lab, eventually
from tests.lab.traffic import ask, backends, download_over_narrow_link, forget, fresh, site, upload, verdicts

pytestmark = pytest.mark.root

ALL = {"backend1", "backend2", "backend3"}
KINDS = {1: "ipip", 2: "gre", 3: "fou", 4: "gue", 5: "gue without checksum"}
EXTRA = {1: 0, 2: 4, 3: 8, 4: 12, 5: 12}  # bytes behind the outer IP header
WAYS = [(kind, outer, version) for kind in KINDS for outer in (4, 6) for version in (4, 6)]
EVERY = pytest.mark.parametrize(("kind", "outer", "version"), WAYS, ids=[f"{KINDS[k]} {v} in {o}" for k, o, v in WAYS])


def vip(kind: int, outer: int, version: int) -> str:
    return f"203.0.113.{kind}{outer}" if version == 4 else f"fd1a:b:0:ff::{kind}{outer}"


def overhead(kind: int, outer: int) -> int:
    return EXTRA[kind] + (20 if outer == 4 else 40)


@pytest.fixture(scope="module", params=["native", "generic"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with site("tunnel", request.param) as found:
        yield found


@EVERY
def test_requests(lab: Lab, kind: int, outer: int, version: int) -> None:
    """Requests are answered by every backend; their packets leave the balancer in a tunnel."""
    before = verdicts(lab)["encapsulated"]
    assert backends(lab, vip(kind, outer, version), 3) == ALL
    assert verdicts(lab)["encapsulated"] > before


@EVERY
def test_upload(lab: Lab, kind: int, outer: int, version: int) -> None:
    """8 MB arrive whole though full-size packets do not fit the tunnel: the client is told what does, to the byte."""
    address = vip(kind, outer, version)
    forget(lab, "client1")
    before = verdicts(lab)
    upload(lab, address, fresh(version))
    now = verdicts(lab)
    assert now["too_big"] > before["too_big"]
    learned = lab.run("client1", "ip", "route", "get", address)
    assert f" mtu {1500 - overhead(kind, outer)}" in learned, learned


@EVERY
def test_datagrams(lab: Lab, kind: int, outer: int, version: int) -> None:
    """UDP there and back, whole and in fragments that fit the tunnel."""
    address = vip(kind, outer, version)
    assert set(ask(lab, address, 100, 30)) == ALL
    forget(lab, "client1")
    via = "198.18.1.1" if version == 4 else "fd1a:b:0:1::1"
    lab.run("client1", "ip", "route", "add", address, "via", via, "mtu", "1400")
    try:
        assert set(ask(lab, address, 4000, 20)) == ALL
    finally:
        lab.run("client1", "ip", "route", "del", address)


def capture(lab: Lab, address: str) -> list[str]:
    """Packets as they arrive at backend1, one line each, while client1 asks."""
    command = ["tcpdump", "-i", "eth0", "-l", "-n", "-vv", "-t", "-c", "12", "-Q", "in", "ip proto 4 or 41 or 47 or udp or ip6"]
    with lab.running("backend1", *command) as tcpdump:
        assert tcpdump.stdout is not None
        while "listening on" not in tcpdump.stdout.readline():
            assert tcpdump.poll() is None
        deadline = time.monotonic() + 10
        while tcpdump.poll() is None and time.monotonic() < deadline:
            lab.get(address)
        tcpdump.terminate()
        text = tcpdump.stdout.read()
    joined = re.sub(r"\n[ \t]+", " ", text)
    return [line for line in joined.splitlines() if re.search(r"192\.0\.2\.11|fd1a:b:0:10::11", line)]


@pytest.mark.parametrize(("kind", "outer"), [(1, 4), (4, 6)])
@pytest.mark.parametrize("version", [4, 6])
def test_icmp_error(lab: Lab, kind: int, outer: int, version: int) -> None:
    """An ICMP error about a backend's reply reaches that backend, in its tunnel."""
    download_over_narrow_link(lab, vip(kind, outer, version))


def test_probes_go_through_the_tunnel(lab: Lab) -> None:
    """A backend on which a tunnel does not end is down for the services that use it, and comes back."""
    lab.run("backend2", "tc", "filter", "del", "dev", "eth0", "ingress")
    objects = f"{__file__.rsplit('/tests/', 1)[0]}/src/fairlead/_objects"
    try:
        eventually(lambda: lab.backend("192.0.2.22")["state"] == "down", 15)
    finally:
        words = f"filter add dev eth0 ingress bpf da object-file {objects}/decap.bpf.o section tc".split()
        lab.run("backend2", "tc", *words)
    eventually(lab.all_up, 15)


@pytest.fixture(scope="module")
def quiet(lab: Lab) -> Iterator[Lab]:
    """The lab without checks: its probes' inner checksums are still partial when a veth hands them over."""
    lab.reload(re.sub(r"http: \{.*\}", "http*:", lab.config))
    yield lab
    lab.reload(lab.config)
    eventually(lab.all_up, 15)


@pytest.mark.parametrize("kind", [3, 4, 5])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("outer", [4, 6])
def test_outer_udp(quiet: Lab, kind: int, outer: int, version: int) -> None:
    """The outer UDP checksum is right or, if so configured, absent; over IPv4 DF is set and the id is 0; ports vary."""
    if quiet.xdp == "generic":
        pytest.skip("checksums of packets that never crossed a real wire are still partial, so the outer one cannot be right")
    lines = [line for line in capture(quiet, vip(kind, outer, version)) if re.search(r"\.(5555|5556|6080): ", line)]
    assert len(lines) > 3
    absent = "no cksum" if outer == 4 else "udp cksum 0x0000 "  # which tcpdump calls bad over IPv6: RFC 6935 came later
    wanted = absent if kind == 5 else "udp sum ok"
    assert all(wanted in line for line in lines), lines
    ports = {int(re.search(r"\.(\d+) > [^ ]+\.(?:5555|5556|6080): ", line)[1]) for line in lines}  # type: ignore[index]
    assert len(ports) > 1
    assert min(ports) >= 0xC000
    if outer == 4:
        assert all("id 0," in line and "flags [DF]" in line for line in lines), lines
