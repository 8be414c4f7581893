"""The whole status: aligned tables, then sentences that name what is wrong."""

from __future__ import annotations

from fairlead.model import BackendStatus, InterfaceStatus, Status
from fairlead.render.figures import number, service_name, span, table
from fairlead.render.wrong import sentences


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
