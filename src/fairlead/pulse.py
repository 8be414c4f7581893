"""The daemon's pulse: tells the service manager's watchdog that the loop turns and that passes come to an end (sd_notify(3)).

Both matter: a loop that turns while no pass ends any more would answer questions and follow nothing. So each beat asks for a
pass, and is given only when one has ended since the last beat, or one that is under way moves on.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping

LISTEN = 0.05  # seconds between two looks at how late the loop is
_SHARE = 3  # beats within the time after which the service manager gives us up


def interval(environment: Mapping[str, str]) -> float | None:
    """Seconds between two beats, None if nobody wants any: WATCHDOG_USEC, if WATCHDOG_PID is ours (sd_watchdog_enabled(3))."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = environment.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 / _SHARE if text.isdigit() and int(text) else None


async def listen(late: Callable[[float, float], None]) -> None:
    """For ever: tell by how many seconds the loop comes too late, and at which of its moments."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LISTEN
        await asyncio.sleep(LISTEN)
        now = loop.time()
        late(max(now - due, 0.0), now)


class Pulse:
    """`ask` asks for a pass, `moved` gives a number that changes while one is under way, `notify` tells the service manager."""

    def __init__(self, ask: Callable[[], None], moved: Callable[[], float], notify: Callable[[str], None]) -> None:
        self._ask, self._moved, self._notify = ask, moved, notify
        self._ended = False
        self._seen = 0.0

    def passed(self) -> None:
        """A pass has ended."""
        self._ended = True

    async def beat(self, every: float | None) -> None:
        """Beat for as long as there is life; for ever, or not at all without `every`, in seconds."""
        while every is not None:
            self.once()
            await asyncio.sleep(every)

    def once(self) -> None:
        """One beat, if there is life."""
        moved = self._moved()
        if self._ended or moved != self._seen:
            self._notify("WATCHDOG=1")
        self._ended, self._seen = False, moved
        self._ask()
