"""Sources that operators keep out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fairlead.events.event import Event
from fairlead.model import Prefix


@dataclass(frozen=True, slots=True)
class SourceBlocked(Event):
    level: ClassVar[int] = 5
    prefix: Prefix
    who: str
    says: str  # "until 2026-11-23 12:04:31"
    why: str

    def __str__(self) -> str:
        return f"{self.who} blocked {self.prefix} {self.says}{f': {self.why}' if self.why else ''}"


@dataclass(frozen=True, slots=True)
class SourceUnblocked(Event):
    level: ClassVar[int] = 5
    prefix: Prefix
    who: str  # "" when its time was over

    def __str__(self) -> str:
        return f"{self.who} took back the block of {self.prefix}" if self.who else f"the block of {self.prefix} is over"
