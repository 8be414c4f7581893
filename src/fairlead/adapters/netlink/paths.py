"""From routes, links and neighbours to the path of a backend: pure, no socket in here.

What the kernel routes over need not be what frames leave by: a VLAN device tags and hands down, a bond chooses a member. `egress`
follows that to the NIC on which our program runs. A NIC that we do not run on is no way out, on purpose: many drivers take
redirected frames only while they have a program of their own, and a probe could not be led there.

The configuration's `vlans` override: a subnet whose route leaves by a device that is neither ours nor the kernel's VLAN device
(some other way to make one) is tagged with the id it is declared with and leaves by the NIC of the same MAC, or by the only one;
a backend in none of the subnets goes to the gateway of the lowest id that has one. Over our NICs themselves the id is a label.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fairlead.adapters.netlink.messages import BOND, RTN_LOCAL, RTN_UNICAST, VLAN, Device, Neighbour, RouteAnswer
from fairlead.model import Address, Link, NoPath, Path, Vlan

Devices = Mapping[int, Device]


@dataclass(frozen=True, slots=True)
class Way:
    """How frames leave: `link` is the NIC, `source` the MAC they carry, `tag` and `bond` are 0 without; `mtu` in bytes."""

    link: Link
    source: bytes
    tag: int
    bond: int
    mtu: int


def members(devices: Devices, bond: int) -> list[Link]:
    """The members of a bond, by index."""
    return sorted((d.link for d in devices.values() if d.link.bond == bond), key=lambda link: link.ifindex)


def managed(devices: Devices, name: str) -> list[Link]:
    """What the operator means by a name: the NIC, or all members of the bond."""
    device = next((d for d in devices.values() if d.link.name == name), None)
    if device is None:
        return []
    return members(devices, device.link.ifindex) if device.kind == BOND else [device.link]


def misnamed(devices: Devices, name: str) -> str:
    """Why Fairlead cannot run on the device of this name, "" if it can or there is none; with the name that was meant."""
    device = next((d for d in devices.values() if d.link.name == name), None)
    if device is None:
        return ""
    if device.kind == VLAN:
        lower = devices.get(device.lower)
        below = f": name {lower.link.name}, and its VLANs are served with it" if lower else ""
        return f"{name} is a VLAN device{below}"
    master = devices.get(device.link.bond)
    if master is not None:
        return f"{name} is a member of {master.link.name}: name {master.link.name}, and all its members are followed"
    if device.kind == BOND and not members(devices, device.link.ifindex):
        return f"{name} is a bond without members: ip link set dev NIC master {name}"
    return ""


def related(devices: Devices, links: Iterable[Link]) -> set[int]:
    """The indices of these NICs, of their bonds, and of the VLAN devices on top of either: where our addresses may be."""
    found = {index for link in links for index in (link.ifindex, link.bond) if index}
    return found | {d.link.ifindex for d in devices.values() if d.kind == VLAN and d.lower in found}


def vlan_of(vlans: Sequence[Vlan], address: Address) -> Vlan | None:
    """The declared subnet that this address is in."""
    return next((v for v in vlans if v.subnet.version == address.version and address in v.subnet), None)


def gateway_for(vlans: Sequence[Vlan], address: Address) -> Address | None:
    """The declared gateway on the way to an address outside of all declared subnets: that of the lowest id that has one."""
    if vlan_of(vlans, address) is not None:
        return None
    found = sorted(((v.id, v.gateway) for v in vlans if v.gateway and v.gateway.version == address.version), key=lambda f: f[0])
    return found[0][1] if found else None


def egress(devices: Devices, ifindex: int, usable: frozenset[int], label: Vlan | None) -> Way | NoPath:
    """How frames leave that the kernel routes over this device; `usable` are our NICs, none: any."""
    device = devices.get(ifindex)
    if device is None:
        return NoPath("its interface has gone")
    routed = device.link
    if not routed.up:
        return NoPath(f"{routed.name} is down")
    tag = 0
    if device.kind == VLAN:
        lower = devices.get(device.lower)
        if lower is None or lower.kind == VLAN or not device.tag:
            return NoPath(f"{routed.name} has no NIC below it that takes one 802.1Q tag")
        tag, device = device.tag, lower
    elif label is not None and usable and not _nics(devices, device) & usable:
        carrier = _carrier(devices, usable, routed.mac)
        if carrier is not None:
            tag, device = label.id, carrier
    return _leave(devices, device, routed, tag, usable)


def _leave(devices: Devices, device: Device, routed: Link, tag: int, usable: frozenset[int]) -> Way | NoPath:
    """Out of this NIC, or of a member of this bond that may send."""
    if usable and not _nics(devices, device) & usable:
        return NoPath(f"is reached through {routed.name}, on which Fairlead does not run")
    if device.kind != BOND:
        up = device.link.up
        way = Way(device.link, routed.mac or device.link.mac, tag, 0, min(routed.mtu, device.link.mtu))
        return way if up else NoPath(f"{device.link.name} is down")
    bond = device.link
    fit = [m for m in members(devices, bond.ifindex) if m.active and m.up and (not usable or m.ifindex in usable)]
    if not fit:
        return NoPath(f"no member of {bond.name} is active")
    return Way(fit[0], fit[0].mac, tag, bond.ifindex, min(routed.mtu, bond.mtu))


def _nics(devices: Devices, device: Device) -> set[int]:
    """What our program must be on for this device to be served."""
    if device.kind == BOND:
        return {m.ifindex for m in members(devices, device.link.ifindex)}
    return {device.link.ifindex}


def _carrier(devices: Devices, usable: frozenset[int], mac: bytes) -> Device | None:
    """Which of ours an emulated VLAN device of this MAC stands on."""
    found: dict[int, Device] = {}
    for index in sorted(usable):
        device = devices.get(index)
        top = devices.get(device.link.bond, device) if device else None
        if top is not None:
            found[top.link.ifindex] = top
    same = [device for device in found.values() if device.link.mac == mac]
    return (same or list(found.values()))[0] if same or len(found) == 1 else None


def refused(answer: RouteAnswer) -> str:
    """Why a route leads to no host, "" if it does."""
    if answer.error or answer.kind == RTN_UNICAST:
        return answer.error
    return "is an address of this machine" if answer.kind == RTN_LOCAL else "is not the address of a single host"


def resolve(
    answer: RouteAnswer, way: Way | NoPath, neighbour: Neighbour | None, device: str, *, full: bool = False
) -> Path | NoPath:
    """The path that follows from a route, its way out and the neighbour entry on `device`, or why there is none.

    `full`: the kernel had no room for the entry. Where nothing but the neighbour fails, the MAC that it had is in `NoPath.last`.
    """
    problem = refused(answer)
    if problem:
        return NoPath(problem)
    if isinstance(way, NoPath):
        return way
    if neighbour is not None and neighbour.mac:
        return _path(answer, way, neighbour.mac)
    last = _path(answer, way, neighbour.last) if neighbour is not None and neighbour.last else None
    if full:
        key = f"net.ipv{answer.gateway.version if answer.gateway else 4}.neigh.default.gc_thresh3"
        return NoPath(f"no neighbour on {device}: the kernel's neighbour table is full; raise {key}", True, last)
    who = f"gateway {answer.gateway} does not answer" if answer.gateway else "nobody answers for its address"
    return NoPath(f"no neighbour on {device}: {who}", True, last)


def _path(answer: RouteAnswer, way: Way, mac: bytes) -> Path:
    mtu = min(way.mtu, answer.mtu) if answer.mtu else way.mtu
    return Path(way.link.ifindex, mac, way.source, mtu, answer.source, answer.gateway, way.tag, way.bond)
