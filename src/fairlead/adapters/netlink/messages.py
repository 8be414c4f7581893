"""Netlink messages as values, and the path to a backend that follows from them: no socket in here."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address
from typing import Any

from fairlead.model import Address, Link, NoPath, Path

PROTOCOL = 70  # "fairlead": on every rule, route and neighbour of ours, so that they can be told from others'

NTF_USE = 0x01  # linux/neighbour.h
NTF_EXT_MANAGED = 0x01
NUD_INCOMPLETE, NUD_FAILED, NUD_NOARP, NUD_PERMANENT = 0x01, 0x20, 0x40, 0x80
IFF_UP = 0x1
IFF_LOWER_UP = 0x10000
RTN_UNICAST, RTN_LOCAL, RTN_BROADCAST, RTN_ANYCAST, RTN_MULTICAST = 1, 2, 3, 4, 5

_NO_ROUTE = {
    errno.ENETUNREACH: "no route",
    errno.EHOSTUNREACH: "its route is unreachable",
    errno.EINVAL: "its route is a blackhole",
    errno.EACCES: "its route is prohibited",
}


@dataclass(frozen=True, slots=True)
class RouteAnswer:
    """What the kernel says to "how would you reach it?": `kind` is RTN_*, `error` a sentence instead of an answer."""

    kind: int = 0
    ifindex: int = 0
    gateway: Address | None = None
    source: Address | None = None
    error: str = ""


def route_of(message: Any) -> RouteAnswer:
    """The answer to a route look-up."""
    gateway, via, source = message.get("gateway"), message.get("via"), message.get("prefsrc")
    if gateway is None and via is not None:
        gateway = via.get("addr")
    return RouteAnswer(
        kind=int(message["type"]),
        ifindex=int(message.get("oif") or 0),
        gateway=ip_address(gateway) if gateway else None,
        source=ip_address(source) if source else None,
    )


def no_route(number: int) -> RouteAnswer:
    """The answer when the kernel refuses the look-up with this errno."""
    return RouteAnswer(error=_NO_ROUTE.get(number, f"no route: {os.strerror(number)}"))


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An entry of the neighbour table; `mac` is empty while it is not known."""

    mac: bytes
    state: int
    managed: bool
    protocol: int


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


def neighbour_of(message: Any) -> tuple[NeighbourKey, Neighbour] | None:
    """Key and entry from a neighbour message; None where it has no address (dumps hold such)."""
    where = message.get("dst")
    if not where or message["family"] not in (2, 10):
        return None
    state = int(message["state"])
    known = not state & (NUD_INCOMPLETE | NUD_FAILED)
    entry = Neighbour(
        mac=mac_bytes(message.get("lladdr")) if known else b"",
        state=state,
        managed=bool((message.get("flags_ext") or 0) & NTF_EXT_MANAGED),
        protocol=int(message.get("protocol") or 0),
    )
    return (int(message["ifindex"]), ip_address(where)), entry


def resolve(answer: RouteAnswer, link: Link | None, neighbour: Neighbour | None, usable: frozenset[int]) -> Path | NoPath:
    """The path that follows from a route, its link and the neighbour entry, or why there is none."""
    if answer.error:
        return NoPath(answer.error)
    if answer.kind != RTN_UNICAST:
        return NoPath("is an address of this machine" if answer.kind == RTN_LOCAL else "is not the address of a single host")
    if link is None:
        return NoPath("its interface has gone")
    if answer.gateway is not None:
        return NoPath(f"is behind gateway {answer.gateway}: needs a tunnel")
    if usable and link.ifindex not in usable:
        return NoPath(f"is reached through {link.name}, on which Fairlead does not run")
    if not link.up:
        return NoPath(f"{link.name} is down")
    if neighbour is None or not neighbour.mac:
        return NoPath(f"no neighbour on {link.name}: nobody answers for its address")
    return Path(link.ifindex, neighbour.mac, link.mac, link.mtu, answer.source)
