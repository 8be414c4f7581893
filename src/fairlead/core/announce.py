"""Which VIPs are up, which are announced, and why the others are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from fairlead.core.plan import VipPlan
from fairlead.events import Event, VipDown, VipUp
from fairlead.model import Address, Op, Route, VipStatus, host_prefix


class Announcer:
    """Keeps the set of announced routes in step with the plans; `tell` gets all of them whenever they change."""

    def __init__(self, log: Callable[[Event], None], tell: Callable[[tuple[Route, ...]], None]) -> None:
        self._log = log
        self._tell = tell
        self._plans: dict[Address, VipPlan] = {}
        self.routes: dict[Address, Route] = {}

    def replan(self, plans: Mapping[Address, VipPlan]) -> None:
        """New plans of all VIPs; says which went up or down. A VIP that was never up does not go down."""
        for vip, plan in plans.items():
            before = self._plans.get(vip)
            if plan.up and (before is None or not before.up):
                self._log(VipUp(vip))
            elif not plan.up and before is not None and before.up:
                self._log(VipDown(vip, plan.reason))
        self._plans = dict(plans)

    def withdraw(self) -> list[Op]:
        """Routes that must go; before anything else of a pass."""
        ops = []
        for vip in list(self.routes):
            plan = self._plans.get(vip)
            if plan is None or not plan.announced:
                del self.routes[vip]
                reason = plan.reason if plan is not None else "not in the configuration any more"
                ops.append(Op(f"withdraw {host_prefix(vip)}: {reason}", ()))
        if ops:
            self._tell(tuple(self.routes.values()))
        return ops

    def announce(self, ready: Callable[[Address], bool]) -> list[Op]:
        """Routes to add, after everything else of a pass; `ready` says whether the tables hold all of a VIP."""
        ops = []
        for vip, plan in self._plans.items():
            if plan.announced and vip not in self.routes and ready(vip):
                self.routes[vip] = Route(host_prefix(vip), "all its services are up")
                ops.append(Op(f"announce {host_prefix(vip)}", ()))
        if ops:
            self._tell(tuple(self.routes.values()))
        return ops

    def status(self) -> tuple[VipStatus, ...]:
        """Every VIP with the reason why it is not announced."""
        return tuple(self._status(plan) for plan in self._plans.values())

    def _status(self, plan: VipPlan) -> VipStatus:
        announced = plan.vip in self.routes
        if plan.announced and not announced:
            plan = replace(plan, reason="its tables are not complete yet")
        return VipStatus(str(plan.vip), "up" if plan.up else "down", announced, "" if announced else plan.reason)
