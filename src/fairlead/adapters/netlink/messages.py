"""Netlink messages as values: no socket in here, and no conclusion drawn."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any

from fairlead.model import Address, Link

PROTOCOL = 70  # "fairlead": on every rule, route and neighbour of ours, so that they can be told from others'

NTF_USE = 0x01  # linux/neighbour.h
NTF_EXT_MANAGED = 0x01
NUD_INCOMPLETE, NUD_STALE, NUD_PROBE, NUD_FAILED, NUD_NOARP, NUD_PERMANENT = 0x01, 0x04, 0x10, 0x20, 0x40, 0x80
IFF_UP = 0x1
IFF_LOWER_UP = 0x10000
RTN_UNICAST, RTN_LOCAL, RTN_BROADCAST, RTN_ANYCAST, RTN_MULTICAST = 1, 2, 3, 4, 5
VLAN, BOND = "vlan", "bond"  # IFLA_INFO_KIND
_PROTOCOL_8021Q = 0x8100  # IFLA_VLAN_PROTOCOL; an 802.1ad device pushes a tag that we do not
_MEMBER_ACTIVE, _MEMBER_LINK_UP = 0, 0  # linux/if_bonding.h: BOND_STATE_ACTIVE, BOND_LINK_UP

_NO_ROUTE = {
    errno.ENETUNREACH: "no route",
    errno.EHOSTUNREACH: "its route is unreachable",
    errno.EINVAL: "its route is a blackhole",
    errno.EACCES: "its route is prohibited",
}


@dataclass(frozen=True, slots=True)
class RouteAnswer:
    """What the kernel says to "how would you reach it?".

    `kind` is RTN_*, `mtu` that of the route in bytes (0: it has none), `error` a sentence instead of an answer.
    """

    kind: int = 0
    ifindex: int = 0
    gateway: Address | None = None
    source: Address | None = None
    mtu: int = 0
    error: str = ""


def no_route(number: int) -> RouteAnswer:
    """The answer when the kernel refuses the look-up with this errno."""
    return RouteAnswer(error=_NO_ROUTE.get(number, f"no route: {os.strerror(number)}"))


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An entry of the neighbour table; `mac` is empty while it is not known, and `last` then what it was before, if ever."""

    mac: bytes
    state: int
    managed: bool
    protocol: int
    last: bytes = b""


Interface = IPv4Interface | IPv6Interface
NeighbourKey = tuple[int, Address]


def managed_supported() -> bool:
    """Whether this kernel has managed neighbour entries (5.16)."""
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int("".join(c for c in minor if c.isdigit()) or 0)) >= (5, 16)


def mac_bytes(text: str | None) -> bytes:
    """`02:00:00:00:00:01` as six bytes; anything else as none."""
    raw = bytes.fromhex(text.replace(":", "")) if text else b""
    return raw if len(raw) == 6 and any(raw) else b""


@dataclass(frozen=True, slots=True)
class Device:
    """A link and how it stands to others: a VLAN device has an id and a lower link, a member has a master.

    `member_of` is the kind of the master ("bond", "bridge", ...), "" without one. `tag` is 0 for a VLAN device whose tags are not
    802.1Q.
    """

    link: Link
    kind: str = ""
    tag: int = 0
    lower: int = 0
    master: int = 0
    member_of: str = ""


def device_of(message: Any) -> Device:
    """A device from its link message; `link.foreign_xdp` is the id of whatever program is attached, be it ours."""
    kind, tag, lower, master, member_of, active = _standing(message)
    link = replace(link_of(message), bond=master if member_of == BOND else 0, active=active)
    return Device(link, kind, tag, lower, master, member_of)


def _standing(message: Any) -> tuple[str, int, int, int, str, bool]:
    kind = str(message.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") or "")
    info = message.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA") if kind == VLAN else None
    tagged = info is not None and int(info.get_attr("IFLA_VLAN_PROTOCOL") or _PROTOCOL_8021Q) == _PROTOCOL_8021Q
    tag = int(info.get_attr("IFLA_VLAN_ID") or 0) if info is not None and tagged else 0
    member_of = str(message.get_nested("IFLA_LINKINFO", "IFLA_INFO_SLAVE_KIND") or "")
    standing = message.get_nested("IFLA_LINKINFO", "IFLA_INFO_SLAVE_DATA") if member_of == BOND else None
    active = standing is None or (
        standing.get_attr("IFLA_BOND_SLAVE_STATE") == _MEMBER_ACTIVE
        and standing.get_attr("IFLA_BOND_SLAVE_MII_STATUS") == _MEMBER_LINK_UP
    )
    lower = int(message.get("link") or 0) if message.get("link_netnsid") is None else 0  # else a number of another namespace
    return kind, tag, lower, int(message.get("master") or 0), member_of, active


def link_of(message: Any) -> Link:
    """A link from its netlink message; `foreign_xdp` is the id of whatever program is attached, be it ours."""
    flags = int(message["flags"])
    program = int(message.get_nested("IFLA_XDP", "IFLA_XDP_PROG_ID") or 0)
    return Link(
        ifindex=int(message["index"]),
        name=str(message.get("ifname")),
        mac=mac_bytes(message.get("address")),
        up=bool(flags & IFF_UP and flags & IFF_LOWER_UP),
        mtu=int(message.get("mtu") or 0),
        foreign_xdp=program,
    )


def neighbour(mac: bytes, state: int, protocol: int, *, managed: bool) -> Neighbour:
    """An entry as its message has it; what is being asked for, or was in vain, has no MAC."""
    known = not state & (NUD_INCOMPLETE | NUD_FAILED) and len(mac) == 6 and any(mac)
    return Neighbour(mac if known else b"", state, managed, protocol)
