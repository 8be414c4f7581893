"""The daemon's own life: it starts and stops, takes another configuration, is told something by an operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fairlead.events.event import Event
from fairlead.model import Address, ServiceKey


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
class Warned(Event):
    level: ClassVar[int] = 4
    says: str

    def __str__(self) -> str:
        return self.says


@dataclass(frozen=True, slots=True)
class ApiListens(Event):
    level: ClassVar[int] = 5
    socket: str
    endpoints: str  # URLs, with blanks between them
    rights: str

    def __str__(self) -> str:
        over = f" and {self.endpoints}: there {self.rights}" if self.endpoints else ", and nowhere else"
        return f"the API is on {self.socket}{over}"


@dataclass(frozen=True, slots=True)
class AccessRefused(Event):
    level: ClassVar[int] = 4
    who: Address | None  # None: it was gone again
    why: str
    times: int  # since the last of these events about it

    def __str__(self) -> str:
        often = f", {self.times} times" if self.times > 1 else ""
        return f"the API refused {self.who or 'a client'}{often}: {self.why}"


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
class SinkTroubled(Event):
    """Said when trouble begins, not for each attempt."""

    level: ClassVar[int] = 4
    sink: str
    says: str

    def __str__(self) -> str:
        return f"log to {self.sink}: {self.says}"


@dataclass(frozen=True, slots=True)
class SinkRecovered(Event):
    level: ClassVar[int] = 5
    sink: str
    waited: int  # events that were kept until now

    def __str__(self) -> str:
        return f"log to {self.sink}: it takes events again, {self.waited} have waited"
