"""Limits and timeouts become table sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead import preflight
from fairlead.core.flow_time import misfit
from fairlead.core.geometry import beyond, geometry_for, holds, shift_for, unmet
from fairlead.errors import Refused
from fairlead.model import Geometry, Limits, Timeouts
from tests.unit.core.harness import config, key, service

LIMITS = st.builds(
    Limits, st.integers(1, 65536), st.integers(1, (1 << 20) - 1), st.integers(251, 1 << 28), st.integers(1, 1 << 26)
)
TIMEOUTS = st.builds(Timeouts, *(st.floats(0.1, 86400) for _ in range(4)))


def test_defaults():
    """Defaults hold 4,096 services, 131,072 destinations and 4 M flows, and count in ticks of about 2 s and 65 s."""
    found = geometry_for(Limits(), Timeouts())
    assert (found.services, found.destinations, found.nexthops) == (32768, 131072 + 16384 + 1, 131072 + 2 * 16384 + 1)
    assert (found.slots, found.buckets) == (2801665, 1 << 20)
    assert (found.hz, found.fine_shift, found.coarse_shift) == (250, 9, 14)


@given(LIMITS)
def test_limits_are_held(limits):
    """Whatever the limits, there is room for what they promise, within what rows can name; indexed tables are powers of two."""
    found = geometry_for(limits, Timeouts())
    assert found.services >= 8 * limits.services
    assert limits.destinations < found.destinations <= 1 << 20
    assert found.destinations == 1 << 20 or found.destinations - limits.destinations > limits.destinations // 8
    assert found.slots * 16 >= limits.slots * 4 / 3
    assert found.slots < 1 << 28 + 1
    assert found.buckets * 8 >= max(2 * limits.flows, 1 << 19)
    assert found.nexthops > limits.destinations + limits.destinations // 8
    there = holds(found)
    for name in ("services", "destinations", "slots", "flows"):
        assert getattr(there, name) >= getattr(limits, name)
    for rows in (found.services, found.buckets):
        assert rows & (rows - 1) == 0


@given(TIMEOUTS)
def test_timeouts_fit_the_tables_made_for_them(timeouts):
    """256 ticks last four times the longest timeout of their scale, and not eight times unless a jiffy does."""
    found = geometry_for(Limits(), timeouts)
    assert misfit(found, timeouts) == ""
    for shift, longest in (
        (found.fine_shift, max(timeouts.embryonic, timeouts.closing, timeouts.udp)),
        (found.coarse_shift, timeouts.confirmed),
    ):
        assert shift == 0 or (256 << shift) / found.hz < 8 * longest


def test_shifts():
    """Two minutes at 250 jiffies a second want ticks of 512 jiffies."""
    assert [shift_for(120, 250), shift_for(120, 1000), shift_for(3600, 100), shift_for(0.001, 250)] == [9, 11, 13, 0]


def test_unmet_limits_are_named():
    """Adopted tables of another size are said to stay as they are, by the key that asked otherwise."""
    present = geometry_for(Limits(), Timeouts())
    assert unmet(present, Limits(), Timeouts()) == []
    (said,) = unmet(present, Limits(destinations=1000), Timeouts())
    assert said.startswith("limits: destinations: the running tables have 147,457 rows and not 1,126")


def test_what_tables_do_not_hold_is_named():
    """A configuration that needs more than the tables were made for is refused by number, with the key to raise."""
    present = geometry_for(Limits(services=2, destinations=100, slots=2000), Timeouts())
    three = [service(key(port=n), [f"10.1.0.{i}" for i in range(1, 41)], table_size=1021) for n in (80, 81, 82)]
    assert beyond(present, config(*three[:1])) == []
    services, destinations, slots = beyond(present, config(*three))
    assert services.startswith("the file needs 3 services, and the running tables were made for 2: raise `limits.services`, then")
    assert destinations.startswith("the file needs 120 destinations, and the running tables were made for 100: raise")
    assert slots.startswith("the file needs 3,063 slots, and the running tables were made for 2,")
    with pytest.raises(Refused) as refused:
        preflight.require_fitting(present, config(*three))
    assert refused.value.reasons == (services, destinations, slots)


@pytest.mark.parametrize("field", ["hz", "cpus"])
def test_the_machine_is_not_guessed(field):
    """What only the machine knows is left as a geometry has it by default."""
    assert getattr(geometry_for(Limits(), Timeouts()), field) == getattr(Geometry(), field)
