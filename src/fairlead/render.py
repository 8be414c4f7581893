"""Status and problems as text for a terminal: aligned tables, then sentences that name what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address

from fairlead.model import (
    BackendStatus,
    BgpStatus,
    Change,
    FlowTable,
    InterfaceStatus,
    PeerStatus,
    Problem,
    ServiceStatus,
    Status,
)
from fairlead.model.machine import Finding

_RIGHT = set("PACKETS BYTES FLOWS WEIGHT USED OF ERRORS PORT BEFORE AFTER MOVED EMBRYONIC ESTABLISHED DATAGRAM CLOSING".split())
_NEARLY_FULL = 0.9  # of a limit
_FLOW_STATES = ("embryonic", "established", "datagram", "closing")
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


def status(s: Status, now: float) -> str:
    """The whole status; `now` is a Unix time."""
    parts = [
        _title(s, now),
        _services(s),
        _backends(s, now),
        _vips(s),
        _peers(s, now),
        _tunnels(s, now),
        _overrides(s, now),
        _verdicts(s),
        _limits(s),
        _memory(s),
    ]
    parts.append(sentences(s, now))
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _title(s: Status, now: float) -> list[str]:
    where = ", ".join(map(_interface, s.interfaces)) or "no interface"
    return [f"fairlead {s.version} on {where}, up {span(now - s.started)}, config {s.config}"]


def _interface(i: InterfaceStatus) -> str:
    words = [i.mode, f"of {i.bond}"] if i.bond else [i.mode]
    return f"{i.name} ({', '.join(words if i.active else [*words, 'inactive'])})"


def _services(s: Status) -> list[str]:
    rows = [
        (
            service_name(x),
            x.name,
            f"{x.available}/{len(x.backends)} up",
            number(sum(b.flows for b in x.backends)),
            number(x.packets),
            number(x.bytes),
            x.state,
        )
        for x in s.services
    ]
    return table(("SERVICE", "NAME", "BACKENDS", "FLOWS", "PACKETS", "BYTES", "STATE"), rows) if rows else []


def _backends(s: Status, now: float) -> list[str]:
    rows = [
        (b.address, service_name(x), str(b.weight), number(b.flows), number(b.packets), number(b.bytes), b.state, _age(b, now))
        for x in s.services
        for b in x.backends
    ]
    return table(("BACKEND", "OF SERVICE", "WEIGHT", "FLOWS", "PACKETS", "BYTES", "STATE", "FOR"), rows) if rows else []


def _age(backend: BackendStatus, now: float) -> str:
    return span(now - backend.since) if backend.since else "-"


def _vips(s: Status) -> list[str]:
    rows = [
        (v.address, number(v.flows), number(v.packets), number(v.bytes), v.state, "yes" if v.announced else "no") for v in s.vips
    ]
    return table(("VIP", "FLOWS", "PACKETS", "BYTES", "STATE", "ANNOUNCED"), rows) if rows else []


def _peers(s: Status, now: float) -> list[str]:
    rows = [(p.address, str(p.remote_as), p.state, span(now - p.since) if p.since else "-", str(len(p.routes))) for p in s.peers]
    return table(("BGP PEER", "AS", "STATE", "FOR", "ROUTES"), rows) if rows else []


def _tunnels(s: Status, now: float) -> list[str]:
    rows = [
        (t.backend, t.kind, str(t.port) if t.port else "-", number(t.errors), f"{t.last_error}, {span(now - t.last_at)} ago")
        for t in s.tunnels
    ]
    return table(("TUNNEL TO", "KIND", "PORT", "ERRORS", "LAST"), rows) if rows else []


def _overrides(s: Status, now: float) -> list[str]:
    rows = [
        (o.backend, o.service or "all", o.says if o.effective else f"{o.says} (no such backend)", o.who, span(now - o.at))
        for o in s.overrides
    ]
    return table(("OVERRIDDEN", "FOR", "SAYS", "BY", "SINCE"), rows) if rows else []


def _limits(s: Status) -> list[str]:
    rows = [(x.name, f"{x.used:,}", f"{x.limit:,}", x.key) for x in s.limits]
    return table(("LIMIT", "USED", "OF", "KEY TO RAISE"), rows) if rows else []


def _memory(s: Status) -> list[str]:
    """One line: the total, then the tables from the largest."""
    parts = [f"{t.name} {number(t.bytes)}" for t in sorted(s.tables, key=lambda t: -t.bytes)]
    return [f"MEMORY {number(s.memory)} octets in the kernel: {', '.join(parts)}"] if parts else []


def _verdicts(s: Status) -> list[str]:
    counted = sorted(((name, v) for name, v in s.verdicts.items() if v.packets), key=lambda row: -row[1].packets)
    rows = [(name, number(v.packets), number(v.bytes)) for name, v in counted]
    return table(("VERDICT", "PACKETS", "BYTES"), rows) if rows else []


def sentences(s: Status, now: float) -> list[str]:
    """What is wrong, one sentence each, starting with `# `; none when all is well."""
    found = [f"# warning: {text}" for text in s.warnings]
    found += _drained(s.drained, leaving=s.leaving)
    for service in s.services:
        found += _service_sentences(service, now)
    found += [f"# {v.address} is withheld: {v.reason}" for v in s.vips if not v.announced and v.reason]
    found += [
        f"# BGP peer {p.address} is {p.state}: {p.last_error}" for p in s.peers if p.state != "Established" and p.last_error
    ]
    found += [
        f"# {x.used:,} of {x.limit:,} {x.name} are in use: raise `{x.key}`" for x in s.limits if x.used >= _NEARLY_FULL * x.limit
    ]
    if s.repairs:
        found.append(f"# {s.repairs} rows did not hold what was written and were repaired")
    return found


def _service_sentences(service: ServiceStatus, now: float) -> Iterator[str]:
    name = service_name(service)
    for b in service.backends:
        if b.state == "down":
            yield f"# {b.address} is down for {name}: {b.reason}{_since(b.since, now)}"
        elif b.state == "drain" and b.penalty and b.reason.startswith("went down too often"):
            yield f"# {b.address} of {name} {b.reason}"
    if service.state != "up" and service.reason:
        yield f"# {name} is {service.state}: {service.reason}"
    elif service.reason:
        yield f"# {name}: {service.reason}"
    if service.applied not in ("done", "pending: the next pass"):
        yield f"# {name} is not applied: {service.applied}"


def _since(moment: float, now: float) -> str:
    return f", for {span(now - moment)}" if moment else ""


def bgp(b: BgpStatus, now: float) -> str:
    """Every session in a line, and below what is wrong; `now` is a Unix time."""
    listening = f"listening on {b.listen}" if b.listen else "not listening"
    rows = [
        (
            p.address,
            str(p.remote_as or "-"),
            p.state,
            span(now - p.since) if p.since else "-",
            str(len(p.routes)),
            str(len(p.withheld)),
            str(p.counters.established),
        )
        for p in b.peers
    ]
    parts = [[f"BGP router {b.router_id}, {listening}"]]
    parts.append(table(("PEER", "AS", "STATE", "FOR", "ROUTES", "WITHHELD", "UPS"), rows) if rows else ["no peers"])
    wrong = _drained(b.drained, leaving=b.leaving)
    wrong += [f"# {p.address} is {p.state}: {_trouble(p)}" for p in b.peers if p.state != "Established" and _trouble(p)]
    parts.append(wrong)
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _drained(drained: str, *, leaving: bool) -> list[str]:
    if not drained:
        return []
    how = "its routes are marked, and go soon" if leaving else "nothing is announced (`fairlead undrain` ends it)"
    return [f"# this balancer is {drained}: {how}"]


def _trouble(p: PeerStatus) -> str:
    return p.why or p.last_error


def peer(p: PeerStatus, now: float) -> str:
    """All about one session, as a router shows a neighbour."""
    kind = "" if not (p.remote_as and p.local_as) else ", iBGP" if p.remote_as == p.local_as else ", eBGP"
    lines = [f"BGP peer {p.address}, AS {p.remote_as or 'not known yet'}{kind}; we are AS {p.local_as}"]
    lines.append(f"  {p.state}{f' for {span(now - p.since)}' if p.since else ''}, came up {_times(p.counters.established)}")
    if p.state != "Established" and _trouble(p):
        lines.append(f"  not up: {_trouble(p)}")
    if p.local:
        lines.append(f"  our end {p.local}, its router id {p.remote_id or 'not known yet'}")
    if p.state == "Established":
        timers = f"hold time {p.hold_time} s, keepalive every {p.keepalive:g} s" if p.hold_time else "hold time 0: no timers"
        lines.append(f"  {timers}")
    lines += _capabilities(p)
    c = p.counters
    lines.append(f"  messages: {c.messages_in} in, {c.messages_out} out; updates: {c.updates_in} in, {c.updates_out} out")
    lines.append(f"  prefixes received: {c.prefixes_in}, none kept; malformed updates: {c.malformed_in}")
    lines += [f"  routes sent: {len(p.routes)}", *(f"    {text}" for text in p.details or p.routes)]
    if p.withheld:
        lines += [f"  routes withheld: {len(p.withheld)}", *(f"    {text}" for text in p.withheld)]
    if p.last_error:
        lines.append(f"  last error{f', {span(now - p.last_error_at)} ago' if p.last_error_at else ''}: {p.last_error}")
    return "\n".join(lines) + "\n"


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


def _capabilities(p: PeerStatus) -> list[str]:
    """Each with who offers it."""
    found = [*p.ours, *(word for word in p.theirs if word not in p.ours)]
    width = max((len(word) for word in found), default=0)
    who = {(True, True): "both", (True, False): "ours", (False, True): "theirs"}
    lines = [f"    {word:{width}}  {who[word in p.ours, word in p.theirs]}" for word in found]
    return ["  capabilities", *lines] if lines else []


def problems(found: Iterable[Problem]) -> str:
    """Problems of a file, one line each."""
    return "".join(f"{problem}\n" for problem in found)


def findings(found: Sequence[Finding]) -> str:
    """What was looked at, one line each; below what is not well, what to do about it."""
    width = max((len(f.topic) for f in found), default=0)
    lines = []
    for each in found:
        lines.append(f"{each.level.value:4}  {each.topic:{width}}  {each.says}")
        if each.mend:
            lines.append(f"{'':4}  {'':{width}}  -> {each.mend}")
    return "".join(f"{line}\n" for line in lines)


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
