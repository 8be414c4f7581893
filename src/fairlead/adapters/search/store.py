"""What has not arrived yet: in memory first, on disk while it must wait. The order is kept.

Events come from the event loop, which is never held up: `put` takes no lock. All else is for threads. Whatever is on its way
(`flight`) is older than what is on disk, and that is older than what is in memory.
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Iterable, Iterator

from fairlead.adapters.search.spool import Piece, Spool
from fairlead.records import Record
from fairlead.records.bulk import pair
from fairlead.records.ecs import Origin

BITE = 32  # events that are encoded at one go: the event loop shares the interpreter with us
BREATH = 0.0002  # seconds
PART = 256  # events that are written at one go: room in memory comes back soon
EVENTS = 1000  # of one request, at most
OCTETS = 4 << 20


class Store:
    """At most `queue` events in memory, and as many as the spool holds on disk."""

    def __init__(self, origin: Origin, spool: Spool, queue: int) -> None:
        self.queue = queue
        self.spool = spool
        self.dropped = 0
        self.trouble = ""  # of the disk
        self._origin = origin
        self._waiting: collections.deque[Record] = collections.deque()
        self._flight: list[bytes] = []
        self._piece: Piece | None = None  # that the flight is of; None: it comes from memory and is nowhere else
        self._lock = threading.Lock()
        self._spiller: threading.Thread | None = None
        self._closed = False

    def put(self, record: Record) -> None:
        """Take one event, from the event loop's thread alone. When memory runs full a thread of its own moves it to disk."""
        waiting = len(self._waiting)
        if waiting >= self.queue:
            self.dropped += 1
            return
        self._waiting.append(record)
        if waiting >= self.queue // 2 and self.spool.usable and (self._spiller is None or not self._spiller.is_alive()):
            self._spiller = threading.Thread(target=self.spill, name="fairlead-spill", daemon=True)
            self._spiller.start()

    @property
    def queued(self) -> int:
        """Events in memory."""
        return len(self._waiting) + (len(self._flight) if self._piece is None else 0)

    @property
    def events(self) -> int:
        """All that wait."""
        return self.queued + self.spool.events

    def open(self) -> None:
        """Take up what a run before left on disk; without a disk there is memory alone."""
        with self._lock:
            self._open()

    def _open(self) -> None:
        try:
            self.spool.open()
            self.trouble = ""
        except BlockingIOError:
            self.trouble = "another process has the spool"
        except OSError as e:
            self.trouble = f"no spool: {e.strerror}"

    def take(self, most: int) -> list[bytes]:
        """The oldest, so many at most; the same again until `settle`."""
        with self._lock:
            if not self._flight and not self._closed:
                self._load()
            return self._flight[:most]

    def _load(self) -> None:
        try:
            self._piece = self.spool.head(EVENTS, OCTETS) if self.spool.events else None
        except OSError as e:
            self.trouble, self._piece = f"the spool cannot be read: {e.strerror}", None
            return
        if self._piece is not None:
            self._flight = list(self._piece.pairs)
            return
        size = 0
        for encoded in self._encoded([self._waiting[n] for n in range(min(EVENTS, len(self._waiting)))]):
            self._flight.append(encoded)
            self._waiting.popleft()
            size += len(encoded)
            if size >= OCTETS:
                break

    def _encoded(self, records: list[Record]) -> Iterator[bytes]:
        for number, record in enumerate(records, 1):
            yield pair(record, self._origin)
            if number % BITE == 0 and len(self._waiting) < self.queue * 3 // 4:  # else there is no time to lose
                time.sleep(BREATH)

    def settle(self, sent: int, again: Iterable[int] = ()) -> None:
        """Of the first `sent` of the flight those at the places `again` stay; the others have arrived, or never will."""
        with self._lock:
            self._flight = [self._flight[place] for place in again if place < len(self._flight)] + self._flight[sent:]
            if not self._flight and self._piece is not None:
                piece, self._piece = self._piece, None
                self.spool.advance(piece)

    def spill(self, *, flight: bool = False) -> None:
        """Move what is in memory to disk; what is on its way too, if nobody sends it now."""
        with self._lock:
            if not self.spool.usable and not self._closed:
                self._open()
            if not self.spool.usable:
                return
            try:
                if flight and self._flight and self._piece is None:
                    self.dropped += self.spool.put_back(self._flight)
                    self._flight = []
                while waiting := [self._waiting[n] for n in range(min(PART, len(self._waiting)))]:
                    lost = self.spool.append(list(self._encoded(waiting)))
                    for _ in waiting:
                        self._waiting.popleft()
                    self.dropped += lost
            except OSError as e:
                self.trouble = f"the spool cannot be written: {e.strerror}"
            else:
                self.trouble = ""

    def close(self) -> int:
        """Everything to disk; how many events must be given up, because there is none."""
        self.spill(flight=True)
        with self._lock:
            self._closed = True
            lost = self.queued
            self._waiting.clear()
            self._flight = []
            self.dropped += lost
            self.spool.close()
            return lost
