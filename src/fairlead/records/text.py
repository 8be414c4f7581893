"""For people: one line an event, what goes on over several lines indented."""

from __future__ import annotations

import json
from datetime import datetime

from fairlead.records.record import SEVERITIES, Record, shown, stamp


def text(record: Record) -> str:
    """`2026-11-23T12:04:31.123+00:00 warning VIP 192.0.2.10 is down: ...`, in local time, without a line feed at its end."""
    when = datetime.fromtimestamp(record.at).astimezone().isoformat(timespec="milliseconds")
    says = str(record.event).replace("\n", "\n    ")
    return f"{when} {SEVERITIES[record.event.severity]:<7} {says}"


def line(record: Record) -> str:
    """One JSON object: what the API shows, the time as RFC 3339 has it, the severity as a word beside its number."""
    found = shown(record)
    found["at"] = stamp(record.at)
    return json.dumps({"at": found.pop("at"), "severity": SEVERITIES[record.event.severity], **found}, separators=(",", ":"))
