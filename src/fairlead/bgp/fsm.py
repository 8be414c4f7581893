"""The finite state machine of RFC 4271 section 8.2.2 as one table: for each input and state, what to do and where that leads.

Everything that decides on a transition is in this file, and nothing in it touches bytes or timers; `session` carries the steps
out. Fairlead dials and does not listen, so the events of the passive side and of collision detection are not here.

Where the table leaves the letter of the RFC, it says so:
(1) A dial that fails in Connect leads to Active, as a connection lost in OpenSent does, not to Idle: both wait for the same time,
    and to an operator "Active" says that the session wants to come up.
(2) A NOTIFICATION is never answered with one, in no state (the RFC asks for an FSM error in OpenSent).
(3) A ROUTE-REFRESH (RFC 2918) and any other message in Established restart the hold timer.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from fairlead.bgp import wire


class State(Enum):
    """RFC 4271 section 8.2.2; the value is what status shows."""

    IDLE = "Idle"
    CONNECT = "Connect"
    ACTIVE = "Active"
    OPEN_SENT = "OpenSent"
    OPEN_CONFIRM = "OpenConfirm"
    ESTABLISHED = "Established"


class Input(Enum):
    """What can happen to a session; the numbers are the events of RFC 4271 section 8.1."""

    STOP = "the operator stops the session"  # 2
    RENEW = "the configuration asks for a new OPEN"  # 8
    RETRY = "the retry timer expires"  # 1 and 3 at first, 9 in Connect and Active, 13 in Idle
    HOLD = "the hold timer expires"  # 10
    BEAT = "the keepalive timer expires"  # 11
    CONNECTED = "the connection is made"  # 16
    LOST = "the connection fails or ends"  # 18
    OPEN = "an OPEN arrives"  # 19
    WRONG = "a wrong message arrives"  # 21, 22, 28
    NOTIFICATION = "a NOTIFICATION arrives"  # 24, 25
    KEEPALIVE = "a KEEPALIVE arrives"  # 26
    UPDATE = "an UPDATE arrives"  # 27
    REFRESH = "a ROUTE-REFRESH arrives"  # RFC 2918


# Which input a message is that arrives.
ARRIVES: Mapping[type[wire.Message], Input] = {
    wire.Open: Input.OPEN,
    wire.Update: Input.UPDATE,
    wire.Notification: Input.NOTIFICATION,
    wire.Keepalive: Input.KEEPALIVE,
    wire.RouteRefresh: Input.REFRESH,
}


class Do(Enum):
    """A step: what is done, and the state after it (None: the same as before)."""

    NOTHING = ("nothing", None)
    DIAL = ("drop any attempt, dial, start the retry timer", State.CONNECT)
    GREET = ("send OPEN, start the long hold timer", State.OPEN_SENT)
    CONFIRM = ("settle the terms, send KEEPALIVE, start the timers", State.OPEN_CONFIRM)
    ESTABLISH = ("begin the Adj-RIB-Out, restart the hold timer", State.ESTABLISHED)
    SEND = ("send KEEPALIVE, restart the keepalive timer", None)
    HEAR = ("restart the hold timer", None)
    RESEND = ("restart the hold timer, send the family's routes again", None)
    WAIT = ("drop the connection, start the retry timer", State.ACTIVE)
    FALL = ("drop the connection, start the retry timer", State.IDLE)
    EXPIRE = ("send NOTIFICATION Hold Timer Expired, then as FALL", State.IDLE)
    REFUSE = ("send NOTIFICATION Finite State Machine Error, then as FALL", State.IDLE)
    ANSWER = ("send the NOTIFICATION that the wrong message asks for, then as FALL", State.IDLE)
    RESTART = ("send NOTIFICATION Cease, then as FALL", State.IDLE)
    CEASE = ("withdraw all, send NOTIFICATION Cease, drop the connection, stay down", State.IDLE)
    REST = ("drop any attempt, stay down", State.IDLE)

    def __init__(self, does: str, after: State | None) -> None:
        self.does = does
        self.after = after


def _row(*steps: Do) -> Mapping[State, Do]:
    return dict(zip(State, steps, strict=True))


_ = Do.NOTHING

# fmt: off
TABLE: Mapping[Input, Mapping[State, Do]] = {
    #                         Idle     Connect   Active    OpenSent    OpenConfirm   Established
    Input.STOP:         _row(Do.REST, Do.REST,  Do.REST,  Do.CEASE,   Do.CEASE,     Do.CEASE),
    Input.RENEW:        _row(_,       Do.DIAL,  _,        Do.RESTART, Do.RESTART,   Do.RESTART),
    Input.RETRY:        _row(Do.DIAL, Do.DIAL,  Do.DIAL,  Do.REFUSE,  Do.REFUSE,    Do.REFUSE),
    Input.HOLD:         _row(_,       Do.FALL,  Do.FALL,  Do.EXPIRE,  Do.EXPIRE,    Do.EXPIRE),
    Input.BEAT:         _row(_,       Do.FALL,  Do.FALL,  Do.REFUSE,  Do.SEND,      Do.SEND),
    Input.CONNECTED:    _row(_,       Do.GREET, Do.GREET, _,          _,            _),
    Input.LOST:         _row(_,       Do.WAIT,  Do.FALL,  Do.WAIT,    Do.FALL,      Do.FALL),
    Input.OPEN:         _row(_,       Do.FALL,  Do.FALL,  Do.CONFIRM, Do.REFUSE,    Do.REFUSE),
    Input.WRONG:        _row(_,       Do.FALL,  Do.FALL,  Do.ANSWER,  Do.ANSWER,    Do.ANSWER),
    Input.NOTIFICATION: _row(_,       Do.FALL,  Do.FALL,  Do.FALL,    Do.FALL,      Do.FALL),
    Input.KEEPALIVE:    _row(_,       Do.FALL,  Do.FALL,  Do.REFUSE,  Do.ESTABLISH, Do.HEAR),
    Input.UPDATE:       _row(_,       Do.FALL,  Do.FALL,  Do.REFUSE,  Do.REFUSE,    Do.HEAR),
    Input.REFRESH:      _row(_,       Do.FALL,  Do.FALL,  Do.REFUSE,  Do.REFUSE,    Do.RESEND),
}
# fmt: on
