"""The network around: paths to backends, tunnels, BGP peers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fairlead.events.event import Event
from fairlead.model import Address


@dataclass(frozen=True, slots=True)
class TunnelTroubled(Event):
    """An ICMP error about our outer packets; said once for each thing that is said, not for each packet."""

    level: ClassVar[int] = 4
    backend: Address
    kind: str
    says: str

    def __str__(self) -> str:
        return f"{self.kind} tunnel to {self.backend}: {self.says}"


@dataclass(frozen=True, slots=True)
class PathChanged(Event):
    backend: Address
    says: str

    def __str__(self) -> str:
        return f"path to backend {self.backend}: {self.says}"


@dataclass(frozen=True, slots=True)
class PeerUp(Event):
    level: ClassVar[int] = 5
    peer: Address
    remote_as: int

    def __str__(self) -> str:
        return f"BGP peer {self.peer} (AS {self.remote_as}) is established"


@dataclass(frozen=True, slots=True)
class PeerDown(Event):
    level: ClassVar[int] = 4
    peer: Address
    says: str

    def __str__(self) -> str:
        return f"BGP peer {self.peer} is down: {self.says}"
