"""Interop with FRR and GoBGP over real TCP, and what they have to say; BIRD has its own modules."""

from __future__ import annotations

import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import pytest

from fairlead.model import PeerConfig, Route
from tests.wire.conftest import Net, Running, eventually, run
from tests.wire.others import Frr, Gobgp, Router
from tests.wire.test_restart import Died

pytestmark = pytest.mark.root

V4, V6 = "192.0.2.10/32", "2001:db8::10/128"
BOTH = tuple(Route(ip_network(prefix)) for prefix in (V4, V6))
OURS = 4200000001
LONG_HOLD = 90  # seconds: a busy machine must not end a session


@pytest.fixture(params=[Frr, Gobgp], ids=["frr", "gobgp"])
def router(request: pytest.FixtureRequest, net: Net, tmp_path: Path) -> Iterator[Router]:
    router = request.param(net.router, tmp_path)
    yield router
    router.stop()


@pytest.fixture
def mortal(net: Net) -> Iterator[Died]:
    mortal = Died(net.ours)
    yield mortal
    if mortal._thread.is_alive():
        mortal.die()


def peer(**changes: object) -> PeerConfig:
    usual = {
        "address": IPv4Address("10.99.0.2"),
        "as_number": OURS,
        "next_hop_6": IPv6Address("fd99::1"),
        "hold_time": LONG_HOLD,
    }
    return PeerConfig(**(usual | changes))


def has(router: Router, *prefixes: str) -> None:
    eventually(lambda: set(router.routes()) == set(prefixes), what=f"{prefixes} and nothing else in the router")


def begin(router: Router, speaker: Running, **changes: object) -> None:
    """A session with usual terms and both routes in the router."""
    router.start()
    speaker.configure(peer(**changes))
    speaker.announce(*BOTH)
    has(router, V4, V6)


def dropped(namespace: str, *names: str) -> int:
    """The sum of some of the kernel's counters in a namespace."""
    found = run("ip", "netns", "exec", namespace, "nstat", "-asz", *names).splitlines()
    return sum(int(words[1]) for words in map(str.split, found) if words and words[0] in names)


def test_routes_of_both_families(router: Router, speaker: Running) -> None:
    """Four-octet AS path, next hops, MED, communities of both kinds, as the router shows them; a withdrawal takes them away."""
    more = {"communities": ((64512, 1), (64512, 2)), "large_communities": ((OURS, 2, 3),)}
    begin(router, speaker, med=50, prepend=1, **more)
    for prefix, next_hop in ((V4, "10.99.0.1"), (V6, "fd99::1")):
        told = router.routes()[prefix]
        assert (told["as_path"], told["next_hop"], told["med"]) == ([OURS, OURS], next_hop, 50)
        assert (told["communities"], told["large"]) == ("64512:1 64512:2", f"{OURS}:2:3")
    assert (speaker.status().remote_as, speaker.status().routes) == (4200000002, (V4, V6))

    speaker.announce(BOTH[1])
    has(router, V6)
    speaker.announce()
    has(router)
    assert speaker.downs() == []


def test_internal_session(router: Router, speaker: Running) -> None:
    """Inside one AS: an empty path and our local preference."""
    router.start(our_as=OURS)
    speaker.configure(peer(local_pref=250))
    speaker.announce(*BOTH)
    has(router, V4, V6)

    assert [(told["as_path"], told["local_pref"]) for told in router.routes().values()] == [([], 250)] * 2


def test_session_over_ipv6(router: Router, speaker: Running) -> None:
    """Both families over an IPv6 connection."""
    router.start(transport=6)
    speaker.configure(peer(address=ip_address("fd99::2"), next_hop_6=None))
    speaker.announce(*BOTH)
    has(router, V4, V6)

    assert (router.routes()[V4]["next_hop"], router.routes()[V6]["next_hop"]) == ("10.99.0.1", "fd99::1")


def test_password(net: Net, router: Router, speaker: Running) -> None:
    """TCP-MD5 (RFC 2385): no session with the wrong password, one with the right one."""
    router.start(password="hunter2")
    speaker.announce(*BOTH)
    speaker.configure(peer(password=b"wrong"))
    eventually(lambda: dropped(net.router, "TcpExtTCPMD5Failure"), what="a segment with the wrong signature")
    assert not speaker.established()

    speaker.configure(peer(password=b"hunter2"))
    has(router, V4, V6)


