"""Two connections with one peer: which one stays (RFC 4271 section 6.8), and what becomes of a peer that dials again."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from fairlead.bgp import Side, State
from fairlead.bgp.capabilities import Family, Restart, offer
from fairlead.bgp.fsm import survivor
from fairlead.bgp.wire import Keepalive, Notification, Open, encode, our_open
from tests.wire.talk import OURS, ROUTER_ID, Talk, lines_of, peer, router_open, routes

V4 = "192.0.2.10/32"
COLLISION = "NOTIFICATION Cease/Connection Collision Resolution"
LOW, HIGH = "192.0.2.0", "192.0.2.2"  # identifiers below and above our own, which is 192.0.2.1
UP = "BGP peer 10.0.0.2 (AS 64500) is established"
DIALLED, ACCEPTED = Side.DIALLED, Side.ACCEPTED


def listening(state: State, **changes) -> Talk:
    """A session that may be dialled, whose own connection is in this state."""
    talk = Talk(peer(**changes), listening=True)
    return talk if state is State.IDLE else talk.reach(state)


def accept(talk: Talk, *messages: Open | Keepalive) -> bytes | None:
    """The peer dials us, and says this."""
    refusal = talk.session.accepted(talk.now, OURS)
    for message in messages:
        talk.session.receive(encode(message), talk.now, ACCEPTED)
    return refusal


def states(talk: Talk) -> tuple[State, State]:
    return talk.session._dialled.state, talk.session._accepted.state


@pytest.mark.parametrize(
    ("ours", "theirs", "stays"),
    [
        (("192.0.2.1", 64512), ("192.0.2.2", 64500), ACCEPTED),
        (("192.0.2.3", 64512), ("192.0.2.2", 64500), DIALLED),
        (("192.0.2.200", 1), ("192.0.3.1", 2), ACCEPTED),  # as numbers of four octets, not as text
        (("192.0.2.1", 64512), ("192.0.2.1", 64500), DIALLED),  # RFC 6286 section 2.3
        (("192.0.2.1", 64500), ("192.0.2.1", 4200000000), ACCEPTED),
    ],
)
def test_both_sides_keep_the_same_connection(ours, theirs, stays):
    """What the higher one has made stays, and the other side comes to the same one, which it has not dialled."""
    mine, other = (IPv4Address(ours[0]), ours[1]), (IPv4Address(theirs[0]), theirs[1])

    assert survivor(mine, other) is stays
    assert survivor(other, mine) is not stays


# The state of our own connection, the peer's identifier, both states once its OPEN came over the one that it has made, and what
# we said on each of them.
TABLE = [
    (State.CONNECT, HIGH, (State.CONNECT, State.OPEN_CONFIRM), [], ["OPEN", "KEEPALIVE"]),
    (State.ACTIVE, HIGH, (State.ACTIVE, State.OPEN_CONFIRM), [], ["OPEN", "KEEPALIVE"]),
    (State.OPEN_SENT, HIGH, (State.OPEN_SENT, State.OPEN_CONFIRM), [], ["OPEN", "KEEPALIVE"]),
    (State.OPEN_SENT, LOW, (State.OPEN_SENT, State.OPEN_CONFIRM), [], ["OPEN", "KEEPALIVE"]),
    (State.OPEN_CONFIRM, HIGH, (State.IDLE, State.OPEN_CONFIRM), [COLLISION], ["OPEN", "KEEPALIVE"]),
    (State.OPEN_CONFIRM, LOW, (State.OPEN_CONFIRM, State.IDLE), [], ["OPEN", COLLISION]),
    (State.ESTABLISHED, HIGH, (State.ESTABLISHED, State.IDLE), [], []),
    (State.ESTABLISHED, LOW, (State.ESTABLISHED, State.IDLE), [], []),
]


@pytest.mark.parametrize(("state", "identifier", "after", "dialled", "accepted"), TABLE)
def test_a_peer_that_dials_in_every_state(state, identifier, after, dialled, accepted):
    """A collision is resolved when the second OPEN is here; what is established is not given up."""
    talk = listening(state, passive=False)
    talk.hear()
    refusal = accept(talk, router_open(identifier=identifier))
    said = [" ".join(line.split()[:1]) if line[:4] == "OPEN" else line for line in talk.hear(ACCEPTED)]

    assert states(talk) == after
    assert (talk.hear(), said) == (dialled, accepted)
    assert (refusal is not None) is (state is State.ESTABLISHED)


@pytest.mark.parametrize(("identifier", "stays"), [(HIGH, ACCEPTED), (LOW, DIALLED)])
@pytest.mark.parametrize("first", [DIALLED, ACCEPTED])
def test_a_collision_ends_with_one_session(identifier, stays, first):
    """Whichever OPEN comes first, the same connection stays, is established, and gets the routes; the other one rests."""
    talk = listening(State.OPEN_SENT)
    talk.session.announce(routes(V4))
    accept(talk)
    for side in (first, DIALLED if first is ACCEPTED else ACCEPTED):
        talk.session.receive(encode(router_open(identifier=identifier)), talk.now, side)
    talk.session.receive(encode(Keepalive()), talk.now, stays)

    assert talk.session.state is State.ESTABLISHED
    lines = talk.hear(stays)
    assert lines[-3:] == ["announce 192.0.2.10/32 via 10.0.0.1 path 64512", "END IPv4", "END IPv6"]
    loser = ACCEPTED if stays is DIALLED else DIALLED
    assert talk.hear(loser)[-1] == COLLISION
    assert talk.events() == ["hang up on the peer" if loser is ACCEPTED else "hang up", UP]
    assert talk.session._of(loser).resting
    assert talk.session.status(0).last_error == "", "a collision is no failure"


def test_an_established_session_makes_the_other_one_rest():
    """While the peer's connection stands nothing is dialled; when it ends both ways are open again."""
    talk = listening(State.CONNECT)
    accept(talk, router_open(), Keepalive())
    assert states(talk) == (State.IDLE, State.ESTABLISHED)
    assert talk.events() == [UP, "hang up"]

    talk.session.disconnected(talk.now, "the peer closed the connection", ACCEPTED)
    assert talk.session.state is State.IDLE
    talk.wait(1)
    assert states(talk) == (State.CONNECT, State.ACTIVE)
    assert "dial" in talk.events()


