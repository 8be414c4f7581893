"""While the daemon runs: one job for each thing that is followed, each for ever. A bug in any of them ends the run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from fairlead.adapters.probes import Prober
from fairlead.commands import Commands
from fairlead.errors import FairleadError
from fairlead.events import OperationFailed
from fairlead.parts import Parts
from fairlead.pulse import Pulse, interval, listen

VERIFY_EVERY = 60.0  # seconds; probe plumbing is looked after at the same pace
LOOK_EVERY = 0.5  # seconds between two looks whether our programs are still on the interfaces; link events bring more


@dataclass(slots=True)
class Wakes:
    """What there is to do. A wake-up carries no data, and several may merge."""

    facts: asyncio.Event = field(default_factory=asyncio.Event)
    plumb: asyncio.Event = field(default_factory=asyncio.Event)
    rubbish: asyncio.Event = field(default_factory=asyncio.Event)
    links: asyncio.Event = field(default_factory=asyncio.Event)
    reloads: asyncio.Event = field(default_factory=asyncio.Event)

    def network(self) -> None:
        """The kernel's network has changed."""
        self.facts.set()
        self.links.set()


class Jobs:
    """The jobs of one run."""

    def __init__(self, parts: Parts, commands: Commands, prober: Prober, pulse: Pulse, wakes: Wakes) -> None:
        self._parts, self._commands, self._prober, self._pulse, self._wakes = parts, commands, prober, pulse, wakes

    def all(self) -> tuple[Callable[[], Coroutine[Any, Any, None]], ...]:
        """Each as a coroutine that goes on until it is cancelled."""
        mine = (self._passes, self._following, self._beating, self._listening, self._collecting)
        return (*mine, self._upkeep, self._sweeping, self._plumbing, self._follow_reloads, self._commands.blocking.follow)

    def take_facts(self) -> None:
        """What the kernel's network says, for the next pass."""
        parts = self._parts
        parts.reconciler.set_links(parts.managed())
        parts.reconciler.set_paths(parts.network.paths())

    async def _passes(self) -> None:
        parts = self._parts
        while True:
            await self._wakes.facts.wait()
            self._wakes.facts.clear()
            self.take_facts()
            began = time.monotonic()
            await parts.reconciler.run_pass()
            parts.work.passed(time.monotonic() - began)
            self._pulse.passed()
            if parts.reconciler.settled():
                parts.speaker.settle()
            self._prober.set(parts.reconciler.targets())
            self._wakes.rubbish.set()

    async def _following(self) -> None:
        """An interface came, went, was made anew, joined or left a bond, is named no longer, or lost its program."""
        parts = self._parts
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    await self._wakes.links.wait()
            self._wakes.links.clear()
            try:
                complete = await parts.presence.complete(parts.kernel, parts.managed())
            except FairleadError:  # a link that goes while we look
                complete = False
            if not complete:
                await parts.watch()
                await parts.presence.follow(parts.kernel, parts.managed(), parts.config.attach_delay)
                self._wakes.facts.set()

    async def _beating(self) -> None:
        await self._pulse.beat(interval(os.environ))

    async def _listening(self) -> None:
        await listen(self._parts.work.late)

    async def _collecting(self) -> None:
        """Free what passes have unpointed; grace periods are long, so passes go on meanwhile."""
        while True:
            await self._wakes.rubbish.wait()
            self._wakes.rubbish.clear()
            await self._parts.reconciler.collect()

    async def _upkeep(self) -> None:
        while True:
            await asyncio.sleep(VERIFY_EVERY)
            await self._parts.reconciler.verify()
            self._wakes.plumb.set()

    async def _sweeping(self) -> None:
        """Clear expired flows each quarter of the time in which a fine tick comes round again."""
        geometry = self._parts.kernel.geometry
        while True:
            await asyncio.sleep((64 << geometry.fine_shift) / geometry.hz)
            try:
                await asyncio.to_thread(self._parts.kernel.sweep, self._parts.reconciler.owned())
            except FairleadError as e:
                self._parts.log(OperationFailed("clear expired flows", str(e)))

    async def _plumbing(self) -> None:
        while True:
            await self._wakes.plumb.wait()
            self._wakes.plumb.clear()
            await self._parts.presence.look_after_plumbing(self._parts.config, self._parts.managed())

    async def _follow_reloads(self) -> None:
        while True:
            await self._wakes.reloads.wait()
            self._wakes.reloads.clear()
            with contextlib.suppress(FairleadError):  # it is in the log
                await self._commands.changes.reload()
