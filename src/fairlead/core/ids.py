"""Who may use which number: destination ids, next-hop rows, regions of the slots table, places in the services table.

Free lists are derived from the rows in use, never stored. Whatever readers could reach until a moment ago goes through
quarantine: it is neither in use nor free until a grace period (and for destination ids a sweep of the flow table between two) has
passed. It is better to lose a number for a while than to give it away too early.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """What can be held: each has numbers of its own."""

    __hash__ = object.__hash__  # members are single objects; the hash of Enum is Python code, and this one is asked for often

    DESTINATION = "destination"
    NEXT_HOP = "next hop"
    SERVICE = "service id"
    PLACE = "services row"
    COPY = "copy of a services row"
    REGION = "slot region"
    INTERFACE = "interfaces row"


class Item(NamedTuple):
    """One thing that is held: `length` is 1 but for regions, where both count elements of the slots table."""

    kind: Kind
    number: int
    length: int = 1


class FullError(Exception):
    """Nothing of that kind is free; `waiting` says that some of it will be after the next collection. Never leaves `core`."""

    def __init__(self, kind: Kind, waiting: bool) -> None:
        self.kind = kind
        self.waiting = waiting
        super().__init__(kind.value)


class Numbers:
    """Numbers from `first` below `limit`, the lowest free one first, so that the tables alone decide what comes next."""

    def __init__(self, first: int, limit: int) -> None:
        self._first = first
        self._top = first
        self._limit = limit
        self._heap: list[int] = []
        self._free: set[int] = set()

    def take(self) -> int | None:
        """The lowest free number, now taken; None when there is none."""
        while self._heap:
            number = heapq.heappop(self._heap)
            if number in self._free:
                self._free.remove(number)
                return number
        if self._top >= self._limit:
            return None
        self._top += 1
        return self._top - 1

    def claim(self, number: int) -> None:
        """Make sure that `number` is taken. A number out of range, as a broken row may name, is not ours to manage."""
        if number < self._top:
            self._free.discard(number)
            return
        if number >= self._limit:
            return
        for skipped in range(self._top, number):
            self.give(skipped)
        self._top = number + 1

    def give(self, number: int) -> None:
        """`number` is free again."""
        if self._first <= number < self._limit and number not in self._free:
            self._free.add(number)
            heapq.heappush(self._heap, number)


class Regions:
    """Spans of the slots table, in elements; the lowest that fits.

    A quarter is kept for rebuilds, which need old and new at once.
    """

    def __init__(self, first: int, limit: int) -> None:
        self._starts = [first]
        self._lengths = [limit - first]
        self._limit = limit
        self.used = 0

    def take(self, length: int, rebuild: bool) -> int | None:
        """The start of a free span; None when there is none, or when only a rebuild may have it."""
        if not rebuild and (self.used + length) * 4 > self._limit * 3:
            return None
        for i, free in enumerate(self._lengths):
            if free >= length:
                start = self._starts[i]
                self._cut(i, start, length)
                return start
        return None

    def claim(self, start: int, length: int) -> None:
        """Make sure that a span is taken; what of it is not free already stays as it is."""
        end = start + length
        i = max(bisect_right(self._starts, start) - 1, 0)
        while i < len(self._starts) and self._starts[i] < end:
            low = max(start, self._starts[i])
            high = min(end, self._starts[i] + self._lengths[i])
            if low < high:
                i = self._cut(i, low, high - low)
            else:
                i += 1

    def give(self, start: int, length: int) -> None:
        """A span is free again; neighbours grow together."""
        self.used -= length
        i = bisect_right(self._starts, start)
        self._starts.insert(i, start)
        self._lengths.insert(i, length)
        if i + 1 < len(self._starts) and start + length == self._starts[i + 1]:
            self._lengths[i] += self._lengths.pop(i + 1)
            del self._starts[i + 1]
        if i and self._starts[i - 1] + self._lengths[i - 1] == start:
            self._lengths[i - 1] += self._lengths.pop(i)
            del self._starts[i]

    def _cut(self, i: int, start: int, length: int) -> int:
        """Take a part of free span `i`; returns the index of the first free span behind that part."""
        low, end = self._starts[i], self._starts[i] + self._lengths[i]
        self.used += length
        del self._starts[i], self._lengths[i]
        for a, b in ((start + length, end), (low, start)):
            if a < b:
                self._starts.insert(i, a)
                self._lengths.insert(i, b - a)
        return i + (low < start)


class Holdings:
    """How often each thing is in use, what waits in quarantine, and from both what is free."""

    def __init__(self, services: int, destinations: int, nexthops: int, slots: int) -> None:
        self._uses: dict[Item, int] = {}
        self._waiting: dict[Item, None] = {}
        self._batch: dict[Item, None] = {}
        self._numbers = {
            Kind.DESTINATION: Numbers(1, destinations),
            Kind.NEXT_HOP: Numbers(1, nexthops),
            Kind.SERVICE: Numbers(1, destinations + services),
        }
        # Element 0 stays unused: a live word that names it with a size is then plainly broken.
        self.regions = Regions(1, slots)

    def hold(self, item: Item) -> None:
        """One more use; whatever waited in quarantine is rescued, for its contents are still whole."""
        before = self._uses.get(item, 0)
        self._uses[item] = before + 1
        if before:
            return
        self.rescue(item)
        if item.kind is Kind.REGION:
            self.regions.claim(item.number, item.length)
        elif item.kind in self._numbers:
            self._numbers[item.kind].claim(item.number)

    def hold_all(self, kind: Kind, numbers: Iterable[int]) -> None:
        """One more use for each."""
        for number, times in Counter(numbers).items():
            item = Item(kind, number)
            self.hold(item)
            self._uses[item] += times - 1

    def hold_new(self, kind: Kind, numbers: Iterable[int]) -> None:
        """A first use for each, of what is mostly neither in use nor in quarantine."""
        for item in [Item(kind, number) for number in numbers]:
            if item in self._uses or item in self._waiting or item in self._batch:
                self.hold(item)
            else:
                self._uses[item] = 1
                self._numbers[kind].claim(item.number)

    def drop(self, item: Item) -> None:
        """One use less; after the last one it goes into quarantine."""
        left = self._uses[item] - 1
        if left:
            self._uses[item] = left
            return
        del self._uses[item]
        self.quarantine(item)

    def quarantine(self, item: Item) -> None:
        """Nobody uses it from now on, but readers may still be at it."""
        self._batch.pop(item, None)
        self._waiting[item] = None

    def rescue(self, item: Item) -> None:
        """Out of quarantine, back into use."""
        self._waiting.pop(item, None)
        self._batch.pop(item, None)

    def uses(self, item: Item) -> int:
        """How often it is in use."""
        return self._uses.get(item, 0)

    def quarantined(self, item: Item) -> bool:
        """Neither in use nor free."""
        return item in self._waiting or item in self._batch

    def take(self, kind: Kind) -> Item:
        """A free number, now taken; FullError when there is none."""
        number = self._numbers[kind].take()
        if number is None:
            raise FullError(kind, self._any(kind))
        return Item(kind, number)

    def take_region(self, length: int, rebuild: bool) -> Item:
        """A free region of `length` elements; FullError when there is none, or when only a rebuild may have it."""
        start = self.regions.take(length, rebuild)
        if start is None:
            raise FullError(Kind.REGION, self._any(Kind.REGION))
        return Item(Kind.REGION, start, length)

    def _any(self, kind: Kind) -> bool:
        return any(i.kind is kind for i in self._waiting) or any(i.kind is kind for i in self._batch)

    def resting(self, kind: Kind) -> list[Item]:
        """All of a kind that are in quarantine."""
        return [i for i in (*self._batch, *self._waiting) if i.kind is kind]

    def kept(self, kind: Kind, rows: int) -> bytes:
        """One bit for each of so many rows, clear for those in quarantine."""
        bits = bytearray(b"\xff" * -(-rows // 8))
        for item in self.resting(kind):
            bits[item.number >> 3] &= ~(1 << (item.number & 7)) & 0xFF
        return bytes(bits)

    def waits(self) -> bool:
        """There is something to collect."""
        return bool(self._waiting or self._batch)

    def begin(self) -> tuple[Item, ...]:
        """Start a collection: everything that waits now. What arrives later waits for the next one."""
        self._batch |= self._waiting
        self._waiting = {}
        return tuple(self._batch)

    def due(self, items: Iterable[Item]) -> tuple[Item, ...]:
        """Those of a collection that nobody has taken into use again since."""
        return tuple(i for i in items if i in self._batch)

    def free(self, item: Item) -> None:
        """The quarantine of `item` is over."""
        self._batch.pop(item, None)
        if item.kind is Kind.REGION:
            self.regions.give(item.number, item.length)
        elif item.kind in self._numbers:
            self._numbers[item.kind].give(item.number)


@dataclass(frozen=True, slots=True)
class Move:
    """A row of the services table must go from one of its places to its other one first."""

    source: int
    target: int


def place(
    places: tuple[int, int],
    taken: Callable[[int], bool],
    other: Callable[[int], int | None],
    limit: int = 1024,
) -> int | Move:
    """Where a new key goes in the cuckoo table (Pagh and Rodler, 2001), breadth first.

    A free place of its own, or the move that brings one nearer: only the last move of a chain can be made at once, since a place
    that a row has left must rest for a grace period. `taken` says whether a place is in use or resting; `other` gives the other
    place of the row at a place, None when it rests. FullError when no chain of at most `limit` rows ends at a free place.
    """
    free = next((at for at in places if not taken(at)), None)
    if free is not None:
        return free
    queue, seen, resting = deque(places), set(places), False
    while queue:
        at = queue.popleft()
        target = other(at)
        if target is None:
            resting = True
        elif not taken(target):
            return Move(at, target)
        elif target not in seen and len(seen) < limit:
            seen.add(target)
            queue.append(target)
    raise FullError(Kind.PLACE, resting)
