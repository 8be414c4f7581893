"""Which VIPs are up, which routes are offered to peers for them, and why the others are not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from fairlead.core.plan import VipPlan, most_important
from fairlead.events import Event, VipDown, VipUp
from fairlead.model import Address, Aggregate, Op, Prefix, Route, VipStatus, host_prefix

_UP = "all its services are up"


class Announcer:
    """Keeps the offered routes in step with the plans; `tell` gets all of them whenever they change.

    `routes` are those of VIPs that are to be announced. What peers are offered can be less and more: aggregates beside or instead
    of them, and nothing at all while this balancer is sent away. Moments are by the steady clock.
    """

    def __init__(self, log: Callable[[Event], None], tell: Callable[[tuple[Route, ...]], None]) -> None:
        self._log = log
        self._tell = tell
        self._plans: dict[Address, VipPlan] = {}
        self._aggregates: tuple[Aggregate, ...] = ()
        self._leaves: float | None = None  # when routes go, whatever is up; they carry RFC 8326's community until then
        self._why = ""
        self.routes: dict[Address, Route] = {}
        self.offered: dict[Prefix, Route] = {}

    def replan(self, plans: Mapping[Address, VipPlan], aggregates: tuple[Aggregate, ...] = ()) -> None:
        """New plans of all VIPs; says which went up or down. A VIP that was never up does not go down."""
        for vip, plan in plans.items():
            before = self._plans.get(vip)
            if plan.up and (before is None or not before.up):
                self._log(VipUp(vip, plan.priority))
            elif not plan.up and before is not None and before.up:
                self._log(VipDown(vip, plan.reason, plan.priority))
        self._plans = dict(plans)
        self._aggregates = aggregates

    def leave(self, at: float, why: str) -> None:
        """Offer what there is as a last resort from now on, and nothing after `at`; `why` is shown for each VIP."""
        self._leaves, self._why = at, why

    def stay(self) -> None:
        """Take `leave` back."""
        self._leaves, self._why = None, ""

    def withdraw(self, now: float) -> list[Op]:
        """Routes that must go; before anything else of a pass."""
        reasons: dict[Prefix, str] = {}
        for vip in list(self.routes):
            plan = self._plans.get(vip)
            if plan is None or not plan.announced:
                del self.routes[vip]
                reasons[host_prefix(vip)] = plan.reason if plan is not None else "not in the configuration any more"
        gone = self._gone(now)
        for prefix in gone:
            del self.offered[prefix]
        if gone:
            self._tell(tuple(self.offered.values()))
        away = self._why if self._away(now) else ""
        return [Op(f"withdraw {p}: {away or reasons.get(p, 'no VIP in it is announced any more')}", ()) for p in gone]

    def announce(self, ready: Callable[[Address], bool], now: float) -> list[Op]:
        """Routes to add, after everything else of a pass; `ready` says whether the tables hold all of a VIP."""
        for vip, plan in self._plans.items():
            known = self.routes.get(vip)
            if known is None and not (plan.announced and now >= plan.since + plan.hold and ready(vip)):
                continue
            if known is None or (known.names, known.priority) != (plan.names, plan.priority):
                self.routes[vip] = Route(host_prefix(vip), _UP, plan.names, plan.priority)
        before, self.offered = self.offered, self._wanted(now)
        ops = [Op(_words(route), ()) for prefix, route in self.offered.items() if _changed(before.get(prefix), route)]
        hidden = {route.prefix for route in self.routes.values()}
        for prefix in [prefix for prefix in before if prefix not in self.offered]:
            reason = "an aggregate stands for it" if prefix in hidden else "not among the aggregates any more"
            ops.append(Op(f"withdraw {prefix}: {reason}", ()))
        if before != self.offered:
            self._tell(tuple(self.offered.values()))
        return ops

    def _wanted(self, now: float) -> dict[Prefix, Route]:
        """What peers are to be offered."""
        if self._away(now):
            return {}
        return offers(self.routes.values(), self._aggregates, leaving=self._leaves is not None)

    def _gone(self, now: float) -> list[Prefix]:
        """What is offered and has nothing to stand on any more."""
        if self._away(now):
            return list(self.offered)
        hosts = {route.prefix for route in self.routes.values()}
        gone = [prefix for prefix in self.offered if prefix not in hosts]
        return [prefix for prefix in gone if not any(_within(host, prefix) for host in hosts)]

    def _away(self, now: float) -> bool:
        return self._leaves is not None and now >= self._leaves

    def settled(self, now: float) -> bool:
        """Whether no VIP that is up waits to be announced: what is offered is all there is for now."""
        return self._away(now) or all(plan.vip in self.routes for plan in self._plans.values() if plan.up)

    def deadline(self, now: float) -> float | None:
        """When the next VIP has been up for long enough, or routes have to go."""
        held = [p.since + p.hold for p in self._plans.values() if p.announced and p.vip not in self.routes]
        held += [self._leaves] if self._leaves is not None else []
        return min((at for at in held if at > now), default=None)

    def status(self, now: float, lacks: Callable[[Address], str]) -> tuple[VipStatus, ...]:
        """Every VIP with the reason why it is not announced; `lacks` says what the tables lack of it."""
        return tuple(self._status(plan, now, lacks) for plan in self._plans.values())

    def _status(self, plan: VipPlan, now: float, lacks: Callable[[Address], str]) -> VipStatus:
        announced, reason = plan.vip in self.routes and not self._away(now), plan.reason
        if plan.announced and not announced:
            up_for = int(max(0.0, now - plan.since))
            held = f"up for {up_for} of {plan.hold:g} s" if up_for < plan.hold else ""
            reason = held or f"its tables are not complete yet{lacks(plan.vip)}"
        if plan.up and self._away(now):
            reason = self._why
        return VipStatus(str(plan.vip), "up" if plan.up else "down", announced, "" if announced else reason)


def offers(routes: Iterable[Route], aggregates: Iterable[Aggregate], *, leaving: bool) -> dict[Prefix, Route]:
    """What is offered for these routes of VIPs; `leaving` marks all of it with the graceful shutdown community (RFC 8326)."""
    single = {route.prefix: route for route in routes}
    found, hidden = dict[Prefix, Route](), set[Prefix]()
    for aggregate in aggregates:
        covered = [route for prefix, route in single.items() if _within(prefix, aggregate.prefix)]
        if covered:
            found[aggregate.prefix] = _joined(aggregate.prefix, covered)
            hidden |= {route.prefix for route in covered} if aggregate.only else set()
    found |= {prefix: route for prefix, route in single.items() if prefix not in hidden}
    return {prefix: replace(route, graceful_shutdown=True) for prefix, route in found.items()} if leaving else found


def _joined(prefix: Prefix, covered: list[Route]) -> Route:
    """An aggregate is about all services of the VIPs in it, and as important as the most important of them."""
    names = frozenset[str]().union(*(route.names for route in covered))
    return Route(prefix, "announced VIPs lie in it", names, most_important(route.priority for route in covered))


def _within(inner: Prefix, outer: Prefix) -> bool:
    """Never across IP versions."""
    return inner.version == outer.version and inner.prefixlen >= outer.prefixlen and inner.network_address in outer


def _changed(before: Route | None, after: Route) -> bool:
    """Whether there is something to say of it: names and priorities of services are said elsewhere."""
    return before is None or before.graceful_shutdown != after.graceful_shutdown


def _words(route: Route) -> str:
    return f"announce {route.prefix}{' with the graceful shutdown community' if route.graceful_shutdown else ''}"
