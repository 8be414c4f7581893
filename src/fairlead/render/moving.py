"""What a change does, and flows: who has them, and how they end."""

from __future__ import annotations

from fairlead.model import Change, FlowTable
from fairlead.render.figures import number, span, table

_FLOW_STATES = ("embryonic", "established", "datagram", "closing")


def change(c: Change) -> str:
    """What `plan` and `apply` show: operations word for word, what moves, and the shares of what changes."""
    parts = [list(c.operations), [f"# later: {text}" for text in c.later], [f"# failed: {text}" for text in c.problems]]
    if c.services:
        parts.append(_shares(c))
    parts.append([_summary(c)])
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _summary(c: Change) -> str:
    if not c.changed:
        return f"{c.path} is what runs: nothing to do"
    moved = f"{c.moved.slots} slots and {c.moved.flows} live flows move, {c.moved.percent:g}%"
    count = f"{len(c.operations)} operation{'s' * (len(c.operations) != 1)}"
    if c.refused:
        return f"refused: {c.refused}; nothing was changed"
    return f"applied {c.path}: {moved}" if c.applied else f"{c.path} would be {count}: {moved}"


def _shares(c: Change) -> list[str]:
    head = ("SERVICE", "BACKEND", "BEFORE", "AFTER", "FLOWS", "MOVED")
    rows = []
    for s in c.services:
        rows.append((s.service, "all", f"{s.slots} slots", f"{s.slots_moved} move", number(s.flows), number(s.flows_moved)))
        rows += [
            ("", b.address, f"{100 * b.before:.1f}%", f"{100 * b.after:.1f}%", number(b.flows), number(b.moved))
            for b in s.backends
        ]
    return table(head, rows)


def flows(t: FlowTable) -> str:
    """The flow table by service and backend; IDLE is the time since the last packet, of the youngest and the oldest entry."""
    rows = []
    for s in t.services:
        for b in s.backends:
            states = {each.state: each for each in b.states}
            counts = [number(states[name].entries) if name in states else "0" for name in _FLOW_STATES]
            ages = [(each.youngest, each.oldest) for each in b.states]
            idle = f"{span(min(a for a, _ in ages))} to {span(max(a for _, a in ages))}" if ages else "-"
            rows.append((s.service, b.address, number(b.entries), *counts, idle))
    lines = table(("SERVICE", "BACKEND", "FLOWS", *(name.upper() for name in _FLOW_STATES), "IDLE"), rows)
    return (
        "\n".join([*lines, "", f"{t.entries} live flow{'s' * (t.entries != 1)}; the table has room for {number(t.rows)}"]) + "\n"
    )


def draining(backend: str, left: int, rate: float) -> str:
    """`10.1.0.12: 118 flows left, 3.2 a second end, about 36 s`; `rate` is in flows per second."""
    if not left:
        return f"{backend}: no flows left"
    pace = f"{rate:.3g} a second end, about {span(left / rate)}" if rate > 0 else "none has ended of late"
    return f"{backend}: {left} flow{'s' * (left != 1)} left, {pace}"
