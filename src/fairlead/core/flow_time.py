"""Timeouts of the flow table in its own ticks."""

from __future__ import annotations

from collections.abc import Mapping

from fairlead.model import Geometry, Layout

# Seconds a flow may be silent. The longest fine one is 120 s, the coarse one an hour: the geometry's shifts are chosen for these.
TIMEOUTS: Mapping[str, int] = {"EMBRYONIC": 10, "ESTABLISHED": 3600, "DATAGRAM": 120, "CLOSING": 30}
_COARSE = frozenset({"ESTABLISHED"})


def ticks(seconds: int, hz: int, shift: int) -> int:
    """`seconds` in ticks of `2**shift` jiffies, rounded up. ValueError if 256 ticks are less than four times that."""
    number = -(-seconds * hz >> shift) or 1
    if number > 64:
        raise ValueError(
            f"a timeout of {seconds} s is {number} ticks, more than a quarter of the 256 that a flow entry can count"
        )
    return number


def timeouts(layout: Layout, geometry: Geometry) -> bytes:
    """settings.timeouts: byte n is the timeout of flow state n, in ticks of its scale."""
    found = bytearray(8)
    for state, seconds in TIMEOUTS.items():
        shift = geometry.coarse_shift if state in _COARSE else geometry.fine_shift
        found[layout.constants[f"FLOW_{state}"]] = ticks(seconds, geometry.hz, shift)
    return bytes(found)
