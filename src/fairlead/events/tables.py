"""Programs and tables: what was attached, carried out, failed, repaired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fairlead.events.event import Event
from fairlead.model import ServiceKey


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
class Repaired(Event):
    level: ClassVar[int] = 4
    text: str

    def __str__(self) -> str:
        return f"a table did not hold what was written, repaired: {self.text}"
