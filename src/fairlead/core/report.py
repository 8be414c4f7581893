"""What is known about services and tables as the status objects of the model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from fairlead.core.facts import Seen
from fairlead.core.geometry import holds
from fairlead.core.hashes import known, unmapped
from fairlead.core.ids import Kind
from fairlead.core.overrides import described
from fairlead.core.plan import BackendPlan, ServicePlan, State, cause
from fairlead.core.rows import is_vip, service_key
from fairlead.core.steps import LIMIT_OF
from fairlead.core.tables import Have
from fairlead.core.totals import NONE, Counters, Rest, plus, since_base
from fairlead.model import Address, BackendStatus, Config, LimitStatus, ServiceKey, ServiceStatus, TableStatus, VipStatus

_LIMITS = {
    "services": LIMIT_OF[Kind.SERVICE],
    "slots": LIMIT_OF[Kind.REGION],
    "destinations": LIMIT_OF[Kind.DESTINATION],
    "counters": LIMIT_OF[Kind.DESTINATION],
    "registry": LIMIT_OF[Kind.DESTINATION],
    "nexthops": LIMIT_OF[Kind.NEXT_HOP],
    "flows": "limits.flows",
}


@dataclass(frozen=True, slots=True)
class Report:
    """The pieces of `Status` that the reconciler knows."""

    vips: tuple[VipStatus, ...]
    services: tuple[ServiceStatus, ...]
    limits: tuple[LimitStatus, ...]
    tables: tuple[TableStatus, ...]
    tables_hash: str
    repairs: int
    warnings: tuple[str, ...] = ()  # what has failed and belongs to no service


def counted(have: Have, view: memoryview, first: int, count: int) -> list[Counters]:
    """What `count` ids from `first` on have counted so far, over all CPUs; `view` is the table of counters."""
    starts = range(first, have.geometry.cpus * have.geometry.destinations, have.geometry.destinations)
    width, nothing = have.rows.size["counters"], bytes(count * have.rows.size["counters"])
    if all(view[start * width : (start + count) * width] == nothing for start in starts):
        return [NONE] * count
    cpus = [have.rows.read_cells(view, start, count) for start in starts]
    return [(sum(p), sum(o), sum(f)) for p, o, f in (zip(*cells, strict=True) for cells in zip(*cpus, strict=True))]


def tables_hash(have: Have, services: Iterable[ServiceKey]) -> str:
    """One hash over (VIP, port, protocol, size, slot -> backend address, weights) of all services as they are pointed: 32 hex
    digits.

    Equal on every instance with the same configuration and health, in whatever order things happened; ids do not enter.
    """
    text = blake2b(digest_size=16)
    for key in sorted(services, key=lambda k: k.sort_key):
        row = have.service(service_key(key))
        if row is None:
            continue
        fill = have.fills.get(row.base) if row.size else None
        text.update(fill.digest if fill is not None else f"{key} {row.size}\n".encode())
    return text.hexdigest()


def service_status(
    have: Have,
    plan: ServicePlan,
    seen: Callable[[Address], Seen | None],
    rest: Rest,
    flows: Sequence[int],
    applied: str,
    since: float = 0.0,
) -> ServiceStatus:
    """One service with its backends; these have the counters of the present owner of their id, the sums have the rest too."""
    service, key = plan.service, plan.service.key
    name = service_key(key)
    row, owned = have.service(name), have.owned.get(name, {})
    ids = [owned.get(known(b.backend.address).packed, 0) for b in plan.backends]
    in_use = [number for number in ids if number]
    counts = dict(zip(in_use, rest.counters(in_use), strict=True)) if in_use else {}
    pairs = zip(plan.backends, ids, strict=True)
    backends = tuple([_backend(have, key.port, b, n, seen(b.backend.address), counts.get(n, NONE), flows) for b, n in pairs])
    packets, octets, made = rest.of(name, in_use)
    return ServiceStatus(
        name=service.name,
        vip=str(key.vip),
        port=key.port,
        protocol=str(key.protocol),
        state="up" if plan.up else "down",
        reason=plan.reason,
        need=service.need,
        available=plan.available,
        slots=row.size if row is not None else 0,
        backends=backends,
        packets=packets + sum(b.packets for b in backends),
        bytes=octets + sum(b.bytes for b in backends),
        flows=sum(b.flows for b in backends),
        new_flows=made + sum(b.new_flows for b in backends),
        panic=plan.panic,
        backups=plan.backups,
        applied=applied,
        since=since,
    )


def _backend(
    have: Have, port: int, plan: BackendPlan, number: int, seen: Seen | None, counts: Counters, flows: Sequence[int]
) -> BackendStatus:
    since = seen.health.since if seen is not None else 0.0
    if number:
        registry = have.registry(number)
        since, counts = registry.since / 1e9, since_base(counts, registry.base)
    packets, octets, made = counts
    return BackendStatus(
        address=known(plan.backend.address).text,
        port=port,
        state=plan.state.value,
        since=since,
        reason=_reason(plan, seen),
        weight=plan.backend.weight,
        packets=packets,
        bytes=octets,
        flows=flows[number] if 0 < number < len(flows) else 0,
        new_flows=made,
        destination=number,
        backup=plan.backend.backup,
        penalty=round(seen.penalty, 1) if seen is not None else 0.0,
        override=described(plan.backend.override) if plan.backend.override is not None else "",
        checks=seen.checks if seen is not None else (),
        cause=cause(plan, tried=seen is not None and any(check.at for check in seen.checks)),
    )


def _reason(plan: BackendPlan, seen: Seen | None) -> str:
    """That of the plan, with the words of the checks and of damping as they are now and not when the plan was made."""
    if seen is None:
        return plan.reason
    reason = plan.front + seen.health.reason if plan.by_checks else plan.reason
    if not plan.suppressed or plan.usable or not seen.damped:
        return reason
    return seen.damped if plan.state is State.DRAIN and plan.by_damping else f"{reason}; {seen.damped}"


def with_totals(
    vips: Iterable[VipStatus], services: Iterable[ServiceStatus], rest: Rest, configured: Iterable[ServiceKey]
) -> tuple[VipStatus, ...]:
    """VIPs with the sums over their services, those included that are not configured any more."""
    sums: dict[str, Counters] = {}
    flows: dict[str, int] = {}
    turned: dict[str, list[tuple[bool, float]]] = {}
    for s in services:
        turned.setdefault(s.vip, []).append((s.state == "up", s.since))
        sums[s.vip] = plus(sums.get(s.vip, NONE), (s.packets, s.bytes, s.new_flows))
        flows[s.vip] = flows.get(s.vip, 0) + s.flows
    for key in rest.keys().difference(map(service_key, configured)):
        vip = str(unmapped(key[:16]))
        sums[vip] = plus(sums.get(vip, NONE), rest.of(key))
    return tuple(_vip(v, sums.get(v.address, NONE), flows.get(v.address, 0), _since(turned.get(v.address, ()))) for v in vips)


def _vip(vip: VipStatus, counts: Counters, flows: int, since: float) -> VipStatus:
    packets, octets, made = counts
    return VipStatus(vip.address, vip.state, vip.announced, vip.reason, packets, octets, flows, made, since)


def _since(services: Collection[tuple[bool, float]]) -> float:
    """Since when a VIP is as it is: up since the last of its services is, down since the first of those that are."""
    down = [since for up, since in services if not up]
    return min(down) if down else max((since for _, since in services), default=0.0)


def limit_status(have: Have, config: Config | None, flows: Sequence[int]) -> tuple[LimitStatus, ...]:
    """The use of each limit, in the units of the configuration; where the tables were made for less, theirs is the limit."""
    if config is None:
        return ()
    rows = [have.services[at] for key, at in have.places.items() if not is_vip(key)]
    used = {
        "services": len(rows),
        "destinations": sum(map(len, have.owned.values())),
        "slots": sum(row.size for row in rows),
        "flows": sum(flows),
    }
    there = holds(have.geometry)
    limits = {name: min(getattr(config.limits, name), getattr(there, name)) for name in used}
    return tuple(LimitStatus(name, n, limits[name], f"limits.{name}") for name, n in used.items())


def table_status(have: Have, flows: Sequence[int], sizes: Mapping[str, tuple[int, int]]) -> tuple[TableStatus, ...]:
    """Every table with the rows in use, where somebody knows; slots in elements of 16. What rests in quarantine counts as used.

    `sizes` gives rows and octets of each.
    """
    used = {
        "services": len(have.services),
        "slots": have.holdings.regions.used,
        "destinations": len(have.destinations),
        "registry": len(have.destinations),
        "counters": len(have.destinations) * have.geometry.cpus,
        "nexthops": len(have.hop_rows),
        "interfaces": len(have.interfaces),
        "flows": sum(flows),
    }
    ways = {"flows": have.rows.constants["FLOW_WAYS"]}
    return tuple(
        TableStatus(name, used.get(name), rows * ways.get(name, 1), octets, _LIMITS.get(name, ""))
        for name, (rows, octets) in sizes.items()
    )
