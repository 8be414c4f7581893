"""Backends behind a second router: tunnels to a gateway, narrow paths on the way, and what the underlay says about them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.kit import VIPS, Lab, eventually
from tests.lab.traffic import PORT, ask, backends, download_over_narrow_link, forget, fresh, narrow, site, upload, verdicts

pytestmark = pytest.mark.root

ALL = {"backend1", "backend2", "backend3"}
NARROW = {4: "203.0.113.2", 6: "fd1a:b:0:ff::2"}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with site("routed") as found:
        yield found


@pytest.mark.parametrize("address", [*VIPS.values(), *NARROW.values()])
def test_requests(lab: Lab, address: str) -> None:
    """Requests are answered by every backend, two routers away."""
    before = verdicts(lab)["encapsulated"]
    assert backends(lab, address, 3) == ALL
    assert verdicts(lab)["encapsulated"] > before


@pytest.mark.parametrize("version", [4, 6])
def test_upload(lab: Lab, version: int) -> None:
    """8 MB arrive whole through GUE."""
    forget(lab, "client1")
    upload(lab, VIPS[version], fresh(version))


@pytest.mark.parametrize("version", [4, 6])
def test_tunnel_mtu(lab: Lab, version: int) -> None:
    """`tunnel-mtu` tells of a narrow link that the balancer cannot see: 8 MB arrive whole across it."""
    forget(lab, "client1", "balancer1")
    with narrow(lab, "gateway", "eth1", 1400):
        upload(lab, NARROW[version], fresh(version))
    learned = lab.run("client1", "ip", "route", "get", NARROW[version])
    assert f" mtu {1400 - (40 if version == 4 else 20)}" in learned, learned  # the outer header is of the other family


@pytest.mark.parametrize("size", [100, 3000])
@pytest.mark.parametrize("version", [4, 6])
def test_datagrams(lab: Lab, version: int, size: int) -> None:
    """UDP there and back, whole and in fragments."""
    via = "198.18.1.1" if version == 4 else "fd1a:b:0:1::1"
    forget(lab, "client1")
    lab.run("client1", "ip", "route", "add", VIPS[version], "via", via, "mtu", "1300")
    try:
        assert set(ask(lab, VIPS[version], size, 30)) == ALL
    finally:
        lab.run("client1", "ip", "route", "del", VIPS[version])


@pytest.mark.parametrize("version", [4, 6])
def test_icmp_error(lab: Lab, version: int) -> None:
    """An ICMP error about a backend's reply reaches that backend through its tunnel."""
    download_over_narrow_link(lab, VIPS[version])


def test_without_a_tunnel(lab: Lab) -> None:
    """A service without a tunnel cannot use a backend behind a gateway, and status says why."""
    lab.reload(lab.config.replace(", tunnel-type: gue, tunnel-port: 6080", ""))
    try:
        found = lab.status()
        reasons = {b.get("reason", "") for s in found["services"] for b in s["backends"] if b["state"] == "down"}
        assert any("needs a tunnel" in reason for reason in reasons), reasons
    finally:
        lab.reload(lab.config)
    eventually(lab.all_up, 15)


@pytest.mark.parametrize("version", [4, 6])
def test_underlay_errors(lab: Lab, version: int) -> None:
    """What the gateway says about outer packets that do not fit its next link is counted for the tunnel it is about."""
    family = "AF_INET" if version == 4 else "AF_INET6"
    send = f"import socket; socket.socket(socket.{family}, socket.SOCK_DGRAM).sendto(bytes(1350), ('{VIPS[version]}', {PORT}))"
    forget(lab, "client1", "balancer1")

    def told() -> int:
        lab.run("client1", "python3", "-c", send)
        of = [t for t in lab.status()["tunnels"] if t["kind"] == "gue" and (":" in t["backend"]) == (version == 6)]
        return sum(t["errors"] for t in of)

    before = told()
    with narrow(lab, "gateway", "eth1", 1300):
        eventually(lambda: told() > before)
    assert any(e["name"] == "tunnel-troubled" for e in lab.events())
