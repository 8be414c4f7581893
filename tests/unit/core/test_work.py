"""What the daemon counts of its own work."""

from __future__ import annotations

import pytest

from fairlead.core.work import WINDOW, Work


def test_passes_and_probes() -> None:
    """Numbers, sums, the last and the longest."""
    work = Work()
    for took in (0.5, 2.0, 1.0):
        work.passed(took)
    for passed in (True, False, True):
        work.probed(passed=passed)

    found = work.status(0.0)

    assert (found.passes, found.pass_seconds, found.pass_last, found.pass_longest) == (3, 3.5, 1.0, 2.0)
    assert (found.probes, found.probe_failures) == (3, 1)


def test_delay_is_the_worst_of_a_minute() -> None:
    """A stall is seen for a minute, however many good rounds follow it; then it is forgotten."""
    work = Work()
    work.late(0.3, 100.0)
    for step in range(1200):
        work.late(0.001, 100.05 + step * 0.05)

    assert work.status(100 + WINDOW - 1).loop_delay == 0.3
    assert work.status(100 + WINDOW + 10).loop_delay == pytest.approx(0.001)
    assert work.status(1000).loop_delay == 0.0


def test_delays_take_no_room() -> None:
    """Twenty looks a second for a day are a dozen figures."""
    work = Work()
    for step in range(100_000):
        work.late(0.001, step * 0.05)

    assert len(work._late) <= 13
