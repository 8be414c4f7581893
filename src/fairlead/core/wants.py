"""What the tables should hold, without saying where: plans as rows, before any number is given out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from fairlead.core.hashes import mapped, vip_bit
from fairlead.core.maglev import order, table_size
from fairlead.core.plan import BackendPlan, ServicePlan, State
from fairlead.core.rows import RowKey, Rows, service_key, vip_key
from fairlead.model import Address, OnDown, Path, ServiceKey


class WantDestination(NamedTuple):
    """One destination: `hop` is the next-hop row it needs, b"" for none; `live` its word with next hop 0.

    A weight of 0 keeps it out of the slots.
    """

    backend: Address
    packed: bytes
    path: Path | None
    hop: bytes
    live: int
    state: State
    weight: int
    healthy: bool


@dataclass(frozen=True, slots=True)
class WantService:
    """One service: `size` slots over its destinations (in Maglev's order)."""

    key: ServiceKey
    row: RowKey
    sticky: bool
    size: int
    destinations: tuple[WantDestination, ...]


@dataclass(frozen=True, slots=True)
class WantVips:
    """All VIPs with the keys of their rows, and the whole bitmap."""

    rows: Mapping[Address, RowKey]
    bitmap: bytes = field(repr=False)


def want_service(plan: ServicePlan, rows: Rows) -> WantService:
    """The rows of one service."""
    service = plan.service
    keep = service.on_down is OnDown.KEEP
    backends = sorted(plan.backends, key=lambda b: order(b.backend.address))
    lives = {state: rows.destination_live(0, state, service.ttl, keep) for state in {b.state for b in backends}}
    destinations = tuple(_destination(b, rows, lives[b.state]) for b in backends)
    return WantService(service.key, service_key(service.key), service.sticky, table_size(len(backends)), destinations)


def _destination(plan: BackendPlan, rows: Rows, live: int) -> WantDestination:
    address = plan.backend.address
    hop = b"" if plan.path is None else rows.hop(plan.path)
    weight = plan.backend.weight if plan.usable else 0
    return WantDestination(address, mapped(address), plan.path, hop, live, plan.state, weight, plan.healthy)


def want_vips(vips: Iterable[Address], size: int) -> WantVips:
    """The rows of the VIPs; `size` is that of the bitmap in bytes."""
    rows = {vip: vip_key(vip) for vip in vips}
    bitmap = bytearray(size)
    for vip in rows:
        bit = vip_bit(vip)
        bitmap[bit >> 3] |= 1 << (bit & 7)
    return WantVips(rows, bytes(bitmap))
