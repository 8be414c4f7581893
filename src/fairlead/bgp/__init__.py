"""A BGP-4 speaker that announces and does no IO.

`wire` turns messages into bytes and back, `capabilities` what both sides can; `fsm` is the state machine as a table, `connection`
carries it out, `session` runs two of them for one peer; `rib` decides what the peer is told and `policy` in which words,
`received` judges what the peer says; `attributes` and `notifications` are the vocabulary of routes and of errors.
`adapters.bgp_tcp` gives it sockets.
"""

from __future__ import annotations

from fairlead.bgp.capabilities import Family
from fairlead.bgp.estate import Estate, from_plain
from fairlead.bgp.fsm import State
from fairlead.bgp.notifications import Cease
from fairlead.bgp.session import Session
from fairlead.bgp.wishes import Dial, HangUp, SessionEvent, Side

__all__ = ["Cease", "Dial", "Estate", "Family", "HangUp", "Session", "SessionEvent", "Side", "State", "from_plain"]
