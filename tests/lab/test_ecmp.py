"""Several balancers behind one router: who gets what share, and what clients feel when one of them leaves, dies or is cut off."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.ecmp import Site, built
from tests.lab.kit import V4, VIPS, eventually, held, unharmed
from tests.lab.newflows import streaming

pytestmark = pytest.mark.root

HELD = 200  # TCP connections of each test, used before, and after what happens
HOLD = 6.0  # seconds, the topology's hold time


@pytest.fixture(scope="module")
def _two() -> Iterator[Site]:
    with built(2) as site:
        yield site


@pytest.fixture
def site(_two: Site) -> Site:
    """Two balancers behind BIRD, both announcing, nothing drained."""
    for balancer in _two.balancers:
        if not _two.runs(balancer):
            _two.lab.cli("start", balancer)
    eventually(_two.all_up, 20)
    return _two


def share(site: Site, vip: str = V4) -> dict[str, float]:
    """Of 600 new flows, which part went through each balancer."""
    before = site.forwarded()
    with streaming(site.lab, vip, 600) as stream:
        time.sleep(1)
    counted = {b: n - before[b] for b, n in site.forwarded().items()}
    assert all(who for _, who in stream.sent)
    return {b: n / sum(counted.values()) for b, n in counted.items()}


@pytest.mark.parametrize("vip", VIPS.values())
def test_spread(site: Site, vip: str) -> None:
    """Each of two balancers gets its half of new flows, and both have the same tables."""
    assert all(0.35 < part < 0.65 for part in share(site, vip).values())
    assert len(site.hashes()) == 1


def test_drain_self(site: Site) -> None:
    """One leaves: nothing is lost, no connection moves or breaks, the other has all of it; and it comes back the same way."""
    with held(site.lab, HELD) as use, streaming(site.lab, V4, 300) as stream:
        site.said("balancer2", "drain", "self")
        eventually(lambda: site.shared("balancer1"))
        before = site.forwarded()
        assert unharmed(use())
        eventually(lambda: site.forwarded()["balancer1"] > before["balancer1"] + 100)
        site.said("balancer2", "undrain")
        eventually(site.all_up)
        assert unharmed(use())
    assert stream.lost(0) == 0


def test_stop(site: Site) -> None:
    """SIGTERM withdraws: the same, and packets that are still on their way are forwarded by what stays attached."""
    with held(site.lab, HELD) as use, streaming(site.lab, V4, 300) as stream:
        site.lab.cli("kill", "--signal", "TERM", "balancer2")
        eventually(lambda: site.shared("balancer1"))
        assert unharmed(use())
        eventually(lambda: not site.runs("balancer2"))
        site.lab.cli("start", "balancer2")
        eventually(site.all_up, 20)
        assert unharmed(use())
    assert stream.lost(0) == 0


def test_kill(site: Site) -> None:
    """SIGKILL of the daemon moves nothing: the router keeps the route (graceful restart), the data plane forwards on."""
    with held(site.lab, HELD) as use, streaming(site.lab, V4, 300) as stream, site.unmoved():
        before = site.forwarded()
        site.lab.cli("kill", "balancer2")
        assert unharmed(use())
        assert site.shared(*site.balancers)
        site.lab.cli("start", "balancer2")
        eventually(site.all_up, 20)
        eventually(lambda: site.established("balancer2"))
        assert site.forwarded()["balancer2"] > before["balancer2"]
        assert unharmed(use())
    assert stream.lost(0) == 0


@contextmanager
def few_ports(site: Site) -> Iterator[None]:
    """So few that a client's flows soon come again, and are found in the flow tables, whatever has happened meanwhile."""
    key = "net.ipv4.ip_local_port_range"
    before = site.lab.run("client1", "sysctl", "-n", key).split()
    site.lab.run("client1", "sysctl", "-qw", f"{key}=40000 41500")
    try:
        yield
    finally:
        site.lab.run("client1", "sysctl", "-qw", f"{key}={' '.join(before)}")


def test_cut(site: Site) -> None:
    """A balancer that nothing reaches any more is noticed by its hold time, and the other has its connections as they were.

    When it comes back, not one datagram is lost: it has had no neighbours for a while, and yet knows its way for every flow.
    """
    with few_ports(site), held(site.lab, HELD) as use, streaming(site.lab, V4, 300) as stream:
        time.sleep(1500 / 300)  # every port has been used
        at = time.monotonic()
        with site.cut("balancer2"):
            eventually(lambda: site.shared("balancer1"), HOLD + 5)
            over = time.monotonic()
            assert unharmed(use())
            time.sleep(1)
        eventually(site.all_up, 20)
        assert unharmed(use())
    lost = stream.lost(at)
    assert 0 < lost < over - at, f"datagrams were lost until {lost:.1f} s, the route had left after {over - at:.1f} s"


def test_same_tables_in_any_order_of_events(site: Site) -> None:
    """Backends that fall and return in another order, a restart in between: the tables end up the same."""
    whole = site.hashes()
    site.lab.cli("kill", "backend1")
    site.said("balancer1", "restart")
    site.lab.cli("kill", "backend3")
    down = {"192.0.2.21", "192.0.2.23"}

    def lost(balancer: str) -> bool:
        of = [b for s in site.status(balancer)["services"] for b in s["backends"] if ":" not in b["address"]]
        return {b["address"] for b in of if b["state"] == "down"} == down

    try:
        eventually(lambda: all(map(lost, site.balancers)) and len(site.hashes()) == 1)
        assert site.hashes() != whole
        site.said("balancer2", "drain", "192.0.2.22")
        site.lab.cli("start", "backend3")
        site.said("balancer2", "enable", "192.0.2.22")
    finally:
        for backend in ("backend1", "backend3"):
            site.lab.cli("start", backend)
    eventually(lambda: site.all_up() and site.hashes() == whole, 20)


@pytest.mark.parametrize(
    ("balancers", "options"), [(4, ()), (2, ("--router", "frr")), (2, ("--router", "gobgp"))], ids=["four", "frr", "gobgp"]
)
def test_other_sites(balancers: int, options: tuple[str, ...]) -> None:
    """Four balancers, and two behind FRR and GoBGP: shares, one leaves and is killed, and no connection moves or breaks."""
    with built(balancers, *options) as site:
        eventually(site.all_up, 20)
        assert all(part > 0.5 / balancers for part in share(site).values())
        last = site.balancers[-1]
        with held(site.lab, HELD) as use, streaming(site.lab, V4, 300) as stream:
            site.said(last, "drain", "self")
            eventually(lambda: site.shared(*site.balancers[:-1]))
            assert unharmed(use())
            site.said(last, "undrain")
            eventually(site.all_up)
            with site.unmoved():
                site.lab.cli("kill", last)
                assert unharmed(use())
                site.lab.cli("start", last)
                eventually(site.all_up, 20)
                eventually(lambda: site.established(last))
            assert unharmed(use())
        assert stream.lost(0) == 0
