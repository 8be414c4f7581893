"""What is known about services and tables as the status objects of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from fairlead.core.hashes import mapped
from fairlead.core.plan import BackendPlan, ServicePlan, State
from fairlead.core.rows import service_key
from fairlead.core.tables import Have
from fairlead.model import Address, BackendStatus, Health, ServiceKey, ServiceStatus, TableStatus, VipStatus

Counters = tuple[int, int, int]
CountersOf = Callable[[Sequence[int]], Sequence[Counters]]


@dataclass(frozen=True, slots=True)
class Report:
    """The pieces of `Status` that the reconciler knows."""

    vips: tuple[VipStatus, ...]
    services: tuple[ServiceStatus, ...]
    tables: tuple[TableStatus, ...]
    tables_hash: str
    repairs: int


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
    latest: Callable[[ServiceKey, Address], Health | None],
    counters: CountersOf,
    flows: Sequence[int],
) -> ServiceStatus:
    """One service with its backends; counters are those of the present owner of each id."""
    key = plan.service.key
    row = have.service(service_key(key))
    ids = [have.destination_id(service_key(key), mapped(b.backend.address)) for b in plan.backends]
    known = [number for number in ids if number]
    counts = dict(zip(known, counters(known), strict=True)) if known else {}
    backends = tuple(
        _backend(have, key, b, number, latest(key, b.backend.address), counts.get(number, (0, 0, 0)), flows)
        for b, number in zip(plan.backends, ids, strict=True)
    )
    state = "up" if plan.up else "down"
    size = row.size if row is not None else 0
    service = plan.service
    return ServiceStatus(
        service.name, str(key.vip), key.port, str(key.protocol), state, plan.reason, service.need, plan.available, size, backends
    )


def _backend(
    have: Have, key: ServiceKey, plan: BackendPlan, number: int, health: Health | None, counts: Counters, flows: Sequence[int]
) -> BackendStatus:
    registry = have.registry(number) if number else None
    base = registry.base if registry is not None else (0, 0, 0)
    packets, octets, made = (max(now - then, 0) for now, then in zip(counts, base, strict=True))
    since = registry.since / 1e9 if registry is not None else health.since if health is not None else 0.0
    by_health = plan.state is State.ACTIVE or (plan.state is State.DOWN and not plan.healthy)
    current = flows[number] if number < len(flows) else 0
    return BackendStatus(
        address=str(plan.backend.address),
        port=key.port,
        state=plan.state.value,
        since=since,
        reason=health.reason if by_health and health is not None else plan.reason,
        weight=plan.backend.weight,
        packets=packets,
        bytes=octets,
        flows=current if number else 0,
        new_flows=made,
        destination=number,
    )


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
    rows = [TableStatus(table, n, limit, limit * size[table]) for table, (n, limit) in used.items()]
    ways = have.rows.constants["FLOW_WAYS"]
    words = TableStatus("flows", sum(flows), geometry.buckets * ways, geometry.buckets * size["flows"])
    return (*rows, words)
