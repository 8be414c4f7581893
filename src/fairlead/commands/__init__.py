"""What an operator may ask of a daemon that runs: one method each. Errors are FairleadError, and then nothing was changed."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from fairlead import render, succession
from fairlead._native import layout_hash
from fairlead.adapters import system
from fairlead.adapters.http import Call
from fairlead.commands.blocking import Blocking
from fairlead.commands.changes import Changes
from fairlead.commands.explaining import Explaining
from fairlead.commands.leaving import Leaving
from fairlead.commands.overriding import Overriding
from fairlead.core import keys, overrides
from fairlead.model import Status, VerdictStatus
from fairlead.parts import Parts
from fairlead.speaking.scraping import Scraping
from fairlead.speaking.streaming import Streaming


class Commands:
    """Commands on the parts of one run; they are served by the API, and reload (`changes`) by SIGHUP too."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.blocking = Blocking(parts)
        self.changes = Changes(parts, self.blocking)
        self.overriding = Overriding(parts)
        self.leaving = Leaving(parts)
        self.streaming = Streaming(parts.log, self.status)

    def calls(self) -> dict[str, Call]:
        """What the API serves beside the plain verbs."""
        scraping = Scraping(self.status, lambda: self._parts.config.compat)
        of = (self.changes, self.overriding, self.leaving, self.blocking, scraping, self.streaming, Explaining(self._parts))
        return {name: call for each in of for name, call in each.calls().items()}

    async def restart(self) -> str:
        """Hand over to what is installed now, in this process: it adopts all that there is. Refused if it could not."""
        async with self._parts.changing:
            await self.changes.usable()
            version = await succession.trial(layout_hash())
            self._parts.ending.hand_over()
            return f"fairlead {system.version()} hands over to fairlead {version}"

    async def reattach(self, name: str) -> str:
        """Put the programs on one of our interfaces anew, or on all members of a bond."""
        parts = self._parts
        return await parts.presence.reattach(parts.kernel, name, parts.managed(), parts.config.attach_delay)

    async def status(self) -> Status:
        """All that is known now."""
        parts = self._parts
        flows = await asyncio.to_thread(parts.kernel.flow_counts)
        report = await parts.reconciler.survey(parts.kernel.counters, flows)
        names, actions = parts.kernel.layout.verdict_names(), parts.kernel.layout.verdict_actions()
        found = Status(
            version=system.version(),
            started=parts.started,
            config=parts.source,
            key_fingerprint=keys.printed(parts.keys.fingerprint),
            interfaces=parts.presence.interfaces(),
            vips=report.vips,
            services=report.services,
            peers=parts.speaker.status(),
            verdicts={names[n]: VerdictStatus(*v, actions[n]) for n, v in sorted(parts.kernel.verdicts().items()) if n in names},
            tables=report.tables,
            tables_hash=report.tables_hash,
            repairs=report.repairs,
            warnings=(*parts.presence.warnings(), *report.warnings),
            tunnels=parts.underlay.status(),
            overrides=overrides.statuses(parts.config, parts.overrides),
            limits=report.limits,
            memory=sum(table.bytes for table in report.tables),
            drained="" if parts.drained is None else overrides.away(parts.drained),
            leaving=parts.drained is not None and parts.reconciler.offered(),
            at=time.time(),
            work=await parts.working(),
            sinks=parts.log.status(),
            failures=report.warnings,
            blocks=len(self.blocking.wanted()),
        )
        problems = await asyncio.to_thread(render.troubles, found, found.at)  # a look at every backend
        return replace(found, problems=tuple(problems))
