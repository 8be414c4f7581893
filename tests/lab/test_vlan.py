"""Tagged in, tagged out: clients in one VLAN, backends in two others, one trunk. Real TCP and UDP."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from tests.lab.kit import BALANCER_MAC, CLIENT, VIPS, Lab
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
