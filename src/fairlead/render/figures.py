"""Figures, spans of time and aligned tables: what every text for a terminal is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from fairlead.model import ServiceStatus

_RIGHT = frozenset(
    "PACKETS BYTES FLOWS NEW NEED WEIGHT USED OF ERRORS PORT BEFORE AFTER MOVED EMBRYONIC ESTABLISHED DATAGRAM CLOSING"
    " PACKETS/S BITS/S NEW/S".split()
)
_UNITS = ("", "k", "M", "G", "T", "P", "E")


def number(value: int) -> str:
    """`950`, `18.2k`, `3.41M`: three digits, powers of a thousand."""
    size = float(value)
    unit = 0
    while size >= 999.5 and unit < len(_UNITS) - 1:
        size /= 1000
        unit += 1
    if unit == 0:
        return str(value)
    return f"{size:.0f}{_UNITS[unit]}" if size >= 99.95 else f"{size:.3g}{_UNITS[unit]}"


def span(seconds: float) -> str:
    """`4 s`, `12 min`, `3 h 5 min`, `2 d 4 h`."""
    left = max(0, int(seconds))
    if left < 60:
        return f"{left} s"
    if left < 3600:
        return f"{left // 60} min"
    if left < 86400:
        return f"{left // 3600} h {left % 3600 // 60} min"
    return f"{left // 86400} d {left % 86400 // 3600} h"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Aligned columns, two spaces apart; figures to the right."""
    body = [list(row) for row in rows]
    widths = [max([len(name), *(len(row[i]) for row in body)]) for i, name in enumerate(head)]

    def line(cells: Sequence[str]) -> str:
        pairs = zip(head, cells, widths, strict=True)
        return "  ".join(cell.rjust(w) if name in _RIGHT else cell.ljust(w) for name, cell, w in pairs).rstrip()

    return [line(head), *(line(row) for row in body)]


def service_name(service: ServiceStatus) -> str:
    """`192.0.2.10:80/tcp`, `[2001:db8::10]:80/tcp`."""
    vip = f"[{service.vip}]" if ip_address(service.vip).version == 6 else service.vip
    return f"{vip}:{service.port or 'any'}/{service.protocol}"
