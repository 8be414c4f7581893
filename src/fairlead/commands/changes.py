"""Changes of the configuration while the daemon runs: read, held against the machine, rehearsed, and worked by."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

from fairlead import preflight
from fairlead.adapters import system
from fairlead.adapters.http import Call, Question, Word
from fairlead.commands.blocking import Blocking
from fairlead.core import keys
from fairlead.core.notes import notes
from fairlead.errors import FairleadError, Refused
from fairlead.events import Applied, Reloaded, ReloadRefused
from fairlead.model import Change, Config
from fairlead.parts import Parts
from fairlead.reconcile import PassResult

_WORDS = (
    Word("path", "what the configuration is called in positions", example="/etc/fairlead/fairlead.yaml"),
    Word("max-moved", "refuse if more percent of the slots or flows would move", example="1%"),
)


class Changes:
    """One at a time: `parts.changing` is held from the first look at the file to the end of the pass."""

    def __init__(self, parts: Parts, blocking: Blocking) -> None:
        self._parts = parts
        self._blocking = blocking

    def calls(self) -> dict[str, Call]:
        """What of this the API serves, besides `reload`."""
        body = "a configuration, as `fairlead run` reads it"
        return {
            "POST /v1/plan": Call(self.plan, "What a configuration would do; nothing changes", Change, _WORDS, body),
            "POST /v1/apply": Call(self.apply, "Work by a configuration from now on", Change, _WORDS, body),
        }

    async def reload(self) -> str:
        """Read the configuration again and work by it; on any problem the running one stays, and the error says why."""
        parts = self._parts
        async with parts.changing:
            system.notify(system.reloading())
            try:
                config = await self.usable()
                changed = config != parts.config
                if changed:
                    await self._put(config, parts.options.config)
                else:
                    await parts.serving.follow(config.api)  # its files may say something else
            except FairleadError as e:
                parts.log(ReloadRefused(parts.options.config, str(e)))
                raise
            finally:
                system.notify("READY=1")
            event = Reloaded(parts.options.config, changed)
            parts.log(event)
            return str(event)

    async def plan(self, question: Question) -> Change:
        """What the configuration in the body would do. ConfigError or Refused if it cannot be used."""
        async with self._parts.changing:
            config = await self._posted(question)
            return await self._rehearsed(config, _budget(question))

    async def apply(self, question: Question) -> Change:
        """Work by the configuration in the body, unless it moves too much; errors as `plan` has them.

        Its operations are those that were carried out, in this order.
        """
        parts = self._parts
        async with parts.changing:
            config = await self._posted(question)
            change = await self._rehearsed(config, _budget(question))
            if change.refused:
                return change
            beside = _beside(parts, config)
            result = await self._put(config, config.path)
            done = (*(op.text for op in result.done), *beside)
            parts.log(Applied(config.path, len(done)))
            failed = tuple(f"{refusal.text}: {refusal.says}" for refusal in result.failed)
            return replace(change, operations=done, problems=failed, changed=bool(done or failed), applied=True)

    # ------------------------------------------------------------------------------------------------------------------- steps

    async def usable(self, text: str | None = None, path: str = "") -> Config:
        """The configuration of the file that the daemon was started with, or the one given; errors if it cannot be used here."""
        parts = self._parts
        if text is None:
            config = await asyncio.to_thread(preflight.load, parts.options.config)
        else:
            config = await asyncio.to_thread(preflight.parse, text, path)
        other = keys.derive(preflight.secret(config)) != parts.keys
        problems = [preflight.OTHER_KEY] if other else []
        problems += preflight.geometry_problems(parts.kernel.geometry, config)
        problems += await parts.serving.problems(config.api)
        await parts.network.read_links()
        await preflight.require(parts.network, config, parts.names(config), parts.options.bpffs, problems)
        return config

    async def _posted(self, question: Question) -> Config:
        return await self.usable(question.body, question.words.get("path", "the body"))

    async def _rehearsed(self, config: Config, budget: float) -> Change:
        parts = self._parts
        flows = await asyncio.to_thread(parts.kernel.flow_counts)
        links = parts.network.managed(parts.names(config))
        found = await parts.reconciler.rehearse(parts.overlaid(config), links, flows, config.path)
        beside = _beside(parts, config)
        refused = ""
        if found.moved.percent > budget:
            moved = f"{found.moved.slots} slots and {found.moved.flows} flows, {found.moved.percent:g}%"
            refused = f"it moves {moved}: more than {budget:g}%"
        operations = (*found.operations, *beside)
        return replace(found, operations=operations, changed=bool(operations or found.problems), refused=refused)

    async def _put(self, config: Config, source: str) -> PassResult:
        parts = self._parts
        before, parts.config, parts.source = parts.config, config, source
        parts.warn()
        if config.probe.mark != before.probe.mark:
            parts.kernel.probe_mark = config.probe.mark
            await parts.replace_programs()
        if config.address != before.address:
            now, then = parts.router_id, config.address
            late = f"{now} stays the BGP router id until the next start, then it is the new `address`, {then}"
            parts.presence.warn("address", [late] if then not in (None, now) else [])
        result = await parts.reconciler.change(parts.overlaid(config), parts.managed())
        await parts.watch()
        await parts.presence.look_after_plumbing(config, parts.managed())
        parts.speak(config)
        await parts.serving.follow(config.api)
        await self._blocking.work()
        parts.changed()
        return result


def _beside(parts: Parts, config: Config) -> list[str]:
    return notes(parts.config, config)


def _budget(question: Question) -> float:
    """Percent, without a limit where none was given; Refused if it is no number."""
    text = question.words.get("max-moved", "")
    try:
        budget = float(text.removesuffix("%")) if text else math.inf
    except ValueError:
        budget = math.nan
    if not budget >= 0:
        raise Refused([f"max-moved: {text} is no percentage: write for example 1%"])
    return budget
