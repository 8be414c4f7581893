"""Services and backends: all of them as a table, one of them with all that is known of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fairlead.model import BackendStatus, CheckStatus, ServiceStatus, VipStatus
from fairlead.render.figures import number, service_name, span, table
from fairlead.render.wrong import backend_troubles, mend, service_troubles

_SERVICES = ("SERVICE", "NAME", "STATE", "FOR", "BACKENDS", "NEED", "FLOWS", "NEW", "PACKETS", "BYTES", "ANNOUNCED")
_BACKENDS = ("BACKEND", "OF SERVICE", "STATE", "FOR", "WEIGHT", "FLOWS", "NEW", "PACKETS", "BYTES", "LAST CHECK")


def services(found: Sequence[ServiceStatus], vips: Mapping[str, VipStatus], now: float) -> str:
    """A line each; `vips` by address, `now` is a Unix time."""
    rows = [
        (
            service_name(s),
            s.name,
            s.state,
            _since(s.since, now),
            f"{s.available}/{len(s.backends)} up",
            str(s.need),
            number(s.flows),
            number(s.new_flows),
            number(s.packets),
            number(s.bytes),
            _announced(vips.get(s.vip)),
        )
        for s in found
    ]
    return _joined([table(_SERVICES, rows) if rows else ["no services"], _wrong(found, now)])


def service(s: ServiceStatus, vip: VipStatus | None, now: float) -> str:
    """All about one: how it stands, then its backends."""
    lines = [f"{service_name(s)}{f' ({s.name})' if s.name else ''} is {s.state}{_long(s.since, now)}"]
    lines.append(f"  {s.available} of {len(s.backends)} backends take new flows, {s.need} needed; {s.slots} slots")
    if vip is not None:
        lines.append(f"  {s.vip} is {'announced' if vip.announced else f'withheld: {vip.reason}'}")
    lines.append(f"  {_traffic(s)}")
    lines += [
        f"  {text}" for text, holds in (("in panic: all backends count as up", s.panic), ("backups are used", s.backups)) if holds
    ]
    rows = [(b.address, b.state, _since(b.since, now), *_figures(b), b.reason) for b in s.backends]
    head = ("BACKEND", "STATE", "FOR", "WEIGHT", "FLOWS", "NEW", "PACKETS", "BYTES", "REASON")
    return _joined([lines, table(head, rows), _wrong([s], now)])


def backends(found: Sequence[ServiceStatus], now: float) -> str:
    """A line for each backend of each service."""
    rows = [
        (b.address, service_name(s), b.state, _since(b.since, now), *_figures(b), _last(b)) for s in found for b in s.backends
    ]
    return _joined([table(_BACKENDS, rows) if rows else ["no backends"], _wrong(found, now)])


def backend(found: Sequence[ServiceStatus], now: float) -> str:
    """All about one, service by service; `found` have no other backends."""
    parts = [_about(s, b, now) for s in found for b in s.backends]
    return _joined(parts)


def _about(s: ServiceStatus, b: BackendStatus, now: float) -> list[str]:
    state = "draining" if b.state == "drain" else b.state
    lines = [f"{b.address} is {state} for {service_name(s)}{_long(b.since, now)}"]
    lines += [f"  {b.reason}"] if b.reason else []
    lines += [f"  -> {mend(s, b)}"] if b.state == "down" and mend(s, b) else []
    lines.append(f"  weight {b.weight}{', a backup' if b.backup else ''}; {_traffic(b)}")
    if b.penalty:
        lines.append(f"  penalty {b.penalty:g}")
    if b.override:
        lines.append(f"  overridden: {b.override} (`fairlead clear {b.address}` takes it back)")
    lines += ["  checks", *(f"    {text}" for text in _checks(b.checks, now))] if b.checks else ["  no checks"]
    return lines


def _checks(checks: Sequence[CheckStatus], now: float) -> list[str]:
    width = max(len(c.check) for c in checks)
    return [f"{c.check:{width}}  {'up' if c.up else 'down':4}  {c.says}{_lately(c, now)}" for c in checks]


def _lately(c: CheckStatus, now: float) -> str:
    """Since when it fails, and how old that is."""
    failing = f", {c.failures} failure{'s' * (c.failures != 1)} in a row for {span(now - c.failing_since)}" if c.failures else ""
    return f"{failing}; {span(now - c.at)} ago" if c.at else failing


def _figures(b: BackendStatus) -> tuple[str, str, str, str, str]:
    return str(b.weight), number(b.flows), number(b.new_flows), number(b.packets), number(b.bytes)


def _traffic(of: ServiceStatus | BackendStatus) -> str:
    made = f"{number(of.flows)} flows now, {number(of.new_flows)} made"
    return f"{made}; {number(of.packets)} packets, {number(of.bytes)} octets"


def _last(b: BackendStatus) -> str:
    """What matters most of its checks: why it has no flows, else the last result of the first."""
    if b.state != "up" or not b.checks:
        return b.reason or "-"
    failing = next((c for c in b.checks if c.failures), b.checks[0])
    return failing.says


def _announced(vip: VipStatus | None) -> str:
    return "-" if vip is None else "yes" if vip.announced else "no"


def _since(moment: float, now: float) -> str:
    return span(now - moment) if moment else "-"


def _long(moment: float, now: float) -> str:
    return f" for {span(now - moment)}" if moment else ""


def _wrong(found: Sequence[ServiceStatus], now: float) -> list[str]:
    return [f"# {text}" for text in troubles_of(found, now)]


def troubles_of(found: Sequence[ServiceStatus], now: float) -> list[str]:
    """What is wrong with these services and their backends."""
    return [*(text for s in found for text in service_troubles(s)), *backend_troubles(found, now)]


def _joined(parts: Iterable[Sequence[str]]) -> str:
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"
