"""What a session asks of its owner, besides sending its output and logging."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from fairlead.events import PeerDown, PeerUp


class Side(Enum):
    """Who made a connection: a session may have one of each until it is clear which of them stays (RFC 4271 section 6.8)."""

    DIALLED = "dialled"
    ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class Dial:
    """Please connect to the peer, and report `connected` or `disconnected`."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """Please send these last bytes and end the connection, or the attempt at one; it needs no report."""

    side: Side
    parting: bytes = b""


SessionEvent = Dial | HangUp | PeerUp | PeerDown
