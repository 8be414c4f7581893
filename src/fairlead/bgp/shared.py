"""What both connections of a session have in common: the configuration, what is announced, what was heard and counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from fairlead.bgp.capabilities import Capability, Family, Restart, offer
from fairlead.bgp.received import AdjRibIn
from fairlead.bgp.rib import AdjRibOut
from fairlead.bgp.wishes import SessionEvent
from fairlead.events import PeerDown
from fairlead.model import PeerConfig


@dataclass(slots=True)
class Shared:
    """One for each session. `forwards`: what we announced before a start is still forwarded."""

    config: PeerConfig
    router_id: IPv4Address
    chance: Callable[[], float]
    forwards: bool = False
    restarting: bool = False  # no session has been established since the start that `forwards` is about
    out: AdjRibOut = field(init=False)
    heard: AdjRibIn = field(default_factory=AdjRibIn)
    events: list[SessionEvent] = field(default_factory=list)
    messages_in: int = 0
    messages_out: int = 0
    updates_in: int = 0
    updates_out: int = 0
    established: int = 0
    last_error: str = ""
    last_error_at: float = 0.0
    reported: str = ""

    def __post_init__(self) -> None:
        self.out = AdjRibOut(self.config)

    def offered(self) -> tuple[Capability, ...]:
        """The capabilities of our next OPEN but the AS number."""
        asked = self.config.graceful_restart
        restart = None
        if asked is not None:
            restart = Restart(asked.time, self.restarting, asked.notification, tuple((f, self.forwards) for f in Family))
        return offer(extended_next_hop=self.config.extended_next_hop, restart=restart)

    def failed(self, why: str, now: float, *, was_up: bool) -> None:
        """A connection ended for this reason; it is reported once, not with every attempt."""
        self.last_error, self.last_error_at = why, now
        if was_up or why != self.reported:
            self.reported = why
            self.events.append(PeerDown(self.config.address, why))
