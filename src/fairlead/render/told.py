"""Events as the daemon tells them to whoever asks: a line each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

# RFC 5424 section 6.2.1
SEVERITIES = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")


def event(told: Mapping[str, Any]) -> str:
    """`2026-11-23 12:04:31.123 warning VIP 192.0.2.10 is down: ...`, in local time; further lines are indented."""
    when = datetime.fromtimestamp(told["at"]).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    says = str(told["text"]).replace("\n", "\n    ")
    return f"{when} {SEVERITIES[told['level']]:<7} {says}"


def events(told: Iterable[Mapping[str, Any]]) -> str:
    """A line each, in the order they come."""
    return "".join(f"{event(each)}\n" for each in told)
