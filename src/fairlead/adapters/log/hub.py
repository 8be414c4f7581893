"""The hub: every event comes in here, gets its time and its number, is kept for a while, and goes to whoever asked.

Nobody here waits. A sink takes what it is given and sees to the rest alone; a reader that does not keep up misses the oldest, and
is told how many.
"""

from __future__ import annotations

import asyncio
import collections
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Protocol, TextIO

from fairlead.adapters.log.lines import Lines
from fairlead.events import Event, Probed
from fairlead.model import Probes, SinkStatus
from fairlead.records import Record, shown

KEPT = 1000


class Sink(Protocol):
    """One place that events go to. All is called in the event loop's thread, and returns at once."""

    @property
    def probes(self) -> Probes:
        """Whether it wants every probe, or those alone that changed something."""

    def __call__(self, record: Record) -> None:
        """Take one event; what there is no room for is counted as dropped."""

    def status(self) -> SinkStatus:
        """How it fares."""

    async def close(self, within: float) -> None:
        """Send or store what waits, for so many seconds at most; what is then lost is counted."""


class Subscription:
    """The events from now on for one reader: `async for event in subscription`, or `next`. Ends with the daemon or by `close`."""

    def __init__(self, leave: Callable[[Subscription], None], size: int) -> None:
        self._leave = leave
        self._waiting: collections.deque[Record] = collections.deque(maxlen=size)
        self._news = asyncio.Event()
        self._ended = False
        self.missed = 0  # events that came faster than they were read; the reader may set it back once it has told

    def put(self, record: Record) -> None:
        """From the hub."""
        self.missed += len(self._waiting) == self._waiting.maxlen
        self._waiting.append(record)
        self._news.set()

    def end(self) -> None:
        """From the hub: what waits can still be read, nothing comes after it."""
        self._ended = True
        self._news.set()

    async def next(self) -> dict[str, object] | None:
        """The next event as `records.shown` has it; None at the end."""
        while not self._waiting:
            if self._ended:
                return None
            self._news.clear()
            await self._news.wait()
        return shown(self._waiting.popleft())

    async def __aiter__(self) -> AsyncIterator[dict[str, object]]:
        while (event := await self.next()) is not None:
            yield event

    def close(self) -> None:
        """No more events; to be called in any case."""
        self._leave(self)
        self.end()


class Log:
    """Takes events: `log(BackendUp(...))`. Begins with lines on standard error; `use` says where events go from then on."""

    def __init__(self, out: TextIO | None = None, *, quietest: int = 6, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._sinks: tuple[Sink, ...] = (Lines(sys.stderr if out is None else out, quietest=quietest),)
        self._kept: collections.deque[Record] = collections.deque(maxlen=KEPT)
        self._readers: list[Subscription] = []
        self._number = 0
        self.count = 0  # events since the start
        self.all_probes = False  # whether any sink wants those that changed nothing

    def __call__(self, event: Event) -> None:
        """Keep one event and hand it on. Probes that changed nothing go to those sinks alone that want them."""
        at = self._clock()
        self._number = max(self._number + 1, int(at * 1e6))
        self.count += 1
        record = Record(self._number, at, event)
        idle = isinstance(event, Probed) and not event.changed
        if not idle:
            self._kept.append(record)
            for reader in self._readers:
                reader.put(record)
        for sink in self._sinks:
            if not idle or sink.probes == "all":
                sink(record)

    def recent(self, since: int = 0) -> list[dict[str, object]]:
        """The events that are kept, oldest first; those after the one with the number `since`."""
        return [shown(record) for record in self._kept if record.number > since]

    def subscribe(self, since: int | None = None, *, size: int = KEPT) -> Subscription:
        """A reader of events from now on, or of those after the number `since` too, as far as they are kept."""
        reader = Subscription(self._forget, size)
        for record in self._kept:
            if since is not None and record.number > since:
                reader.put(record)
        self._readers.append(reader)
        return reader

    def _forget(self, reader: Subscription) -> None:
        if reader in self._readers:
            self._readers.remove(reader)

    def use(self, sinks: Iterable[Sink]) -> None:
        """Hand events to exactly these sinks from the next one on; those before are the caller's to close."""
        self._sinks = tuple(sinks)
        self.all_probes = any(sink.probes == "all" for sink in self._sinks)

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """Those in use."""
        return self._sinks

    def status(self) -> tuple[SinkStatus, ...]:
        """How each of them fares."""
        return tuple(sink.status() for sink in self._sinks)

    def end(self) -> None:
        """All readers have had the last event."""
        for reader in self._readers:
            reader.end()
