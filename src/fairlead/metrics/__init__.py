"""What is known as metrics, in Prometheus's text format and in OpenMetrics.

`family` says what a metric is and makes text of it; `traffic`, `sessions` and `daemon` say which there are, and `vc5` has VC5's
under its own names. A series belongs to something that is configured or that abi.h names: what clients send makes none.
"""

from __future__ import annotations

from collections.abc import Iterator

from fairlead.metrics import daemon, sessions, traffic, vc5
from fairlead.metrics.family import Family, Group, texts
from fairlead.model import Status

GROUPS: tuple[Group, ...] = (*traffic.GROUPS, *sessions.GROUPS, *daemon.GROUPS)
TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"

__all__ = ["GROUPS", "OPEN", "TEXT", "Family", "Group", "exposition", "media"]


def media(accept: str, compat: str = "") -> str:
    """The better of both formats for whoever says in an `Accept` header what it understands (RFC 9110 section 12.5.1).

    VC5's names do not fit OpenMetrics: its counters have no `_total`, or stand beside a gauge that is called the same without.
    """
    if compat:
        return TEXT
    weights = dict(_weighed(word) for word in accept.lower().split(","))
    return OPEN if weights.get("application/openmetrics-text", 0.0) > weights.get("text/plain", 0.0) else TEXT


def _weighed(word: str) -> tuple[str, float]:
    name, *parameters = (part.strip() for part in word.split(";"))
    said = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
    try:
        return name, float(said)
    except ValueError:
        return name, 0.0


def exposition(status: Status, form: str = TEXT, compat: str = "") -> Iterator[str]:
    """All metrics, in pieces that take well under a millisecond each; `compat` "vc5": VC5's too."""
    groups = (*GROUPS, *vc5.GROUPS) if compat == "vc5" else GROUPS
    for group in groups:
        yield from texts(group, status, openly=form == OPEN)
    if form == OPEN:
        yield "# EOF\n"
