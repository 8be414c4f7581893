"""Tagged in, tagged out: clients in one VLAN, backends in two others, one trunk. Real TCP and UDP."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from tests.lab.kit import BALANCER_MAC, CLIENT, VIPS, Lab, eventually
from tests.lab.test_checks import all_pass
from tests.lab.traffic import ask, backends, download_over_narrow_link, site, upload, verdicts

pytestmark = pytest.mark.root

ALL = {"backend1", "backend2", "backend3", "backend4"}


@pytest.fixture(scope="module", params=["native", "generic"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with site("vlan", request.param) as found:
        yield found


@pytest.mark.parametrize("version", [4, 6])
def test_requests(lab: Lab, version: int) -> None:
    """Requests are answered by backends in both VLANs, whether the switch or the backend itself deals with the tag."""
    assert backends(lab, VIPS[version], 4) == ALL
    assert lab.status()["interfaces"][0]["mode"] == lab.xdp


@pytest.mark.parametrize("version", [4, 6])
def test_tags(lab: Lab, version: int) -> None:
    """On the trunk clients' packets come in with tag 10 and leave with 20 or 30, and nothing of theirs leaves without a tag."""
    vip, client = VIPS[version], CLIENT[version]
    command = ["tcpdump", "-i", "balancer1", "-l", "-e", "-n", "-t", "-c", "200", "vlan or tcp port 80"]
    with lab.running("switch", *command) as tcpdump:
        assert tcpdump.stdout is not None
        while "listening on" not in tcpdump.stdout.readline():
            assert tcpdump.poll() is None
        deadline = time.monotonic() + 15
        while tcpdump.poll() is None and time.monotonic() < deadline:
            lab.get(vip)
        tcpdump.terminate()
        lines = [line for line in tcpdump.stdout.read().splitlines() if re.search(rf" {re.escape(client)}\.\d+ > ", line)]
    inward = [line for line in lines if f"> {BALANCER_MAC}," in line]
    outward = [line for line in lines if line.startswith(BALANCER_MAC)]
    assert len(inward) > 10
    assert len(outward) > 10
    assert all("vlan 10," in line for line in inward), inward
    assert {re.search(r"vlan (\d+),", line)[1] for line in outward} == {"20", "30"}  # type: ignore[index]


@pytest.mark.parametrize("version", [4, 6])
def test_upload(lab: Lab, version: int) -> None:
    """8 MB arrive whole."""
    upload(lab, VIPS[version])


@pytest.mark.parametrize("size", [100, 4000])
@pytest.mark.parametrize("version", [4, 6])
def test_datagrams(lab: Lab, version: int, size: int) -> None:
    """UDP there and back, whole and in fragments."""
    assert set(ask(lab, VIPS[version], size, 40)) == ALL
    assert verdicts(lab)["forwarded"] > 0


@pytest.mark.parametrize("version", [4, 6])
def test_icmp_error(lab: Lab, version: int) -> None:
    """An ICMP error about a backend's reply reaches that backend, tagged with its VLAN."""
    download_over_narrow_link(lab, VIPS[version])


def test_checks_are_tagged(lab: Lab) -> None:
    """Checks by all kinds of sockets (TCP, raw TCP, ICMP) reach a VIP on backends in both VLANs, and leave with their tags."""
    http = "http: {path: /healthz, interval: 0.5, timeout: 0.5, rise: 2, fall: 2}"
    assert http in lab.config
    kinds = "checks: [{type: http, path: /healthz}, {type: tcp}, {type: syn}, {type: icmp}]"
    lab.reload(lab.config.replace(http, f"80/tcp: {{interval: 0.5, timeout: 0.4, rise: 2, fall: 2, {kinds}}}"))
    try:
        eventually(lambda: all_pass(lab), 10)
        checks = [c for s in lab.status()["services"] for b in s["backends"] for c in b["checks"]]
        assert len(checks) == len(VIPS) * len(ALL) * 4
        command = ["timeout", "2", "tcpdump", "-i", "balancer1", "-l", "-e", "-n", "-t", "ether", "src", BALANCER_MAC]
        lines = lab.try_run("switch", *command).stdout.splitlines()
    finally:
        lab.reload(lab.config)
    # The kernel's own resets are dropped where they leave this machine. VLAN devices are pairs of veth here, though: to the trunk
    # they look as if somebody else had sent them. A device of 8021q hands them over as its own.
    asked = [line for line in lines if "Flags [R" not in line]
    probes = [line for line in asked if re.search(rf"> ({VIPS[4]}|{VIPS[6]})[.:]", line)]
    assert {found[1] for line in probes if (found := re.search(r"vlan (\d+),", line))} == {"20", "30"}
    assert all("vlan" in line for line in probes)
    assert any("echo request" in line for line in probes)
    assert any("Flags [S]" in line for line in probes)