def test_ttl_security(net: Net, router: Router, speaker: Running) -> None:
    """GTSM (RFC 5082) on both ends: a session at TTL 255; the router's kernel drops what might come from far away.

    Both ask for it once they have accepted a connection: the first message may be in by then, so nothing is said of states.
    """
    router.start(ttl_security=True)
    speaker.announce(*BOTH)
    speaker.configure(peer(ttl_security=1))
    has(router, V4, V6)

    # without graceful restart, so that nothing is kept, and with the least hold time
    speaker.configure(peer(multihop=64, graceful_restart=None, hold_time=3))
    eventually(lambda: dropped(net.router, "TcpExtTCPMinTTLDrop"), what="a packet that has travelled too far")
    eventually(lambda: not router.routes() and not speaker.established(), what="the end of session and routes")


@pytest.mark.parametrize("router", [Frr], ids=["frr"], indirect=True)
def test_route_refresh(router: Frr, speaker: Running) -> None:
    """What the router asks for again comes again, in the same session."""
    begin(router, speaker)
    before = router.updates()
    router.refresh()

    eventually(lambda: router.updates() >= before + 2, what="an UPDATE of each family")
    has(router, V4, V6)
    assert (speaker.ups(), speaker.downs()) == (1, [])


def test_filter_and_attributes_change_without_a_reset(router: Router, speaker: Running) -> None:
    """A filter takes a route away, other attributes come with an UPDATE, and the session stays."""
    begin(router, speaker)
    speaker.configure(peer(reject=(ip_network("192.0.2.0/24"),), med=7))
    has(router, V6)
    eventually(lambda: router.routes()[V6]["med"] == 7, what="the new MED")
    speaker.configure(peer(communities=((64512, 9),)))
    has(router, V4, V6)

    eventually(lambda: {told["communities"] for told in router.routes().values()} == {"64512:9"}, what="the community")
    assert (speaker.ups(), speaker.downs()) == (1, [])


def test_routes_stay_while_the_daemon_restarts(net: Net, router: Router, mortal: Died) -> None:
    """Graceful restart (RFC 4724): killed and back with its data plane, no route ever leaves the router, and none stays stale."""
    begin(router, mortal)
    mortal.die()
    eventually(lambda: all(told["stale"] for told in router.routes().values()), what="stale routes")
    seen = [set(router.routes())]

    successor = Running(net.ours, restarted=True)
    try:
        successor.announce(*BOTH)
        successor.configure(peer())
        end = time.monotonic() + 60
        while not successor.established() and time.monotonic() < end:
            seen.append(set(router.routes()))
        successor.do(lambda speaker: speaker.settle())
        eventually(lambda: seen.append(set(router.routes())) or not any(t["stale"] for t in router.routes().values()))
        assert all(routes == {V4, V6} for routes in seen)
        assert len(seen) >= 2, "before, and after"
    finally:
        successor.end()


def test_what_did_not_come_back_goes(net: Net, router: Router, mortal: Died) -> None:
    """The route that the successor does not announce leaves the router with End-of-RIB."""
    begin(router, mortal)
    mortal.die()
    successor = Running(net.ours, restarted=True)
    try:
        successor.announce(BOTH[0])
        successor.configure(peer())
        eventually(successor.established, what="the session")
        successor.do(lambda speaker: speaker.settle())
        has(router, V4)
    finally:
        successor.end()


def test_router_that_restarts(router: Router, speaker: Running) -> None:
    """It dies and comes back, and so do session and routes."""
    begin(router, speaker)
    router.stop()
    eventually(speaker.downs, what="the end of the session")
    router.restart()

    has(router, V4, V6)
    assert speaker.ups() == 2


def test_router_shuts_down_with_words(router: Router, speaker: Running) -> None:
    """An administrative shutdown (RFC 9003) is quoted, and the session comes back when it is enabled."""
    begin(router, speaker)
    before = len(speaker.downs())  # a busy FRR may turn a first connection away
    router.disable("rack 7 moves")
    eventually(lambda: len(speaker.downs()) > before, what="the end of the session")
    assert speaker.downs()[before:] == ['received Cease/Administrative Shutdown: "rack 7 moves"']
    router.enable()

    has(router, V4, V6)


def test_stop_withdraws(router: Router, speaker: Running) -> None:
    """Closing takes both routes away, and no longer than it must, graceful restart or not."""
    begin(router, speaker)

    assert speaker.close("moving racks") < 2.0
    has(router)
