"""Everything that can be logged, as types: one frozen dataclass an event, which prints as one sentence.

Sinks are adapters; they get the object, not the sentence, and may use its fields. `level` is a syslog severity (RFC 5424 section
6.2.1): 3 error, 4 warning, 5 notice, 6 informational, 7 debug.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fairlead.model import Address, ServiceKey


@dataclass(frozen=True, slots=True)
class Event:
    """The root; `level` belongs to the type."""

    level: ClassVar[int] = 6

    @property
    def severity(self) -> int:
        """That of this one event, where it is not that of all of its type."""
        return self.level

    @property
    def name(self) -> str:
        """The type's name in the log: `BackendDown` is `backend-down`."""
        words = "".join(f"-{c.lower()}" if c.isupper() else c for c in type(self).__name__)
        return words.lstrip("-")


@dataclass(frozen=True, slots=True)
class Started(Event):
    level: ClassVar[int] = 5
    version: str
    config: str
    adopted: bool

    def __str__(self) -> str:
        how = "adopted the running data plane" if self.adopted else "built a new data plane"
        return f"fairlead {self.version} started with {self.config}: {how}"


@dataclass(frozen=True, slots=True)
class Stopped(Event):
    level: ClassVar[int] = 5
    why: str

    def __str__(self) -> str:
        return f"stopped: {self.why}; the data plane forwards on (`fairlead detach` removes it)"


@dataclass(frozen=True, slots=True)
class HandedOver(Event):
    level: ClassVar[int] = 5

    def __str__(self) -> str:
        return "restarting: what is installed now takes over in this process; nothing is detached, nothing withdrawn"


@dataclass(frozen=True, slots=True)
class Attached(Event):
    level: ClassVar[int] = 5
    interface: str
    mode: str
    replaced: bool

    def __str__(self) -> str:
        verb = "replaced the program on" if self.replaced else "attached to"
        return f"{verb} {self.interface} in {self.mode} mode"


@dataclass(frozen=True, slots=True)
class ProgramLost(Event):
    level: ClassVar[int] = 4
    interface: str

    def __str__(self) -> str:
        return f"the program on {self.interface} has gone: attaching it again"


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
class Warned(Event):
    level: ClassVar[int] = 4
    says: str

    def __str__(self) -> str:
        return self.says


@dataclass(frozen=True, slots=True)
class Reloaded(Event):
    level: ClassVar[int] = 5
    config: str
    changed: bool

    def __str__(self) -> str:
        return f"reloaded {self.config}" if self.changed else f"reloaded {self.config}: nothing has changed"


@dataclass(frozen=True, slots=True)
class ReloadRefused(Event):
    level: ClassVar[int] = 3
    config: str
    says: str

    def __str__(self) -> str:
        return f"kept the running configuration, {self.config} is not usable:\n{self.says}"


@dataclass(frozen=True, slots=True)
class Applied(Event):
    level: ClassVar[int] = 5
    config: str
    operations: int

    def __str__(self) -> str:
        count = f"{self.operations} operation{'s' * (self.operations != 1)}" if self.operations else "nothing has changed"
        return f"applied {self.config}: {count}"


@dataclass(frozen=True, slots=True)
class Overridden(Event):
    level: ClassVar[int] = 5
    backend: Address
    service: ServiceKey | None
    says: str
    who: str

    def __str__(self) -> str:
        return f"{self.backend} for {self.service or 'all its services'}: {self.says}, by {self.who}"


@dataclass(frozen=True, slots=True)
class Cleared(Event):
    level: ClassVar[int] = 5
    backend: Address
    service: ServiceKey | None
    says: str
    who: str

    def __str__(self) -> str:
        return f"{self.backend} for {self.service or 'all its services'}: no longer {self.says}, by {self.who}"


@dataclass(frozen=True, slots=True)
class SelfDrained(Event):
    level: ClassVar[int] = 4
    says: str  # "sent away from its routers by root"

    def __str__(self) -> str:
        return f"this balancer is {self.says}"


@dataclass(frozen=True, slots=True)
class Operated(Event):
    """An operation was carried out; `text` is the text of the operation."""

    text: str
    about: ServiceKey | None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class OperationFailed(Event):
    level: ClassVar[int] = 3
    text: str
    says: str

    def __str__(self) -> str:
        return f"failed, will be tried again: {self.text}: {self.says}"


@dataclass(frozen=True, slots=True)
class BackendUp(Event):
    level: ClassVar[int] = 5
    service: ServiceKey
    backend: Address
    says: str

    def __str__(self) -> str:
        return f"backend {self.backend} is up for {self.service}: {self.says}"


@dataclass(frozen=True, slots=True)
class BackendDown(Event):
    level: ClassVar[int] = 5
    service: ServiceKey
    backend: Address
    says: str

    def __str__(self) -> str:
        return f"backend {self.backend} is down for {self.service}: {self.says}"


@dataclass(frozen=True, slots=True)
class BackendSuppressed(Event):
    level: ClassVar[int] = 4
    service: ServiceKey
    backend: Address
    says: str

    def __str__(self) -> str:
        return f"backend {self.backend} of {self.service} {self.says}"


@dataclass(frozen=True, slots=True)
class BackendReleased(Event):
    level: ClassVar[int] = 5
    service: ServiceKey
    backend: Address

    def __str__(self) -> str:
        return f"backend {self.backend} of {self.service} may have new flows again: its penalty has decayed"


@dataclass(frozen=True, slots=True)
class PanicBegan(Event):
    level: ClassVar[int] = 3
    service: ServiceKey
    says: str

    def __str__(self) -> str:
        return f"{self.service}: {self.says}"


@dataclass(frozen=True, slots=True)
class PanicEnded(Event):
    level: ClassVar[int] = 5
    service: ServiceKey

    def __str__(self) -> str:
        return f"{self.service}: enough backends are healthy again, the panic is over"


@dataclass(frozen=True, slots=True)
class BackupsUsed(Event):
    level: ClassVar[int] = 4
    service: ServiceKey
    says: str

    def __str__(self) -> str:
        return f"{self.service}: {self.says}"


@dataclass(frozen=True, slots=True)
class BackupsRested(Event):
    level: ClassVar[int] = 5
    service: ServiceKey

    def __str__(self) -> str:
        return f"{self.service}: backups get no new flows any more"


# Of what happens to a VIP with services of some priority; without one the level belongs to the type.
_SEVERITY = {"critical": 3, "high": 4, "medium": 5, "low": 6}


@dataclass(frozen=True, slots=True)
class VipUp(Event):
    """`priority` is that of the most important of its services."""

    level: ClassVar[int] = 5
    vip: Address
    priority: str = ""

    @property
    def severity(self) -> int:
        """By the priority."""
        return _SEVERITY.get(self.priority, self.level)

    def __str__(self) -> str:
        return f"VIP {self.vip} is up"


@dataclass(frozen=True, slots=True)
class VipDown(Event):
    """`priority` is that of the most important of its services."""

    level: ClassVar[int] = 4
    vip: Address
    says: str
    priority: str = ""

    @property
    def severity(self) -> int:
        """By the priority."""
        return _SEVERITY.get(self.priority, self.level)

    def __str__(self) -> str:
        return f"VIP {self.vip} is down: {self.says}"


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


@dataclass(frozen=True, slots=True)
class Repaired(Event):
    level: ClassVar[int] = 4
    text: str

    def __str__(self) -> str:
        return f"a table did not hold what was written, repaired: {self.text}"
