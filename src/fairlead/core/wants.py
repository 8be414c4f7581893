"""What the tables should hold, without saying where: plans as rows, before any number is given out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from fairlead.core.hashes import Known, known, vip_bit
from fairlead.core.maglev import table_size
from fairlead.core.plan import BackendPlan, ServicePlan, State
from fairlead.core.rows import RegistryRow, RowKey, Rows, service_key, vip_key
from fairlead.model import Address, Config, Path, Reject, Scheduler, Service, ServiceKey, Ttl

_MOST = 0xFFFFFFFF  # of a penalty, in its u32


class WantDestination(NamedTuple):
    """One destination: `hop` is the next-hop row it needs, b"" for none; `live` its word with next hop 0.

    A weight of 0 keeps it out of the slots. `keeps`: the next hop that it has, whichever that is, will do until more is known.
    """

    backend: Address
    packed: bytes
    text: str
    path: Path | None
    hop: bytes
    live: int
    state: State
    weight: int
    healthy: bool
    penalty: int = 0
    penalised: int = 0
    suppressed: bool = False
    undecided: bool = False
    keeps: bool = False

    def registry(self, since: int, base: tuple[int, int, int]) -> RegistryRow:
        """What the registry is to remember of it."""
        return RegistryRow(since, base, self.healthy, self.penalty, self.penalised, self.suppressed, self.undecided)


@dataclass(frozen=True, slots=True)
class WantService:
    """One service: `size` slots over its destinations (in Maglev's order); `live` is its word while it has no slots."""

    key: ServiceKey
    row: RowKey
    live: int
    scheduler: Scheduler
    size: int
    destinations: tuple[WantDestination, ...]


@dataclass(frozen=True, slots=True)
class WantVips:
    """All VIPs with the keys of their rows and the live words of these, and the whole bitmap."""

    rows: Mapping[Address, RowKey]
    lives: Mapping[Address, int]
    bitmap: bytes = field(repr=False)


def want_service(plan: ServicePlan, rows: Rows) -> WantService:
    """The rows of one service."""
    service = plan.service
    default = Ttl.ONE if service.tunnel is None else Ttl.DECREMENT
    ttl = default if service.ttl is None else service.ttl
    pairs = sorted([(known(b.backend.address), b) for b in plan.backends], key=lambda pair: pair[0].order)
    lives = {state: rows.destination_live(0, state, ttl, service.on_down) for state in {b.state for b in plan.backends}}
    destinations = tuple([_destination(b, forms, rows, service, lives[b.state]) for forms, b in pairs])
    size = service.table_size or table_size(len(pairs))
    live = rows.service_flags(service)
    return WantService(service.key, service_key(service.key), live, service.scheduler, size, destinations)


def _destination(plan: BackendPlan, forms: Known, rows: Rows, service: Service, live: int) -> WantDestination:
    address = plan.backend.address
    path = plan.path or plan.last
    hop = b"" if path is None else rows.hop(path, service.tunnel, address)
    weight = plan.backend.weight if plan.usable else 0
    want = WantDestination(address, forms.packed, forms.text, path, hop, live, plan.state, weight, plan.healthy)
    if plan.silent and path is None:  # as after a restart, before which it was known
        want = want._replace(keeps=True)
    if service.panic and not plan.decided:
        want = want._replace(undecided=True)
    if plan.damped is None:
        return want
    value, _, noted, suppressed = plan.damped.penalty
    return want._replace(penalty=min(round(value), _MOST), penalised=noted, suppressed=suppressed)


def want_vips(config: Config, rows: Rows) -> WantVips:
    """The rows of the VIPs. A VIP answers unknown ports if any of its services says so."""
    keys = {vip: vip_key(vip) for vip in config.vips()}
    rejecting = {s.key.vip for s in config.services if s.reject is Reject.UNREACHABLE}
    lives = {vip: rows.vip_live(vip in rejecting) for vip in keys}
    bitmap = bytearray(rows.size["vips"])
    for vip in keys:
        bit = vip_bit(vip)
        bitmap[bit >> 3] |= 1 << (bit & 7)
    return WantVips(keys, lives, bytes(bitmap))
