"""The root of all events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


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
