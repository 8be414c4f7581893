"""When to probe whom. Rise and fall are not decided here.

Targets that come together are asked for the first time within a short while, and for the second time at a random point of their
interval; from then on a run starts `interval` after the start of the last, give or take 5 %: probes spread, and stay spread. At
most `at_once` are under way; what is due beyond that waits its turn, first come first served. A turn of the event loop starts a
bounded number.
"""

from __future__ import annotations

import asyncio
import collections
import random
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from fairlead.adapters.probes.attempt import Ask, Attempt, Ended
from fairlead.adapters.probes.diagnosis import Diagnosis
from fairlead.adapters.probes.dns import dns
from fairlead.adapters.probes.engine import Engine
from fairlead.adapters.probes.http import Http
from fairlead.adapters.probes.https import Https
from fairlead.adapters.probes.icmp import Icmp
from fairlead.adapters.probes.syn import Syn
from fairlead.adapters.probes.tcp import Connection
from fairlead.adapters.probes.udp import Datagram
from fairlead.model import CheckType, ProbeKey, ProbeResult, ProbeTarget

FIRST_RATE = 4000  # first runs a second, at most
JITTER = 0.05
AT_ONCE = 16384
STARTS = 16  # in one turn of the loop
STEP = 0.01  # seconds between two handfuls of first runs

TYPES: Mapping[CheckType, Callable[[Engine, Ask, Ended], Attempt]] = {
    "http": Http,
    "https": Https,
    "tcp": Connection,
    "syn": Syn,
    "dns": dns,
    "udp": Datagram,
    "icmp": Icmp,
}


class _Run:
    """One target: its next time, and its probe while one is under way."""

    __slots__ = ("_ask", "attempt", "key", "prober", "spread", "stopped", "target")

    def __init__(self, prober: Prober, key: ProbeKey, target: ProbeTarget) -> None:
        self.prober = prober
        self.key = key
        self.target = target
        self._ask: Ask | None = None
        self.stopped = False
        self.spread = False  # it has its place in the interval
        self.attempt: Attempt | None = None

    @property
    def ask(self) -> Ask:
        """The target made ready, when it is first needed: a hundred thousand targets may come at once."""
        if self._ask is None:
            self._ask = Ask(self.target)
        return self._ask

    def due(self) -> None:
        """From the engine: its turn, or nearly."""
        if not self.stopped:
            self.prober.queue(self)

    def ended(self, result: ProbeResult, silent: bool) -> None:
        """From the attempt."""
        self.attempt = None
        self.prober.ended(self, result, silent)


class Prober:
    """Keeps probing what `set` names. `on_result` is called in the event loop, once for each run that was not broken off."""

    def __init__(self, on_result: Callable[[ProbeKey, ProbeResult], None], *, at_once: int = AT_ONCE) -> None:
        self._on_result = on_result
        self._targets: Mapping[ProbeKey, ProbeTarget] = {}
        self._runs: dict[ProbeKey, _Run] = {}
        self._waiting: collections.deque[_Run] = collections.deque()
        self._new: collections.deque[_Run] = collections.deque()
        self._handing_out = False
        self._chance = random.Random()  # noqa: S311 - spreads probes, keeps no secret
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._free = max(16, min(at_once, files // 2))
        self._starting = False
        self._engine: Engine | None = None
        self._diagnosis = Diagnosis(self._running)

    def set(self, targets: Mapping[ProbeKey, ProbeTarget]) -> None:
        """Probe exactly these from now on. One that has changed is asked anew at once; the others keep their rhythm."""
        if targets is self._targets:
            return
        self._targets, runs = targets, self._runs
        for key, target in targets.items():
            run = runs.get(key)
            if run is None or (run.target is not target and run.target != target):
                if run is not None:
                    self._stop(run)
                runs[key] = run = _Run(self, key, target)
                self._new.append(run)
        if len(runs) > len(targets):
            for key in [key for key in runs if key not in targets]:
                self._stop(runs.pop(key))
        if self._new and not self._handing_out:
            self._handing_out = True
            self._running().at(time.monotonic(), self)

    def due(self) -> None:
        """From the engine: the first runs of some more targets."""
        for _ in range(min(len(self._new), int(FIRST_RATE * STEP))):
            self._new.popleft().due()
        self._handing_out = bool(self._new)
        if self._handing_out:
            self._running().at(time.monotonic() + STEP, self)

    async def close(self) -> None:
        """Stop all; no probe is under way any more when this returns."""
        self.set({})
        self._diagnosis.close()
        self._waiting.clear()
        self._new.clear()
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _running(self) -> Engine:
        if self._engine is None:
            self._engine = Engine()
        return self._engine

    def _stop(self, run: _Run) -> None:
        run.stopped = True
        if run.attempt is not None:
            run.attempt.abandon()
            run.attempt = None
            self._free += 1
            self._start_soon()

    def queue(self, run: _Run) -> None:
        """A target's time has come."""
        self._waiting.append(run)
        self._start_soon()

    def _start_soon(self) -> None:
        """At the next turn of the loop, so that answers that are there already are read first."""
        if not self._starting and self._waiting and self._free:
            self._starting = True
            asyncio.get_running_loop().call_soon(self._start)

    def _start(self) -> None:
        """Let those that wait begin, as far as there is room."""
        self._starting = False
        for _ in range(STARTS):
            if not (self._free and self._waiting):
                break
            run = self._waiting.popleft()
            if not run.stopped and self._engine is not None:
                self._free -= 1
                run.attempt = attempt = TYPES[run.target.check.type](self._engine, run.ask, run.ended)
                attempt.begin()
        self._start_soon()

    def ended(self, run: _Run, result: ProbeResult, silent: bool) -> None:
        """A run is over: make room, see to the next one, tell."""
        self._free += 1
        interval = run.target.check.interval
        wait = interval * self._chance.uniform(*((1 - JITTER, 1 + JITTER) if run.spread else (0, 1)))
        run.spread = True
        self._running().at(time.monotonic() + max(wait - result.took, interval / 10), run)
        self._start_soon()
        if silent and (more := self._diagnosis.of(run.target)):
            result = replace(result, says=f"{result.says}; {more}")
        self._on_result(run.key, result)


async def probe(target: ProbeTarget) -> ProbeResult:
    """Run one check once. Bounded by the check's timeout."""
    engine = Engine()
    done: asyncio.Future[ProbeResult] = asyncio.get_running_loop().create_future()
    attempt = TYPES[target.check.type](engine, Ask(target), lambda result, _: done.set_result(result))
    try:
        attempt.begin()
        return await done
    finally:
        attempt.abandon()
        engine.close()
