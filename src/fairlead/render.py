"""Status and problems as text for a terminal: aligned tables, then sentences that name what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from fairlead.model import BackendStatus, InterfaceStatus, Problem, ServiceStatus, Status

_RIGHT = {"PACKETS", "BYTES", "FLOWS", "WEIGHT", "USED", "OF", "ERRORS", "PORT"}
_NEARLY_FULL = 0.9  # of a limit
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
    for service in s.services:
        name = service_name(service)
        for b in service.backends:
            if b.state == "down":
                found.append(f"# {b.address} is down for {name}: {b.reason}{_since(b.since, now)}")
        if service.state != "up" and service.reason:
            found.append(f"# {name} is {service.state}: {service.reason}")
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


def _since(moment: float, now: float) -> str:
    return f", for {span(now - moment)}" if moment else ""


def problems(found: Iterable[Problem]) -> str:
    """Problems of a file, one line each."""
    return "".join(f"{problem}\n" for problem in found)
