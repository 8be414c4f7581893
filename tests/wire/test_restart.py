"""Graceful restart with BIRD: the speaker dies without a word and comes back, and the routes never leave the router."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest

from fairlead.bgp import State
from fairlead.bgp.capabilities import restart_of
from fairlead.bgp.session import DEFERRAL
from fairlead.bgp.wire import Keepalive, messages
from fairlead.model import GracefulRestart, PeerConfig, Route
from tests.wire.conftest import Net, Running, eventually
from tests.wire.talk import OURS, Talk, router_open, routes
from tests.wire.talk import peer as talk_peer

V4, V6 = "192.0.2.10/32", "2001:db8::10/128"
BOTH = tuple(Route(ip_network(prefix)) for prefix in (V4, V6))
root = pytest.mark.root


def peer(**changes) -> PeerConfig:
    usual = {"address": IPv4Address("10.99.0.2"), "as_number": 4200000001, "next_hop_6": IPv6Address("fd99::1")}
    return PeerConfig(**(usual | changes))


class Died(Running):
    """A speaker whose process is killed: what the kernel does with its sockets, and nothing else."""

    def die(self) -> None:
        def close(speaker) -> None:
            for each in speaker._peers.values():
                each._over = True
                for link in each._links.values():
                    link._ours = False
                    link.transport.abort()

        self.do(close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


@pytest.fixture
def mortal(net: Net) -> Iterator[Died]:
    mortal = Died(net.ours)
    yield mortal
    if mortal._thread.is_alive():
        mortal.die()


def watch(bird, seconds: float, until=lambda: False) -> list[set[str]]:
    """What BIRD has, looked at all the time."""
    seen, end = [], time.monotonic() + seconds
    while time.monotonic() < end and not until():
        seen.append(set(bird.routes()))
    return seen


@root
def test_routes_stay_while_the_daemon_restarts(net, bird, mortal):
    """Killed and back with its data plane: BIRD keeps both routes throughout, and takes the new ones for the old ones."""
    bird.start()
    mortal.configure(peer())
    mortal.announce(*BOTH)
    eventually(lambda: len(bird.routes()) == 2, what="both routes")
    mortal.die()
    eventually(lambda: "Established" not in bird.ask("show", "protocols", "fairlead"), what="the end of the session")
    seen = watch(bird, 2.0)

    successor = Running(net.ours, restarted=True)
    try:
        successor.announce(*BOTH)
        successor.configure(peer())
        seen += watch(bird, 60.0, successor.established)
        successor.do(lambda speaker: speaker.settle())
        seen += watch(bird, 2.0)
        assert successor.established()
        assert all(routes == {V4, V6} for routes in seen)
        assert len(seen) > 10
        neighbour = bird.ask("show", "protocols", "all", "fairlead").partition("Neighbor capabilities")[2]
        assert "Graceful restart" in neighbour
        assert "Restart time: 120" in neighbour
        assert "AF preserved: ipv4 ipv6" in neighbour
    finally:
        successor.end()


@root
def test_what_did_not_come_back_goes_with_end_of_rib(net, bird, mortal):
    """A VIP that is down after the restart leaves the router when all is decided, and not before."""
    bird.start()
    mortal.configure(peer())
    mortal.announce(*BOTH)
    eventually(lambda: len(bird.routes()) == 2, what="both routes")
    mortal.die()

    successor = Running(net.ours, restarted=True)
    try:
        successor.announce(BOTH[0])
        successor.configure(peer())
        eventually(successor.established, what="the session")
        assert all(routes == {V4, V6} for routes in watch(bird, 2.0))
        successor.do(lambda speaker: speaker.settle())
        eventually(lambda: set(bird.routes()) == {V4}, 10, "the end of the stale route")
    finally:
        successor.end()


@root
def test_a_fresh_start_keeps_nothing(net, bird, mortal):
    """Without the data plane of before the router drops what it had as soon as the new session stands."""
    bird.start()
    mortal.configure(peer())
    mortal.announce(*BOTH)
    eventually(lambda: len(bird.routes()) == 2, what="both routes")
    mortal.die()
    eventually(lambda: "Established" not in bird.ask("show", "protocols", "fairlead"), what="the end of the session")

    successor = Running(net.ours)
    try:
        successor.configure(peer())
        eventually(lambda: bird.routes() == {}, 30, "the end of the stale routes")
    finally:
        successor.end()


@root
def test_without_graceful_restart_the_routes_go_at_once(bird, mortal):
    """Switched off, the end of the connection is the end of the routes."""
    bird.start()
    mortal.configure(peer(graceful_restart=None))
    mortal.announce(*BOTH)
    eventually(lambda: len(bird.routes()) == 2, what="both routes")
    mortal.die()

    eventually(lambda: bird.routes() == {}, 10, "the end of the routes")


@root
def test_a_session_is_handed_over(net, bird, mortal):
    """`fairlead restart`: the successor goes on with the connection, BIRD sees no end of the session."""
    bird.start()
    mortal.configure(peer())
    mortal.announce(*BOTH)
    eventually(lambda: len(bird.routes()) == 2, what="both routes")
    since = mortal.status().since
    left = asyncio.run_coroutine_threadsafe(mortal._speaker.hand_over(), mortal._loop).result(10)
    mortal._loop.call_soon_threadsafe(mortal._loop.stop)

    successor = Running(net.ours, inherited=left)
    try:
        successor.announce(BOTH[0])
        successor.configure(peer(med=7))
        eventually(lambda: {p: said.get("med") for p, said in bird.routes().items()} == {V4: "7"}, what="what has changed")
        assert (successor.status().since, successor.status().state, successor.ups()) == (since, "Established", 0)
        assert "Received" not in bird.log()
        assert len(re.findall("Sending OPEN", bird.log())) <= 1
    finally:
        successor.end()


# ------------------------------------------------------------------------------------------------------------- without sockets


def flags(talk: Talk) -> tuple[bool, list[bool]]:
    """Restart State and Forwarding State of the OPEN that goes out next."""
    (opened,) = messages(bytearray(talk.session.take_output()))
    restart = restart_of(opened.capabilities)
    assert restart is not None
    return restart.restarting, [forwards for _, forwards in restart.families]


@pytest.mark.parametrize(("restarted", "first"), [(False, (False, [False, False])), (True, (True, [True, True]))])
def test_flags_of_an_open(restarted, first):
    """R only in the first session after a restart; F as soon as there is a data plane that goes on (RFC 4724 section 3)."""
    talk = Talk(restarted=restarted)
    talk.wait(0)
    talk.session.connected(talk.now, OURS)
    assert flags(talk) == first

    talk.say(router_open(), Keepalive())
    talk.session.disconnected(talk.now, "connection reset by peer")
    talk.wait(1)
    talk.session.connected(talk.now, OURS)
    assert flags(talk) == (False, [True, True])


def test_end_of_rib_waits_for_the_routes():
    """It follows the routes that were announced before the restart; when they never come it is said all the same."""
    talk = Talk(restarted=True)
    talk.session.unsettle()
    talk.reach(State.ESTABLISHED, hold_time=0)
    talk.session.announce(routes(V4))
    assert [line.split()[0] for line in talk.hear()] == ["announce"]
    talk.session.settle()
    assert talk.hear() == ["END IPv4", "END IPv6"]

    late = Talk(restarted=True)
    late.session.unsettle()
    late.reach(State.ESTABLISHED, hold_time=0)
    assert late.session.deadline() == late.now + DEFERRAL
    late.wait(DEFERRAL)
    assert late.hear() == ["END IPv4", "END IPv6"]


@pytest.mark.parametrize("notification", [False, True])
def test_a_stop_is_a_stop_for_a_helper(notification):
    """A peer that keeps routes through NOTIFICATIONs is told that this is a hard reset (RFC 8538 section 3)."""
    config = talk_peer(graceful_restart=GracefulRestart(notification=notification))
    talk = Talk(config).reach(State.ESTABLISHED, message=talk_open(config))
    talk.session.shutdown(talk.now, "moving racks")
    words = 'Cease/Administrative Shutdown: "moving racks"'

    assert talk.hear() == [f"NOTIFICATION Cease/Hard Reset ({words})" if notification else f"NOTIFICATION {words}"]


def talk_open(config: PeerConfig):
    """The OPEN of a peer that is configured alike."""
    other = Talk(config)
    other.wait(0)
    other.session.connected(0.0, OURS)
    (opened,) = messages(bytearray(other.session.take_output()))
    return router_open().__class__(64500, 90, IPv4Address("192.0.2.2"), tuple(c for c in opened.capabilities if c.code != 65))
