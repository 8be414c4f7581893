"""What is known: configuration, health and paths, kept per service so that one change makes one service's facts new.

The plan of a service is cached by the identity of its `ServiceFacts`; whoever changes a fact replaces that object.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import NamedTuple

from fairlead.core.hashes import mapped
from fairlead.core.health import NOT_CHECKED, Standing, combine, step
from fairlead.core.plan import ServiceFacts
from fairlead.core.questions import Questions
from fairlead.core.tunnels import usable
from fairlead.model import Address, Config, Health, NoPath, Path, ProbeKey, ProbeResult, Service, ServiceKey

UNRESOLVED = NoPath("its path is not known yet")


class Past(NamedTuple):
    """What the registry remembers of a backend: the verdict of its checks and the Unix time since when."""

    healthy: bool
    since: float


Standings = dict[Address, tuple[Standing, ...]]


class Facts:
    """Holds no clock and no tables: `past` looks up what was adopted for a service, by backend as 16 bytes."""

    def __init__(self, past: Callable[[ServiceKey], Mapping[bytes, Past]]) -> None:
        self._past = past
        self._standings: dict[ServiceKey, Standings] = {}
        self._users: dict[Address, list[ServiceKey]] = {}
        self.config: Config | None = None
        self.paths: Mapping[Address, Path | NoPath] | None = None
        self.services: dict[ServiceKey, ServiceFacts] = {}
        self.questions = Questions()

    def set_config(self, config: Config, announced: Collection[Address], now: float) -> None:
        """A new configuration. Standings go on where they can; a backend that is new starts down.

        A new service on a VIP that is announced starts up instead: it must not take the VIP away until its checks have run.
        """
        old, standings = self.services, self._standings
        moved = self.config is not None and (self.config.address, self.config.address6) != (config.address, config.address6)
        self.config, self.services, self._standings, self._users = config, {}, {}, {}
        self.questions = Questions(config.services)
        for service in config.services:
            for backend in service.backends:
                self._users.setdefault(backend.address, []).append(service.key)
            before = old.get(service.key)
            if before is not None and before.service == service and not (moved and service.tunnel is not None):
                self._standings[service.key], self.services[service.key] = standings[service.key], before
                continue
            trusted = before is None and service.key.vip in announced
            known = _continued(service, before.service, standings[service.key], now) if before is not None else {}
            self._standings[service.key] = self._started(service, known, trusted, now)
            self.services[service.key] = self._facts(service)

    def _started(self, service: Service, known: Standings, trusted: bool, now: float) -> Standings:
        """Standings for all backends: those known go on, then what the registry remembers, then down (or up, if trusted)."""
        past = self._past(service.key)
        fresh = (Standing(trusted, now, NOT_CHECKED, trusted),) * len(service.checks)
        found: Standings = {}
        for backend in service.backends:
            address = backend.address
            remembered = past.get(mapped(address)) if past and not trusted else None
            if address in known:
                found[address] = known[address]
            elif remembered is not None:
                found[address] = (Standing(remembered.healthy, remembered.since),) * len(service.checks)
            else:
                found[address] = fresh
        return found

    def _facts(self, service: Service) -> ServiceFacts:
        standings = self._standings[service.key]
        healths: dict[int, Health] = {}
        for each in standings.values():
            if id(each) not in healths:
                healths[id(each)] = combine(each, service.checks)
        found = tuple(healths[id(standings[b.address])] for b in service.backends)
        return ServiceFacts(service, found, self._paths_of(service))

    def _paths_of(self, service: Service) -> tuple[Path | NoPath, ...]:
        paths = self.paths or {}
        return tuple(usable(service, b.address, paths.get(b.address, UNRESOLVED), self.config) for b in service.backends)

    def latest(self, key: ServiceKey) -> Callable[[Address], Health | None]:
        """What tells the standing of a backend with the latest words of its checks; None for what is not configured any more."""
        facts = self.services.get(key)
        checks = facts.service.checks if facts is not None else ()
        standings = self._standings.get(key, {})

        def latest_of(address: Address) -> Health | None:
            each = standings.get(address)
            return None if each is None else combine(each, checks)

        return latest_of

    def set_paths(self, paths: Mapping[Address, Path | NoPath]) -> bool:
        """The paths as they are now, all of them; whether any service is concerned."""
        old = self.paths or {}
        self.paths = dict(paths)
        changed = {a for a, p in self.paths.items() if (o := old.get(a)) is not p and o != p} | (old.keys() - self.paths.keys())
        keys = {key for address in changed for key in self._users.get(address, ())}
        for key in keys:
            self.services[key] = replace(self.services[key], paths=self._paths_of(self.services[key].service))
        return bool(keys)

    def probed(self, key: ProbeKey, result: ProbeResult) -> bool:
        """One answer, for all who asked; whether it changed what the plan rests on. What nobody asked for is ignored."""
        changed = False
        for service, index in self.questions.users(key):
            changed |= self._judge(service, key.backend, index, result)
        return changed

    def _judge(self, key: ServiceKey, address: Address, index: int, result: ProbeResult) -> bool:
        standings = self._standings[key].get(address)
        if standings is None:
            return False
        facts = self.services[key]
        checks = facts.service.checks
        after = (*standings[:index], step(standings[index], result, checks[index].rules), *standings[index + 1 :])
        self._standings[key][address] = after
        before, health = combine(standings, checks), combine(after, checks)
        if (before.up, before.reported) == (health.up, health.reported):
            return False
        at = next(i for i, b in enumerate(facts.service.backends) if b.address == address)
        self.services[key] = replace(facts, healths=(*facts.healths[:at], health, *facts.healths[at + 1 :]))
        return True


def _continued(service: Service, before: Service, standings: Standings, now: float) -> Standings:
    """Standings for checks that may have been edited: the verdict stays, the evidence starts anew, no edit takes anything down.
    Standings for checks that may have been edited: the verdict stays, the evidence starts anew, no edit takes anything down.
    """
    if service.checks == before.checks:
        return standings
    known = {address: combine(each, before.checks, now) for address, each in standings.items()}
    return {a: (Standing(h.up, h.since, NOT_CHECKED, h.reported),) * len(service.checks) for a, h in known.items()}
