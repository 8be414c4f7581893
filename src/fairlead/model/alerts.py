"""What people are told, and what became of telling them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Notice:
    """What happened to one thing: the latest of it, if it was more than that. Unix times; `severity` is the worst.

    `before` is the trouble that this event ended or took the place of within the same message; `details` are its fields as text.
    """

    at: float
    name: str  # the event's type: "vip-down"
    severity: int
    text: str
    about: str = ""  # the service, "" for none
    mended: bool = False
    times: int = 1
    since: float = 0.0
    before: str = ""
    details: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """What leaves as one: the worst first. `left_out` is the number of notices for which there was no room."""

    number: int
    notices: tuple[Notice, ...]
    left_out: int = 0

    @property
    def severity(self) -> int:
        """The worst of what goes on; of what is over, if nothing does."""
        return min((n.severity for n in self.notices if not n.mended), default=min(n.severity for n in self.notices))

    @property
    def mended(self) -> bool:
        """Whether it says nothing but that troubles are over."""
        return all(n.mended for n in self.notices)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the other side said: an HTTP status, 0 if it came to none; `wait` seconds that it asked for, None if it did not."""

    status: int
    says: str = ""
    wait: float | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that people were told of and that is not over: what was said last, and when; `about` are the event's fields."""

    text: str
    at: float  # Unix time
    about: tuple[tuple[str, str], ...] = ()
