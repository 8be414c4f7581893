"""Totals that never fall: a service counts what its destinations did, those that are gone included; a VIP what its services did.

A backend's own counters go with it. What it counted stays in the sum of its service, and a service's in that of its VIP, until
the VIP leaves the configuration. The moment of truth is when an id comes free: nobody counts on it any more, and its next owner
starts from what stands there. The sums are kept for the next daemon before that; should this one be killed in between, `counted`
says which rows were added already.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from fairlead.core.hashes import mapped
from fairlead.core.ids import Item, Kind
from fairlead.core.rows import RowKey
from fairlead.core.tables import Have
from fairlead.model import Address, Kept

Counters = tuple[int, int, int]  # packets, bytes, new flows
CountersOf = Callable[[Sequence[int]], Sequence[Counters]]
NONE: Counters = (0, 0, 0)


def plus(a: Counters, b: Counters) -> Counters:
    """The sum of two."""
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def since_base(now: Counters, base: Counters) -> Counters:
    """What an id has counted for its present owner."""
    return max(now[0] - base[0], 0), max(now[1] - base[1], 0), max(now[2] - base[2], 0)


class Totals:
    """The sums of what is gone."""

    def __init__(self, have: Have) -> None:
        self._have = have
        self._sums: dict[RowKey, Counters] = {}
        self._counted: dict[int, int] = {}
        self._vips: set[bytes] = set()

    def load(self, kept: Kept) -> None:
        """Go on from what an earlier daemon kept; the tables must be the same still."""
        self._sums, self._counted = dict(kept.sums), dict(kept.counted)

    def kept(self) -> Kept:
        """What is to outlive this daemon."""
        return Kept(dict(self._sums), dict(self._counted))

    def limit_to(self, vips: Iterable[Address]) -> None:
        """Forget the VIPs that are not configured any more."""
        self._vips = {mapped(vip) for vip in vips}
        self._sums = {key: value for key, value in self._sums.items() if key[:16] in self._vips}

    def retire(self, items: Iterable[Item], counters: Callable[[int, int], list[Counters]]) -> bool:
        """Take over what these destinations counted, which are about to come free; whether there is something to keep."""
        rows = {i.number: self._have.destinations.get(i.number) for i in items if i.kind is Kind.DESTINATION}
        numbers = [number for number, row in rows.items() if row is not None and row.key[:16] in self._vips]
        fresh = [number for number in numbers if not self._is_counted(number)]
        for number in fresh:
            key = self._have.destinations[number].key
            self._sums[key] = plus(
                self._sums.get(key, NONE), since_base(counters(number, 1)[0], self._have.registry(number).base)
            )
        if fresh:
            self._counted = {number: self._have.registry(number).since for number in numbers}
        return bool(fresh)

    def _is_counted(self, number: int) -> bool:
        return self._counted.get(number) == self._have.registry(number).since

    def rest(self, counters: CountersOf) -> Rest:
        """For one look at everything."""
        gone: dict[RowKey, list[int]] = {}
        for item in self._have.holdings.resting(Kind.DESTINATION):
            row = self._have.destinations.get(item.number)
            if row is not None and not self._is_counted(item.number):
                gone.setdefault(row.key, []).append(item.number)
        return Rest(self._have, self._sums, gone, counters)


@dataclass(frozen=True, slots=True)
class Rest:
    """What services counted besides the backends that they have by configuration."""

    have: Have
    sums: Mapping[RowKey, Counters]
    gone: Mapping[RowKey, list[int]]
    counters: CountersOf

    def of(self, key: RowKey, shown: Collection[int] = ()) -> Counters:
        """What the service of this key counted by other destinations than those in `shown`."""
        there = (*self.have.owned.get(key, {}).values(), *self.have.spare.get(key, ()), *self.gone.get(key, ()))
        others = sorted(set(there).difference(shown))
        total = self.sums.get(key, NONE)
        for number, now in zip(others, self.counters(others), strict=True) if others else ():
            total = plus(total, since_base(now, self.have.registry(number).base))
        return total

    def keys(self) -> set[RowKey]:
        """Every service that ever counted, as far as it is known."""
        return self.sums.keys() | self.gone.keys() | self.have.owned.keys()
