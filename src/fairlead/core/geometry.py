"""How large the tables are made, from the limits and timeouts of a configuration."""

from __future__ import annotations

from bisect import bisect_right

from fairlead.core.maglev import table_size
from fairlead.model import Config, Geometry, Limits, Timeouts

_SLOTS_PER_ELEMENT = 16
_FLOW_WAYS = 8
_LEAST_BUCKETS = 1 << 16
_IDS = 1 << 20  # of destinations: what a flow word has room for
_LEAST_SPARE = 64


def geometry_for(limits: Limits, timeouts: Timeouts) -> Geometry:
    """Rows that hold what `limits` promises. The shifts are for the `hz` beside them: the kernel's side restates them.

    Services stand in a cuckoo table that is at most an eighth full, with a row more for each VIP. Destination 0 and next hop 0
    are never used. An eighth more destinations than promised, for an id rests before it is used again, and as many next hops more
    than that: each destination may have one of its own, and a change of it needs a new row while the old one is in use. A third
    more slots than promised, so that a full table can be rebuilt; a service's last element may be part empty. Twice as many flow
    words as flows.
    """
    plain = Geometry()
    return Geometry(
        services=_power_of_two(8 * limits.services),
        destinations=_destinations(limits.destinations),
        nexthops=_destinations(limits.destinations) + _spare(limits.destinations),
        slots=-(-_elements(limits) * 4 // 3) + 1,
        buckets=max(_LEAST_BUCKETS, _power_of_two(-(-2 * limits.flows // _FLOW_WAYS))),
        hz=plain.hz,
        fine_shift=shift_for(max(timeouts.embryonic, timeouts.closing, timeouts.udp), plain.hz),
        coarse_shift=shift_for(timeouts.confirmed, plain.hz),
    )


def holds(geometry: Geometry) -> Limits:
    """The limits that tables of this size keep to: the other way round, as far as it goes."""
    return Limits(
        services=geometry.services // 8,
        destinations=max(bisect_right(range(_IDS), geometry.destinations, key=_destinations) - 1, 0),
        slots=((geometry.slots - 1) * 3 // 4 - geometry.services // 8) * _SLOTS_PER_ELEMENT,
        flows=geometry.buckets * _FLOW_WAYS // 2,
    )


def beyond(present: Geometry, config: Config) -> list[str]:
    """What a configuration needs more than tables that are there hold, a sentence each that names the key to raise."""
    there = holds(present)
    needs = {
        "services": len(config.services),
        "destinations": sum(len(s.backends) for s in config.services),
        "slots": sum(s.table_size or table_size(len(s.backends)) for s in config.services),
    }
    return [
        f"the file needs {needed:,} {name}, and the running tables were made for {getattr(there, name):,}: "
        f"raise `limits.{name}`, then `fairlead detach`, which stops forwarding until the next start, and start again"
        for name, needed in needs.items()
        if needed > getattr(there, name)
    ]


def _spare(destinations: int) -> int:
    return max(_LEAST_SPARE, destinations // 8)


def _destinations(limit: int) -> int:
    """Rows for so many destinations, as far as ids go."""
    return min(limit + _spare(limit) + 1, _IDS)


def _elements(limits: Limits) -> int:
    return -(-limits.slots // _SLOTS_PER_ELEMENT) + _power_of_two(8 * limits.services) // 8


def shift_for(seconds: float, hz: int) -> int:
    """The smallest shift of jiffies with which 256 ticks last at least four times `seconds`."""
    shift = 0
    while 256 << shift < 4 * seconds * hz:
        shift += 1
    return shift


def _power_of_two(least: int) -> int:
    """The smallest power of two that is not below `least`."""
    return 1 << max(1, (least - 1).bit_length())


def unmet(present: Geometry, limits: Limits, timeouts: Timeouts) -> list[str]:
    """The keys of `limits` that adopted tables of another size do not follow, one sentence each.

    The tables were made by an earlier start and work on as they are.
    """
    wanted = geometry_for(limits, timeouts)
    keys = {"services": "services", "destinations": "destinations", "slots": "slots", "buckets": "flows"}
    return [
        f"limits: {key}: the running tables have {getattr(present, rows):,} rows and not {getattr(wanted, rows):,}: "
        "they are made anew after `fairlead detach`, which stops forwarding until the next start"
        for rows, key in keys.items()
        if getattr(present, rows) != getattr(wanted, rows)
    ]
