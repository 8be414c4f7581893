"""`GET /metrics`: what is known, as Prometheus reads it, made in bites so that the loop does other things in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fairlead import metrics
from fairlead.adapters.http import Call, Question, Text
from fairlead.model import Status

_BREATH = 0.003  # seconds of work between two chances for the rest of the loop


class Scraping:
    """`status` looks at everything, `compat` is the running configuration's."""

    def __init__(self, status: Callable[[], Awaitable[Status]], compat: Callable[[], str]) -> None:
        self._status = status
        self._compat = compat

    def calls(self) -> dict[str, Call]:
        """What the API serves of it."""
        says = "All metrics, in Prometheus's text format, or in OpenMetrics for whoever prefers it"
        return {"GET /metrics": Call(self.metrics, says, str, media=metrics.TEXT)}

    async def metrics(self, question: Question) -> Text:
        """Everything at one moment."""
        status, compat = await self._status(), self._compat()
        form = metrics.media(question.accept, compat)
        loop, parts = asyncio.get_running_loop(), []
        await asyncio.sleep(0)
        breathed = loop.time()
        for part in metrics.exposition(status, form, compat):
            parts.append(part)
            if loop.time() - breathed > _BREATH:
                await asyncio.sleep(0)
                breathed = loop.time()
        return Text("".join(parts), form)
