"""The program against the reference model: thousands of frames, valid, odd and damaged, must come out alike, byte for byte."""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.bpf import fuzz
from tests.bpf.generate import a_frame, a_world, another_day
from tests.bpf.model import Model
from tests.bpf.rig import Rig, own_object

CASES, SEED = 20_000, int(os.environ.get("FAIRLEAD_SEED", "20261122"))
# Reached by hand in test_verdicts.py only: chance would need years, or a broken table.
NOT_BY_CHANCE = {
    "pass_no_interface",
    "pass_inactive",
    "drop_stale_slot",
    "drop_rate_limited",
    "drop_no_headroom",
    "drop_tail_call",
}


def test_twenty_thousand_frames(elsewhere: tuple[int, ...]) -> None:
    """In many worlds every frame meets the verdict, action, length and bytes that the model states, and is counted alike."""
    result = fuzz.run(CASES, SEED, elsewhere, own_object())

    assert not result.found, "\n".join(map(str, [*result.found, result]))
    assert result.cases == CASES


def test_with_blocked_sources(elsewhere: tuple[int, ...]) -> None:
    """Programs that ask for blocked sources differ from the model in nothing else either."""
    result = fuzz.run(10_000, SEED + 2, elsewhere, own_object(), blocks=True)

    assert not result.found, "\n".join(map(str, [*result.found, result]))
    assert result.seen["drop_blocked"] > 500


def test_the_frames_are_no_easy_ones(elsewhere: tuple[int, ...]) -> None:
    """The generated frames reach every verdict that chance can reach, so that agreement means something."""
    from tests.bpf.rig import VERDICTS

    result = fuzz.run(15_000, SEED + 1, elsewhere, own_object(), blocks=True)

    assert set(VERDICTS.values()) - set(result.seen) <= NOT_BY_CHANCE


@pytest.fixture(scope="module")
def pair(elsewhere: tuple[int, ...]) -> Iterator[tuple[Model, Rig]]:
    world = a_world(Random(SEED), elsewhere)
    with Rig(own_object(), world) as rig:
        yield Model(world), rig


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chance=st.randoms(use_true_random=False), later=st.booleans())
def test_histories(pair: tuple[Model, Rig], elsewhere: tuple[int, ...], chance: Random, later: bool) -> None:
    """Short histories - frames, then other healths, then frames - come out alike; hypothesis shrinks one that does not."""
    model, rig = pair
    world = a_world(chance, elsewhere)
    rig.forget()
    model.forget()
    for _ in range(2 if later else 1):
        model.adopt(world)
        rig.adopt(world)
        for _ in range(5):
            frame = a_frame(chance, world)
            differ = fuzz.compare(model, rig, frame)
            assert differ is None, f"{frame.hex()}: expected {differ and differ[0]}, got {differ and differ[1]}"
        world = another_day(chance, world)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    payload=st.binary(max_size=200),
    kind=st.sampled_from([b"\x08\x00", b"\x86\xdd", b"\x81\x00\0\7\x08\x00", b"\x81\x00\0\7\x86\xdd"]),
)
def test_any_bytes(pair: tuple[Model, Rig], payload: bytes, kind: bytes) -> None:
    """Whatever stands behind the Ethernet header, program and model take it for the same."""
    from tests.bpf.generate import OWN, ROUTER

    model, rig = pair

    assert fuzz.compare(model, rig, OWN + ROUTER + kind + payload) is None
