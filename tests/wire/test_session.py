"""A session as a dialogue: what it says, what it asks of its owner, and when."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.bgp import Cease, State
from fairlead.bgp.connection import OPEN_WAIT, PAUSES
from fairlead.bgp.wire import Capability, Keepalive, Notification, Open, RouteRefresh, Update, encode
from tests.wire.talk import OURS, THEIRS, Pair, Talk, lines_of, peer, router_open, routes

V4 = "192.0.2.10/32"
ANNOUNCED = "announce 192.0.2.10/32 via 10.0.0.1 path 64512"
ENDS = ["END IPv4", "END IPv6"]


def established(**changes) -> Talk:
    return Talk(peer(**changes)).reach(State.ESTABLISHED)


# ----------------------------------------------------------------------------------------------------------------- coming up


def test_the_way_up():
    """Dial, OPEN, KEEPALIVE for their OPEN, and the first UPDATE only after their KEEPALIVE."""
    talk = Talk()
    talk.session.announce(routes(V4))

    talk.wait(0)
    assert (talk.events(), talk.hear()) == (["dial"], [])

    talk.session.connected(talk.now, OURS)
    assert talk.hear() == ["OPEN AS 64512 hold 10 id 192.0.2.1"]

    talk.say(router_open())
    assert talk.hear() == ["KEEPALIVE"]
    assert talk.session.state is State.OPEN_CONFIRM

    talk.say(Keepalive())
    assert talk.hear() == [ANNOUNCED, *ENDS]
    assert talk.events() == ["BGP peer 10.0.0.2 (AS 64500) is established"]


def test_two_sessions_come_to_terms():
    """Two of them, wired together, are established, tell each other their routes and keep each other alive."""
    pair = Pair(peer(hold_time=9), peer(as_number=64513, hold_time=30, address=OURS))
    pair.left.announce(routes(V4))
    pair.run(60)

    assert pair.left.state is pair.right.state is State.ESTABLISHED
    assert pair.said[:9] == [
        "left: OPEN AS 64512 hold 9 id 192.0.2.1",
        "right: OPEN AS 64513 hold 30 id 192.0.2.2",
        "right: KEEPALIVE",
        "left: KEEPALIVE",
        f"left: {ANNOUNCED}",
        "left: END IPv4",
        "left: END IPv6",
        "right: END IPv4",
        "right: END IPv6",
    ]
    assert pair.said[9:].count("left: KEEPALIVE") == pair.said[9:].count("right: KEEPALIVE") == 60 // 3


def test_two_sessions_survive_a_cut():
    """When the link goes dead both hold timers end it; when it is back they find each other again."""
    pair = Pair(peer(hold_time=9), peer(as_number=64513, hold_time=9, address=OURS))
    pair.run(5)
    pair.cut = True
    pair.run(15)

    assert State.ESTABLISHED not in {pair.left.state, pair.right.state}
    assert any("Hold Timer Expired" in line for line in pair.said)

    pair.cut = False
    pair.run(40)
    assert pair.left.state is pair.right.state is State.ESTABLISHED


def test_status_of_a_session():
    """Status names the peer's AS, the routes it has, those it does not get, and what went wrong last."""
    talk = Talk(peer(next_hop_6=None)).reach(State.ACTIVE)
    assert (talk.session.status(5.0).state, talk.session.status(5.0).last_error) == ("Active", "connection refused")

    talk.session.announce(routes(V4, "2001:db8::10/128"))
    talk.wait(2)
    talk.session.connected(talk.now, OURS)
    talk.say(router_open(), Keepalive())
    talk.hear()
    status = talk.session.status(7.0)

    assert (status.address, status.state, status.since, status.remote_as) == ("10.0.0.2", "Established", 7.0, 64500)
    assert status.routes == (V4,)
    assert [line.split(":")[0] for line in status.withheld] == ["2001"]
    assert "no IPv6 next hop is known: the session's own address is 10.0.0.1" in status.withheld[0]


def test_internal_session_refuses_its_own_router_id():
    """Inside one AS two routers with one id are a mistake; between two ASes they are not (RFC 6286)."""
    inside = Talk().reach(State.OPEN_SENT)
    inside.say(router_open(as_number=64512, identifier="192.0.2.1"))
    assert inside.hear() == ["NOTIFICATION OPEN Message Error/Bad BGP Identifier"]
    assert "the peer has our own router id 192.0.2.1" in inside.session.status(0).last_error

    outside = Talk().reach(State.OPEN_SENT)
    outside.say(router_open(as_number=64500, identifier="192.0.2.1"))
    assert outside.session.state is State.OPEN_CONFIRM


