"""Path attributes and prefixes to bytes: RFC 4271 section 4.3, RFC 4760 for IPv6, RFC 6793 for AS numbers; communities of two
(RFC 1997), three (RFC 8092) and eight octets' worth of numbers (RFC 4360); IPv4 routes with IPv6 next hops (RFC 8950).

Only the sending side is here: Fairlead learns nothing from its peers, `received` looks at what they say.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from fairlead.bgp.capabilities import Family
from fairlead.bgp.wire import AS_TRANS
from fairlead.model import Address, Community, LargeCommunity, Prefix

# Attribute flags, RFC 4271 section 4.3.
_OPTIONAL, _TRANSITIVE, _EXTENDED_LENGTH = 0x80, 0x40, 0x10
_WELL_KNOWN = _TRANSITIVE

_ORIGIN_IGP = 0
_AS_SEQUENCE = 2


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is said about a route. `as_path` holds real AS numbers; None leaves an optional attribute out.

    `link_local` goes along with an IPv6 next hop where both ends are on one link (RFC 2545 section 3).
    """

    next_hop: Address
    as_path: tuple[int, ...] = ()
    med: int | None = None
    local_pref: int | None = None
    communities: tuple[Community, ...] = ()
    ext_communities: tuple[int, ...] = ()
    large_communities: tuple[LargeCommunity, ...] = ()
    link_local: IPv6Address | None = None

    def __str__(self) -> str:
        """As an operator reads it."""
        words = [f"via {self.next_hop}", f"path {' '.join(map(str, self.as_path)) or 'empty'}"]
        words += [f"med {self.med}"] if self.med is not None else []
        words += [f"local-pref {self.local_pref}"] if self.local_pref is not None else []
        for name, each in (
            ("communities", [":".join(map(str, c)) for c in self.communities]),
            ("ext-communities", [f"0x{c:016x}" for c in self.ext_communities]),
            ("large-communities", [":".join(map(str, c)) for c in self.large_communities]),
        ):
            words += [f"{name} {' '.join(each)}"] if each else []
        return " ".join(words)


def pack_prefix(prefix: Prefix) -> bytes:
    """One element of an NLRI field: length in bits, then as few octets as hold them, RFC 4271 section 4.3."""
    return bytes([prefix.prefixlen]) + prefix.network_address.packed[: (prefix.prefixlen + 7) // 8]


def pack(attributes: Attributes, *, four_octet: bool, family: Family = Family.IPV4, nlri: bytes = b"") -> bytes:
    """All attributes of an UPDATE; `four_octet` is whether the peer knows such AS numbers.

    With an IPv6 next hop `nlri`, of `family`, travels inside MP_REACH_NLRI, which comes first (RFC 7606 section 5.1); with an
    IPv4 one it belongs behind the attributes, and is not looked at.
    """
    parts: list[bytes] = []
    if isinstance(attributes.next_hop, IPv6Address):
        parts.append(_mp_reach(family, attributes.next_hop, attributes.link_local, nlri))
    parts.append(_one(_WELL_KNOWN, 1, bytes([_ORIGIN_IGP])))
    parts.append(_one(_WELL_KNOWN, 2, _as_path(attributes.as_path, four_octet)))
    if isinstance(attributes.next_hop, IPv4Address):
        parts.append(_one(_WELL_KNOWN, 3, attributes.next_hop.packed))
    if attributes.med is not None:
        parts.append(_one(_OPTIONAL, 4, struct.pack(">I", attributes.med)))
    if attributes.local_pref is not None:
        parts.append(_one(_WELL_KNOWN, 5, struct.pack(">I", attributes.local_pref)))
    if attributes.communities:
        parts.append(_one(_OPTIONAL | _TRANSITIVE, 8, b"".join(struct.pack(">HH", *c) for c in attributes.communities)))
    if attributes.ext_communities:
        parts.append(_one(_OPTIONAL | _TRANSITIVE, 16, b"".join(struct.pack(">Q", c) for c in attributes.ext_communities)))
    if not four_octet and any(number >= 1 << 16 for number in attributes.as_path):
        parts.append(_one(_OPTIONAL | _TRANSITIVE, 17, _as_path(attributes.as_path, True)))  # AS4_PATH, RFC 6793 section 4.2.2
    if attributes.large_communities:
        parts.append(_one(_OPTIONAL | _TRANSITIVE, 32, b"".join(struct.pack(">III", *c) for c in attributes.large_communities)))
    return b"".join(parts)


def pack_unreachable(family: Family, nlri: bytes) -> bytes:
    """MP_UNREACH_NLRI, RFC 4760 section 4; with no NLRI it is the family's End-of-RIB (RFC 4724 section 2)."""
    return _one(_OPTIONAL, 15, struct.pack(">HB", *family.value) + nlri)


def _mp_reach(family: Family, next_hop: IPv6Address, link_local: IPv6Address | None, nlri: bytes) -> bytes:
    """RFC 4760 section 3: family, next hop with its length, one reserved octet, prefixes."""
    hops = next_hop.packed + (link_local.packed if link_local is not None else b"")
    return _one(_OPTIONAL, 14, struct.pack(">HBB", *family.value, len(hops)) + hops + b"\0" + nlri)


def _as_path(path: tuple[int, ...], four_octet: bool) -> bytes:
    """One AS_SEQUENCE, or nothing for an empty path; numbers that do not fit become AS_TRANS (RFC 6793 section 4.2.2)."""
    if not path:
        return b""
    numbers = path if four_octet else tuple(n if n < 1 << 16 else AS_TRANS for n in path)
    return struct.pack(f">BB{len(path)}{'I' if four_octet else 'H'}", _AS_SEQUENCE, len(path), *numbers)


def _one(flags: int, kind: int, value: bytes) -> bytes:
    """One attribute; the length takes two octets only where it must."""
    if len(value) > 255:
        return struct.pack(">BBH", flags | _EXTENDED_LENGTH, kind, len(value)) + value
    return struct.pack(">BBB", flags, kind, len(value)) + value
