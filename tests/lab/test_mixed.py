"""All ways at once: same segment, a tag on another NIC, a gateway; with tunnels and without."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.kit import Lab
from tests.lab.traffic import ask, backends, download_over_narrow_link, forget, fresh, site, upload, verdicts

pytestmark = pytest.mark.root

NEAR = {"203.0.113.1": {"backend1", "backend2"}, "fd1a:b:0:ff::1": {"backend1", "backend2"}}
FAR = {vip: {"backend1", "backend2", "backend3"} for vip in ("203.0.113.2", "fd1a:b:0:ff::2", "203.0.113.3")}
EVERY = pytest.mark.parametrize("address", [*NEAR, *FAR])


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with site("mixed") as found:
        yield found


@EVERY
def test_requests(lab: Lab, address: str) -> None:
    """Requests are answered by every backend of the service, each reached its own way; the verdicts say which ways were used."""
    wanted, before = (NEAR | FAR)[address], verdicts(lab)
    assert backends(lab, address, len(wanted)) == wanted
    now = verdicts(lab)
    for name in ("forwarded", "redirected") if address in NEAR else ("encapsulated", "redirected_encapsulated"):
        assert now[name] > before[name], name


@EVERY
def test_uploads(lab: Lab, address: str) -> None:
    """8 MB arrive whole at every kind of backend."""
    forget(lab, "client1")
    for _ in range(5):
        upload(lab, address, fresh(6 if ":" in address else 4))


@EVERY
def test_datagrams(lab: Lab, address: str) -> None:
    """UDP there and back, whole and in fragments."""
    wanted = (NEAR | FAR)[address]
    assert set(ask(lab, address, 100, 40)) == wanted
    via = "fd1a:b:0:1::1" if ":" in address else "198.18.1.1"
    forget(lab, "client1")
    lab.run("client1", "ip", "route", "add", address, "via", via, "mtu", "1400")
    try:
        assert set(ask(lab, address, 4000, 30)) == wanted
    finally:
        lab.run("client1", "ip", "route", "del", address)


@EVERY
def test_icmp_error(lab: Lab, address: str) -> None:
    """An ICMP error about a backend's reply reaches that backend, whichever way it takes."""
    download_over_narrow_link(lab, address)
