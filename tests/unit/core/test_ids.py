"""Numbers, regions, quarantine, cuckoo places."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.ids import FullError, Holdings, Item, Kind, Move, Numbers, Regions, place


def test_lowest_first():
    """The lowest free number comes first, so that the tables alone decide what is next; at the limit there is none."""
    numbers = Numbers(1, 5)
    assert [numbers.take() for _ in range(5)] == [1, 2, 3, 4, None]
    numbers.give(3)
    numbers.give(2)
    assert [numbers.take(), numbers.take(), numbers.take()] == [2, 3, None]


def test_claim():
    """A claimed number is not given out, those below it are; giving twice or out of range changes nothing."""
    numbers = Numbers(1, 8)
    numbers.claim(4)
    numbers.claim(99)
    numbers.give(0)
    numbers.give(2)
    assert [numbers.take() for _ in range(7)] == [1, 2, 3, 5, 6, 7, None]


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9)), max_size=80))
def test_regions_never_overlap(steps):
    """Whatever is taken, claimed and given back, spans in use never overlap and nothing is lost."""
    regions, used = Regions(1, 64), {}
    for give, length in steps:
        if give and used:
            start = sorted(used)[length % len(used)]
            regions.give(start, used.pop(start))
            continue
        start = regions.take(length, rebuild=True)
        if start is None:
            continue
        assert all(start + length <= s or s + n <= start for s, n in used.items())
        assert 1 <= start <= 64 - length
        used[start] = length
    assert regions.used == sum(used.values())
    again = Regions(1, 64)
    for start, length in used.items():
        again.claim(start, length)
    assert (again._starts, again._lengths) == (regions._starts, regions._lengths)
    for start, length in used.items():
        regions.give(start, length)
    assert (regions._starts, regions._lengths, regions.used) == ([1], [63], 0)


def test_a_quarter_is_kept_for_rebuilds():
    """A newcomer may not have the last quarter, a rebuild may."""
    regions = Regions(1, 64)
    assert regions.take(48, rebuild=False) == 1
    assert regions.take(1, rebuild=False) is None
    assert regions.take(15, rebuild=True) == 49
    assert regions.take(1, rebuild=True) is None


def test_quarantine():
    """What is dropped is neither free nor in use until a collection ends; taken into use again meanwhile, it is not freed."""
    holdings = Holdings(8, 3, 8, 8)
    first, second = holdings.take(Kind.DESTINATION), holdings.take(Kind.DESTINATION)
    for item in (first, second):
        holdings.hold(item)
        holdings.drop(item)
    with pytest.raises(FullError) as full:
        holdings.take(Kind.DESTINATION)
    assert full.value.waiting
    batch = holdings.begin()
    holdings.hold(second)
    assert holdings.due(batch) == (first,)
    holdings.free(first)
    assert holdings.take(Kind.DESTINATION) == first
    assert not holdings.waits()


def test_late_arrivals_wait():
    """What is dropped during a collection, even a second time, waits for the next one."""
    holdings = Holdings(8, 8, 8, 8)
    item = Item(Kind.NEXT_HOP, 3)
    holdings.hold(item)
    holdings.drop(item)
    batch = holdings.begin()
    holdings.hold(item)
    holdings.drop(item)
    assert holdings.due(batch) == ()
    assert holdings.begin() == (item,)


def test_kinds_are_apart():
    """Numbers of different kinds have nothing to do with each other."""
    holdings = Holdings(8, 8, 8, 8)
    assert [holdings.take(k).number for k in (Kind.DESTINATION, Kind.NEXT_HOP, Kind.SERVICE)] == [1, 1, 1]


class Nest:
    """A cuckoo table of names, to try `place` on."""

    def __init__(self, rows: dict[int, tuple[int, int]]) -> None:
        self.rows = rows

    def find(self, places: tuple[int, int], resting: frozenset[int] = frozenset()):
        def other(at: int) -> int | None:
            row = self.rows.get(at)
            return None if row is None else row[row[0] == at]

        return place(places, lambda at: at in self.rows or at in resting, other)


def test_free_place():
    """A free place of its own is taken, the first if both are."""
    assert Nest({}).find((3, 5)) == 3
    assert Nest({3: (3, 4)}).find((3, 5)) == 5


def test_chain_of_moves():
    """With both places taken the chain's last row moves first; done again and again that makes room."""
    nest = Nest({3: (3, 4), 5: (5, 6), 4: (4, 7), 6: (6, 5)})
    assert nest.find((3, 5)) == Move(4, 7)
    nest.rows[7] = nest.rows.pop(4)
    assert nest.find((3, 5)) == Move(3, 4)
    nest.rows[4] = nest.rows.pop(3)
    assert nest.find((3, 5)) == 3


def test_no_chain():
    """A closed circle of rows has no room; a resting place on the way means: wait."""
    circle = Nest({3: (3, 5), 5: (5, 3)})
    with pytest.raises(FullError) as full:
        circle.find((3, 5))
    assert not full.value.waiting
    with pytest.raises(FullError) as full:
        Nest({3: (3, 4)}).find((3, 5), frozenset({4, 5}))
    assert full.value.waiting


@pytest.mark.parametrize("seed", range(20))
def test_half_full(seed):
    """At 40 % load every key finds a place by moves, and each row stands at one of its two places."""
    random = Random(seed)
    rows: dict[int, tuple[int, int]] = {}
    nest = Nest(rows)
    for _ in range(25):
        places = tuple(random.sample(range(64), 2))
        for _ in range(64):
            try:
                found = nest.find(places)
            except FullError:
                break  # three keys with the same two places, as chance has it
            if isinstance(found, Move):
                rows[found.target] = rows.pop(found.source)
                continue
            rows[found] = places
            break
    assert all(at in places for at, places in rows.items())
    assert len(rows) >= 22
