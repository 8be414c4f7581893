"""Capabilities (RFC 5492): what Fairlead offers in its OPEN, what the peer's say, and both in words.

Multiprotocol (RFC 4760 section 8), route refresh (2918) and its enhanced form (7313), extended next hop (8950 section 4), long
messages (8654), graceful restart (4724 section 3, 8538 section 2) and AS numbers of four octets (6793 section 3).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, IntEnum


class Family(Enum):
    """Address family and subsequent family, RFC 4760 section 3: unicast of either IP version."""

    IPV4 = (1, 1)
    IPV6 = (2, 1)

    @property
    def version(self) -> int:
        """4 or 6, as `ipaddress` has it."""
        return 4 if self is Family.IPV4 else 6


FAMILIES = {family.value: family for family in Family}


class CapabilityCode(IntEnum):
    """The capabilities that Fairlead offers, by their IANA numbers."""

    MULTIPROTOCOL = 1
    ROUTE_REFRESH = 2
    EXTENDED_NEXT_HOP = 5
    EXTENDED_MESSAGE = 6
    GRACEFUL_RESTART = 64
    FOUR_OCTET_AS = 65
    ENHANCED_REFRESH = 70


# Others that routers offer, by IANA's names, so that an operator reads words.
_OTHERS = {
    3: "outbound route filtering",
    9: "BGP role",
    66: "deprecated 66",
    67: "dynamic capability",
    69: "additional paths",
    71: "long-lived graceful restart",
    73: "host name",
    75: "software version",
    76: "paths limit",
    77: "link-local next hop",
    128: "route refresh (old)",
    131: "multisession (old)",
}

# What a value must be long where Fairlead reads it.
VALUE_BYTES: dict[int, int] = {CapabilityCode.MULTIPROTOCOL: 4, CapabilityCode.FOUR_OCTET_AS: 4}

# IPv4 unicast with IPv6 next hops, RFC 8950 section 4: NLRI family, subsequent family, next hop family.
_IPV4_VIA_IPV6 = struct.pack(">HHH", 1, 1, 2)

# Flags of graceful restart: Restart State, Notification (RFC 8538), and each family's Forwarding State.
_RESTARTING, _NOTIFICATION, _FORWARDING = 0x8000, 0x4000, 0x80
LONGEST_RESTART = 4095  # seconds


@dataclass(frozen=True, slots=True)
class Capability:
    """One capability as it is on the wire; codes that nobody knows are kept."""

    code: int
    value: bytes = b""


@dataclass(frozen=True, slots=True)
class Restart:
    """Graceful restart, RFC 4724 section 3. `families`: for each one that is restarted gracefully, whether forwarding went on."""

    time: int  # seconds
    restarting: bool = False
    notification: bool = False  # RFC 8538 section 2
    families: tuple[tuple[Family, bool], ...] = ()

    def pack(self) -> Capability:
        """The capability; a time of more than 12 bits is cut to them."""
        flags = (_RESTARTING if self.restarting else 0) | (_NOTIFICATION if self.notification else 0)
        families = b"".join(struct.pack(">HBB", *f.value, _FORWARDING if forwards else 0) for f, forwards in self.families)
        return Capability(CapabilityCode.GRACEFUL_RESTART, struct.pack(">H", flags | min(self.time, LONGEST_RESTART)) + families)


def offer(*, extended_next_hop: bool = False, restart: Restart | None = None) -> tuple[Capability, ...]:
    """What every OPEN of ours offers but the AS number: both families, refreshes, extended messages, and what is configured."""
    found = [Capability(CapabilityCode.MULTIPROTOCOL, struct.pack(">HxB", *family.value)) for family in Family]
    found.append(Capability(CapabilityCode.ROUTE_REFRESH))
    if extended_next_hop:
        found.append(Capability(CapabilityCode.EXTENDED_NEXT_HOP, _IPV4_VIA_IPV6))
    found.append(Capability(CapabilityCode.EXTENDED_MESSAGE))
    if restart is not None:
        found.append(restart.pack())
    found.append(Capability(CapabilityCode.ENHANCED_REFRESH))
    return tuple(found)


def has(capabilities: Iterable[Capability], code: CapabilityCode) -> bool:
    """Whether this capability is among them."""
    return any(c.code == code for c in capabilities)


def four_octet_as(capabilities: Iterable[Capability]) -> int | None:
    """The AS number in four octets, None without it."""
    return next((int.from_bytes(c.value, "big") for c in capabilities if c.code == CapabilityCode.FOUR_OCTET_AS), None)


def families(capabilities: Iterable[Capability]) -> frozenset[Family]:
    """What the speaker exchanges; without a multiprotocol capability that is IPv4 unicast alone (RFC 4760 section 8)."""
    named = [struct.unpack(">HxB", c.value) for c in capabilities if c.code == CapabilityCode.MULTIPROTOCOL]
    return frozenset(FAMILIES[n] for n in named if n in FAMILIES) if named else frozenset({Family.IPV4})


def ipv4_via_ipv6(capabilities: Iterable[Capability]) -> bool:
    """Whether IPv4 routes may have IPv6 next hops."""
    values = (c.value for c in capabilities if c.code == CapabilityCode.EXTENDED_NEXT_HOP)
    return any(_IPV4_VIA_IPV6 in (v[i : i + 6] for i in range(0, len(v), 6)) for v in values)


def restart_of(capabilities: Iterable[Capability]) -> Restart | None:
    """The last graceful restart capability (RFC 4724 section 3), None if there is none or it is cut off."""
    found = [c.value for c in capabilities if c.code == CapabilityCode.GRACEFUL_RESTART]
    if not found or len(found[-1]) % 4 != 2:
        return None
    value = found[-1]
    first = int.from_bytes(value[:2], "big")
    named = [struct.unpack_from(">HBB", value, at) for at in range(2, len(value), 4)]
    known = tuple((FAMILIES[a, s], bool(flags & _FORWARDING)) for a, s, flags in named if (a, s) in FAMILIES)
    return Restart(first & LONGEST_RESTART, bool(first & _RESTARTING), bool(first & _NOTIFICATION), known)


def in_words(capabilities: Iterable[Capability]) -> tuple[str, ...]:
    """Each capability as an operator reads it."""
    return tuple(dict.fromkeys(word for c in capabilities for word in _words(c)))


def _words(capability: Capability) -> Iterator[str]:
    code, value = capability.code, capability.value
    match code:
        case CapabilityCode.MULTIPROTOCOL:
            afi, safi = struct.unpack(">HxB", value)
            known = FAMILIES.get((afi, safi))
            yield f"IPv{known.version} unicast" if known else f"family {afi}/{safi}"
        case CapabilityCode.FOUR_OCTET_AS:
            yield f"4-octet AS number {int.from_bytes(value, 'big')}"
        case CapabilityCode.ROUTE_REFRESH:
            yield "route refresh"
        case CapabilityCode.ENHANCED_REFRESH:
            yield "enhanced route refresh"
        case CapabilityCode.EXTENDED_MESSAGE:
            yield "extended messages"
        case CapabilityCode.EXTENDED_NEXT_HOP:
            yield "IPv4 with IPv6 next hops" if ipv4_via_ipv6([capability]) else "extended next hop"
        case CapabilityCode.GRACEFUL_RESTART:
            yield _restart_in_words(restart_of([capability]))
        case _:
            yield _OTHERS.get(code, f"capability {code}")


def _restart_in_words(restart: Restart | None) -> str:
    if restart is None:
        return "graceful restart (malformed)"
    kept = [f"IPv{family.version}" for family, forwards in restart.families if forwards]
    more = [
        *(["restarting"] if restart.restarting else []),
        *([f"{' and '.join(kept)} forwarding kept"] if kept else []),
        *(["through notifications"] if restart.notification else []),
    ]
    return f"graceful restart {restart.time} s" + (f" ({', '.join(more)})" if more else "")
