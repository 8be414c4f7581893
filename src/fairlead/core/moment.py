"""One moment on two clocks: the one on the wall, which somebody may set, and one that only ever goes on."""

from __future__ import annotations

from typing import NamedTuple


class Moment(NamedTuple):
    """`wall` is a Unix time, for people and for what outlives the daemon; `steady` counts seconds, for everything that waits."""

    wall: float
    steady: float

    def steady_at(self, wall: float) -> float:
        """A moment of the past by the steady clock. What lies in the future has just been: somebody has set the clock."""
        return self.steady - max(0.0, self.wall - wall)

    def wall_at(self, steady: float) -> float:
        """A moment by the clock on the wall, as far as one can tell."""
        return self.wall + steady - self.steady
