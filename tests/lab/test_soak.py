"""A minute of `make soak`; and that it would see what it is there to see."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.lab.soak import soak
from tests.lab.watch import LATE, MEMORY, POOL, Rest, Watch, grown

MINUTE = 60.0
FIRST = Rest(0.0, 100 << 20, 50, 5, 29, 4)


@pytest.mark.root
@pytest.mark.slow
def test_a_minute() -> None:
    """Traffic, churn, outages of what takes events, then restarts and kills: nothing is lost, broken or grown."""
    assert soak(MINUTE, 4711) == []


def lives(count: int, **growing: int) -> list[Rest]:
    """Rests of a life in which something grows by so much from each to the next."""
    return [
        replace(FIRST, at=float(n), **{name: getattr(FIRST, name) + n * by for name, by in growing.items()}) for n in range(count)
    ]


@pytest.mark.parametrize(
    ("growing", "says"),
    [({"memory": MEMORY}, "memory at rest"), ({"descriptors": 1}, "descriptors"), ({"pins": 1}, "pins"), ({"kept": 1}, "kept")],
)
def test_growth_is_seen(growing, says):
    """What has more and more of anything is named, with figures."""
    (found,) = grown(lives(9, **growing))
    assert found.startswith(says)


def test_threads_come_up_to_the_pool():
    """Each of asyncio's threads brings an arena, and there are no more of them than that."""
    assert grown(lives(9, threads=POOL)) != []
    assert grown([replace(FIRST, threads=4 + (n > 5), memory=(100 << 20) + (n > 5) * (8 << 20)) for n in range(9)]) == []


def test_noise_is_no_growth():
    """A life that wavers has not grown."""
    chance = random.Random(1)
    wavering = [
        replace(FIRST, memory=FIRST.memory + chance.randrange(MEMORY), descriptors=50 + chance.randrange(3)) for _ in range(30)
    ]
    assert grown(wavering) == []


def test_lateness_is_seen():
    """A loop that was late once, or a status that took long, is wrong."""
    watch = Watch(dict)
    assert watch.wrong() == []
    watch.lateness.append(LATE * 2)
    watch.slowness.append(60)
    assert len(watch.wrong()) == 2
