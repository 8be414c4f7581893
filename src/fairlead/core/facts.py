"""What is known: configuration, health and paths, kept per service so that one change makes one service's facts new.

The plan of a service is cached by the identity of its `ServiceFacts`; whoever changes a fact replaces that object.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from fairlead.core.damping import Dampers, Penalty
from fairlead.core.hashes import mapped
from fairlead.core.health import NOT_CHECKED, Standing, check_status, combine, step, verdict
from fairlead.core.moment import Moment
from fairlead.core.plan import Inherited, ServiceFacts
from fairlead.core.questions import Questions
from fairlead.core.rows import RegistryRow
from fairlead.core.tunnels import usable
from fairlead.model import (
    Address,
    CheckStatus,
    Config,
    Health,
    NoPath,
    Path,
    ProbeKey,
    ProbeResult,
    Service,
    ServiceKey,
)

UNRESOLVED = NoPath("its path is not known yet")


class Seen(NamedTuple):
    """How a backend stands at this moment, with the latest words of its checks; `penalty` as of now, `damped` in words."""

    health: Health
    checks: tuple[CheckStatus, ...]
    penalty: float
    damped: str


Standings = dict[Address, tuple[Standing, ...]]


class Facts:
    """Holds no clock and no tables: `past` looks up what the registry remembers for a service, by backend as 16 bytes."""

    def __init__(self, past: Callable[[ServiceKey], Mapping[bytes, RegistryRow]]) -> None:
        self._past = past
        self._standings: dict[ServiceKey, Standings] = {}
        self._users: dict[Address, list[ServiceKey]] = {}
        self._dampers = Dampers()
        self.config: Config | None = None
        self.paths: Mapping[Address, Path | NoPath] | None = None
        self.services: dict[ServiceKey, ServiceFacts] = {}
        self.questions = Questions()
        self.vouched: Collection[Address] = ()  # VIPs whose checks had reported to the run that this one goes on from
        self.inherited: dict[ServiceKey, Inherited] = {}  # of services that were there before a start

    # ----------------------------------------------------------------------------------------------------------- configuration

    def set_config(self, config: Config, announced: Collection[Address], now: Moment) -> None:
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
            known = _continued(service, before.service, standings[service.key], now.wall) if before is not None else {}
            self._dampers.configure(service.key, service.damping, [b.address for b in service.backends])
            self._standings[service.key] = self._started(service, known, trusted, now)
            self._renew(service)
        for key in old.keys() - self.services.keys():
            self._dampers.forget(key)
            self.inherited.pop(key, None)

    def _started(self, service: Service, known: Standings, trusted: bool, now: Moment) -> Standings:
        """Standings for all backends: those known go on, then what the registry remembers, then down (or up, if trusted)."""
        past = self._past(service.key)
        fresh = (Standing(trusted, now.wall, NOT_CHECKED, trusted),) * len(service.checks)
        found: Standings = {}
        remembered: list[RegistryRow] = []
        for backend in service.backends:
            address = backend.address
            before = past.get(mapped(address)) if past and not trusted else None
            if address in known:
                found[address] = known[address]
            elif before is not None:
                remembered.append(before)
                reported, inherited = service.key.vip in self.vouched, not before.undecided
                standing = Standing(before.healthy, before.since / 1e9, reported=reported, inherited=inherited)
                found[address] = (standing,) * len(service.checks)
                at = now.steady_at(before.penalised / 1e9)
                penalty = Penalty(before.penalty, at, before.penalised, before.suppressed)
                self._dampers.inherit(service.key, address, penalty)
            else:
                found[address] = fresh
        if not known:
            self._inherit(service, remembered, now)
        return found

    def _inherit(self, service: Service, remembered: Iterable[RegistryRow], now: Moment) -> None:
        """Since when the service has had as many healthy backends as it needs: its hold goes on from there.

        A VIP that is announced still, by the run that this one goes on from, has had its hold.
        """
        since = sorted(now.steady_at(p.since / 1e9) for p in remembered if p.healthy)
        up = since[max(service.need, 1) - 1] if since and len(since) >= service.need else None
        if service.key.vip in self.vouched:
            self.inherited[service.key] = Inherited(0.0, now.steady if up is None else up)
        elif up is not None:
            self.inherited[service.key] = Inherited(up, up)

    # ----------------------------------------------------------------------------------------------------- facts of one service

    def _renew(self, service: Service) -> None:
        key, standings = service.key, self._standings[service.key]
        same: dict[int, Health] = {}  # of those without a result yet, which are many at a start, and alike
        healths = tuple([self._health(service, b.address, standings[b.address], same) for b in service.backends])
        facts = ServiceFacts(service, healths, self._paths_of(service))
        self.services[key] = facts if service.damping is None else self._damped(facts)

    @staticmethod
    def _health(service: Service, address: Address, each: tuple[Standing, ...], same: dict[int, Health]) -> Health:
        found = same.get(id(each))
        if found is None:
            found = combine(each, service.checks, service.key.vip, address)
            if not any(s.at for s in each):
                same[id(each)] = found
        return found

    def _damped(self, facts: ServiceFacts) -> ServiceFacts:
        key = facts.service.key
        damped = tuple([self._dampers.damped(key, b.address) for b in facts.service.backends])
        return replace(facts, damped=damped if any(damped) else ())

    def _paths_of(self, service: Service) -> tuple[Path | NoPath, ...]:
        paths = self.paths or {}
        return tuple(usable(service, b.address, paths.get(b.address, UNRESOLVED), self.config) for b in service.backends)

    def seen(self, key: ServiceKey, now: Moment) -> Callable[[Address], Seen | None]:
        """What tells how a backend stands now; None for what is not configured any more."""
        facts, standings = self.services.get(key), self._standings.get(key, {})

        def seen_of(address: Address) -> Seen | None:
            each = standings.get(address)
            if each is None or facts is None:
                return None
            service = facts.service
            damped, says = self._dampers.damped(key, address), ""
            if damped is not None and damped.penalty.suppressed and service.damping is not None:
                says = damped.says(service.damping, now)
            statuses = tuple([check_status(s, c) for s, c in zip(each, service.checks, strict=True)])
            health = combine(each, service.checks, key.vip, address)
            return Seen(health, statuses, self._dampers.value(key, address, now.steady), says)

        return seen_of

    # ------------------------------------------------------------------------------------------------------------------ changes

    def set_paths(self, paths: Mapping[Address, Path | NoPath]) -> bool:
        """The paths as they are now, all of them; whether any service is concerned."""
        old = self.paths or {}
        self.paths = dict(paths)
        changed = {a for a, p in self.paths.items() if (o := old.get(a)) is not p and o != p} | (old.keys() - self.paths.keys())
        keys = {key for address in changed for key in self._users.get(address, ())}
        for key in keys:
            self.services[key] = replace(self.services[key], paths=self._paths_of(self.services[key].service))
        return bool(keys)

    def probed(self, key: ProbeKey, result: ProbeResult, now: Moment) -> bool:
        """One answer, for all who asked; whether it changed what the plan rests on. What nobody asked for is ignored."""
        changed = False
        for service, index in self.questions.users(key):
            changed |= self._judge(service, key.backend, index, result, now)
        return changed

    def _judge(self, key: ServiceKey, address: Address, index: int, result: ProbeResult, now: Moment) -> bool:
        standings = self._standings[key].get(address)
        if standings is None:
            return False
        facts = self.services[key]
        service = facts.service
        after = (*standings[:index], step(standings[index], result, service.checks[index].rules), *standings[index + 1 :])
        self._standings[key][address] = after
        old, new = verdict(standings), verdict(after)
        if old == new:
            return False
        if old.up and not new.up:
            self._dampers.fell(key, address, now)
        health = combine(after, service.checks, key.vip, address)
        at = next(i for i, b in enumerate(service.backends) if b.address == address)
        facts = replace(facts, healths=(*facts.healths[:at], health, *facts.healths[at + 1 :]))
        self.services[key] = facts if service.damping is None else self._damped(facts)
        return True

    def release(self, now: Moment) -> None:
        """Let in again whose time of damping is over."""
        for key in self._dampers.due(now.steady):
            self.services[key] = self._damped(self.services[key])

    def deadline(self) -> float | None:
        """The steady moment when `release` has something to do."""
        return self._dampers.deadline()


def _continued(service: Service, before: Service, standings: Standings, now: float) -> Standings:
    """Standings for checks that may have been edited: the verdict stays, evidence starts anew, no edit takes anything down."""
    if service.checks == before.checks:
        return standings
    known: Standings = {}
    for address, each in standings.items():
        up, reported, decided = verdict(each)
        since = max((s.since for s in each), default=now)
        known[address] = (Standing(up, since, NOT_CHECKED, reported, inherited=decided),) * len(service.checks)
    return known