def test_an_old_router_is_understood():
    """A peer without capabilities gets IPv4 only, with AS numbers of two octets."""
    talk = Talk(peer(as_number=4200000001))
    talk.session.announce(routes(V4, "2001:db8::10/128"))
    talk.four_octet = False
    talk.reach(State.OPEN_CONFIRM, message=Open(64500, 90, ip_address("192.0.2.2")))
    talk.say(Keepalive())

    assert talk.hear() == ["announce 192.0.2.10/32 via 10.0.0.1 path 23456 path4 4200000001", "END IPv4"]


# -------------------------------------------------------------------------------------------------------------------- timers


@pytest.mark.parametrize(("ours", "theirs", "hold"), [(10, 90, 10), (90, 9, 9), (3, 3, 3)])
def test_hold_time_is_the_lesser(ours, theirs, hold):
    """A peer that says nothing for the lesser of both hold times is dead; until then a KEEPALIVE goes out every third of it."""
    talk = Talk(peer(hold_time=ours)).reach(State.ESTABLISHED, hold_time=theirs)
    talk.wait(hold - 0.01)
    assert talk.hear() == ["KEEPALIVE"] * 2
    assert talk.session.state is State.ESTABLISHED

    talk.wait(0.01)
    assert talk.hear() == ["NOTIFICATION Hold Timer Expired"]
    assert talk.events() == [f"BGP peer 10.0.0.2 is down: nothing was heard for {hold} s: hold timer expired", "hang up"][::-1]


@pytest.mark.parametrize(("ours", "theirs"), [(0, 90), (10, 0), (0, 0)])
def test_hold_time_0_means_no_timer(ours, theirs):
    """If either side asks for hold time 0, neither KEEPALIVEs nor a hold timer run once the terms are settled."""
    talk = Talk(peer(hold_time=ours)).reach(State.ESTABLISHED, hold_time=theirs)

    assert talk.session.deadline() is None
    talk.wait(100_000)
    assert (talk.session.state, talk.hear()) == (State.ESTABLISHED, [])


@pytest.mark.parametrize("message", [Keepalive(), Update(), RouteRefresh(1, 1)])
def test_any_message_keeps_the_session_alive(message):
    """KEEPALIVE, UPDATE and ROUTE-REFRESH restart the hold timer."""
    talk = established(hold_time=9)
    for _ in range(10):
        talk.wait(8)
        talk.say(message)

    assert talk.session.state is State.ESTABLISHED


def test_keepalives_are_jittered():
    """Chance takes up to a quarter off each interval (RFC 4271 section 10)."""
    early = Talk(peer(hold_time=9), chance=0.0).reach(State.ESTABLISHED)

    assert early.session.deadline() == early.now + 3 * 0.75


def test_a_peer_that_never_opens():
    """The wait for an OPEN is long but not endless."""
    talk = Talk().reach(State.OPEN_SENT)
    assert talk.session.deadline() == talk.now + OPEN_WAIT

    talk.wait(OPEN_WAIT)
    assert talk.hear() == ["NOTIFICATION Hold Timer Expired"]
    assert talk.session.state is State.IDLE


def test_deadline_is_a_true_getter():
    """Asking for the deadline changes nothing."""
    talk = established()

    assert talk.session.deadline() == talk.session.deadline()
    assert (talk.hear(), talk.events()) == ([], [])


# ------------------------------------------------------------------------------------------------------------------- changes


def test_routes_come_and_go():
    """The set of routes is sent as differences while the session stands."""
    talk = established()
    talk.session.announce(routes(V4))
    assert talk.hear() == [ANNOUNCED]

    talk.session.announce(())
    assert talk.hear() == ["withdraw 192.0.2.10/32"]


