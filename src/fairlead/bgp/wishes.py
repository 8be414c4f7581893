"""What a session asks of its owner, besides sending its output and logging."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.events import PeerDown, PeerUp


@dataclass(frozen=True, slots=True)
class Dial:
    """Please connect to the peer, and report `connected` or `disconnected`."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """Please end the connection, or the attempt at one, after the bytes that are out; it needs no report."""


SessionEvent = Dial | HangUp | PeerUp | PeerDown
