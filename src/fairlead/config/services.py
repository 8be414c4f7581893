"""Services: each VIP of a service times each entry of its policy becomes one Service of the model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from fairlead.config import scalars
from fairlead.config.addresses import host_address
from fairlead.config.checks import Asking, build, read_asking
from fairlead.config.nodes import Reader, Section, Value, below, entries, items, list_of, section
from fairlead.config.policy import PolicyEntry, is_policy_key, read_policy
from fairlead.config.report import Report, meant, shown
from fairlead.config.scalars import words
from fairlead.config.settings import Settings, read_settings, settled
from fairlead.config.tunnels import read_tunnel
from fairlead.config.vocabulary import SERVER, SERVICE
from fairlead.model import (
    Address,
    AdminState,
    Backend,
    OnDown,
    Position,
    Reject,
    Scheduler,
    Service,
    ServiceKey,
    Ttl,
)

_T = TypeVar("_T")

_SERVERS = "`servers` is a list of addresses, or the name of a top-level list"
_POLICY = "`policy` is a mapping of ports such as {http: }, or the name of a top-level policy"
_STAR = "a server is drained by a star; to take a VIP away, remove it from `virtual`"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The top-level lists and policies that services may name; None where one could not be read."""

    servers: Mapping[str, tuple[Backend, ...] | None]
    policies: Mapping[str, tuple[PolicyEntry, ...] | None]


@dataclass(frozen=True, slots=True)
class Draft:
    """A service, where its VIP and its policy entry stand, and what was said of it."""

    service: Service
    vip_at: Position
    entry: PolicyEntry
    said: Settings


@dataclass(frozen=True, slots=True)
class _Vip:
    address: Address
    at: Position


def read_catalogue(servers: Value | None, policies: Value | None) -> Catalogue:
    """The top-level `servers` and `policy` sections; each named thing is read, used or not."""
    lists = entries(servers, "a mapping of names to lists of addresses") if servers else None
    named = entries(policies, "a mapping of names to policies") if policies else None
    return Catalogue(
        {name: read_servers(entry.value.named(f"server list {shown(name)}")) for name, entry in (lists or {}).items()},
        {name: read_policy(entry.value.named(f"policy {shown(name)}")) for name, entry in (named or {}).items()},
    )


def read_services(value: Value, catalogue: Catalogue, top: Settings) -> list[Draft]:
    """Every service of the file that can be made out, in the order of the file. `top` is what the file says for all of them."""
    drafts: list[Draft] = []
    for item in items(value, "a list of services", "each service starts with `- `") or []:
        said = section(item.named("a service"), SERVICE)
        if said is not None:
            drafts.extend(_read_service(said, catalogue, top))
    return drafts


def _read_service(said: Section, catalogue: Catalogue, top: Settings) -> list[Draft]:
    settings, asking = settled(top, read_settings(said)), read_asking(said)
    for key in ("virtual", "servers", "policy"):
        if said.get(key) is None:
            said.value.error(f"a service needs {shown(key)}")
    vips = said.take("virtual", list_of(_read_vip, "an address or a list of addresses")) or ()
    servers = said.get("servers")
    policy = said.get("policy")
    backends = _resolve(servers, catalogue.servers, read_servers, _SERVERS) if servers else None
    listing = _resolve(policy, catalogue.policies, read_policy, _POLICY) if policy else None
    virtual = said.get("virtual")
    if virtual is not None and virtual.is_list and not virtual.node.value:
        virtual.error("`virtual` is empty", "a service needs an address that its clients ask for")
    return [_draft(v, entry, backends or (), settings, asking, said.value.report) for v in vips for entry in listing or ()]


def _read_vip(value: Value) -> _Vip | None:
    text = words(value, "an IP address")
    if text is None:
        return None
    if text.endswith("*"):
        value.error(f"{shown(text)}: a disabled VIP is not supported yet", _STAR)
        return None
    found = host_address(value, text, "a VIP")
    return _Vip(found, value.at) if found is not None else None


