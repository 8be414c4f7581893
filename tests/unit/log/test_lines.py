"""The log: kept for the API, written for people, and never waited for."""

from __future__ import annotations

import os
import time

from fairlead.adapters.log import KEPT, Log
from fairlead.events import Warned


def test_a_reader_that_stops_holds_nobody_up() -> None:
    """A full pipe costs lines, not time; once there is room again it is said how many."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as out:
        log = Log(out)
        began = time.monotonic()
        for number in range(3000):
            log(Warned(f"line {number} {'x' * 80}"))
        assert time.monotonic() - began < 10, "it did not wait for ever"
        assert len(log.recent()) == KEPT
        seen = os.read(reading, 1 << 20).decode()
        assert "line 0 " in seen
        assert "line 2999" not in seen
        log(Warned("room again"))
    with os.fdopen(reading) as rest:
        last = rest.read()
    whole = seen.count(" line ")
    assert "room again" in last
    assert f"{3000 - whole} lines were dropped" in last
