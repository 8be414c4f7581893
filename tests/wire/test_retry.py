"""When a session is tried again: soon after silence, later and later for a peer that turns us away."""

from __future__ import annotations

from fairlead.bgp import State
from fairlead.bgp.connection import CONNECT_RETRY, PAUSES, SILENT, STABLE
from fairlead.bgp.wire import Keepalive, Notification
from tests.wire.talk import OURS, Talk, peer, router_open


def test_a_dial_without_an_answer_is_repeated():
    """If the owner never reports on a dial, the retry timer drops it and dials again."""
    talk = Talk().reach(State.CONNECT)
    talk.wait(CONNECT_RETRY)

    assert talk.events() == ["hang up", "dial"]


def pauses_of(talk, times, end):
    """How long each of so many dials waits after the last one ended like that."""
    pauses = []
    for _ in range(times):
        end()
        pauses.append(talk.session.deadline() - talk.now)
        talk.wait(pauses[-1])
    return pauses


def turned_away(talk):
    talk.session.connected(talk.now, OURS)
    talk.say(Notification(6, 5))


def test_dials_back_off():
    """Whom the peer turns away waits longer each time, up to half a minute, less jitter; the reason is reported once."""
    talk = Talk(chance=0.0)
    talk.wait(0)
    assert pauses_of(talk, len(PAUSES) + 2, lambda: turned_away(talk)) == [
        pause * 0.75 for pause in (*PAUSES, PAUSES[-1], PAUSES[-1])
    ]
    told = [event for event in talk.events() if event not in {"dial", "hang up"}]
    assert told == ["BGP peer 10.0.0.2 is down: received Cease/Connection Rejected"]


def test_a_silent_peer_is_dialled_again_soon():
    """However long nobody is there: whoever mends a cable, or restarts a router, need not wait for us."""
    talk = Talk().reach(State.ESTABLISHED)
    assert pauses_of(talk, 1, lambda: talk.wait(10)) == [PAUSES[0]], "the hold timer has expired"
    assert pauses_of(talk, 40, lambda: talk.session.disconnected(talk.now, "connection refused")) == [PAUSES[SILENT]] * 40


def test_cut_after_cut():
    """Sessions that fall because nothing is heard any more, each soon after it began: no longer waits from time to time."""
    talk = Talk()

    def up_and_cut():
        talk.wait(0)
        talk.session.connected(talk.now, OURS)
        talk.say(router_open(hold_time=3), Keepalive())
        assert talk.session.state is State.ESTABLISHED
        while talk.session.state is State.ESTABLISHED:
            talk.wait(talk.session.deadline() - talk.now)

    assert pauses_of(talk, 6, up_and_cut) == [PAUSES[0]] + [PAUSES[SILENT]] * 5


def test_no_way_back_by_silence():
    """A peer that turned us away, and cannot be reached in between, is left in peace as before."""
    talk = Talk()
    talk.wait(0)
    pauses_of(talk, 4, lambda: turned_away(talk))
    assert pauses_of(talk, 2, lambda: talk.session.disconnected(talk.now, "connection refused")) == [PAUSES[4]] * 2
    assert pauses_of(talk, 1, lambda: turned_away(talk)) == [PAUSES[4]]


def test_a_new_reason_is_reported():
    """When dials fail for another reason than before, that is said."""
    talk = Talk().reach(State.ACTIVE)
    talk.wait(2)
    talk.session.disconnected(talk.now, "no route to host")

    assert talk.events() == ["dial", "BGP peer 10.0.0.2 is down: no route to host"]


def test_a_session_that_held_starts_over():
    """After a stable session the first dial comes soon; after a short one the back-off goes on."""
    pauses = []
    for held in (STABLE, STABLE - 1):
        talk = Talk(peer(hold_time=0))
        talk.wait(0)
        for _ in range(5):
            turned_away(talk)
            talk.wait(talk.session.deadline() - talk.now)
        talk.session.connected(talk.now, OURS)
        talk.say(router_open(), Keepalive())
        talk.wait(held)
        talk.session.disconnected(talk.now, "connection reset by peer")
        pauses.append(talk.session.deadline() - talk.now)

    assert pauses == [PAUSES[0], PAUSES[5]]
