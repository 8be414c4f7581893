"""The search for cycles rests while much is made, and leaves alone what stays."""

from __future__ import annotations

import gc

import pytest

from fairlead.core.garbage import uncollected


@pytest.mark.parametrize(("count", "stays", "kept"), [(100_000, True, True), (100_000, False, False), (1000, True, False)])
def test_what_stays_is_not_looked_through(count, stays, kept):
    """Only many objects that stay are set apart; the search goes on afterwards as before, and they go when nobody has them."""
    gc.collect()
    gc.unfreeze()
    try:
        with uncollected(stays=stays):
            assert not gc.isenabled()
            made = [[] for _ in range(count)]
        assert gc.isenabled()
        assert (gc.get_freeze_count() >= count) is kept
        frozen = gc.get_freeze_count()
        del made
        assert (gc.get_freeze_count() <= frozen - count) is kept
    finally:
        gc.unfreeze()


def test_nested():
    """One within another changes nothing, and a search that was off stays off."""
    with uncollected():
        with uncollected():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
