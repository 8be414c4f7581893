"""What contradicts itself across sections: doubled services, addresses with two roles, families that cannot meet."""

from __future__ import annotations

from collections.abc import Iterable

from fairlead.config.nodes import Value
from fairlead.config.report import Report, shown
from fairlead.config.services import Draft
from fairlead.model import Address, Config, ServiceKey


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
        _families(draft, report)
    _self_as_server(config, report)


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
    found: dict[Address, str] = {}
    for peer in config.peers:
        if peer.source is not None:
            found[peer.source] = f"the `source_ip` of BGP peer {peer.address}"
        found[peer.address] = f"a BGP peer, see {peer.position}"
    for own, key in ((config.address, "address"), (config.address6, "address6")):
        if own is not None:
            found[own] = f"this balancer's own `{key}`"
    return found


def _families(draft: Draft, report: Report) -> None:
    vip = draft.service.key.vip
    other = next((b for b in draft.service.backends if b.address.version != vip.version), None)
    if other is not None:
        hint = f"not supported yet; give the IPv{vip.version} VIPs a service with IPv{vip.version} servers"
        report.error(
            draft.vip_at, f"VIP {vip} is IPv{vip.version}, but server {other.address} is not, see {other.position}", hint
        )


def _self_as_server(config: Config, report: Report) -> None:
    own = {config.address, config.address6}
    for service in config.services:
        for backend in service.backends:
            if backend.address in own and backend.position is not None:
                report.error(backend.position, f"server {backend.address} is this balancer's own address", "name another machine")


def report_oddities(config: Config, root: Value) -> None:
    """Reports what is allowed, but hardly meant. For files without errors only."""
    if not config.services:
        root.warn("there are no services, so nothing is balanced")
    for service in config.services:
        if service.need > len(service.backends) and service.position is not None:
            has = f"needs {service.need} servers and has {len(service.backends)}"
            root.report.warn(service.position, f"{service.key} {has}: it can never be up", "lower `need` or add servers")
    six = next((vip for vip in config.vips() if vip.version == 6), None)
    for peer in config.peers if six else ():
        if peer.address.version == 4 and peer.next_hop_6 is None and peer.position is not None:
            says = f"IPv6 VIPs such as {six} cannot be announced to {peer.address}: no IPv6 next hop is known"
            root.report.warn(peer.position, says, "give a top-level `address6`, or `next_hop_6`")