def test_passive_never_dials():
    """A passive peer is waited for; a failure does not keep it out, only many do for a while."""
    talk = Talk(peer(passive=True), listening=True)
    talk.wait(1000)
    assert (talk.session.state, talk.events(), talk.session.deadline()) == (State.ACTIVE, [], None)
    assert talk.session.status(0).why == "waiting for the peer to dial"

    accept(talk)
    talk.session.disconnected(talk.now, "connection reset by peer", ACCEPTED)
    for pause in (0.0, 1.0, 2.0, 4.0):
        talk.wait(pause - 0.1)
        assert pause == 0.0 or accept(talk) is not None
        talk.wait(0.1)
        assert accept(talk, our_open(64500, 90, ROUTER_ID), Keepalive()) is None
        talk.session.disconnected(talk.now, "connection reset by peer", ACCEPTED)
    talk.wait(30)
    accept(talk, router_open(), Keepalive())

    assert talk.session.state is State.ESTABLISHED
    assert "dial" not in talk.events()


def test_nothing_listens():
    """Without a port to dial, a passive peer is told apart in status; a connection for it is refused."""
    talk = Talk(peer(passive=True))
    talk.wait(10)

    assert talk.session.status(0).why == "passive, but nothing listens: `listen` is not set"
    assert lines_of(accept(talk)) == ["NOTIFICATION Cease/Connection Rejected"]


def test_configuration_opens_and_closes_the_ways():
    """`passive` and `listen` take effect without touching a session that stands."""
    talk = listening(State.ESTABLISHED)
    talk.session.configure(peer(passive=True), talk.now, listening=True)
    assert (talk.session.state, talk.events()) == (State.ESTABLISHED, [])

    talk.session.disconnected(talk.now, "connection reset by peer")
    talk.wait(60)
    assert states(talk) == (State.IDLE, State.ACTIVE)

    talk.session.configure(peer(), talk.now, listening=False)
    talk.wait(60)
    assert states(talk)[0] is State.CONNECT
    assert talk.session._accepted.resting


def test_the_newest_attempt_counts():
    """A peer that dials again has given up its last attempt, whose connection may look alive for minutes."""
    talk = listening(State.ACTIVE)
    accept(talk)
    assert talk.hear(ACCEPTED)
    accept(talk)

    assert talk.events() == ["hang up on the peer", "BGP peer 10.0.0.2 is down: the peer has made a new connection"]
    assert [line.split()[0] for line in talk.hear(ACCEPTED)] == ["OPEN"]
    assert states(talk)[1] is State.OPEN_SENT


def test_a_peer_that_restarts_gracefully_dials_again():
    """Its new connection replaces the established one without a NOTIFICATION (RFC 4724 section 5)."""
    graceful = offer(restart=Restart(120, families=((Family.IPV4, True),)))
    opened = our_open(64500, 90, IPv4Address("192.0.2.2"), graceful)
    talk = Talk(peer(), listening=True)
    talk.reach(State.ESTABLISHED, message=opened)
    assert accept(talk, opened, Keepalive()) is None

    assert states(talk) == (State.IDLE, State.ESTABLISHED)
    assert talk.hear() == []
    assert talk.events() == ["hang up", "BGP peer 10.0.0.2 is down: the peer has made a new connection", UP]


@pytest.mark.parametrize("restart", [None, Restart(120)])
def test_a_peer_that_does_not_restart_gracefully_is_turned_away(restart):
    """What is established stays, and the new connection hears why; so too if the peer merely helps others to restart."""
    opened = our_open(64500, 90, IPv4Address("192.0.2.2"), offer(restart=restart))
    talk = Talk(peer(), listening=True).reach(State.ESTABLISHED, message=opened)

    assert lines_of(accept(talk)) == [COLLISION]
    assert (talk.session.state, talk.events()) == (State.ESTABLISHED, [])


def test_stopped_is_stopped():
    """After a shutdown nobody gets in, and both machines rest."""
    talk = listening(State.OPEN_SENT)
    accept(talk)
    talk.session.shutdown(talk.now, "moving racks")

    assert talk.session.resting
    assert talk.hear()[-1] == talk.hear(ACCEPTED)[-1] == 'NOTIFICATION Cease/Administrative Shutdown: "moving racks"'
    assert lines_of(accept(talk)) == ["NOTIFICATION Cease/Connection Rejected"]


def test_a_wrong_as_number_on_either_connection():
    """The AS number that is asked for is asked for on both (RFC 4271 section 6.2)."""
    talk = listening(State.OPEN_SENT, remote_as=64999)
    accept(talk, router_open())
    talk.say(router_open())

    for side in Side:
        assert talk.hear(side)[-1] == "NOTIFICATION OPEN Message Error/Bad Peer AS"
    assert "the peer is AS 64500, not 64999" in talk.session.status(0).last_error
    assert talk.session._dialled.notice == Notification(2, 2)
