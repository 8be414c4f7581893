"""Sources that are kept out, and sources by how much they send."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.model import BlockStatus, SourcesStatus
from fairlead.render.figures import number, span, table

_BLOCKS = ("PREFIX", "BY", "FOR", "STILL", "PACKETS", "BYTES", "WHY")


def blocks(found: Sequence[BlockStatus], now: float) -> str:
    """A line for each block, with what it has dropped; `now` is a Unix time."""
    if not found:
        return "nothing is blocked\n"
    rows = [
        (
            b.prefix,
            b.who,
            span(now - b.since),
            span(b.until - now) if b.until else "-",
            number(b.packets),
            number(b.bytes),
            b.why,
        )
        for b in found
    ]
    lines = table(_BLOCKS, rows)
    late = [b.prefix for b in found if not b.applied]
    lines += [f"# not in effect yet: {', '.join(late)}: `fairlead status` says why"] if late else []
    return "\n".join(lines) + "\n"


def sources(found: SourcesStatus) -> str:
    """The prefixes that most packets come from, by family."""
    if not found.counted:
        return "packets are not counted by source: `count-prefixes: true` in the configuration has them counted\n"
    parts = [
        [f"IPv{family}, by /{length}", *table(("PREFIX", "PACKETS"), [(each.prefix, number(each.packets)) for each in shown])]
        for family, length, shown in ((4, 20, found.ipv4), (6, 48, found.ipv6))
        if shown
    ]
    return "\n\n".join("\n".join(part) for part in parts or [["no packets so far"]]) + "\n"
