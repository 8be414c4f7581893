"""The difference between two looks at the status: what a stream sends instead of all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import TypeVar

from fairlead.model import ServiceStatus, Status, StatusDelta

T = TypeVar("T")

_LISTS = frozenset(["services", "vips", "peers"])
_RESTLESS = frozenset(["at", "work"])  # never the same twice: they go along, and are no reason to send anything


def delta(before: Status | None, after: Status) -> StatusDelta | None:
    """What is another in `after`, against nothing where `before` is None; None if there is nothing to tell."""
    changed = {
        f.name: getattr(after, f.name)
        for f in fields(Status)
        if f.name not in _LISTS and (before is None or getattr(before, f.name) != getattr(after, f.name))
    }
    services, no_services = _rows(before.services if before else (), after.services, service_name)
    vips, no_vips = _rows(before.vips if before else (), after.vips, lambda vip: vip.address)
    peers, no_peers = _rows(before.peers if before else (), after.peers, lambda peer: peer.address)
    gone = (*no_services, *no_vips, *no_peers)
    if not (services or vips or peers or gone or changed.keys() - _RESTLESS):
        return None
    return StatusDelta(after.at, changed, services, vips, peers, gone)


def service_name(service: ServiceStatus) -> str:
    """VIP, port and protocol, as all else names a service."""
    vip = f"[{service.vip}]" if ":" in service.vip else service.vip
    return f"{vip}:{service.port or 'any'}/{service.protocol}"


def _rows(before: Iterable[T], after: Iterable[T], name: Callable[[T], str]) -> tuple[tuple[T, ...], tuple[str, ...]]:
    known, present = {name(row): row for row in before}, {name(row): row for row in after}
    return (
        tuple(row for key, row in present.items() if known.get(key) != row),
        tuple(key for key in known if key not in present),
    )
