"""What a change of the configuration does, or would do: as `plan` and `apply` show it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Moved:
    """What leaves the backend it is with. `percent` is the larger of moved flows in live ones and moved slots in all slots."""

    slots: int = 0
    flows: int = 0
    percent: float = 0.0


@dataclass(frozen=True, slots=True)
class BackendShare:
    """Shares of a service's slots, 0 to 1; `flows` are its live ones, `moved` those of them that it loses."""

    address: str
    before: float
    after: float
    flows: int
    moved: int


@dataclass(frozen=True, slots=True)
class ServiceChange:
    """One service whose slots or flows change. `after` counts backends that are new as if they had come up."""

    service: str
    slots: int  # before
    slots_moved: int
    flows: int  # live
    flows_moved: int
    backends: tuple[BackendShare, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """All of it. `operations` are those of the pass that follows at once, in order, `later` is what waits for something."""

    path: str
    changed: bool  # the configuration is another, or there is something to do
    operations: tuple[str, ...]
    moved: Moved
    services: tuple[ServiceChange, ...]
    later: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    refused: str = ""  # by the budget
    applied: bool = False
