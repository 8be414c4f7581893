"""The state machine: every state with every input, once as a table to be read, once through the session itself."""

from __future__ import annotations

import pytest

from fairlead.bgp import State
from fairlead.bgp.fsm import TABLE, Do, Input
from fairlead.bgp.wire import Keepalive, Notification, RouteRefresh, Update, encode
from tests.wire.talk import OURS, Talk, peer, router_open

# What RFC 4271 section 8.2.2 says, written down a second time: the state after each input, and what was sent on the way.
EXPECTED = """
                Idle            Connect         Active          OpenSent          OpenConfirm       Established
STOP            Idle            Idle            Idle            Idle/6:2          Idle/6:2          Idle/6:2
RENEW           Idle            Connect         Active          Idle/6:6          Idle/6:6          Idle/6:6
RETRY           Connect         Connect         Connect         Idle/5:1          Idle/5:2          Idle/5:3
AWAIT           Active          Connect         Active          Idle/5:1          Idle/5:2          Idle/5:3
HOLD            Idle            Idle            Idle            Idle/4:0          Idle/4:0          Idle/4:0
BEAT            Idle            Idle            Idle            Idle/5:1          OpenConfirm/K     Established/K
STUCK           Idle            Idle            Idle            Idle/8:0          Idle/8:0          Idle/8:0
CONNECTED       Idle            OpenSent/O      OpenSent/O      OpenSent          OpenConfirm       Established
LOST            Idle            Active          Idle            Active            Idle              Idle
OPEN            Idle            Idle            Idle            OpenConfirm/K     Idle/5:2          Idle/5:3
WRONG           Idle            Idle            Idle            Idle/1:3          Idle/1:3          Idle/1:3
COLLISION       Idle            Idle            Idle            Idle/6:7          Idle/6:7          Idle/6:7
NOTIFICATION    Idle            Idle            Idle            Idle              Idle              Idle
KEEPALIVE       Idle            Idle            Idle            Idle/5:1          Established/E     Established
UPDATE          Idle            Idle            Idle            Idle/5:1          Idle/5:2          Established
REFRESH         Idle            Idle            Idle            Idle/5:1          Idle/5:2          Established/R
"""

ROWS = [line.split() for line in EXPECTED.strip().splitlines()]
CELLS = [(row[0], state, cell) for row in ROWS[1:] for state, cell in zip(ROWS[0], row[1:], strict=True)]

MESSAGES = {
    "OPEN": encode(router_open()),
    "WRONG": b"\xff" * 16 + b"\x00\x13\x63",
    "NOTIFICATION": encode(Notification(6, 4)),
    "KEEPALIVE": encode(Keepalive()),
    "UPDATE": encode(Update()),
    "REFRESH": encode(RouteRefresh(1, 1)),
}
SAID = {"O": ["OPEN"], "K": ["KEEPALIVE"], "E": ["END", "END"], "R": ["BEGIN", "END"]}
NOTIFICATIONS = {
    "4:0": "Hold Timer Expired",
    "6:2": "Cease/Administrative Shutdown",
    "6:7": "Cease/Connection Collision Resolution",
    "8:0": "Send Hold Timer Expired",
    "6:6": "Cease/Other Configuration Change",
    "1:3": "Message Header Error/Bad Message Type",
    "5:1": "Finite State Machine Error/Unexpected Message in OpenSent",
    "5:2": "Finite State Machine Error/Unexpected Message in OpenConfirm",
    "5:3": "Finite State Machine Error/Unexpected Message in Established",
}


def put(talk: Talk, name: str) -> None:
    """Bring one input to the session by the way it really comes, or straight to the table where no way leads there."""
    session, now = talk.session, talk.now
    match name:
        case "STOP":
            session.shutdown(now)
        case "RENEW":
            session.configure(peer(hold_time=33), now)
        case "CONNECTED":
            session.connected(now, OURS)
        case "LOST":
            session.disconnected(now, "gone")
        case "RETRY" | "AWAIT" | "HOLD" | "BEAT" | "STUCK" | "COLLISION":
            session._dialled.step(Input[name], now)
        case _:
            session.receive(MESSAGES[name], now)


@pytest.mark.parametrize(("name", "state", "cell"), CELLS)
def test_every_state_with_every_input(name, state, cell):
    """Each of the 96 cells: the state it leads to, and what goes out."""
    after, _, says = cell.partition("/")
    talk = Talk()
    if state != "Idle":
        talk.reach(State(state))
    put(talk, name)
    lines = talk.hear()

    assert talk.session.state is State(after)
    if says in NOTIFICATIONS:
        assert lines == [f"NOTIFICATION {NOTIFICATIONS[says]}"]
    else:
        assert [line.split()[0] for line in lines] == SAID.get(says, [])


@pytest.mark.parametrize(("name", "state", "cell"), [c for c in CELLS if c[2].startswith("Idle") and c[1] != "Idle"])
def test_whoever_falls_to_idle_lets_go(name, state, cell):
    """In Idle there is no connection, and the only timer is the one for the next dial; after a stop there is none."""
    talk = Talk().reach(State(state))
    linked = state != "Active" and name != "LOST"
    put(talk, name)

    assert ("hang up" in talk.events()) is linked
    pause = 2.0 if state == "Active" else 1.0  # one failure was needed to get to Active
    assert talk.session.deadline() == (None if name in {"STOP", "COLLISION"} else talk.now + pause)


def test_table_is_complete():
    """Each input has a step for each state, and nothing leads to a state that no one can be in."""
    assert set(TABLE) == set(Input)
    assert all(set(row) == set(State) for row in TABLE.values())
    assert {step for row in TABLE.values() for step in row.values()} == set(Do)


def test_table_agrees_with_its_steps():
    """Read as a table, each step leads where the expectation says."""
    assert len(CELLS) == len(Input) * len(State)
    for name, state, cell in CELLS:
        step = TABLE[Input[name]][State(state)]

        assert (step.after or State(state)) is State(cell.partition("/")[0]), (name, state)
