"""The sink of one cluster: what the event loop sees of it."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import threading
import time
from collections.abc import Callable

from fairlead.adapters.search.sender import Sender
from fairlead.adapters.search.spool import Spool
from fairlead.adapters.search.store import Store
from fairlead.model import Probes, Search, SinkStatus
from fairlead.records import Record
from fairlead.records.ecs import Origin

_TO_DISK = 2.0  # seconds for what is left to be written, at the end


class SearchSink:
    """Takes events and hands them to a thread. `name` also names its directory below `spools`.

    `tell` is called in the event loop: with a sentence when trouble begins, and with None and how many events have waited.
    """

    def __init__(
        self, name: str, said: Search, spools: str, origin: Origin, tell: Callable[[str | None, int], None]
    ) -> None:  # fmt: skip
        self.name = name
        self.said = said
        self._loop = asyncio.get_running_loop()
        self._heard = tell
        self._store = Store(origin, Spool(str(pathlib.Path(spools, name)), said.spool), said.queue)
        self._sender = Sender(said, self._store, self._tell)
        self._sender.start()

    @property
    def probes(self) -> Probes:
        """As configured."""
        return self.said.probes

    def __call__(self, record: Record) -> None:
        """Take one event."""
        self._store.put(record)
        self._sender.news()

    def renew(self, said: Search) -> None:
        """Another configuration of the same cluster; what waits goes by it."""
        if said == self.said:
            return
        self.said = said
        self._store.queue = said.queue
        self._store.spool.most = said.spool
        self._sender.renew(said)

    def status(self) -> SinkStatus:
        """How it fares."""
        sender, store = self._sender, self._store
        error, troubled = store.trouble or sender.error, bool(store.trouble) or sender.troubled
        at = time.time() if store.trouble else sender.error_at
        troubled = bool(store.trouble) or sender.troubled
        counts = (sender.sent, store.dropped, sender.refused, store.queued, store.spool.octets)
        return SinkStatus(self.name, *counts, error, at, troubled)

    async def close(self, within: float) -> None:
        """Send what there is while it is taken; the rest goes to disk, for the run to come."""
        self._sender.end()
        await _ended(self._sender, within)
        last = threading.Thread(target=self._store.close, name="fairlead-spill", daemon=True)
        last.start()
        await _ended(last, _TO_DISK)

    def _tell(self, says: str | None, waited: int) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._heard, says, waited)


async def _ended(thread: threading.Thread, within: float) -> None:
    deadline = time.monotonic() + within
    while thread.is_alive() and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