def _resolve(value: Value, named: Mapping[str, _T | None], read: Reader[_T], hint: str) -> _T | None:
    """What a value says itself, or what the top-level section of that name says."""
    if value.scalar is None or value.empty:
        return read(value)
    text = words(value, "a name")
    if text is None:
        return None
    if text not in named:
        if value.label == "`servers`" and re.fullmatch(r"[0-9.]+\*?|[0-9A-Fa-f:]*:[0-9A-Fa-f:]*\*?", text):
            hint = f"write a list, even of one: `[{text}]`"
        elif value.label == "`policy`" and is_policy_key(text):
            hint = f"write `policy: {{{text}: }}`"
        value.error(f"there is no top-level entry {shown(text)} under {value.label}", meant(text, named, hint))
        return None
    return named[text]


def read_servers(value: Value) -> tuple[Backend, ...] | None:
    """A list of servers, sorted by address; the same address twice is an error."""
    listed = items(value, "a list of addresses")
    if listed is None:
        return None
    found: dict[Address, Backend] = {}
    for backend in map(_read_server, listed):
        if backend is None or backend.position is None:
            continue
        first = found.setdefault(backend.address, backend)
        if first is not backend:
            value.report.error(backend.position, f"server {backend.address} is listed twice, first at {first.position}")
    return tuple(sorted(found.values(), key=lambda b: (b.address.version, int(b.address))))


def _read_server(value: Value) -> Backend | None:
    if value.is_mapping:
        return _read_server_mapping(value)
    text = words(value, "an address or a mapping with `address`")
    if text is None:
        return None
    address = host_address(value, text.removesuffix("*"), "a server")
    state = AdminState.DRAIN if text.endswith("*") else AdminState.ACTIVE
    return Backend(address, state=state, position=value.at) if address is not None else None


def _read_server_mapping(value: Value) -> Backend | None:
    said = section(value, SERVER)
    if said is None:
        return None
    weight = said.take("weight", scalars.integer(0, 1000))
    state = said.take("state", scalars.choice({s.value: s for s in AdminState}))
    backup = said.take("backup", scalars.boolean)
    given = said.get("address")
    if given is None:
        value.error("a server needs an `address`")
        return None
    text = words(given, "an IP address")
    if text is None:
        return None
    if text.endswith("*"):
        given.error(f"no star behind the address in a mapping: {shown(text)}", "write `state: drain`")
        return None
    address = host_address(given, text, "a server")
    if address is None:
        return None
    return Backend(address, 1 if weight is None else weight, state or AdminState.ACTIVE, backup=bool(backup), position=given.at)


def _draft(
    vip: _Vip, entry: PolicyEntry, backends: tuple[Backend, ...], upper: Settings, asking: Asking, report: Report
) -> Draft:
    said = settled(upper, entry.settings)
    key = ServiceKey(vip.address, entry.port, entry.protocol)
    asked = below(asking, entry.asking)
    tunnel = read_tunnel(said, vip.address, backends)
    service = Service(
        key=key,
        name=said.name or "",
        backends=backends,
        checks=tuple(build(draft, below(asked, draft.asking), key, report) for draft in entry.checks),
        description=said.description or "",
        priority=said.priority or "",
        need=1 if said.need is None else said.need,
        sticky=bool(said.sticky),
        ttl=said.ttl or (Ttl.DECREMENT if tunnel else Ttl.ONE),
        on_down=said.on_down or OnDown.KEEP,
        tunnel=tunnel,
        scheduler=said.scheduler or Scheduler.MAGLEV,
        table_size=said.table_size.value if said.table_size else None,
        track=not (said.track and said.track.value is False),
        reject=said.reject or Reject.DROP,
        hold=5.0 if said.hold is None else said.hold,
        panic=said.panic or 0.0,
        damping=said.damping.value if said.damping else None,
        position=vip.at,
    )
    return Draft(service, vip.at, entry, said)
