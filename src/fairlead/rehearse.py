"""Changes with notice: what a configuration would do, by the very pass that would do it, on a copy of what is known.

The copy has tables that are only thought of (`core/paper.py`), and nobody hears what it logs and announces. So the operations
of a rehearsal are those that a pass would carry out at this moment, and its texts are theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from fairlead.core import moves
from fairlead.core.copies import twin
from fairlead.core.garbage import uncollected
from fairlead.core.hashes import known, unmapped
from fairlead.core.moves import Before
from fairlead.core.paper import Paper
from fairlead.core.rows import RowKey, named, service_key
from fairlead.core.steps import Tables
from fairlead.events import Event
from fairlead.model import Address, Change, Config, Link, Route, ServiceChange, ServiceKey
from fairlead.reconcile import PassResult, Reconciler

_FEW = 4  # backends that are named


def _ours(kind: type) -> bool:
    """What the reconciler knows is in these; all else (clocks, listeners, the kernel) is not copied."""
    return kind.__module__.startswith("fairlead.core.") or issubclass(kind, Reconciler)


class Rehearsing(Reconciler):
    """A reconciler that can say beforehand what it would do; made as `Reconciler` is."""

    def __init__(
        self,
        tables: Tables,
        *,
        log: Callable[[Event], None],
        announce: Callable[[tuple[Route, ...]], None] = lambda _: None,
        **rest: Any,
    ) -> None:
        self._on_paper = False
        self._listeners = log, announce
        super().__init__(tables, log=self._say, announce=self._tell, **rest)

    def _say(self, event: Event) -> None:
        if not self._on_paper:
            self._listeners[0](event)

    def _tell(self, routes: tuple[Route, ...]) -> None:
        if not self._on_paper:
            self._listeners[1](routes)

    async def change(self, config: Config, links: Sequence[Link]) -> PassResult:
        """Work by another configuration: the pass follows at once, with nothing between. Later ones do what takes time."""
        async with self._pass_lock:
            self.set_config(config)
            self.set_links(links)
            with uncollected():
                return await self._pass()

    def leave(self, within: float, why: str) -> None:
        """Offer all routes as a last resort (RFC 8326), and none after so many seconds, until `stay`; `why` is for people."""
        self._announcer.leave(self._steady() + within, why)
        self._touch()

    def stay(self) -> None:
        """Offer routes as ever."""
        self._announcer.stay()
        self._touch()

    def offered(self) -> bool:
        """Whether peers are offered anything now."""
        return bool(self._announcer.offered)

    def settled(self) -> bool:
        """Whether what is offered is all there is for now; after a restart peers keep what was offered before until then."""
        return self._announcer.settled(self._steady())

    async def rehearse(self, config: Config, links: Sequence[Link], flows: Sequence[int], path: str) -> Change:
        """What `change` would do now; `flows` are the live flow entries by destination id, `path` names the configuration."""
        async with self._pass_lock:
            copy, take_apart = self._copied()
        try:
            result = await copy.change(config, links)
            before = Before(self._have, flows)
            services, later = await copy.compare(before)
        finally:
            copy.dismiss()
            take_apart()
        if result.postponed:
            later.append("more follows when what is not used any more has been freed")
        return Change(
            path=path,
            changed=bool(result.done or result.failed or later),
            operations=tuple(op.text for op in result.done),
            moved=moves.total(services, before),
            services=tuple(services),
            later=tuple(later),
            problems=tuple(f"{refusal.text}: {refusal.says}" for refusal in result.failed),
        )

    def owners(self) -> dict[int, tuple[ServiceKey, Address]]:
        """The service and the backend of each destination id in use."""
        return {
            number: (planned.facts.service.key, unmapped(backend))
            for planned in self._planner.services.values()
            for backend, number in self._have.owned.get(service_key(planned.facts.service.key), {}).items()
        }

    # ---------------------------------------------------------------------------------------------------------------- the copy

    @uncollected()
    def _copied(self) -> tuple[Rehearsing, Callable[[], None]]:
        paper = Paper(self._tables)
        instead: dict[int, Any] = {id(self._tables): paper, id(self._have.slots): paper.slots, id(self._rows): self._rows}
        for part in vars(self).values():
            if isinstance(part, asyncio.Lock):
                instead[id(part)] = asyncio.Lock()
            elif isinstance(part, asyncio.Handle):
                instead[id(part)] = None
        copy, take_apart = twin(self, instead, _ours)
        copy.set_down()
        return copy, take_apart

    def set_down(self) -> None:
        """From now on this one is on paper only."""
        self._on_paper = True
        self.wake = lambda: None

    def dismiss(self) -> None:
        """It is not needed any more."""
        if self._timer is not None:
            self._timer.cancel()

    async def compare(self, before: Before) -> tuple[list[ServiceChange], list[str]]:
        """After a rehearsal: the services that change, and what happens to slots once new backends have come up."""
        changes, later = [], []
        planned = {service_key(key): each for key, each in self._planner.services.items()}
        for key in sorted({*before.have.owned, *planned}):
            owned = before.have.owned.get(key, {})
            facts = planned[key].facts if key in planned else None
            backends = facts.service.backends if facts is not None else ()
            new = tuple(b.address for b in backends if known(b.address).packed not in owned)
            if not new and moves.untouched(key, before.have, self._have):
                continue
            end = moves.expected(facts, new, self._tools()) if facts is not None and new else None
            change = moves.service_change(key, before, self._have, end)
            changes += [change] if change is not None else []
            if end is not None:
                later += self._later(key, end, new)
            await self._breathe()
        return changes, later

    def _later(self, key: RowKey, end: moves.Table, new: Sequence[Address]) -> list[str]:
        now = moves.present(self._have, key)
        if not end.size or end.same(now):
            return []
        names = ", ".join(map(str, new[:_FEW])) + (f" and {len(new) - _FEW} more" if len(new) > _FEW else "")
        up = f"once {names} {'are' if len(new) > 1 else 'is'} up"
        if not now.size or now.size != end.size:
            return [f"{named(key)} gets {end.size} slots {up}"]
        return [f"{moves.slots_moved((now, end))} of {end.size} slots of {named(key)} move {up}"]
