"""What a change moves: slots and live flows, service by service, from the tables as they are and as they would be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from math import gcd, prod

from fairlead.core.diff import indices
from fairlead.core.hashes import known, unmapped
from fairlead.core.maglev import table_size
from fairlead.core.plan import ServiceFacts, plan_service
from fairlead.core.rows import RowKey, named
from fairlead.core.steps import Tools
from fairlead.core.tables import Have
from fairlead.model import Address, BackendShare, Health, Moved, NoPath, Path, ServiceChange

_SOMEHOW = Path(0, bytes(6), bytes(6), 0)  # of a backend that nobody has asked for yet
_SOON = Health(up=True, since=0.0, reason="", reported=True)


class Table:
    """A service's slots: for each a u32 number, and the backend (16 bytes) that each number stands for."""

    def __init__(self, slots: bytes, backend_of: Mapping[int, bytes]) -> None:
        self.slots = slots
        self.size = len(slots) // 4
        self.words = memoryview(slots).cast("I")
        self.backend_of = backend_of

    @cached_property
    def shares(self) -> dict[bytes, float]:
        """Of each backend, 0 to 1."""
        found: dict[bytes, float] = {}
        for number, times in Counter(self.words).items():
            backend = self.backend_of.get(number, b"")
            found[backend] = found.get(backend, 0.0) + times / self.size
        return found

    def same(self, other: Table) -> bool:
        """Every slot has the same backend."""
        return self.size == other.size and (self is other or steady((self, other)) == self.shares)


_EMPTY = Table(b"", {})


def present(have: Have, key: RowKey) -> Table:
    """A service's slots as the tables have them."""
    row = have.service(key)
    if row is None or not row.size:
        return _EMPTY
    slots = bytes(have.region(row.base, row.size))
    owned = have.owned.get(key, {})
    return Table(slots, {number: backend for backend, number in owned.items()})


def expected(facts: ServiceFacts, new: Collection[Address], tools: Tools) -> Table:
    """A service's slots once every backend that is `new` has come up."""
    service = facts.service
    asked = frozenset(new)
    fresh = [b.address in asked for b in service.backends]
    healths = tuple(_SOON if n else h for n, h in zip(fresh, facts.healths, strict=True))
    paths = tuple(_SOMEHOW if n and isinstance(p, NoPath) else p for n, p in zip(fresh, facts.paths, strict=True))
    plan = plan_service(replace(facts, healths=healths, paths=paths))
    nodes = sorted((known(b.backend.address).order, b.backend) for b in plan.backends if b.usable and b.backend.weight)
    if not nodes:
        return _EMPTY
    size = service.table_size or table_size(len(service.backends))
    chosen = [backend for _, backend in nodes]
    slots = indices(tools, service.scheduler, size, [(b.address, b.weight) for b in chosen])
    return Table(slots, {number: known(b.address).packed for number, b in enumerate(chosen)})


def slots_moved(tables: Sequence[Table]) -> int:
    """Slots of the first table that do not keep their backend through all the others.

    To a table of another size a flow goes as if by chance, for its hash modulo one size says nothing of that modulo the other
    where they have no common divisor: what is expected then, and all of them otherwise.
    """
    first = tables[0]
    if any(t.size != first.size for t in tables):
        return round(first.size * (1 - _kept_by_chance(tables)))
    return first.size - round(first.size * sum(steady(tables).values()))


def _kept_by_chance(tables: Sequence[Table]) -> float:
    """The share of flows that has the same backend in all of these tables."""
    sizes = {t.size for t in tables}
    if 0 in sizes or any(gcd(a, b) > 1 for a, b in combinations(sizes, 2)):
        return 0.0
    by_size = {size: [t for t in tables if t.size == size] for size in sizes}
    shares = [steady(same) for same in by_size.values()]
    return sum(prod(share.get(backend, 0.0) for share in shares) for backend in shares[0])


def steady(tables: Sequence[Table]) -> Mapping[bytes, float]:
    """The share of slots, by backend, that have it in all of these tables of one size."""
    first = tables[0]
    others = [t for i, t in enumerate(tables) if i and t is not tables[i - 1]]
    if not others or not first.size:
        return first.shares
    kept: Counter[bytes] = Counter()
    for at, times in Counter(zip(first.words, *(t.words for t in others), strict=True)).items():
        backends = {t.backend_of.get(n, b"") for t, n in zip((first, *others), at, strict=True)}
        if len(backends) == 1:
            kept[backends.pop()] += times
    return {backend: times / first.size for backend, times in kept.items()}


def follows(have: Have, number: int) -> bool:
    """Whether flows that are known follow a destination."""
    c, row = have.rows.constants, have.destinations.get(number)
    return row is not None and bool(row.live >> c["DESTINATION_FLAG_SHIFT"] & c["DESTINATION_FOLLOW"])


@dataclass(frozen=True, slots=True)
class Before:
    """What the tables held before the rehearsal."""

    have: Have
    flows: Sequence[int]  # live entries by destination id

    def of(self, number: int) -> int:
        """Live flows of a destination."""
        return self.flows[number] if number < len(self.flows) else 0


def service_change(key: RowKey, before: Before, after: Have, end: Table | None) -> ServiceChange | None:
    """What becomes of one service; None if nothing of it moves. `end` is what its slots come to, None if they stay as after."""
    first, then = present(before.have, key), present(after, key)
    last = then if end is None else end
    owned = before.have.owned.get(key, {})
    lost = {b: before.of(n) for b, n in owned.items() if follows(before.have, n) and not follows(after, n)}
    moved = slots_moved((first, then, last))
    if not moved and not sum(lost.values()) and last.same(first):
        return None
    shares, to = first.shares, last.shares
    every = sorted({*owned, *to, *shares} - {b""}, key=lambda b: known(unmapped(b)).order)
    backends = tuple(
        BackendShare(
            str(unmapped(b)), shares.get(b, 0.0), to.get(b, 0.0), before.of(owned[b]) if b in owned else 0, lost.get(b, 0)
        )
        for b in every
    )
    live = sum(before.of(n) for n in owned.values())
    return ServiceChange(named(key), first.size, moved, live, sum(lost.values()), backends)


def untouched(key: RowKey, before: Have, after: Have) -> bool:
    """Neither slots nor destinations of a service are others."""
    owned = before.owned.get(key, {})
    if before.service(key) != after.service(key) or owned != after.owned.get(key, {}):
        return False
    return all(before.destinations[n].live == after.destinations[n].live for n in owned.values())


def total(changes: Sequence[ServiceChange], before: Before) -> Moved:
    """Everything that moves, held against all live flows and all slots there were."""
    slots, flows = sum(c.slots_moved for c in changes), sum(c.flows_moved for c in changes)
    all_slots, live = sum(row.size for row in before.have.services.values()), sum(before.flows)
    of_slots = 100 * slots / all_slots if all_slots else 0.0
    of_flows = 100 * flows / live if live else 0.0
    return Moved(slots, flows, round(max(of_slots, of_flows), 3))
