"""Timeouts of the flow table in its own ticks."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

from fairlead.model import Geometry, Timeouts

_MOST = 64  # ticks: a quarter of the 256 that a flow word can count, so that an entry is swept long before the count comes round


def ticks(seconds: float, hz: int, shift: int) -> int:
    """`seconds` in ticks of `2**shift` jiffies, rounded up. ValueError if 256 ticks are less than four times that."""
    number = ceil(seconds * hz / (1 << shift)) or 1
    if number > _MOST:
        raise ValueError(
            f"a timeout of {seconds:g} s is {number} ticks, more than a quarter of the 256 that a flow entry can count: "
            f"these tables reach to {(_MOST << shift) / hz:g} s; `fairlead detach` first, and they are made anew for it"
        )
    return number


def _seconds(timeouts: Timeouts) -> Mapping[str, float]:
    """By the name of the flow state in abi.h."""
    return {
        "EMBRYONIC": timeouts.embryonic,
        "ESTABLISHED": timeouts.confirmed,
        "DATAGRAM": timeouts.udp,
        "CLOSING": timeouts.closing,
    }


def described(timeouts: Timeouts) -> str:
    """For people: `embryonic 10 s, established 3600 s, ...`."""
    return ", ".join(f"{state.lower()} {seconds:g} s" for state, seconds in _seconds(timeouts).items())


def timeouts(constants: Mapping[str, int], geometry: Geometry, wanted: Timeouts) -> bytes:
    """settings.timeouts: byte n is the timeout of flow state n, in ticks of its scale; ValueError where it cannot."""
    found = bytearray(8)
    for state, seconds in _seconds(wanted).items():
        shift = geometry.coarse_shift if state == "ESTABLISHED" else geometry.fine_shift
        found[constants[f"FLOW_{state}"]] = ticks(seconds, geometry.hz, shift)
    first, last = constants["FLOW_REFUSED"], constants["FLOW_REFUSED_MOST"]
    found[first : last + 1] = bytes([found[constants["FLOW_CLOSING"]]]) * (last + 1 - first)  # they are closing, too
    return bytes(found)


def misfit(geometry: Geometry, wanted: Timeouts) -> str:
    """Why tables of this geometry cannot have these timeouts, with what to do about it; "" if they can."""
    try:
        for state, seconds in _seconds(wanted).items():
            ticks(seconds, geometry.hz, geometry.coarse_shift if state == "ESTABLISHED" else geometry.fine_shift)
    except ValueError as error:
        return str(error)
    return ""
