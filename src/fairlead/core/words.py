"""Moments and counts as people read them."""

from __future__ import annotations

from datetime import datetime

from fairlead.model import Address, Check

_HALF_A_DAY = 43200.0


def clock(at: float, now: float) -> str:
    """A Unix time in the machine's own zone, as in the log: `12:04:31`; with its date where that could be another day's."""
    text = _local(at)
    return text[11:] if abs(now - at) < _HALF_A_DAY else text


def date(at: float) -> str:
    """A Unix time with its date: `2026-11-23 12:04:31`."""
    return _local(at)


def _local(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def question(check: Check) -> str:
    """What a check asks, without where: `http GET /healthz`, `dns localhost A over udp`, `syn`."""
    if check.type in ("http", "https"):
        return f"{check.type} {check.method} {check.path}"
    if check.type == "dns":
        return f"dns {check.name} {check.record} over {check.method}"
    return check.type


def asked(check: Check, vip: Address, backend: Address) -> str:
    """What a check asks of whom: `http GET /healthz on 10.1.0.12 for 192.0.2.10:80`."""
    to = f"[{vip}]" if vip.version == 6 and check.port else str(vip)
    return f"{question(check)} on {backend} for {to}{f':{check.port}' if check.port else ''}"


def share(part: float) -> str:
    """A part of one as percent: `20%`, `12.5%`."""
    return f"{part * 100:g}%"
