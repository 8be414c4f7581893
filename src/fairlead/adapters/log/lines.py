"""One line an event on standard error, text or JSON.

Whoever reads standard error may stop reading: a line for which a pipe has no room is dropped and counted, never waited for.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import TextIO

from fairlead.model import Probes, SinkStatus
from fairlead.records import Record
from fairlead.records.text import line, text


class Lines:
    """Writes events of severity `quietest` or worse, and the probes that it is to write."""

    def __init__(self, out: TextIO, *, json: bool = False, quietest: int = 6, probes: Probes = "changes") -> None:
        self.probes = probes
        self._out = out
        self._quietest = 7 if probes == "all" else quietest
        self._form: Callable[[Record], str] = line if json else text
        self._json = json
        self._sent = self._dropped = self._untold = 0
        self._error, self._error_at = "", 0.0

    def __call__(self, record: Record) -> None:
        """Write one event, if there is room for it."""
        if record.event.severity > self._quietest:
            return
        if not self._room():
            self._dropped += 1
            self._untold += 1
            self._failed("nobody reads it")
            return
        written = self._form(record)
        if self._untold:
            written += self._confession()
        try:
            self._out.write(written + "\n")
            self._out.flush()
            self._sent += 1
        except (OSError, ValueError) as e:  # a closed terminal must not end the daemon
            self._dropped += 1
            self._failed(str(e))

    def _confession(self) -> str:
        count, self._untold = self._untold, 0
        if self._json:
            return f'\n{{"dropped":{count}}}'
        return f"\n    before this, {count} lines were dropped: nobody read them"

    def _failed(self, says: str) -> None:
        self._error, self._error_at = says, time.time()

    def _room(self) -> bool:
        """Whether a write returns at once: a pipe is called writable while it has room for 4 KiB (pipe(7)); files always are."""
        try:
            return bool(select.select((), (self._out.fileno(),), (), 0)[1])
        except (OSError, ValueError):  # no descriptor behind it, or a closed one
            return True

    def status(self) -> SinkStatus:
        """How it fares."""
        error, at, troubled = self._error, self._error_at, bool(self._untold)
        return SinkStatus("stderr", self._sent, self._dropped, last_error=error, last_error_at=at, troubled=troubled)

    async def close(self, within: float) -> None:
        """Nothing waits here."""
