"""`fairlead top`: what happened between two looks, per second, as a screen of so many columns and rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fairlead.model import BackendStatus, ServiceStatus, Status
from fairlead.render.figures import number, service_name, span, table
from fairlead.render.wrong import notes, troubles

T = TypeVar("T")

NARROWEST, LOWEST = 40, 8  # columns, rows
SORTS = {"p": "PACKETS/S", "t": "BITS/S", "n": "NEW/S", "f": "FLOWS", "a": ""}  # key -> column; "" is by name
VIEWS = {"s": "services", "b": "backends", "v": "verdicts"}
_SHORT = 12  # columns that a name is never cut below
_OPTIONAL = ("NAME", "NEW/S", "FOR", "OF SERVICE")  # columns that go where there is no room, in this order


@dataclass(frozen=True, slots=True)
class View:
    """What the operator looks at: which table, by what it is sorted, and how many rows are scrolled past."""

    what: str = "services"
    sort: str = "p"
    first: int = 0
    held: bool = False  # no new looks


@dataclass(frozen=True, slots=True)
class Rates:
    """Of one row, each second."""

    packets: float
    octets: float
    new_flows: float


@dataclass(frozen=True, slots=True)
class _Row:
    key: str
    cells: tuple[str, ...]
    rates: Rates
    flows: int  # of a verdict its packets so far


def rate(before: float, after: float, seconds: float) -> float:
    """Each second. A counter that began anew has counted nothing before."""
    return (after - before if after >= before else after) / seconds if seconds > 0 else 0.0


def compact(value: float) -> str:
    """`0`, `0.4`, `17`, `18.2k` a second."""
    if 0 < value < 9.95:
        return f"{value:.1g}" if value < 0.95 else f"{value:.2g}"
    return number(round(value))


def screen(before: Status, after: Status, view: View, size: tuple[int, int], clock: str) -> list[str]:
    """The lines to paint, none longer than the screen is wide, no more than it is high. `clock` is the time of day."""
    columns, rows = size
    if columns < NARROWEST or rows < LOWEST:
        return [f"top needs {NARROWEST} columns, {LOWEST} rows"[:columns]]
    head = summary(before, after, clock, columns)
    room = rows - len(head) - 3  # a blank line, the head of the table, the keys
    body = _table(before, after, view, columns)
    last = max(0, len(body) - 1 - room)
    first = min(view.first, last)
    shown = [body[0], *body[1 + first : 1 + first + room]]
    lines = [*head, f"{_place(view, first, len(body) - 1, room):>{columns}}".rstrip(), *shown]
    lines += [""] * (rows - 1 - len(lines))
    return [line[:columns] for line in [*lines, _keys(view)]]


def once(before: Status, after: Status, view: View, clock: str) -> str:
    """The same for what is no terminal: everything, as wide as it is."""
    wide = 1 << 16
    return "\n".join([*summary(before, after, clock, wide), "", *_table(before, after, view, wide)]) + "\n"


def figures(before: Status, after: Status, view: View) -> list[dict[str, object]]:
    """The same for programs: a row each, rates as numbers each second."""
    seconds, total = after.at - before.at, "packets" if view.what == "verdicts" else "flows"
    tables = {
        "verdicts": (_counted, ("verdict", "action")),
        "services": (_services, ("service", "name", "state")),
        "backends": (_backends, ("backend", "service", "state")),
    }
    make, names = tables[view.what]
    return [_figures(names, row, total) for row in sorted(make(before, after, seconds), key=_order(view.sort))]


def deepest(after: Status, view: View, rows: int) -> int:
    """How many rows can be scrolled past."""
    backends = sum(len(s.backends) for s in after.services)
    length = {"services": len(after.services), "backends": backends, "verdicts": len(after.verdicts)}[view.what]
    return max(0, length - (rows - 6))


def summary(before: Status, after: Status, clock: str, columns: int) -> list[str]:
    """Three lines: who, how much, how well."""
    seconds, now = after.at - before.at, after.at
    where = ", ".join(f"{i.name} ({i.mode})" for i in after.interfaces) or "no interface"
    title = f"fairlead {after.version} on {where}, up {span(now - after.started)}"
    room = columns - len(clock) - 1
    first = f"{title[:room]:{room}} {clock}" if columns < 1 << 16 else f"{title}, {clock}"
    sums = _sum(_rates(a, b, seconds) for a, b in _pairs(before.services, after.services, service_name))
    lost = _verdict_rate(before, after, seconds, "drop")
    flows = sum(s.flows for s in after.services)
    second = (
        f"{compact(sums.packets)} packets/s, {compact(sums.octets * 8)}bit/s, {compact(sums.new_flows)} new flows/s, "
        f"{number(flows)} flows, {compact(lost)} dropped/s"
    )
    return [first, second, _state(after, now)]


def _state(s: Status, now: float) -> str:
    wrong, warned = troubles(s, now), notes(s, now)
    if wrong:
        return f"# {wrong[0]}" if len(wrong) == 1 else f"# {len(wrong)} problems (`fairlead status`), the first: {wrong[0]}"
    if warned:
        return f"# warning: {warned[0]}"
    return "all is well"


def _verdict_rate(before: Status, after: Status, seconds: float, action: str) -> float:
    return sum(
        rate(before.verdicts[name].packets if name in before.verdicts else 0, v.packets, seconds)
        for name, v in after.verdicts.items()
        if v.action == action
    )


def _pairs(before: Sequence[T], after: Sequence[T], key: Callable[[T], str]) -> Iterable[tuple[T, T]]:
    """Each of now with itself of before; who is new has nothing to be compared with but itself."""
    known = {key(each): each for each in before}
    return ((known.get(key(each), each), each) for each in after)


def _rates(a: ServiceStatus | BackendStatus, b: ServiceStatus | BackendStatus, seconds: float) -> Rates:
    return Rates(rate(a.packets, b.packets, seconds), rate(a.bytes, b.bytes, seconds), rate(a.new_flows, b.new_flows, seconds))


def _sum(found: Iterable[Rates]) -> Rates:
    rows = list(found)
    return Rates(sum(r.packets for r in rows), sum(r.octets for r in rows), sum(r.new_flows for r in rows))


def _table(before: Status, after: Status, view: View, columns: int) -> list[str]:
    seconds = after.at - before.at
    if view.what == "verdicts":
        return _verdicts(before, after, view, seconds)
    if view.what == "services":
        names: tuple[str, ...] = ("SERVICE", "NAME", "STATE", "BACKENDS")
        rows = _services(before, after, seconds)
    else:
        names, rows = ("BACKEND", "OF SERVICE", "STATE", "FOR", "WEIGHT"), _backends(before, after, seconds)
    head = (*names, "PACKETS/S", "BITS/S", "NEW/S", "FLOWS")
    rows.sort(key=_order(view.sort))
    cells = [
        (*r.cells, compact(r.rates.packets), compact(r.rates.octets * 8), compact(r.rates.new_flows), number(r.flows))
        for r in rows
    ]
    return _fitted(head, cells, columns)


def _services(before: Status, after: Status, seconds: float) -> list[_Row]:
    return [
        _Row(
            service_name(s),
            (service_name(s), s.name, s.state, f"{s.available}/{len(s.backends)} up"),
            _rates(old, s, seconds),
            s.flows,
        )
        for old, s in _pairs(before.services, after.services, service_name)
    ]


def _backends(before: Status, after: Status, seconds: float) -> list[_Row]:
    rows = []
    for old, s in _pairs(before.services, after.services, service_name):
        name = service_name(s)
        for first, b in _pairs(old.backends, s.backends, lambda each: each.address):
            since = span(after.at - b.since) if b.since else "-"
            cells = (b.address, name, b.state, since, str(b.weight))
            rows.append(_Row(f"{b.address} {name}", cells, _rates(first, b, seconds), b.flows))
    return rows


def _order(sort: str) -> Callable[[_Row], tuple[float, str]]:
    """The most first, and what is equal by name."""

    def place(row: _Row) -> tuple[float, str]:
        figures = {"p": row.rates.packets, "t": row.rates.octets, "n": row.rates.new_flows, "f": row.flows}
        return -figures.get(sort, 0.0), row.key

    return place


def _figures(names: Sequence[str], row: _Row, total: str) -> dict[str, object]:
    words = dict(zip(names, row.cells, strict=False))
    per_second = {"packets_per_second": row.rates.packets, "bits_per_second": row.rates.octets * 8}
    new = {"new_flows_per_second": row.rates.new_flows} if total == "flows" else {}
    return {**words, **per_second, **new, total: row.flows}


def _counted(before: Status, after: Status, seconds: float) -> list[_Row]:
    rows = []
    for name, v in after.verdicts.items():
        old = before.verdicts.get(name, v)
        rates = Rates(rate(old.packets, v.packets, seconds), rate(old.bytes, v.bytes, seconds), 0.0)
        rows.append(_Row(name, (name, v.action), rates, v.packets))
    return rows


def _verdicts(before: Status, after: Status, view: View, seconds: float) -> list[str]:
    rows = sorted(_counted(before, after, seconds), key=_order("f" if view.sort == "n" else view.sort))
    cells = [(*r.cells, compact(r.rates.packets), compact(r.rates.octets * 8), number(r.flows)) for r in rows]
    return table(("VERDICT", "ACTION", "PACKETS/S", "BITS/S", "PACKETS"), cells)


def _fitted(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], columns: int) -> list[str]:
    """A table within so many columns: first less important ones go, then the first is cut in its middle."""
    kept = list(range(len(head)))
    for name in ("", *_OPTIONAL):
        kept = [i for i in kept if head[i] != name]
        lines = table([head[i] for i in kept], [[row[i] for i in kept] for row in rows])
        width = max(map(len, lines))
        if width <= columns:
            return lines
    longest = max(len(row[0]) for row in rows)
    room = max(_SHORT, longest - (width - columns))
    return table([head[i] for i in kept], [[_cut(row[0], room), *(row[i] for i in kept[1:])] for row in rows])


def _cut(text: str, room: int) -> str:
    """`2001:db8:...:53/udp`: both ends matter."""
    if len(text) <= room:
        return text
    tail = (room - 1) // 2
    return f"{text[: room - 1 - tail]}…{text[-tail:]}"


def _place(view: View, first: int, rows: int, room: int) -> str:
    """Where we are in a long table, and that it stands still."""
    place = f"{first + 1} to {min(first + room, rows)} of {rows}" if rows > room else ""
    return " ".join(word for word in ("held: space goes on", place) if word and (view.held or word == place))


def _keys(view: View) -> str:
    """What can be pressed; in capitals what is shown."""
    views = {"services": "[s]ervices", "backends": "[b]ackends", "verdicts": "[v]erdicts"}
    sorts = {"p": "[p]ackets", "t": "bi[t]s", "n": "[n]ew", "f": "[f]lows", "a": "n[a]me"}
    shown = [word.upper() if key in {view.what, view.sort} else word for key, word in (views | sorts).items()]
    return " ".join(["[q]uit", *shown])
