"""From facts to what should be so: per backend, per service, per VIP, with a reason for every no."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from fairlead.model import Address, AdminState, Backend, Health, NoPath, Path, Service, ServiceKey


class State(Enum):
    """What a destination is to the data plane; the values are the words of status and of the event log."""

    __hash__ = object.__hash__  # members are single objects; the hash of Enum is Python code, and this one is asked for often

    ACTIVE = "up"
    DRAIN = "drain"
    DISABLED = "disabled"
    DOWN = "down"
    GONE = "gone"


class BackendPlan(NamedTuple):
    """One backend of one service. `healthy` is what the checks say, in words in `says`; `usable`: it gets new flows."""

    backend: Backend
    state: State
    reason: str
    path: Path | None
    healthy: bool
    reported: bool
    says: str

    @property
    def usable(self) -> bool:
        """It gets new flows."""
        return self.state is State.ACTIVE

    @property
    def up(self) -> bool:
        """It could get new flows, but for what the operator says."""
        return self.healthy and self.path is not None


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """One service. `available` counts usable backends, `reported` those of them that checks have vouched for since the start."""

    service: Service
    backends: tuple[BackendPlan, ...]
    available: int
    reported: int
    reason: str

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
    """One VIP; `reason` says why it is not announced, "" when it is."""

    vip: Address
    up: bool
    announced: bool
    reason: str


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """All that the plan of one service rests on; `healths` and `paths` stand in the order of `service.backends`."""

    service: Service
    healths: tuple[Health, ...]
    paths: tuple[Path | NoPath, ...]


def short(key: ServiceKey) -> str:
    """A service within its VIP: `53/udp`."""
    return f"{key.port or 'any'}/{key.protocol}"


def plan_service(facts: ServiceFacts) -> ServicePlan:
    """What each backend of a service should be, and whether that is enough."""
    service = facts.service
    zipped = zip(service.backends, facts.healths, facts.paths, strict=True)
    backends = tuple(_plan_backend(backend, health, path) for backend, health, path in zipped)
    usable = [b for b in backends if b.usable]
    available = len(usable)
    reason = "" if available >= service.need else f"{short(service.key)} has {available} of {service.need} required backends"
    return ServicePlan(service, backends, available, sum(b.reported for b in usable), reason)


def _plan_backend(backend: Backend, health: Health, path: Path | NoPath) -> BackendPlan:
    state, reason = _judge(backend, health, path)
    found = path if isinstance(path, Path) else None
    says = path.reason if isinstance(path, NoPath) and health.up else health.reason
    return BackendPlan(backend, state, reason, found, health.up, health.reported, says)


def _judge(backend: Backend, health: Health, path: Path | NoPath) -> tuple[State, str]:
    if backend.state is AdminState.DISABLED:
        return State.DISABLED, "disabled in the configuration"
    if not health.up:
        return State.DOWN, health.reason
    if isinstance(path, NoPath):
        return State.DOWN, path.reason
    if backend.state is AdminState.DRAIN:
        return State.DRAIN, "drained in the configuration"
    if backend.weight == 0:
        return State.DRAIN, "weight 0"
    return State.ACTIVE, health.reason


def plan_vip(vip: Address, services: Sequence[ServicePlan]) -> VipPlan:
    """A VIP is up when all its services are, and announced when results since the start bear that out."""
    down = next((s for s in services if not s.up), None)
    if down is not None:
        return VipPlan(vip, False, False, down.reason)
    waiting = next((s for s in services if not s.settled), None)
    if waiting is None:
        return VipPlan(vip, True, True, "")
    so_far = f"{waiting.reported} of {waiting.service.need} required backends have reported"
    return VipPlan(vip, True, False, f"{short(waiting.service.key)} waits for its checks: {so_far}")
