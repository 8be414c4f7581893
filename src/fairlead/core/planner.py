"""Plans and wants of all services, made anew only where facts are new."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from fairlead.core.moment import Moment
from fairlead.core.plan import Inherited, ServiceFacts, ServicePlan, VipPlan, plan_service, plan_vip
from fairlead.core.rows import Rows
from fairlead.core.wants import WantService, WantVips, want_service, want_vips
from fairlead.events import (
    BackendDown,
    BackendReleased,
    BackendSuppressed,
    BackendUp,
    BackupsRested,
    BackupsUsed,
    Event,
    PanicBegan,
    PanicEnded,
)
from fairlead.model import Address, Config, ServiceKey


@dataclass(frozen=True, slots=True)
class Planned:
    """What one service's facts led to. The three are made together, so comparing any of them by identity is enough."""

    facts: ServiceFacts
    plan: ServicePlan
    want: WantService


class Planner:
    """Keeps the last plans, and since when each service is up; says what has changed for the operator."""

    def __init__(self, rows: Rows, log: Callable[[Event], None]) -> None:
        self._rows = rows
        self._log = log
        self._vips: tuple[Config, WantVips] | None = None
        self.services: dict[ServiceKey, Planned] = {}
        self._up: dict[ServiceKey, float] = {}
        self.since: dict[ServiceKey, float] = {}  # Unix time: when a service was last seen to go up or down, or seen first

    def renew(
        self, services: Mapping[ServiceKey, ServiceFacts], inherited: Mapping[ServiceKey, Inherited], now: Moment
    ) -> Iterator[ServiceKey]:
        """Plan every service whose facts are another object than the last time; yields after each, and those that are no more.

        Until all are planned, `services` are those of the last time. `inherited` is of services that have not been planned before
        and were up.
        """
        old, new = self.services, dict[ServiceKey, Planned]()
        at_once = Inherited(now.steady, now.steady)
        for key, facts in services.items():
            before = old.get(key)
            if before is not None and before.facts is facts:
                new[key] = before
                continue
            plan = plan_service(facts)
            new[key] = Planned(facts, plan, want_service(plan, self._rows))
            if before is None or before.plan.up != plan.up:
                self.since[key] = now.wall_at(inherited.get(key, at_once).up) if before is None and plan.up else now.wall
            if not plan.up:
                self._up.pop(key, None)
            elif key not in self._up:
                self._up[key] = inherited.get(key, at_once).hold if before is None else now.steady
            if before is not None:
                self._say_changes(before.plan, plan, now)
            self._say_rules(before.plan if before is not None else None, plan)
            yield key
        self.services = new
        for key in old.keys() - new.keys():
            self._up.pop(key, None)
            self.since.pop(key, None)
            yield key

    def _say_changes(self, before: ServicePlan, after: ServicePlan, now: Moment) -> None:
        """What was never seen before has not changed."""
        old = {b.backend.address: b for b in before.backends}
        for backend in after.backends:
            address, key = backend.backend.address, after.service.key
            was = old.get(address, backend)
            if was.up != backend.up:
                kind = BackendUp if backend.up else BackendDown
                self._log(kind(key, address, backend.says))
            rules = after.service.damping
            if backend.suppressed and not was.suppressed and backend.damped is not None and rules is not None:
                self._log(BackendSuppressed(key, address, backend.damped.says(rules, now)))
            elif was.suppressed and not backend.suppressed:
                self._log(BackendReleased(key, address))

    def _say_rules(self, before: ServicePlan | None, after: ServicePlan) -> None:
        """Panic and backups; a service that is new has had neither."""
        key = after.service.key
        if after.panic != (before is not None and before.panic):
            self._log(PanicBegan(key, after.reason) if after.panic else PanicEnded(key))
        if after.backups != (before is not None and before.backups):
            self._log(BackupsUsed(key, after.reason) if after.backups else BackupsRested(key))

    def vip_plans(self) -> dict[Address, VipPlan]:
        """Every VIP, from the plans of its services."""
        services: dict[Address, list[ServicePlan]] = {}
        for key, planned in self.services.items():
            services.setdefault(key.vip, []).append(planned.plan)
        return {vip: plan_vip(vip, plans, self._up_since(plans)) for vip, plans in services.items()}

    def _up_since(self, plans: Iterable[ServicePlan]) -> float:
        return max((self._up.get(p.service.key, 0.0) for p in plans), default=0.0)

    def vips(self, config: Config) -> WantVips:
        """The rows of all VIPs of a configuration."""
        if self._vips is None or self._vips[0] is not config:
            self._vips = (config, want_vips(config, self._rows))
        return self._vips[1]

    def want(self, name: object) -> WantService | None:
        """What is wanted of a service; None for any other name."""
        planned = self.services.get(name) if isinstance(name, ServiceKey) else None
        return None if planned is None else planned.want