def test_policy_changes_without_a_reset():
    """Filter, MED, communities, local preference and next hop re-announce; the session stays."""
    talk = Talk()
    talk.session.announce(routes(V4))
    talk.reach(State.ESTABLISHED)
    for change, line in [
        ({"med": 5}, f"{ANNOUNCED} med 5"),
        ({"communities": ((64512, 7),)}, f"{ANNOUNCED} communities 64512:7"),
        ({"next_hop_4": ip_address("10.0.0.77")}, "announce 192.0.2.10/32 via 10.0.0.77 path 64512"),
        ({"reject": (ip_network("192.0.2.0/24"),)}, "withdraw 192.0.2.10/32"),
        ({}, ANNOUNCED),
    ]:
        talk.session.configure(peer(**change), talk.now)

        assert talk.hear() == [line]
    assert (talk.session.state, talk.events()) == (State.ESTABLISHED, [])


@pytest.mark.parametrize("change", [{"hold_time": 30}, {"as_number": 64999}, {"source": OURS}])
def test_what_an_open_says_needs_a_new_session(change):
    """AS number, hold time and source address take effect at once, by a new session."""
    talk = established()
    talk.session.configure(peer(**change), talk.now)
    assert talk.hear() == ["NOTIFICATION Cease/Other Configuration Change"]
    assert talk.events() == ["hang up", "BGP peer 10.0.0.2 is down: the configuration has changed"]

    talk.wait(PAUSES[0])
    talk.session.connected(talk.now, OURS)
    changed = peer(**change)
    assert talk.hear() == [f"OPEN AS {changed.as_number} hold {changed.hold_time} id 192.0.2.1"]


def test_same_configuration_does_nothing():
    """A reload that changes nothing sends nothing."""
    talk = established()
    talk.session.configure(peer(), talk.now)

    assert (talk.hear(), talk.events(), talk.session.state) == ([], [], State.ESTABLISHED)


def test_route_refresh():
    """Routes are sent again for the family asked for; for others, and for RFC 7313's markers, nothing is."""
    talk = Talk()
    talk.session.announce(routes(V4, "2001:db8::10/128"))
    talk.reach(State.ESTABLISHED)
    talk.say(RouteRefresh(1, 1))
    assert talk.hear() == ["BEGIN IPv4", ANNOUNCED, "END OF IPv4"]

    talk.say(RouteRefresh(2, 1), RouteRefresh(2, 1), RouteRefresh(2, 1))
    assert talk.hear() == ["BEGIN IPv6", "announce 2001:db8::10/128 via 2001:db8::1 path 64512", "END OF IPv6"]

    talk.say(RouteRefresh(1, 128), RouteRefresh(1, 1, 1), RouteRefresh(99, 1))
    assert talk.hear() == []


def test_shutdown_withdraws_and_says_why():
    """A stop takes the routes back, says why in the operator's words, hangs up, and does not dial again."""
    talk = Talk()
    talk.session.announce(routes(V4))
    talk.reach(State.ESTABLISHED)
    talk.session.shutdown(talk.now, "moving racks")

    assert talk.hear() == ["withdraw 192.0.2.10/32", 'NOTIFICATION Cease/Administrative Shutdown: "moving racks"']
    assert talk.events() == ["hang up", "BGP peer 10.0.0.2 is down: moving racks"]
    assert talk.session.deadline() is None


def test_removed_peer_is_told_so():
    """A peer that leaves the configuration hears Peer De-configured."""
    talk = established()
    talk.session.shutdown(talk.now, "removed from the configuration", Cease.PEER_DECONFIGURED)

    assert talk.hear() == ["NOTIFICATION Cease/Peer De-configured"]


# -------------------------------------------------------------------------------------------------------------------- errors


def test_notification_is_never_answered():
    """A peer's NOTIFICATION ends the session without another one, and its words are kept."""
    talk = established()
    talk.say(encode(Notification(6, 4, b"\x07rebooti")) + encode(Keepalive()) * 3)

    assert talk.hear() == []
    assert talk.session.status(0).last_error == 'received Cease/Administrative Reset: "rebooti"'
    assert talk.session.state is State.IDLE


def test_refused_open_names_the_reason():
    """A router that does not like our AS says so, and status repeats it."""
    talk = Talk().reach(State.OPEN_SENT)
    talk.say(Notification(2, 2))

    assert talk.session.status(0).last_error == "received OPEN Message Error/Bad Peer AS"


def test_garbage_is_answered_once():
    """A stream out of step gets one NOTIFICATION; what follows is not read."""
    talk = established()
    talk.say(b"GET / HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n", b"more of the same, and more, and more")

    assert talk.hear() == ["NOTIFICATION Message Header Error/Connection Not Synchronized"]


