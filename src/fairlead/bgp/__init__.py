"""A BGP-4 speaker that announces and does no IO.

`wire` turns messages into bytes and back, `fsm` is the state machine as a table, `session` runs it for one peer, `rib` decides
what the peer is told, `attributes` and `notifications` are the vocabulary of routes and of errors. `adapters.bgp_tcp` gives it
sockets.
"""

from __future__ import annotations

from fairlead.bgp.estate import Estate, from_plain
from fairlead.bgp.fsm import State
from fairlead.bgp.notifications import Cease
from fairlead.bgp.session import Session
from fairlead.bgp.wishes import Dial, HangUp, SessionEvent

__all__ = ["Cease", "Dial", "Estate", "HangUp", "Session", "SessionEvent", "State", "from_plain"]
