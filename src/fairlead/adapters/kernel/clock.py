"""The kernel's tick: how many a second, how the data plane's two scales follow from it, and what it is now."""

from __future__ import annotations

import os
import time

from fairlead._native import bpf

# Linux's number for the clock that advances once a jiffy; Python's time module does not name it.
_CLOCK_MONOTONIC_COARSE = 6


def hertz() -> int:
    """Jiffies per second: the coarse clock's resolution is exactly one jiffy (KTIME_LOW_RES in kernel/time)."""
    return round(1 / time.clock_getres(_CLOCK_MONOTONIC_COARSE))


def restated(shift: int, hz: int, now: int) -> int:
    """The shift with which a tick of `1 << shift` jiffies at `hz` lasts no less at `now` jiffies a second."""
    found = 0
    while (1 << found) * hz < (1 << shift) * now:
        found += 1
    return found


def window_shift(hz: int) -> int:
    """The largest shift with which a limiter's window lasts at most a second."""
    return hz.bit_length() - 1


class Jiffies:
    """Reads jiffies through a program of two instructions: user space has no other way to the data plane's clock."""

    def __init__(self) -> None:
        self._programs = [bpf.jiffies_program()]

    def now(self) -> int:
        """The low 32 bits of jiffies; 5 us."""
        return bpf.test_run(self._programs[0], bytes(14))[0]

    def close(self) -> None:
        """Let the program go; a second call does nothing."""
        while self._programs:
            os.close(self._programs.pop())
