"""For syslog: RFC 5424, and the form that the daemons of one machine read from their own socket.

The structured data has the event's own fields. Fairlead has no enterprise number; 32473 is the one set aside for examples
(RFC 5612), so that it can be nobody else's.
"""

from __future__ import annotations

import re
from datetime import datetime

from fairlead.records.record import Record, facts, stamp

DATA = "fairlead@32473"
APP = "fairlead"


def rfc5424(record: Record, *, facility: int, host: str, process: int) -> bytes:
    """One message, RFC 5424 section 6; in UTF-8, with a byte order mark before text that is not ASCII."""
    event = record.event
    own = {"number": record.number, **facts(event)}
    data = "".join(f' {name}="{_escaped(str(value))}"' for name, value in own.items() if value is not None)
    text = str(event)
    head = f"<{facility * 8 + event.severity}>1 {stamp(record.at)} {_token(host, 255)} {APP} {process} {_token(event.name, 32)}"
    mark = b"" if text.isascii() else b"\xef\xbb\xbf"
    return f"{head} [{DATA}{data}] ".encode("utf-8", "replace") + mark + _one_line(text).encode("utf-8", "replace")


def local(record: Record, *, facility: int, process: int) -> bytes:
    """`<29>Nov 23 12:04:31 fairlead[123]: text`, as syslog(3) of the C library writes it to /dev/log."""
    event = record.event
    when = datetime.fromtimestamp(record.at).astimezone()
    head = f"<{facility * 8 + event.severity}>{when:%b} {when.day:2} {when:%H:%M:%S} {APP}[{process}]: "
    return (head + _one_line(str(event))).encode("utf-8", "replace")


def framed(message: bytes) -> bytes:
    """As TCP carries it: with its length before it, RFC 6587 section 3.4.1."""
    return b"%d %s" % (len(message), message)


def _token(text: str, most: int) -> str:
    """PRINTUSASCII of a header's field; the nil value where nothing is left."""
    return re.sub(r"[^!-~]", "", text)[:most] or "-"


def _escaped(text: str) -> str:
    """RFC 5424 section 6.3.3."""
    return re.sub(r'(["\\\]])', r"\\\1", _one_line(text))


def _one_line(text: str) -> str:
    """Control characters have no business in a log; lines are joined."""
    return "".join(c if c.isprintable() else " " for c in text)
