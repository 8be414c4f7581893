"""What every sink gets: the event, when it was, and a number that rises."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime

from fairlead.events import Event, Operated

Fact = str | int | float | bool | None

# RFC 5424 section 6.2.1
SEVERITIES = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")


@dataclass(frozen=True, slots=True)
class Record:
    """One event. `at` is a Unix time; `number` is greater than that of every event before, those of earlier runs included."""

    number: int
    at: float
    event: Event


def facts(event: Event) -> dict[str, Fact]:
    """The event's own fields, by name: numbers and truths as they are, all else as text; None where there is nothing."""
    found = {f.name: getattr(event, f.name) for f in fields(event)}
    return {name: value if isinstance(value, str | int | float) or value is None else str(value) for name, value in found.items()}


def shown(record: Record) -> dict[str, object]:
    """As the API shows it: `level` is a syslog severity, `about` the service or ""."""
    event = record.event
    about = event.about if isinstance(event, Operated) else getattr(event, "service", None)
    return {
        "id": record.number,
        "at": record.at,
        "name": event.name,
        "level": event.severity,
        "text": str(event),
        "about": str(about) if about else "",
        "facts": facts(event),
    }


def stamp(at: float) -> str:
    """A Unix time as RFC 3339 has it, in UTC, to the microsecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
