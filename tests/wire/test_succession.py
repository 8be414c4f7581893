"""A session that another goes on with: the peer hears of what has changed, and of nothing else."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, ip_network

from fairlead.bgp import Estate, Session, Side, State, from_plain
from fairlead.bgp.wire import Keepalive, encode
from tests.wire.talk import ROUTER_ID, Talk, lines_of, peer, routes

V4, OTHER, V6 = "192.0.2.10/32", "192.0.2.11/32", "2001:db8::10/128"


def left_by(*announced: str, heard: bytes = b"", **changes) -> Estate:
    """What an established session leaves that has announced this, and has heard the beginning of a message."""
    talk = Talk(peer(**changes)).reach(State.ESTABLISHED)
    talk.session.announce(routes(*announced))
    talk.hear()
    talk.session.receive(heard, talk.now)
    found = talk.session.leave()
    assert found is not None
    assert found[0] is Side.DIALLED
    return from_plain(json.loads(json.dumps(found[1].plain())))


def heir(estate: Estate, *announced: str, **changes) -> Session:
    session = Session(peer(**changes), ROUTER_ID, lambda: 0.5, 1000.0)
    session.announce(routes(*announced))
    assert session.resume(estate, 1000.0)
    return session


def test_the_same_routes_are_never_withdrawn() -> None:
    """It begins with a KEEPALIVE and says again what it said before: for the peer that changes nothing."""
    session = heir(left_by(V4, V6), V4, V6)
    said = lines_of(session.take_output())
    assert session.state is State.ESTABLISHED
    assert said[0] == "KEEPALIVE"
    assert not [line for line in said if line.startswith(("withdraw", "OPEN", "NOTIFICATION"))]
    assert not session.take_events()
    assert [str(p) for p in session.status(0.0).routes] == [V4, V6]


def test_the_last_word_is_a_keepalive() -> None:
    """Who hands over says that it lives: the successor has the whole hold time for its start. Nobody else says anything."""
    talk = Talk(peer()).reach(State.ESTABLISHED)
    talk.session.take_output()
    talk.session.assure(talk.now)
    assert lines_of(talk.session.take_output()) == ["KEEPALIVE"]
    assert talk.session.leave() is not None
    fresh = Talk(peer())
    fresh.session.assure(fresh.now)
    assert not fresh.session.take_output()


def test_what_is_gone_is_withdrawn() -> None:
    """A route that the predecessor announced and the successor does not have goes; a new one comes."""
    said = lines_of(heir(left_by(V4, V6), OTHER).take_output())
    assert {"withdraw 192.0.2.10/32", "withdraw 2001:db8::10/128"} <= set(said)
    assert any(line.startswith("announce 192.0.2.11/32") for line in said)


def test_half_a_message_is_heard_out() -> None:
    """What came of a message before the change and after it is one message; a KEEPALIVE restarts the hold timer."""
    message = encode(Keepalive())
    session = heir(left_by(V4, heard=message[:7]), V4)
    session.take_output()
    before = session.deadline()
    session.receive(message[7:], 1001.0)
    assert session.state is State.ESTABLISHED
    assert before is not None
    session.tick(1009.9)
    assert session.state is State.ESTABLISHED
    session.tick(1011.1)
    assert session.state is not State.ESTABLISHED, "the hold time of 10 s is over"


def test_terms_are_kept() -> None:
    """Families, AS numbers, hold time and our address are those that were agreed on."""
    estate = left_by(V4)
    assert from_plain(estate.plain()) == estate
    assert estate.terms.router_id == ROUTER_ID
    assert estate.prefixes == (ip_network(V4),)


def test_another_session_is_needed() -> None:
    """Where AS number, hold time, source or router id have changed nothing is gone on with; the session dials as a new one."""
    estate = left_by(V4)
    for changes in ({"as_number": 64999}, {"hold_time": 30}, {"source": IPv4Address("10.0.0.9")}):
        session = Session(peer(**changes), ROUTER_ID, lambda: 0.5, 0.0)
        assert not session.resume(estate, 0.0)
        assert session.state is State.IDLE
    assert not Session(peer(), IPv4Address("192.0.2.99"), lambda: 0.5, 0.0).resume(estate, 0.0)


def test_only_an_established_session_is_left() -> None:
    """Before it is established there is nothing that a successor could go on with."""
    for state in (State.CONNECT, State.OPEN_SENT, State.OPEN_CONFIRM):
        assert Talk(peer()).reach(state).session.leave() is None
