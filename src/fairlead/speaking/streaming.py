"""Live: events as they happen, and what changes of the status, as server-sent events (HTML Living Standard, section 9.2).

    id: 1795407976902849                 event: status
    event: event                         data: {"at": ..., "fields": {...}, "services": [...], ...}
    data: {"id": ..., "name": ...}

One look at the status serves all readers, and there is none while nobody reads. Whoever reads slowly misses deltas and gets a
whole status again; of events that were missed the number is told. A stream ends with the daemon: its last event says why.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from fairlead.adapters.http import Call, Question, Stream, Word, encode
from fairlead.adapters.log import Log
from fairlead.core.deltas import delta
from fairlead.errors import FairleadError, UsageError
from fairlead.model import Status

_LOOK_EVERY = 1.0  # seconds between two looks at the status, at least
_SHARE = 0.1  # of the time, at most, goes into them
_QUIET = 15.0  # seconds after which a comment shows that the stream lives
_RETRY = 2000  # milliseconds after which a browser asks again
_WORDS = (
    Word("since", "events after the one with this id, as far as they are kept; `Last-Event-ID` says the same", int, low=0),
    Word("status", "false: events alone", bool),
)


@dataclass(slots=True, eq=False)
class _Reader:
    """One stream's place in the queue for deltas."""

    news: asyncio.Event
    waiting: bytes = b""
    whole: bool = True  # the next it gets is against nothing


class Streaming:
    """`status` looks at everything."""

    def __init__(self, log: Log, status: Callable[[], Awaitable[Status]]) -> None:
        self._log = log
        self._status = status
        self._readers: set[_Reader] = set()
        self._looking: asyncio.Task[None] | None = None

    def calls(self) -> dict[str, Call]:
        """What the API serves of it."""
        says = "Events as they happen and changes of the status, as server-sent events"
        return {"GET /v1/events/stream": Call(self.stream, says, str, _WORDS, media="text/event-stream")}

    async def stream(self, question: Question) -> Stream:
        """Until the client or the daemon goes."""
        said = question.resume or question.words.get("since", "")
        if said and not (said.isascii() and said.isdigit() and len(said) < 19):
            raise UsageError(f"Last-Event-ID is the id of an event, not {said!r}")
        since = int(said) if said else None
        return Stream(self._parts(since, status=question.words.get("status") != "false"))

    async def _parts(self, since: int | None, *, status: bool) -> AsyncIterator[bytes]:
        events, reader = self._log.subscribe(since), _Reader(asyncio.Event())
        if status:
            self._follow(reader)
        tasks: list[asyncio.Task[object]] = []
        try:
            yield b"retry: %d\n\n" % _RETRY
            happens, changes = asyncio.create_task(events.next()), asyncio.create_task(reader.news.wait())
            tasks += [happens, changes]
            while True:
                done, _ = await asyncio.wait({happens, changes}, timeout=_QUIET, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    yield b": \n\n"
                if events.missed:
                    missed, events.missed = events.missed, 0
                    yield framed("missed", encode({"events": missed}))
                if happens in done:
                    event = happens.result()
                    if event is None:
                        return
                    yield framed("event", encode(event), event["id"])
                    happens = asyncio.create_task(events.next())
                if changes in done:
                    reader.news.clear()
                    changes = asyncio.create_task(reader.news.wait())
                    part, reader.waiting = reader.waiting, b""
                    if part:
                        yield part
                tasks[:] = [happens, changes]
        finally:
            for task in tasks:
                task.cancel()
            events.close()
            self._readers.discard(reader)

    async def close(self) -> None:
        """Look at nothing any more; the streams end with the log."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    # ------------------------------------------------------------------------------------------------------------------- status

    def _follow(self, reader: _Reader) -> None:
        self._readers.add(reader)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        """As long as anybody reads."""
        before: Status | None = None
        while self._readers:
            began = time.monotonic()
            try:
                after = await self._status()
            except FairleadError:  # a device that goes while we look, or the like: we look again
                await asyncio.sleep(_LOOK_EVERY)
                continue
            change = await asyncio.to_thread(_told, before, after) if before is not None else b""
            whole = await asyncio.to_thread(_told, None, after) if any(r.whole for r in self._readers) else b""
            for reader in list(self._readers):
                _hand(reader, whole if reader.whole else change)
            before = after
            await asyncio.sleep(max(_LOOK_EVERY, (time.monotonic() - began) / _SHARE))


def _hand(reader: _Reader, part: bytes) -> None:
    """A delta that was not taken in time makes the next one meaningless: a whole status follows."""
    if not part:
        return
    if reader.waiting:
        reader.waiting, reader.whole = b"", True
    else:
        reader.waiting, reader.whole = part, False
        reader.news.set()


def _told(before: Status | None, after: Status) -> bytes:
    found = delta(before, after)
    return framed("status", encode(found)) if found is not None else b""


def framed(name: str, data: bytes, number: object = None) -> bytes:
    """One server-sent event; the data are JSON and so a single line."""
    head = f"event: {name}\n" if number is None else f"id: {number}\nevent: {name}\n"
    return head.encode() + b"data: " + data + b"\n\n"
