"""What the daemon itself does, in figures: passes, health checks, and how late the event loop is."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from fairlead.model import WorkStatus

WINDOW = 60.0  # seconds that the loop's delay is the worst of
_SLICE = 5.0  # seconds that share one figure within it


class Work:
    """Counts since the daemon's start. Durations in seconds, `now` by the steady clock."""

    def __init__(self) -> None:
        self._known = WorkStatus()
        self._probes = self._failures = 0
        self._late: deque[tuple[float, float]] = deque()  # when a slice began, the worst delay in it

    def passed(self, took: float) -> None:
        """A pass has ended."""
        known = self._known
        self._known = replace(
            known,
            passes=known.passes + 1,
            pass_seconds=known.pass_seconds + took,
            pass_last=took,
            pass_longest=max(known.pass_longest, took),
        )

    def probed(self, *, passed: bool) -> None:
        """A run of a health check has ended; thousands of them do in a second."""
        self._probes += 1
        self._failures += not passed

    def late(self, by: float, now: float) -> None:
        """The loop did something so much later than it was asked to."""
        self._forget(now)
        if self._late and now - self._late[-1][0] < _SLICE:
            began, worst = self._late[-1]
            self._late[-1] = (began, max(worst, by))
        else:
            self._late.append((now, by))

    def status(self, now: float) -> WorkStatus:
        """All that was counted here."""
        self._forget(now)
        worst = max((by for _, by in self._late), default=0.0)
        return replace(self._known, probes=self._probes, probe_failures=self._failures, loop_delay=worst)

    def _forget(self, now: float) -> None:
        while self._late and now - self._late[0][0] > WINDOW:
            self._late.popleft()
