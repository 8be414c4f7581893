"""For journald: fields, in its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""

from __future__ import annotations

import struct

from fairlead.records.record import Record, facts

PREFIX = "FAIRLEAD_"


def fields(record: Record) -> dict[str, str]:
    """`MESSAGE` and what journalctl knows, and each of the event's own fields: `FAIRLEAD_BACKEND=10.1.0.11`."""
    event = record.event
    own = {PREFIX + name.upper(): value for name, value in facts(event).items() if value is not None}
    return {
        "MESSAGE": str(event),
        "PRIORITY": str(event.severity),
        "SYSLOG_IDENTIFIER": "fairlead",
        "SYSLOG_TIMESTAMP": f"{record.at:.6f}",
        "FAIRLEAD_EVENT": event.name,
        "FAIRLEAD_NUMBER": str(record.number),
        **{name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in own.items()},
    }


def datagram(record: Record) -> bytes:
    """One entry as journald takes it: `NAME=value`, or for values with line feeds the name, their length and the value itself."""
    lines = []
    for name, value in fields(record).items():
        data = value.encode("utf-8", "replace")
        if b"\n" in data:
            lines.append(name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n")
        else:
            lines.append(name.encode() + b"=" + data + b"\n")
    return b"".join(lines)
