"""From facts to what should be so: per backend, per service, per VIP, with a reason for every no."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from fairlead.core.damping import Damped
from fairlead.core.words import date, share
from fairlead.model import Address, AdminState, Backend, Health, NoPath, Path, Service, ServiceKey

_PRIORITIES = ("critical", "high", "medium", "low", "")


class State(Enum):
    """What a destination is to the data plane; the values are the words of status and of the event log."""

    __hash__ = object.__hash__  # members are single objects; the hash of Enum is Python code, and this one is asked for often

    ACTIVE = "up"
    DRAIN = "drain"
    DISABLED = "disabled"
    DOWN = "down"
    GONE = "gone"


class BackendPlan(NamedTuple):
    """One backend of one service. `healthy` is what the checks say, in words in `says`; `usable`: it gets new flows.

    `reported` and `decided` are those of its health. `reason` ends with the words of its checks where they brought it about
    (`by_checks`), those in front of them being `front`, and is that of damping where that did (`by_damping`). Where all that the
    path lacks is the neighbour's answer (`silent`), known flows and probes go by the `last` one.
    """

    backend: Backend
    state: State
    reason: str
    path: Path | None
    healthy: bool
    reported: bool
    decided: bool
    says: str
    by_checks: bool = False
    by_damping: bool = False
    front: str = ""
    damped: Damped | None = None
    silent: bool = False
    last: Path | None = None

    @property
    def usable(self) -> bool:
        """It gets new flows."""
        return self.state is State.ACTIVE

    @property
    def up(self) -> bool:
        """It could get new flows, but for what the operator says."""
        return self.healthy and self.path is not None

    @property
    def suppressed(self) -> bool:
        """Damping keeps it out, whatever its checks say."""
        return self.damped is not None and self.damped.penalty.suppressed


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """One service. `available` counts usable backends, `reported` those of them that checks have vouched for since the start.

    `panic`: too few are healthy, so that all count as up. `backups`: too few of the others are usable, so that these are used.
    """

    service: Service
    backends: tuple[BackendPlan, ...]
    available: int
    reported: int
    reason: str
    panic: bool = False
    backups: bool = False

    @property
    def up(self) -> bool:
        """Enough of its backends are usable."""
        return self.available >= self.service.need

    @property
    def settled(self) -> bool:
        """Enough of the usable ones have been vouched for since the start."""
        return self.reported >= self.service.need


@dataclass(frozen=True, slots=True)
class VipPlan:
    """One VIP; `reason` says why it may not be announced, "" when it may.

    It is first announced when all its services have been up for `hold` seconds, the last of them `since` (by the steady clock).
    """

    vip: Address
    up: bool
    announced: bool
    reason: str
    hold: float = 0.0
    since: float = 0.0
    priority: str = ""  # of the most important of its services
    names: frozenset[str] = frozenset()  # of its services


class Inherited(NamedTuple):
    """Steady moments of a service that was up before a start: since when its hold counts, and since when it is up."""

    hold: float
    up: float


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """All that the plan of one service rests on; `healths`, `paths` and `damped` stand in the order of `service.backends`.

    `damped` is empty where nobody has a penalty.
    """

    service: Service
    healths: tuple[Health, ...]
    paths: tuple[Path | NoPath, ...]
    damped: tuple[Damped | None, ...] = ()


def short(key: ServiceKey) -> str:
    """A service within its VIP: `53/udp`."""
    return f"{key.port or 'any'}/{key.protocol}"


def plan_service(facts: ServiceFacts) -> ServicePlan:
    """What each backend of a service should be, and whether that is enough.

    Backups come in when the others are too few. Where that is not enough, or there are none, and hardly any backend is healthy,
    all count as up.
    """
    service, need = facts.service, max(facts.service.need, 1)
    damped = facts.damped or (None,) * len(service.backends)
    zipped = zip(service.backends, facts.healths, facts.paths, damped, strict=True)
    plans = tuple([_plan_backend(*each) for each in zipped])
    first = sum(b.usable for b in plans if not b.backend.backup)
    second = sum(b.usable for b in plans if b.backend.backup)
    backups = first < need and second > 0
    panic = False
    if not (backups and first + second >= need):
        said = _panic(facts, plans)
        if said:
            panic = True
            plans = tuple([_panicked(b, said) if _wanted(b.backend) and not b.usable else b for b in plans])
    if second and not backups:
        plans = tuple([_rested(b, need) if b.backend.backup and b.usable else b for b in plans])
    return _summed(service, plans, panic=panic, backups=backups)


def _summed(service: Service, plans: tuple[BackendPlan, ...], *, panic: bool, backups: bool) -> ServicePlan:
    usable = [b for b in plans if b.usable]
    reason = ""
    if len(usable) < service.need:
        reason = f"{short(service.key)} has {len(usable)} of {service.need} required backends"
    elif panic:
        reason = f"panic: fewer than {share(service.panic)} of its backends are healthy, so all count as up"
    elif backups:
        own = sum(not b.backend.backup for b in usable)
        reason = f"has {own} of {service.need} required backends without its backups, which are used"
    return ServicePlan(service, plans, len(usable), sum(b.reported for b in usable), reason, panic, backups)


def _wanted(backend: Backend) -> bool:
    """The operator wants it to have flows, always."""
    return backend.state is AdminState.ACTIVE and backend.weight > 0 and not backend.backup


def _panic(facts: ServiceFacts, plans: Sequence[BackendPlan]) -> str:
    """Why all backends must count as up; "" if they need not, or if it is too early to tell."""
    if not facts.service.panic:
        return ""
    wanted = [(b, h) for b, h in zip(plans, facts.healths, strict=True) if _wanted(b.backend)]
    healthy = sum(b.usable for b, _ in wanted)
    decided = all(h.decided or b.path is None for b, h in wanted)
    if not wanted or not decided or healthy >= facts.service.panic * len(wanted):
        return ""
    return f"counts as up, for only {healthy} of {len(wanted)} are healthy: "


def _panicked(plan: BackendPlan, said: str) -> BackendPlan:
    if plan.path is None:
        return plan
    return plan._replace(state=State.ACTIVE, reason=said + plan.reason, front=said)


def _rested(plan: BackendPlan, need: int) -> BackendPlan:
    reason = f"backup: gets new flows when fewer than {need} of the others can"
    return plan._replace(state=State.DRAIN, reason=reason, by_checks=False)


def _plan_backend(backend: Backend, health: Health, path: Path | NoPath, damped: Damped | None) -> BackendPlan:
    says = path.reason if isinstance(path, NoPath) else health.reason
    found = path if isinstance(path, Path) else None
    state, reason = _judge(backend, health, path)
    by_checks = state in (State.ACTIVE, State.DOWN) and found is not None
    by_damping = state is State.ACTIVE and damped is not None and damped.penalty.suppressed
    if by_damping:
        state, reason, by_checks = State.DRAIN, "went down too often", False
    stands = health.up, health.reported, health.decided, says
    silent, last = (path.silent, path.last) if isinstance(path, NoPath) else (False, None)
    return BackendPlan(backend, state, reason, found, *stands, by_checks, by_damping, "", damped, silent, last)


def _judge(backend: Backend, health: Health, path: Path | NoPath) -> tuple[State, str]:
    if backend.state is AdminState.DISABLED:
        return State.DISABLED, _by_whom(backend, "disabled")
    if isinstance(path, NoPath):
        return State.DOWN, path.reason
    if not health.up:
        return State.DOWN, health.reason
    if backend.state is AdminState.DRAIN:
        return State.DRAIN, _by_whom(backend, "drained")
    if backend.weight == 0:
        said = backend.override is not None and backend.override.weight is not None
        return State.DRAIN, _by_whom(backend, "weight 0") if said else "weight 0"
    return State.ACTIVE, health.reason


def _by_whom(backend: Backend, what: str) -> str:
    """Who wants a backend to get no new flows: the file, or somebody at a shell."""
    said = backend.override
    if said is None or (said.state is None and what != "weight 0"):
        return f"{what} in the configuration"
    return f"{what} by {said.who} since {date(said.at)}"


def cause(plan: BackendPlan, *, tried: bool) -> str:
    """The kind of reason that a backend has for being as it is, one of a few words; `tried`: a check of it has had a result."""
    if plan.state is State.ACTIVE:
        return "panic" if plan.front else ""
    if plan.path is None and plan.state is State.DOWN:
        return "path"
    if plan.state is State.DOWN:
        return "checks" if plan.decided or tried else "unchecked"
    if plan.by_damping:
        return "damping"
    said = plan.backend.override
    if plan.state is State.DISABLED or plan.backend.state is AdminState.DRAIN:
        return "operator" if said is not None and said.state is not None else "configuration"
    if plan.backend.weight == 0:
        return "operator" if said is not None and said.weight is not None else "configuration"
    return "backup"


def plan_vip(vip: Address, services: Sequence[ServicePlan], since: float = 0.0) -> VipPlan:
    """A VIP is up when all its services are, and may be announced when results since the start bear that out.

    `since` is when the last of its services went up, by the steady clock.
    """
    down = next((s for s in services if not s.up), None)
    priority = most_important(s.service.priority for s in services)
    names = frozenset(s.service.name for s in services) - {""}
    if down is not None:
        return VipPlan(vip, False, False, down.reason, priority=priority, names=names)
    waiting = next((s for s in services if not s.settled), None)
    hold = max((s.service.hold for s in services), default=0.0)
    if waiting is None:
        return VipPlan(vip, True, True, "", hold, since, priority, names)
    so_far = f"{waiting.reported} of {waiting.service.need} required backends have reported"
    reason = f"{short(waiting.service.key)} waits for its checks: {so_far}"
    return VipPlan(vip, True, False, reason, hold, since, priority, names)


def most_important(priorities: Iterable[str]) -> str:
    """The first of `critical`, `high`, `medium`, `low` and none."""
    return min(priorities, key=_PRIORITIES.index, default="")
