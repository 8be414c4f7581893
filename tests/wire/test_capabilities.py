"""What both sides can, put to use: with BIRD, and where BIRD cannot, between a session and this test."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest

from fairlead.bgp import Side, State
from fairlead.bgp.capabilities import offer
from fairlead.bgp.connection import SEND_HOLD
from fairlead.bgp.wire import Keepalive, RouteRefresh, our_open
from fairlead.model import Listen, PeerConfig, Route
from tests.wire.conftest import eventually, run
from tests.wire.talk import Talk, router_open, routes
from tests.wire.talk import peer as talk_peer

root = pytest.mark.root
V4, V6 = "192.0.2.10/32", "2001:db8::10/128"
BOTH = tuple(Route(ip_network(prefix)) for prefix in (V4, V6))
MANY = [Route(ip_network(f"198.18.{i >> 8}.{i & 255}/32")) for i in range(5000)]
MANY += [Route(ip_network(f"2001:db8:1::{i:x}/128")) for i in range(5000)]


def peer(**changes) -> PeerConfig:
    usual = {"address": IPv4Address("10.99.0.2"), "as_number": 4200000001, "next_hop_6": IPv6Address("fd99::1")}
    return PeerConfig(**(usual | changes))


def over_ipv6(**changes) -> PeerConfig:
    return peer(**({"address": IPv6Address("fd99::2"), "next_hop_6": None} | changes))


def bird_says(bird, *words: str) -> bool:
    """Whether BIRD counts all of these among our capabilities."""
    ours = bird.ask("show", "protocols", "all", "fairlead").partition("Neighbor capabilities")[2]
    return all(word in ours for word in words)


@root
def test_bird_reads_our_capabilities(bird, speaker):
    """BIRD knows each of them by name, and status knows BIRD's."""
    bird.start(session="enable extended messages on;")
    speaker.configure(peer())
    eventually(speaker.established, what="the session")

    assert bird_says(
        bird, "Multiprotocol", "ipv4 ipv6", "Route refresh", "Extended message", "Graceful restart", "Enhanced refresh"
    )
    assert {"IPv4 unicast", "IPv6 unicast", "extended messages", "4-octet AS number 4200000002"} <= set(speaker.status().theirs)
    assert (speaker.status().hold_time, speaker.status().remote_id, speaker.status().local) == (10, "10.99.0.2", "10.99.0.1")


@root
def test_long_messages(bird, speaker):
    """10,000 routes go out in few messages of up to 65,535 bytes, and BIRD takes them (RFC 8654)."""
    bird.start(session="enable extended messages on;")
    speaker.configure(peer())
    speaker.announce(*MANY)
    eventually(lambda: bird.imports() == len(MANY), 30, "10,000 routes")

    assert speaker.status().counters.updates_out <= 6
    assert speaker.downs() == []


@root
@pytest.mark.parametrize("agreed", [True, False])
def test_ipv4_routes_with_ipv6_next_hops(bird, speaker, agreed):
    """Agreed on, a session over IPv6 needs no IPv4 address; else the router id is the next hop (RFC 8950)."""
    bird.start(transport=6)
    if agreed:
        path = bird.log_path.parent / "bird.conf"
        path.write_text(path.read_text().replace("ipv4 {", "ipv4 { extended next hop on;"))
        bird.restart()
    speaker.configure(over_ipv6(extended_next_hop=True))
    speaker.announce(*BOTH)
    eventually(lambda: len(bird.routes()) == 2, what="both routes")

    assert bird.routes()[V4]["next_hop"] == ("fd99::1" if agreed else "10.99.0.1")
    assert bird.routes()[V6]["next_hop"] == "fd99::1"


@root
def test_all_kinds_of_communities(bird, speaker):
    """BIRD shows standard, large and extended ones, and prepends, as they were meant."""
    bird.start()
    target = 0x0002_FC00_0000_0064  # route target 64512:100
    config = peer(communities=((64512, 1),), large_communities=((4200000001, 2, 3),), ext_communities=(target,), prepend=2)
    speaker.configure(config)
    speaker.announce(BOTH[0])
    eventually(bird.routes, what="the route")

    said = bird.routes()[V4]
    assert (said["community"], said["large_community"], said["ext_community"]) == (
        "(64512,1)",
        "(4200000001, 2, 3)",
        "(rt, 64512, 100)",
    )
    assert said["as_path"] == " ".join(["4200000001"] * 3)
    (detail,) = speaker.status().details
    assert detail.startswith(f"{V4} via 10.99.0.1 path 4200000001 4200000001 4200000001 communities 64512:1 ext-communities")
    assert detail.endswith("0x0002fc0000000064 large-communities 4200000001:2:3")


@root
def test_both_dial(net, bird, speaker):
    """However often both ends dial at once, one connection is left, and both agree on which."""
    bird.start(session="passive no; connect delay time 0; connect retry time 1;")
    speaker.announce(BOTH[0])
    connections = ("ip", "netns", "exec", net.ours, "ss", "-Htn", "state", "established")
    for _ in range(5):
        speaker.configure(peer(), listen=Listen())
        eventually(lambda: speaker.established() and V4 in bird.routes(), what="the session and the route")
        eventually(lambda: len(run(*connections).splitlines()) == 1, what="one connection")
        speaker.configure()
        eventually(lambda: bird.routes() == {}, what="the end of the route")
    assert "Collision" not in "".join(speaker.downs())


