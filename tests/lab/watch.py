"""What a daemon takes of the machine while it lives, seen from outside, and whether that grows."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Self

from fairlead.cli.online import NoDaemon
from tests.lab.kit import PATIENCE

_LOOKS = 10  # at descriptors: health checks come and go
MEMORY = 3 << 20  # octets by which the memory of rests may differ: freed pieces are not given back at once
SHARE = 0.03  # of the memory, where that is more
POOL = min(32, (os.cpu_count() or 1) + 4) + 4  # threads: those of asyncio come one by one and stay; those of sinks, the loop
ARENA = 12 << 20  # octets that the C library keeps for a thread which has loaded a program once
LATE = 0.5 * PATIENCE  # seconds by which the event loop may be late: an idle machine has milliseconds
SLOW = 1.0 * PATIENCE  # seconds that the API may take for its status


@dataclass(frozen=True)
class Rest:
    """The daemon while nothing goes on, all that had waited is gone, and everything is as at first. Octets, counts."""

    at: float
    memory: int  # anonymous pages: mapped tables are the kernel's
    descriptors: int
    threads: int
    pins: int  # files below its directory in the BPF file system
    kept: int  # files in its state directory

    def __str__(self) -> str:
        counts = (f"{getattr(self, name)} {name}" for name in ("descriptors", "threads", "pins", "kept"))
        return f"{self.memory / 1e6:.1f} MB, {', '.join(counts)}"


def rest(pid: int, bpffs: Path, state: Path, at: float) -> Rest:
    """As of now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Rest(
        at,
        int(found["RssAnon"].split()[0]) << 10,
        min(_descriptors(pid) for _ in range(_LOOKS)),
        int(found["Threads"]),
        sum(1 for _ in bpffs.rglob("*")),
        sum(1 for each in state.rglob("*") if each.is_file()),
    )


def _descriptors(pid: int) -> int:
    time.sleep(0.02)
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def grown(rests: Sequence[Rest]) -> list[str]:
    """What grew over a life, in words; needs six rests. The first third is for whatever fills up once: caches, the events kept.

    Memory is compared by the medians of the second third and the last one; of what is counted the least of the last third must
    not be more than the most of the first.
    """
    third = len(rests) // 3
    assert third >= 2, "too short a life to say"
    begun, middle, end = rests[:third], rests[third : 2 * third], rests[2 * third :]
    before, after = (median(r.memory for r in part) for part in (middle, end))
    threads = max(r.threads for r in end) - min(r.threads for r in middle)
    found = []
    if after - before > max(MEMORY, SHARE * before) + ARENA * threads:
        found.append(f"memory at rest from {before / 1e6:.1f} MB to {after / 1e6:.1f} MB")
    for name in ("descriptors", "threads", "pins", "kept"):
        most, last = max(getattr(r, name) for r in begun), min(getattr(r, name) for r in end)
        if last > max(most, POOL if name == "threads" else 0):
            found.append(f"{name} from {most} to {last}")
    return found


@dataclass
class Watch:
    """Asks the daemon now and then, in a thread, for as long as the block lasts: how late is its loop, how slow its answer?

    `status` asks it; `lateness` and `slowness` are seconds, one of each question; an answer later than `slow` is wrong.
    """

    status: Callable[[], dict[str, Any]]
    every: float = 1.0
    slow: float = SLOW
    lateness: list[float] = field(default_factory=list)
    slowness: list[float] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._over.wait(self.every):
            began = time.monotonic()
            try:
                work = self.status()["work"]
            except (NoDaemon, AssertionError):  # between two lives
                continue
            self.slowness.append(time.monotonic() - began)
            self.lateness.append(work["loop_delay"])

    def wrong(self) -> list[str]:
        """What was too late or too slow, in words."""
        found = []
        if self.lateness and max(self.lateness) > LATE:
            found.append(f"the event loop was {max(self.lateness):.2f} s late")
        if self.slowness and max(self.slowness) > self.slow:
            found.append(f"the status took {max(self.slowness):.2f} s")
        return found

    def __str__(self) -> str:
        if not self.lateness:
            return "nothing was asked"
        return (
            f"loop late by {max(self.lateness) * 1e3:.0f} ms at most, status within {median(self.slowness) * 1e3:.0f} ms, "
            f"{max(self.slowness) * 1e3:.0f} ms at most"
        )
