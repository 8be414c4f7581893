"""The loop's pass: facts -> plan -> wants -> diff -> operations, carried out one by one; only this module writes to the tables.

Level-triggered: a pass looks at what is known and what is there, never at what happened. A service whose facts are the same
object as in the last pass, and whose operations all went through, is not looked at again: one health change costs what its
service costs. `have` is what was read or confirmed. An operation that fails is logged, ends its chain, and is tried again later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from fairlead.core import rendezvous as rendezvous_reference
from fairlead.core.announce import Announcer
from fairlead.core.chains import chains
from fairlead.core.diff_shared import free_op
from fairlead.core.facts import Facts
from fairlead.core.garbage import uncollected
from fairlead.core.ids import Item, Kind
from fairlead.core.moment import Moment
from fairlead.core.planner import Planner
from fairlead.core.progress import Progress
from fairlead.core.report import Report, counted
from fairlead.core.rows import Rows, vip_key
from fairlead.core.steps import Chain, MaglevFill, Refusal, RendezvousFill, Tables, Tools
from fairlead.core.survey import Survey
from fairlead.core.tables import Have
from fairlead.core.targets import Targets
from fairlead.core.totals import CountersOf, Totals
from fairlead.errors import KernelError
from fairlead.events import Event, Operated, OperationFailed, Repaired
from fairlead.model import (
    Address,
    Config,
    Kept,
    Keys,
    Link,
    NoPath,
    Op,
    Path,
    ProbeKey,
    ProbeResult,
    ProbeTarget,
    Route,
)

_BREATH = 0.005  # seconds of work between two chances for the rest of the loop


@dataclass(slots=True)
class PassResult:
    """What a pass did. `postponed`: some chains wait for room that the next collection brings."""

    done: list[Op] = field(default_factory=list)
    failed: list[Refusal] = field(default_factory=list)
    postponed: int = 0


class Reconciler:
    """All methods belong to the event loop's thread; `announce` is called with the wanted routes whenever they change."""

    def __init__(
        self,
        tables: Tables,
        *,
        keys: Keys,
        log: Callable[[Event], None],
        clock: Callable[[], float],
        steady: Callable[[], float] | None = None,
        maglev: MaglevFill,
        rendezvous: RendezvousFill = rendezvous_reference,
        announce: Callable[[tuple[Route, ...]], None] = lambda _: None,
        keep: Callable[[Kept], str] = lambda _: "",
    ) -> None:
        self.keys = keys
        self.wake: Callable[[], None] = lambda: None
        self.changed = False
        self.repairs = 0
        self._tables, self._log, self._clock, self._steady = tables, log, clock, steady or clock
        self._maglev, self._rendezvous = maglev, rendezvous
        self._rows = Rows(tables.layout)
        self._have = Have(self._rows, tables.geometry, tables.view("slots"))
        self._totals, self._keep = Totals(self._have), keep
        self._facts = Facts(self._have.remembered)
        self._links: tuple[Link, ...] | None = None
        self._planner = Planner(self._rows, log)
        self._progress = Progress(self._steady)
        self._announcer = Announcer(log, announce)
        self._targets = Targets()
        self._pass_lock, self._collect_lock = asyncio.Lock(), asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self.breathed = 0.0  # when a pass last moved on, by the loop's clock
        self._repairing = False

    # ----------------------------------------------------------------------------------------------------------------- facts in

    def adopt(self, vouched: Collection[Address] = (), kept: Kept | None = None) -> None:
        """Read what the tables hold; once, before anything else.

        `vouched` are VIPs that were announced a moment ago, by the run whose work this one goes on with: nobody waits for their
        checks once more. `kept`: the totals of the daemon that filled the tables.
        """
        self._have.adopt(self._tables.view)
        self._facts.vouched = vouched
        self._totals.load(kept or Kept())

    @uncollected()
    def set_config(self, config: Config) -> None:
        """The configuration as it is now."""
        self._facts.set_config(config, self._announcer.routes.keys(), self._now())
        self._totals.limit_to(config.vips())
        self._touch()

    @uncollected()
    def set_paths(self, paths: Mapping[Address, Path | NoPath]) -> None:
        """The path of every configured backend, or why there is none. Nothing is written before this was called once."""
        first = self._facts.paths is None
        if self._facts.set_paths(paths) or first:
            self._touch()

    def set_links(self, links: Sequence[Link]) -> None:
        """The interfaces that packets may arrive on; all of them."""
        if tuple(links) != self._links:
            self._links = tuple(links)
            self._touch()

    def probed(self, key: ProbeKey, result: ProbeResult) -> None:
        """One answer to one question of a health check, whoever asked it."""
        if self._facts.probed(key, result, self._now()):
            self._touch()

    def _touch(self) -> None:
        self.changed = True
        self.wake()

    def _now(self) -> Moment:
        return Moment(self._clock(), self._steady())

    # --------------------------------------------------------------------------------------------------------------- facts out

    def routes(self) -> tuple[Route, ...]:
        """What is to be announced now."""
        return tuple(self._announcer.routes.values())

    @uncollected()
    def targets(self) -> Mapping[ProbeKey, ProbeTarget]:
        """Whom to probe; the same object as before if nothing has changed."""
        config = self._facts.config
        if config is None:
            return {}
        facts = {k: p.facts for k, p in self._planner.services.items()}
        return self._targets.now(config, facts, self._facts.questions, self._have)

    @uncollected(stays=False)
    def status(self, counters: CountersOf, flows: Sequence[int]) -> Report:
        """`counters` gives (packets, bytes, flows) by destination id, `flows` the current flow entries of each id."""
        look = self._look(counters, flows)
        return look.report(list(look.services()))

    async def survey(self, counters: CountersOf, flows: Sequence[int]) -> Report:
        """As `status`, but lets the rest of the loop run meanwhile, for 100,000 backends take seconds."""
        look, found = self._look(counters, flows), []
        with uncollected(stays=False):
            for each in look.services():
                found.append(each)
                await self._breathe()
            await asyncio.sleep(0)
            return look.report(found)

    def _look(self, counters: CountersOf, flows: Sequence[int]) -> Survey:
        known = self._have, self._facts, self._planner, self._progress, self._announcer
        return Survey(*known, self._totals.rest(counters), flows, self._now(), self._tables.sizes(), self.repairs)

    def owned(self) -> bytes:
        """For a sweep of the flow table: one bit per destination id, clear for those whose flows must go."""
        return self._have.holdings.kept(Kind.DESTINATION, self._have.geometry.destinations)

    def deadline(self) -> float | None:
        """The steady moment when time alone calls for a pass; a timer of the loop sees to it.

        A failed operation is due again, a VIP has been up for long enough, or a backend may have new flows again.
        """
        known = (self._progress.deadline(), self._announcer.deadline(self._steady()), self._facts.deadline())
        return min((at for at in known if at is not None), default=None)

    # ----------------------------------------------------------------------------------------------------------------- the pass

    async def run_pass(self) -> PassResult:
        """Bring the tables to what the facts ask for, as far as it goes; may be called at any time, passes never overlap."""
        async with self._pass_lock:
            with uncollected():
                return await self._pass()

    async def _pass(self) -> PassResult:
        result, config = PassResult(), self._facts.config
        self.changed = False
        if config is None or self._facts.paths is None:
            return result
        self.breathed = asyncio.get_running_loop().time()
        self._facts.release(self._now())
        await self._replan()
        self._announcer.replan(self._planner.vip_plans(), config.aggregates)
        self._announced(self._announcer.withdraw(self._steady()), result)
        wants = [planned.want for planned in self._planner.services.values()]
        vips = self._planner.vips(config)
        for chain in chains(self._have, config.timeouts, self._links, vips, wants, self._progress.pending, self._tools()):
            await self._carry_out(chain, result)
        self._announced(self._announcer.announce(self._ready, self._steady()), result)
        self._set_timer()
        return result

    async def _replan(self) -> None:
        for key in self._planner.renew(dict(self._facts.services), self._facts.inherited, self._now()):
            self._targets.touch(key)
            if key not in self._planner.services:
                self._progress.forget(key)
            await self._breathe()

    def _tools(self) -> Tools:
        names = {link.ifindex: link.name for link in self._links or ()}
        return Tools(self._maglev, self._rendezvous, self._counters, names, int(max(self._clock(), 0.0) * 1e9))

    def _counters(self, first: int, count: int) -> list[tuple[int, int, int]]:
        return counted(self._have, self._tables.view("counters"), first, count)

    def _ready(self, vip: Address) -> bool:
        """The tables hold the VIP and all its services."""
        keys = [p.want.row for key, p in self._planner.services.items() if key.vip == vip]
        return all(key in self._have.places for key in (vip_key(vip), *keys))

    def _announced(self, ops: list[Op], result: PassResult) -> None:
        for op in ops:
            result.done.append(op)
            self._log(Operated(op.text, op.about))

    # --------------------------------------------------------------------------------------------------------- one chain, one op

    async def _carry_out(self, chain: Chain, result: PassResult) -> None:
        """The operations of a chain until the first that fails; then what it had reserved and did not use goes back."""
        failed = list(chain.refusals)
        if self._progress.resting(chain.name, self._planner.want(chain.name)):
            return
        for op in chain.ops:
            says = self._apply(op)
            if says:
                failed.append(Refusal(op.text, says))
                break
            result.done.append(op)
            await self._breathe()
        for refusal in failed:
            self._log(OperationFailed(refusal.text, refusal.says))
        result.failed += failed
        result.postponed += chain.postponed
        self._settle(chain, failed)

    def _apply(self, op: Op) -> str:
        """Carry out one operation; returns what went wrong, "" if nothing did."""
        try:
            self._tables.apply(op)
        except KernelError as error:
            self._have.read_back(op.stores, self._tables.view)
            return str(error)
        self._have.confirm(op)
        self.repairs += self._repairing
        self._log(Repaired(op.text) if self._repairing else Operated(op.text, op.about))
        return ""

    def _settle(self, chain: Chain, failed: Sequence[Refusal]) -> None:
        """Remember whether a chain is done, or when to try it again."""
        for item in chain.reserved:
            if not self._have.holdings.uses(item):
                self._have.holdings.quarantine(item)
        want = self._planner.want(chain.name)
        if want is not None:
            self._targets.touch(want.key)
        failure = f"{failed[0].text}: {failed[0].says}" if failed else ""
        self._progress.settle(chain.name, want, failure, postponed=chain.postponed)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        at = self.deadline()
        delay = 0.0 if at is None else max(at - self._steady(), 0.01)
        self._timer = None if at is None else asyncio.get_running_loop().call_later(delay, self._touch)

    async def _breathe(self) -> None:
        """Let the rest of the loop run if this pass has had it for a while."""
        loop = asyncio.get_running_loop()
        if loop.time() - self.breathed > _BREATH:
            await asyncio.sleep(0)
            self.breathed = loop.time()

    # ------------------------------------------------------------------------------------------------- quarantine and read-back

    async def collect(self) -> None:
        """Free what has become unreachable: a grace period for all of it; for destination ids a sweep and another one.

        The caller must have closed the probe sockets of ids that are gone (`targets()` does not name them any more).
        """
        async with self._collect_lock:
            while self._have.holdings.waits() and await self._collect_once():
                pass

    async def _collect_once(self) -> bool:
        holdings = self._have.holdings
        batch = holdings.begin()
        try:
            await asyncio.to_thread(self._tables.grace)
            if any(item.kind is Kind.DESTINATION for item in batch):
                await asyncio.to_thread(self._tables.sweep, self.owned())
                await asyncio.to_thread(self._tables.grace)
        except KernelError as error:
            self._log(OperationFailed("collect what is not used any more", str(error)))
            return False
        if self._totals.retire(holdings.due(batch), self._counters):
            says = await asyncio.to_thread(self._keep, self._totals.kept())
            if says:
                self._log(OperationFailed("keep the totals for the next start", says))
        freed = [self._free(item) for item in holdings.due(batch)]
        if self._progress.collected():
            self._touch()
        return all(freed)

    def _free(self, item: Item) -> bool:
        op = free_op(self._have, item)
        says = self._apply(op) if op is not None else ""
        if op is not None and says:
            self._log(OperationFailed(op.text, says))
            return False
        self._have.holdings.free(item)
        return True

    async def verify(self) -> int:
        """Read everything back; what is not as confirmed is repaired. Returns the number of rows and regions that were off."""
        async with self._pass_lock:
            self.breathed = asyncio.get_running_loop().time()
            off = 0
            for found in self._have.compare(self._tables.view):
                off += found
                await self._breathe()
            if off:
                self._progress.doubt()
                self._repairing = True
                try:
                    await self._pass()
                finally:
                    self._repairing = False
            return off
