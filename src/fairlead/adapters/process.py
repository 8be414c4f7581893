"""What this process takes of the machine, as the kernel counts it (proc_pid_statm(5), proc_pid_fd(5), getrusage(2))."""

from __future__ import annotations

import pathlib
import resource
from typing import NamedTuple

_PAGE = resource.getpagesize()
_OWN = pathlib.Path("/proc/self")


class Use(NamedTuple):
    """Resident octets, open descriptors, seconds on a CPU."""

    memory: int
    descriptors: int
    cpu: float


def use() -> Use:
    """As of now. Tables of the kernel that are mapped count as memory in use, as far as they were touched."""
    times = resource.getrusage(resource.RUSAGE_SELF)
    return Use(_resident(), sum(1 for _ in (_OWN / "fd").iterdir()) - 1, times.ru_utime + times.ru_stime)


def _resident() -> int:
    """Without what is shared: the tables are the kernel's, and are counted there."""
    words = (_OWN / "statm").read_text().split()
    return (int(words[1]) - int(words[2])) * _PAGE
