"""Which VIPs are up, which are announced, and why the others are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fairlead.core.plan import VipPlan
from fairlead.events import Event, VipDown, VipUp
from fairlead.model import Address, Op, Route, VipStatus, host_prefix


class Announcer:
    """Keeps the set of announced routes in step with the plans; `tell` gets all of them whenever they change.

    Moments are by the steady clock.
    """

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
                self._log(VipUp(vip, plan.priority))
            elif not plan.up and before is not None and before.up:
                self._log(VipDown(vip, plan.reason, plan.priority))
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

    def announce(self, ready: Callable[[Address], bool], now: float) -> list[Op]:
        """Routes to add, after everything else of a pass; `ready` says whether the tables hold all of a VIP."""
        ops = []
        for vip, plan in self._plans.items():
            if plan.announced and vip not in self.routes and now >= plan.since + plan.hold and ready(vip):
                self.routes[vip] = Route(host_prefix(vip), "all its services are up")
                ops.append(Op(f"announce {host_prefix(vip)}", ()))
        if ops:
            self._tell(tuple(self.routes.values()))
        return ops

    def deadline(self, now: float) -> float | None:
        """When the next VIP has been up for long enough."""
        held = (p.since + p.hold for p in self._plans.values() if p.announced and p.vip not in self.routes)
        return min((at for at in held if at > now), default=None)

    def status(self, now: float, lacks: Callable[[Address], str]) -> tuple[VipStatus, ...]:
        """Every VIP with the reason why it is not announced; `lacks` says what the tables lack of it."""
        return tuple(self._status(plan, now, lacks) for plan in self._plans.values())

    def _status(self, plan: VipPlan, now: float, lacks: Callable[[Address], str]) -> VipStatus:
        announced, reason = plan.vip in self.routes, plan.reason
        if plan.announced and not announced:
            up_for = int(max(0.0, now - plan.since))
            held = f"up for {up_for} of {plan.hold:g} s" if up_for < plan.hold else ""
            reason = held or f"its tables are not complete yet{lacks(plan.vip)}"
        return VipStatus(str(plan.vip), "up" if plan.up else "down", announced, "" if announced else reason)
