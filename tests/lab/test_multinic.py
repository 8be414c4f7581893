"""Two NICs: in by one, out by the other (XDP_REDIRECT), or out where it came in (XDP_TX). Real TCP and UDP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.kit import VIPS, Lab
from tests.lab.traffic import ask, backends, download_over_narrow_link, site, upload, verdicts

pytestmark = pytest.mark.root

ALL = {"backend1", "backend2", "backend3", "backend4"}


@pytest.fixture(scope="module", params=["native", "generic"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with site("multinic", request.param) as found:
        yield found


@pytest.mark.parametrize("version", [4, 6])
def test_requests(lab: Lab, version: int) -> None:
    """Requests are answered by backends on both segments; packets for one half are sent back, for the other half redirected."""
    before = verdicts(lab)
    assert backends(lab, VIPS[version], 4) == ALL
    now = verdicts(lab)
    assert now["forwarded"] > before["forwarded"]
    assert now["redirected"] > before["redirected"]
    assert {i["name"]: i["mode"] for i in lab.status()["interfaces"]} == {"eth0": lab.xdp, "eth1": lab.xdp}


@pytest.mark.parametrize("version", [4, 6])
def test_uploads(lab: Lab, version: int) -> None:
    """8 MB arrive whole, whichever NIC they leave by."""
    before = verdicts(lab)
    for _ in range(6):
        upload(lab, VIPS[version])
    assert verdicts(lab)["redirected"] > before["redirected"] + 5000


@pytest.mark.parametrize("size", [100, 4000])
@pytest.mark.parametrize("version", [4, 6])
def test_datagrams(lab: Lab, version: int, size: int) -> None:
    """UDP there and back, whole and in fragments."""
    assert set(ask(lab, VIPS[version], size, 40)) == ALL


@pytest.mark.parametrize("version", [4, 6])
def test_icmp_error(lab: Lab, version: int) -> None:
    """An ICMP error about a backend's reply reaches that backend, on whichever segment."""
    for _ in range(3):
        download_over_narrow_link(lab, VIPS[version])
