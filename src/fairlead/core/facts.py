"""What is known: configuration, health and paths, kept per service so that one change makes one service's facts new.

The plan of a service is cached by the identity of its `ServiceFacts`; whoever changes a fact replaces that object.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from fairlead.core.health import NOT_CHECKED, Standing, combine, step
from fairlead.core.plan import ServiceFacts
from fairlead.model import Address, Config, Health, NoPath, Path, ProbeKey, ProbeResult, Service, ServiceKey

UNRESOLVED = NoPath("its path is not known yet")
BackendKey = tuple[ServiceKey, Address]


@dataclass(frozen=True, slots=True)
class Past:
    """What the registry remembers of a backend: the verdict of its checks and the Unix time since when."""

    healthy: bool
    since: float


class Facts:
    """Holds no clock and no tables: `past` looks up what was adopted."""

    def __init__(self, past: Callable[[ServiceKey, Address], Past | None]) -> None:
        self._past = past
        self._standings: dict[BackendKey, tuple[Standing, ...]] = {}
        self._users: dict[Address, list[ServiceKey]] = {}
        self.config: Config | None = None
        self.paths: Mapping[Address, Path | NoPath] | None = None
        self.services: dict[ServiceKey, ServiceFacts] = {}

    def set_config(self, config: Config, announced: Collection[Address], now: float) -> None:
        """A new configuration. Standings go on where they can; a backend that is new starts down.

        A new service on a VIP that is announced starts up instead: it must not take the VIP away until its checks have run.
        """
        old, standings = self.services, self._standings
        self.config, self.services, self._standings, self._users = config, {}, {}, {}
        for service in config.services:
            before = old.get(service.key)
            trusted = before is None and service.key.vip in announced
            for backend in service.backends:
                key = (service.key, backend.address)
                self._users.setdefault(backend.address, []).append(service.key)
                if before is not None and key in standings:
                    self._standings[key] = _continued(service, before.service, standings[key], now)
                else:
                    self._standings[key] = self._first(service, backend.address, trusted, now)
            same = before is not None and before.service == service
            self.services[service.key] = before if before is not None and same else self._facts(service)

    def _first(self, service: Service, address: Address, trusted: bool, now: float) -> tuple[Standing, ...]:
        past = self._past(service.key, address)
        if trusted:
            start = Standing(True, now, NOT_CHECKED, True)
        elif past is not None:
            start = Standing(past.healthy, past.since)
        else:
            start = Standing(False, now)
        return (start,) * len(service.checks)

    def _facts(self, service: Service) -> ServiceFacts:
        healths = tuple(self.health(service, b.address) for b in service.backends)
        return ServiceFacts(service, healths, tuple(self._path(b.address) for b in service.backends))

    def _path(self, address: Address) -> Path | NoPath:
        return (self.paths or {}).get(address, UNRESOLVED)

    def health(self, service: Service, address: Address) -> Health:
        """The standing of a backend with the latest words of its checks; for status, and wherever facts are made."""
        return combine(self._standings[service.key, address], service.checks)

    def latest(self, key: ServiceKey, address: Address) -> Health | None:
        """The same by key; None for what is not configured any more."""
        facts = self.services.get(key)
        return self.health(facts.service, address) if facts is not None and (key, address) in self._standings else None

    def set_paths(self, paths: Mapping[Address, Path | NoPath]) -> bool:
        """The paths as they are now, all of them; whether any service is concerned."""
        old = self.paths or {}
        self.paths = dict(paths)
        changed = {a for a, p in self.paths.items() if old.get(a) is not p and old.get(a) != p} | (old.keys() - self.paths.keys())
        keys = {key for address in changed for key in self._users.get(address, ())}
        for key in keys:
            facts = self.services[key]
            self.services[key] = replace(facts, paths=tuple(self._path(b.address) for b in facts.service.backends))
        return bool(keys)

    def probed(self, key: ProbeKey, result: ProbeResult) -> bool:
        """One result of one check; whether it changed what the plan rests on. A result for what is not configured is ignored."""
        service_key, address, index = key
        standings = self._standings.get((service_key, address), ())
        if index >= len(standings):
            return False
        facts = self.services[service_key]
        before = combine(standings, facts.service.checks)
        after = (*standings[:index], step(standings[index], result, facts.service.checks[index]), *standings[index + 1 :])
        self._standings[service_key, address] = after
        health = combine(after, facts.service.checks)
        if (before.up, before.reported) == (health.up, health.reported):
            return False
        at = next(i for i, b in enumerate(facts.service.backends) if b.address == address)
        self.services[service_key] = replace(facts, healths=(*facts.healths[:at], health, *facts.healths[at + 1 :]))
        return True


def _continued(service: Service, before: Service, standings: tuple[Standing, ...], now: float) -> tuple[Standing, ...]:
    """Standings for checks that may have been edited: the verdict stays, the evidence starts anew, nothing goes down for an edit."""
    if service.checks == before.checks:
        return standings
    known = combine(standings, before.checks, now)
    return (Standing(known.up, known.since, NOT_CHECKED, known.reported),) * len(service.checks)