@root
def test_bird_shuts_down_with_words(bird, speaker):
    """An administrative shutdown of the router is quoted, and the session comes back when it is enabled (RFC 9003)."""
    bird.start()
    speaker.configure(peer())
    speaker.announce(BOTH[0])
    eventually(bird.routes, what="the route")
    bird.ask("disable", "fairlead", '"rack 7 moves"')
    eventually(speaker.downs, what="the end of the session")
    assert speaker.downs() == ['received Cease/Administrative Shutdown: "rack 7 moves"']

    bird.ask("enable", "fairlead")
    eventually(lambda: speaker.established() and bird.routes(), what="the session and the route")
    assert re.fullmatch(r"received Cease/Administrative Shutdown.*", speaker.status().last_error)
    assert speaker.status().why == ""


# ------------------------------------------------------------------------------------------------------------- without sockets


def test_long_messages_only_if_both_can():
    """A peer that does not offer them gets 4,096 bytes at most."""
    for can, longest in ((True, 65535), (False, 4096)):
        capabilities = [c for c in offer() if can or c.code != 6]
        talk = Talk().reach(State.ESTABLISHED, message=our_open(64500, 90, IPv4Address("192.0.2.2"), capabilities))
        talk.longest = 65535
        talk.session.announce(routes(*(str(route.prefix) for route in MANY)))
        data = talk.session.take_output()
        lengths, at = [], 0
        while at < len(data):
            lengths.append(int.from_bytes(data[at + 16 : at + 18], "big"))
            at += lengths[-1]
        assert longest * 0.9 < max(lengths) <= longest or (can and max(lengths) > 4096)


def test_refresh_without_marks():
    """A peer that does not know RFC 7313 gets its routes again and nothing else."""
    talk = Talk()
    talk.session.announce(routes(V4))
    capabilities = [c for c in offer() if c.code != 70]
    talk.reach(State.ESTABLISHED, message=our_open(64500, 90, IPv4Address("192.0.2.2"), capabilities))
    talk.say(RouteRefresh(1, 1))

    assert talk.hear() == ["announce 192.0.2.10/32 via 10.0.0.1 path 64512"]


def test_marks_come_after_end_of_rib():
    """While the first table is not complete a refresh is answered without marks: the peer takes nothing for stale yet."""
    talk = Talk(restarted=True)
    talk.session.unsettle()
    talk.session.announce(routes(V4))
    talk.reach(State.ESTABLISHED)
    talk.say(RouteRefresh(1, 1))

    assert [line.split()[0] for line in talk.hear()] == ["announce"]


def test_a_peer_that_takes_nothing():
    """It is given up after eight minutes, or twice the hold time, even if it sends KEEPALIVEs (RFC 9687)."""
    talk = Talk(talk_peer(hold_time=0)).reach(State.ESTABLISHED, hold_time=0)
    talk.session.blocked(talk.now, Side.DIALLED, blocked=True)
    talk.wait(SEND_HOLD - 1)
    talk.say(Keepalive())
    assert talk.session.state is State.ESTABLISHED
    talk.session.blocked(talk.now, Side.DIALLED, blocked=False)
    talk.wait(1000)
    assert talk.session.state is State.ESTABLISHED

    talk.session.blocked(talk.now, Side.DIALLED, blocked=True)
    talk.wait(SEND_HOLD)
    assert talk.hear() == ["NOTIFICATION Send Hold Timer Expired"]
    assert talk.session.status(0).last_error == "the peer took nothing that was sent: send hold timer expired"

    long = Talk(talk_peer(hold_time=1000)).reach(State.ESTABLISHED, hold_time=1000)
    long.session.blocked(long.now, Side.DIALLED, blocked=True)
    long.session.receive(b"", long.now)
    assert long.session._dialled.stuck_at == long.now + 2000


def test_why_a_session_is_not_up():
    """Each state has its sentence, with the last error behind it."""
    talk = Talk()
    talk.wait(0)
    assert talk.session.status(0, talk.now).why == "dialling"
    talk.session.disconnected(talk.now, "connection refused")
    assert talk.session.status(0, talk.now).why == "next dial in 1 s; last: connection refused"
    talk.wait(1)
    talk.session.connected(talk.now, IPv4Address("10.0.0.1"))
    assert talk.session.status(0, talk.now).why.startswith("connected, the peer has not sent its OPEN yet; last: connection")
    talk.say(router_open())
    assert talk.session.status(0, talk.now).why.startswith("both OPENs are sent, the peer has not confirmed ours yet")
    talk.say(Keepalive())
    assert talk.session.status(0, talk.now).why == ""
    assert talk.session.status(0, talk.now, 5000.0).last_error_at == 4999.0
    talk.session.shutdown(talk.now, "bye")
    assert talk.session.status(0, talk.now).why == "stopped; last: bye"
