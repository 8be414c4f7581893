"""What health decides: backends, services, VIPs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fairlead.events.event import Event
from fairlead.model import Address, ServiceKey


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
class Probed(Event):
    """One run of one check. `changed`: it came out otherwise than the run before; a first run counts if it failed."""

    vip: Address
    backend: Address
    check: str  # "http GET /healthz port 80"
    passed: bool
    took: float  # seconds
    says: str  # "503 after 12 ms", the exact error where there was one
    changed: bool

    @property
    def severity(self) -> int:
        """Every run is for whoever looks closely."""
        return self.level if self.changed else 7

    def __str__(self) -> str:
        return f"{self.check} on {self.backend} for {self.vip} {'passed' if self.passed else 'failed'}: {self.says}"