def test_half_a_message_does_not_reach_the_next_connection():
    """Bytes left over from one connection are not the beginning of the next."""
    talk = established(hold_time=0)
    talk.say(encode(Update())[:21])
    talk.session.disconnected(talk.now, "connection reset by peer")
    talk.wait(PAUSES[0])
    talk.session.connected(talk.now, OURS)
    talk.say(router_open(), Keepalive())

    assert talk.session.state is State.ESTABLISHED


def test_output_of_a_dead_connection_is_dropped():
    """What could not be sent before the connection broke is not sent on the next one."""
    talk = Talk().reach(State.OPEN_SENT)
    talk.say(router_open())
    talk.session.disconnected(talk.now, "connection reset by peer")

    assert talk.hear() == []


def test_a_full_table_costs_nothing():
    """UPDATEs of a peer, malformed attributes included, are heard and forgotten."""
    talk = established()
    junk = encode(Update(attributes=b"\xff" * 50, nlri=b"\x20\x0a\x00\x00\x01" * 700))
    for _ in range(1000):
        talk.say(junk)

    assert (talk.session.state, talk.hear()) == (State.ESTABLISHED, [])


def test_unknown_capabilities_are_none_of_our_business():
    """A capability that we do not know does not disturb the session."""
    talk = Talk().reach(State.OPEN_SENT)
    talk.say(Open(64500, 90, ip_address("192.0.2.2"), (Capability(70), Capability(200, b"abc"))))

    assert talk.session.state is State.OPEN_CONFIRM


# ----------------------------------------------------------------------------------------------------------------- properties


def stream_of(talk: Talk) -> bytes:
    assert talk.session.state is State.OPEN_SENT
    messages = (router_open(), Keepalive(), Update(nlri=b"\x20\x0a\x00\x00\x01"), RouteRefresh(1, 1), Keepalive())
    return b"".join(map(encode, messages))


@given(st.lists(st.integers(0, 200), max_size=12))
@settings(max_examples=100, deadline=None)
def test_chunks_make_no_difference(cuts):
    """However the peer's bytes are cut, the session ends where it would have with one piece, and sends the same."""
    whole, cut = Talk().reach(State.OPEN_SENT), Talk().reach(State.OPEN_SENT)
    stream = stream_of(whole)
    whole.say(stream)
    edges = sorted({0, len(stream), *(c for c in cuts if c < len(stream))})
    for start, end in pairwise(edges):
        cut.say(stream[start:end])

    assert cut.session.state is whole.session.state is State.ESTABLISHED
    assert cut.hear() == whole.hear()


ACTIONS = st.one_of(
    st.sampled_from(["connected", "disconnected", "wait", "wait long", "announce", "withdraw", "renew"]),
    st.sampled_from([Keepalive(), Update(), Notification(6, 2), RouteRefresh(1, 1), router_open(), router_open(hold_time=0)]),
    st.binary(max_size=40),
    st.binary(max_size=40).map(lambda noise: b"\xff" * 16 + noise),
)


@given(st.lists(ACTIONS, max_size=40))
@settings(max_examples=300, deadline=None)
def test_no_story_breaks_a_session(story):
    """Whatever happens in whatever order: no exception, whole messages out, and always a timer, a connection or a rest ahead."""
    talk = Talk()
    for action in story:
        match action:
            case "connected":
                if talk.session.state is State.CONNECT:
                    talk.session.connected(talk.now, OURS)
            case "disconnected":
                if talk.session.state not in {State.IDLE, State.ACTIVE}:
                    talk.session.disconnected(talk.now, "gone")
            case "wait":
                talk.wait(0.7)
            case "wait long":
                talk.wait(31)
            case "announce":
                talk.session.announce(routes(V4))
            case "withdraw":
                talk.session.announce(())
            case "renew":
                talk.session.configure(peer(hold_time=9), talk.now)
            case _:
                talk.say(action)
        lines_of(talk.session.take_output())
        talk.events()

        assert talk.session.deadline() is not None or talk.session.state is State.ESTABLISHED
        assert len(talk.session._dialled.input) < 4096


def test_addresses_of_the_helpers_differ():
    """Both ends of the fake link have their own address."""
    assert OURS != THEIRS
