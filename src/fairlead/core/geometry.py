"""How large the tables are made, from the limits and timeouts of a configuration."""

from __future__ import annotations

from fairlead.model import Geometry, Limits, Timeouts

_SLOTS_PER_ELEMENT = 16
_FLOW_WAYS = 8
_LEAST_BUCKETS = 1 << 16
# Up to so many backends each may have a next hop of its own; beyond, backends are taken to be shared between services.
_OWN_NEXTHOPS = 4096


def geometry_for(limits: Limits, timeouts: Timeouts) -> Geometry:
    """Rows that hold what `limits` promises. The shifts are for the `hz` beside them: the kernel's side restates them.

    Services stand in a cuckoo table that is at most an eighth full, with a row more for each VIP. Destination 0 and next hop 0
    are never used. A third more slots than promised, so that a full table can be rebuilt. Twice as many flow words as flows.
    """
    plain = Geometry()
    return Geometry(
        services=_power_of_two(8 * limits.services),
        destinations=limits.destinations + 1,
        nexthops=max(limits.destinations // 2, min(limits.destinations, _OWN_NEXTHOPS)) + 1,
        slots=-(-limits.slots * 4 // (3 * _SLOTS_PER_ELEMENT)) + 1,
        buckets=max(_LEAST_BUCKETS, _power_of_two(-(-2 * limits.flows // _FLOW_WAYS))),
        hz=plain.hz,
        fine_shift=shift_for(max(timeouts.embryonic, timeouts.closing, timeouts.udp), plain.hz),
        coarse_shift=shift_for(timeouts.confirmed, plain.hz),
    )


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
