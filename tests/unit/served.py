"""The real API over a real socket, with answers of the test's own: what the command line is tried against."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Self

from fairlead.adapters.http import Handlers, Server, application


class Served:
    """Serves `handlers()` in a thread with an event loop of its own, for as long as it is entered."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._loop = asyncio.new_event_loop()
        self._ready, self._stop = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    def handlers(self) -> Handlers:
        """What is behind the API; for the test to say."""
        raise NotImplementedError

    async def _serve(self) -> None:
        server = Server(str(self.path), application(self.handlers()))
        await server.start()
        self._ready.set()
        await self._stop.wait()
        await server.close()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()
