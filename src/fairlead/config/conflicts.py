"""What contradicts itself across sections: doubled services, addresses with two roles, families that cannot meet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fairlead.config.nodes import Value
from fairlead.config.report import Report, meant, shown
from fairlead.config.services import Draft
from fairlead.model import Address, Config, OnDown, Service, ServiceKey, TunnelKind


def report_conflicts(config: Config, drafts: Iterable[Draft], report: Report) -> None:
    """Reports every error that takes more than one section to see."""
    drafts = list(drafts)
    _doubled(drafts, report)
    owners = _owners(config)
    vips = set(config.vips())
    servers = {b.address: (s.key, b) for s in config.services for b in s.backends if b.address in vips}
    for draft in drafts:
        vip = draft.service.key.vip
        role = owners.get(vip)
        if role is None and vip in servers:
            key, backend = servers[vip]
            role = f"a server of {key}, see {backend.position}"
        if role:
            report.error(draft.vip_at, f"VIP {vip} is also {role}", "a VIP is nobody's own address; it would cut that host off")
        if draft.service.tunnel is None and (draft.said.tunnel_type is None or draft.said.tunnel_type.value is not None):
            _families(draft, report)
    _self_as_server(config, report)
    if config.vlans:
        _outside(config, report)


def _doubled(drafts: Iterable[Draft], report: Report) -> None:
    seen: dict[ServiceKey, Draft] = {}
    for draft in drafts:
        first = seen.setdefault(draft.service.key, draft)
        if first is draft:
            continue
        key = draft.service.key
        if first.vip_at != draft.vip_at:
            report.error(draft.vip_at, f"{key} is already a service, see {first.vip_at}", "remove it from one of the two")
        elif first.entry.at != draft.entry.at:
            also = f"{shown(first.entry.text)} at {first.entry.at}"
            report.error(draft.entry.at, f"{shown(draft.entry.text)} is {key} once more, as is {also}", "remove one of the two")
        else:
            report.error(draft.vip_at, f"{key} is defined twice by the same lines", "an alias brings them in a second time")


def _owners(config: Config) -> dict[Address, str]:
    """Addresses of this balancer and its peers -> whose they are; the most telling role is entered last."""
    found: dict[Address, str] = {v.gateway: f"the gateway of VLAN {v.id}" for v in config.vlans if v.gateway is not None}
    for peer in config.peers:
        if peer.source is not None:
            found[peer.source] = f"the `source_ip` of BGP peer {peer}"
        if not peer.interface:
            found[peer.address] = f"a BGP peer, see {peer.position}"
    for own, key in ((config.address, "address"), (config.address6, "address6")):
        if own is not None:
            found[own] = f"this balancer's own `{key}`"
    return found


def _families(draft: Draft, report: Report) -> None:
    vip = draft.service.key.vip
    other = next((b for b in draft.service.backends if b.address.version != vip.version), None)
    if other is not None:
        hint = f"add a `tunnel-type`, or give the IPv{vip.version} VIPs a service with IPv{vip.version} servers"
        report.error(
            draft.vip_at, f"VIP {vip} is IPv{vip.version}, but server {other.address} is not, see {other.position}", hint
        )


def _self_as_server(config: Config, report: Report) -> None:
    own = {config.address, config.address6}
    for service in config.services:
        for backend in service.backends:
            if backend.address in own and backend.position is not None:
                report.error(backend.position, f"server {backend.address} is this balancer's own address", "name another machine")


def _outside(config: Config, report: Report) -> None:
    """Servers that packets reach without a tunnel must be in a declared subnet, where there are any."""
    subnets = {(v.subnet.version, v.subnet.prefixlen, int(v.subnet.network_address)) for v in config.vlans}
    lengths = {(version, length) for version, length, _ in subnets}
    for backend in {b.address: b for s in config.services if s.tunnel is None for b in s.backends}.values():
        version, number = backend.address.version, int(backend.address)
        bits = backend.address.max_prefixlen
        if backend.position is not None and not any(
            (version, length, number >> (bits - length) << (bits - length)) in subnets for v, length in lengths if v == version
        ):
            key = "vlans" if version == 4 else "vlans6"
            hint = f"declare its subnet under `{key}`, or give the service a `tunnel-type`, or do without `vlans` and `vlans6`"
            report.error(backend.position, f"server {backend.address} is in no VLAN's subnet", hint)


def report_oddities(config: Config, root: Value) -> None:
    """Reports what is allowed, but hardly meant. For files without errors only."""
    if not config.services:
        root.warn("there are no services, so nothing is balanced")
    for service in config.services:
        if service.position is not None:
            for says, hint in _oddities(service):
                root.report.warn(service.position, f"{service.key} {says}", hint)
    _foreign_fou(config, root.report)
    _report_speaking(config, root)


def _report_speaking(config: Config, root: Value) -> None:
    """Of BGP: IPv6 VIPs without a next hop, rules about services and aggregates of VIPs that there are not."""
    six = next((vip for vip in config.vips() if vip.version == 6), None)
    names = {service.name for service in config.services}
    for peer in config.peers:
        strange = {name for rule in peer.rules for name in rule.names - names}
        if strange and peer.position is not None:
            says = f"a rule of BGP peer {peer} is about a service {shown(min(strange))}, and there is none of that name"
            root.report.warn(peer.position, says, meant(min(strange), names - {""}, "give the service that `name`"))
    for aggregate in config.aggregates:
        if not any(vip in aggregate.prefix for vip in config.vips()):
            root.warn(f"no VIP lies in the aggregate {aggregate.prefix}: it is never announced", "remove it from `aggregates`")
    for peer in config.peers if six else ():
        if peer.address.version == 4 and peer.next_hop_6 is None and peer.position is not None:
            says = f"IPv6 VIPs such as {six} cannot be announced to {peer.address}: no IPv6 next hop is known"
            root.report.warn(peer.position, says, "give a top-level `address6`, or `next_hop_6`")


def _oddities(service: Service) -> Iterator[tuple[str, str]]:
    """What is strange about one service, and what to do about it."""
    if service.need > len(service.backends):
        yield f"needs {service.need} servers and has {len(service.backends)}: it can never be up", "lower `need` or add servers"
    if service.backends and not any(b.weight for b in service.backends):
        yield "has no server with a weight above 0: no new flow is served", "give one of them a weight; 1 is the default"
    mains = sum(not b.backup for b in service.backends)
    if mains < len(service.backends):
        least = max(1, service.need)  # the backups of a service that needs nothing wait until nobody is left
        if mains < least <= len(service.backends):
            yield f"has {mains} of {least} servers that it needs beside its backups: these always get flows", "lower `need`"
    if service.on_down is OnDown.RESET and not service.track:
        yield "has `on-down: reset`, but does not remember flows: none can be reset", "remove `track: false` or the reset"


def _foreign_fou(config: Config, report: Report) -> None:
    """FOU does not say which protocol is inside, so a receiver's port takes packets of one IP version only (ip-fou(8))."""
    inside: dict[tuple[Address, int], Service] = {}
    for service in config.services:
        if service.tunnel is None or service.tunnel.kind is not TunnelKind.FOU or service.position is None:
            continue
        for backend in service.backends:
            first = inside.setdefault((backend.address, service.tunnel.port), service)
            if first.key.vip.version != service.key.vip.version:
                says = f"{service.key} and {first.key} share port {service.tunnel.port} of server {backend.address}"
                hint = "FOU does not tell IPv4 from IPv6: give one of them another `tunnel-port`, or use `gue`"
                report.warn(service.position, says, hint)
                break
