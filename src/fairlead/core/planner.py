"""Plans and wants of all services, made anew only where facts are new."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from fairlead.core.plan import ServiceFacts, ServicePlan, VipPlan, plan_service, plan_vip
from fairlead.core.rows import Rows
from fairlead.core.wants import WantService, WantVips, want_service, want_vips
from fairlead.events import BackendDown, BackendUp, Event
from fairlead.model import Address, Config, ServiceKey


@dataclass(frozen=True, slots=True)
class Planned:
    """What one service's facts led to. The three are made together, so comparing any of them by identity is enough."""

    facts: ServiceFacts
    plan: ServicePlan
    want: WantService


class Planner:
    """Keeps the last plans; says which backends went up or down."""

    def __init__(self, rows: Rows, log: Callable[[Event], None]) -> None:
        self._rows = rows
        self._log = log
        self._vips: tuple[Config, WantVips] | None = None
        self.services: dict[ServiceKey, Planned] = {}

    def renew(self, services: Mapping[ServiceKey, ServiceFacts]) -> Iterator[ServiceKey]:
        """Plan every service whose facts are another object than the last time; yields after each, and those that are no more."""
        old, self.services = self.services, {}
        for key, facts in services.items():
            before = old.get(key)
            if before is not None and before.facts is facts:
                self.services[key] = before
                continue
            plan = plan_service(facts)
            self.services[key] = Planned(facts, plan, want_service(plan, self._rows))
            if before is not None:
                self._say_changes(before.plan, plan)
            yield key
        yield from old.keys() - self.services.keys()

    def _say_changes(self, before: ServicePlan, after: ServicePlan) -> None:
        """What was never seen before has not changed."""
        old = {b.backend.address: b.up for b in before.backends}
        for backend in after.backends:
            if old.get(backend.backend.address, backend.up) != backend.up:
                kind = BackendUp if backend.up else BackendDown
                self._log(kind(after.service.key, backend.backend.address, backend.says))

    def vip_plans(self) -> dict[Address, VipPlan]:
        """Every VIP, from the plans of its services."""
        services: dict[Address, list[ServicePlan]] = {}
        for key, planned in self.services.items():
            services.setdefault(key.vip, []).append(planned.plan)
        return {vip: plan_vip(vip, plans) for vip, plans in services.items()}

    def vips(self, config: Config) -> WantVips:
        """The rows of all VIPs of a configuration."""
        if self._vips is None or self._vips[0] is not config:
            self._vips = (config, want_vips(config, self._rows))
        return self._vips[1]

    def want(self, name: object) -> WantService | None:
        """What is wanted of a service; None for any other name."""
        planned = self.services.get(name) if isinstance(name, ServiceKey) else None
        return None if planned is None else planned.want
