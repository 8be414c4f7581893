"""Where events go: one line each on standard error, and the last thousand kept for the API.

Whoever reads standard error may stop reading: a line for which a pipe has no room is dropped and counted, never waited for.
"""

from __future__ import annotations

import collections
import select
import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import TextIO

from fairlead.events import Event, Operated

KEPT = 1000
_WORDS = {0: "emergency", 1: "alert", 2: "critical", 3: "error", 4: "warning", 5: "notice", 6: "info", 7: "debug"}


def record(event: Event, at: float) -> dict[str, object]:
    """An event as the API shows it: `at` is a Unix time, `level` a syslog severity, `about` the service or ""."""
    about = event.about if isinstance(event, Operated) else getattr(event, "service", None)
    return {"at": at, "name": event.name, "level": event.severity, "text": str(event), "about": str(about) if about else ""}


class Log:
    """Takes events; `quietest` is the highest syslog severity that is still written (kept ones are kept all the same)."""

    def __init__(self, out: TextIO | None = None, *, quietest: int = 6, clock: Callable[[], float] = time.time) -> None:
        self._out = sys.stderr if out is None else out
        self._quietest = quietest
        self._clock = clock
        self._kept: collections.deque[tuple[float, Event]] = collections.deque(maxlen=KEPT)
        self._dropped = 0

    def __call__(self, event: Event) -> None:
        """Keep and write one event."""
        at = self._clock()
        self._kept.append((at, event))
        if event.severity <= self._quietest:
            self._write(at, event)

    def recent(self) -> list[dict[str, object]]:
        """The events that are kept, oldest first."""
        return [record(event, at) for at, event in self._kept]

    def _write(self, at: float, event: Event) -> None:
        stamp = datetime.fromtimestamp(at).astimezone().isoformat(timespec="milliseconds")
        text = str(event).replace("\n", "\n    ")
        if not self._room():
            self._dropped += 1
            return
        if self._dropped:
            text, self._dropped = f"{text}\n    before this, {self._dropped} lines were dropped: nobody read them", 0
        try:
            self._out.write(f"{stamp} {_WORDS[event.severity]:<7} {text}\n")
            self._out.flush()
        except (OSError, ValueError):  # a closed terminal must not end the daemon
            pass

    def _room(self) -> bool:
        """Whether a write returns at once: a pipe is called writable while it has room for 4 KiB (pipe(7)); files always are."""
        try:
            return bool(select.select((), (self._out.fileno(),), (), 0)[1])
        except (OSError, ValueError):  # no descriptor behind it, or a closed one
            return True
