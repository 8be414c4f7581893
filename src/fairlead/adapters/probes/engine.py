"""Thousands of short conversations a second in the daemon's event loop: their sockets under one epoll, their times in one heap.

A transport, a future, a task and a timer for each probe cost more than the probe. So asyncio sees one descriptor and one timer
for all of them. Nothing here runs long: a turn of the loop handles a bounded number of sockets, and what is ready then waits for
the next one. A loop that was held up, by whatever else the daemon does, must not turn good answers into silence: before anything
expires the sockets are looked at once more, and `held` says how long nobody could have looked.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import select
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

BATCH = 32  # sockets in one turn of the loop
GRAIN = 0.002  # seconds; what is due within one is done together
PULSE = 0.05  # seconds; the longest time for which nobody looks at the clock
LATE = 0.02  # seconds; later than that is held up
READABLE, WRITABLE = select.EPOLLIN, select.EPOLLOUT
BROKEN = select.EPOLLERR | select.EPOLLHUP
CLOSING = select.EPOLLRDHUP
EDGES = READABLE | WRITABLE | CLOSING | select.EPOLLET


class Party(Protocol):
    """Whom a descriptor belongs to."""

    def ready(self, mask: int) -> None:
        """Something happened to the descriptor: a mask of epoll's events."""


class Due(Protocol):
    """Whom a time belongs to."""

    def due(self) -> None:
        """It has come. Times are not taken back: who is not interested any more does nothing."""


class Shared(Protocol):
    """A socket that many conversations use."""

    def close(self) -> None:
        """Nobody uses it any more."""


S = TypeVar("S", bound=Shared)


class Engine:
    """Belongs to the loop that runs when it is made."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._poll = select.epoll()
        self._loop.add_reader(self._poll.fileno(), self._ready)
        self._parties: dict[int, Party] = {}
        self._heap: list[tuple[float, int, Due]] = []
        self._order = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._armed = math.inf
        self.held = 0.0  # seconds in all for which the loop was held up
        self._shared: dict[tuple[type[Shared], int], Shared] = {}

    def watch(self, descriptor: int, party: Party, mask: int = EDGES) -> None:
        """Tell `party` what happens to a descriptor until it is forgotten."""
        self._parties[descriptor] = party
        self._poll.register(descriptor, mask)

    def forget(self, descriptor: int) -> None:
        """The descriptor is about to be closed, which takes it out of epoll."""
        self._parties.pop(descriptor, None)

    def at(self, when: float, whom: Due) -> None:
        """Call `whom.due` at this monotonic time, in seconds, or up to a grain later."""
        heapq.heappush(self._heap, (when, next(self._order), whom))
        if when < self._armed:
            self._arm(when)

    def shared(self, kind: type[S], family: int, make: Callable[[Engine, int], S]) -> S:
        """The one socket of this kind and address family; made when it is first asked for."""
        found = self._shared.get((kind, family))
        if found is None:
            found = self._shared[kind, family] = make(self, family)
        assert isinstance(found, kind)
        return found

    def close(self) -> None:
        """Let go of everything; conversations that are not over must have been broken off."""
        for shared in self._shared.values():
            shared.close()
        if self._timer is not None:
            self._timer.cancel()
        self._heap.clear()
        self._loop.remove_reader(self._poll.fileno())
        self._poll.close()

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        now = time.monotonic()
        self._armed = min(max(when, now + GRAIN), now + PULSE)
        self._timer = self._loop.call_later(self._armed - now, self._tick)

    def _tick(self) -> None:
        late = time.monotonic() - self._armed
        self.held += late if late > LATE else 0.0
        self._timer, self._armed = None, math.inf
        while self._ready() == BATCH:
            pass
        now = time.monotonic()
        try:
            while self._heap and self._heap[0][0] <= now:
                heapq.heappop(self._heap)[2].due()
        finally:
            if self._heap:
                self._arm(self._heap[0][0])

    def _ready(self) -> int:
        """One batch of what happened; how many sockets it concerned."""
        found = self._poll.poll(0, BATCH)
        parties = [(self._parties.get(descriptor), mask) for descriptor, mask in found]
        for party, mask in parties:
            if party is not None:
                party.ready(mask)
        return len(found)
