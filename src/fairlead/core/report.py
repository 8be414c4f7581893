"""What is known about services and tables as the status objects of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from fairlead.core.facts import Seen
from fairlead.core.hashes import known
from fairlead.core.ids import Kind
from fairlead.core.overrides import described
from fairlead.core.plan import BackendPlan, ServicePlan, State
from fairlead.core.rows import service_key
from fairlead.core.steps import LIMIT_OF
from fairlead.core.tables import Have
from fairlead.model import Address, BackendStatus, ServiceKey, ServiceStatus, TableStatus, VipStatus

Counters = tuple[int, int, int]
_NONE = (0, 0, 0)
_LIMITS = {
    "services": LIMIT_OF[Kind.SERVICE],
    "slots": LIMIT_OF[Kind.REGION],
    "destinations": LIMIT_OF[Kind.DESTINATION],
    "nexthops": LIMIT_OF[Kind.NEXT_HOP],
}
CountersOf = Callable[[Sequence[int]], Sequence[Counters]]


@dataclass(frozen=True, slots=True)
class Report:
    """The pieces of `Status` that the reconciler knows."""

    vips: tuple[VipStatus, ...]
    services: tuple[ServiceStatus, ...]
    tables: tuple[TableStatus, ...]
    tables_hash: str
    repairs: int
    warnings: tuple[str, ...] = ()  # what has failed and belongs to no service


def counted(have: Have, view: memoryview, first: int, count: int) -> list[Counters]:
    """What `count` ids from `first` on have counted so far, over all CPUs; `view` is the table of counters."""
    starts = range(first, have.geometry.cpus * have.geometry.destinations, have.geometry.destinations)
    cpus = [have.rows.read_cells(view, start, count) for start in starts]
    if not any(any(cell) for cells in cpus for cell in cells):
        return [_NONE] * count
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
    counters: CountersOf,
    flows: Sequence[int],
    applied: str,
) -> ServiceStatus:
    """One service with its backends; counters are those of the present owner of each id."""
    service, key = plan.service, plan.service.key
    name = service_key(key)
    row, owned = have.service(name), have.owned.get(name, {})
    ids = [owned.get(known(b.backend.address).packed, 0) for b in plan.backends]
    in_use = [number for number in ids if number]
    counts = dict(zip(in_use, counters(in_use), strict=True)) if in_use else {}
    pairs = zip(plan.backends, ids, strict=True)
    backends = tuple([_backend(have, key.port, b, n, seen(b.backend.address), counts.get(n, _NONE), flows) for b, n in pairs])
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
        packets=sum(b.packets for b in backends),
        bytes=sum(b.bytes for b in backends),
        flows=sum(b.flows for b in backends),
        new_flows=sum(b.new_flows for b in backends),
        panic=plan.panic,
        backups=plan.backups,
        applied=applied,
    )


def _backend(
    have: Have, port: int, plan: BackendPlan, number: int, seen: Seen | None, counts: Counters, flows: Sequence[int]
) -> BackendStatus:
    since = seen.health.since if seen is not None else 0.0
    packets, octets, made = counts
    if number:
        registry = have.registry(number)
        since, (a, b, c) = registry.since / 1e9, registry.base
        packets, octets, made = max(packets - a, 0), max(octets - b, 0), max(made - c, 0)
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
    )


def _reason(plan: BackendPlan, seen: Seen | None) -> str:
    """That of the plan, with the words of the checks and of damping as they are now and not when the plan was made."""
    if seen is None:
        return plan.reason
    reason = plan.front + seen.health.reason if plan.by_checks else plan.reason
    if not plan.suppressed or plan.usable or not seen.damped:
        return reason
    return seen.damped if plan.state is State.DRAIN and plan.by_damping else f"{reason}; {seen.damped}"


def with_totals(vips: Iterable[VipStatus], services: Iterable[ServiceStatus]) -> tuple[VipStatus, ...]:
    """VIPs with the sums over their services."""
    sums: dict[str, list[int]] = {}
    for s in services:
        so_far = sums.get(s.vip, [0, 0, 0, 0])
        sums[s.vip] = [a + b for a, b in zip(so_far, (s.packets, s.bytes, s.flows, s.new_flows), strict=True)]
    return tuple(VipStatus(v.address, v.state, v.announced, v.reason, *sums.get(v.address, ())) for v in vips)


def table_status(have: Have, flows: Sequence[int]) -> tuple[TableStatus, ...]:
    """Use of each table, in its own rows; slots in elements of 16. What rests in quarantine counts as used."""
    geometry, size = have.geometry, have.rows.size
    used: Mapping[str, tuple[int, int]] = {
        "services": (len(have.services), geometry.services),
        "slots": (have.holdings.regions.used, geometry.slots),
        "destinations": (len(have.destinations), geometry.destinations),
        "nexthops": (len(have.hop_rows), geometry.nexthops),
        "interfaces": (len(have.interfaces), have.rows.constants["INTERFACE_ROWS"]),
    }
    rows = [TableStatus(table, n, limit, limit * size[table], _LIMITS.get(table, "")) for table, (n, limit) in used.items()]
    ways = have.rows.constants["FLOW_WAYS"]
    words = TableStatus("flows", sum(flows), geometry.buckets * ways, geometry.buckets * size["flows"], "limits.flows")
    return (*rows, words)
