"""Readers of IP addresses and prefixes, and which addresses may be a VIP, a backend or a peer."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network

from fairlead.config.nodes import Value
from fairlead.config.report import shown
from fairlead.config.scalars import words
from fairlead.model import Address, Prefix

# First octets of IPv4 that hold this network, loopback, link-local, multicast and reserved addresses (RFC 6890).
_SPECIAL_4 = frozenset([0, 127, 169, *range(224, 256)])


def address(value: Value) -> Address | None:
    """Any IPv4 or IPv6 address, without port, prefix length or zone."""
    text = words(value, "an IP address")
    return None if text is None else parse_address(value, text)


def parse_address(value: Value, text: str) -> Address | None:
    """The address that `text`, a part of the value, stands for."""
    try:
        found = ip_address(text)
    except ValueError:
        value.error(f"{shown(text)} is not an IP address", _why_not_an_address(text))
        return None
    if isinstance(found, IPv6Address) and (found.scope_id or found.ipv4_mapped):
        value.error(f"{shown(text)} is not usable here", "leave out the zone" if found.scope_id else f"write {found.ipv4_mapped}")
        return None
    return found


def _why_not_an_address(text: str) -> str:
    if re.fullmatch(r"[0-9.]+", text) and re.search(r"(?<![0-9])0[0-9]", text):
        return "a leading 0 in an octet means octal to some: leave it out"
    if re.fullmatch(r"[0-9.]+:[0-9]+\*?", text) or text.startswith("["):
        return "write the address alone; ports are the keys of the policy"
    if "/" in text:
        return "write the address alone, without a prefix length"
    if text.endswith(" "):
        return "no blank before the star"
    return ""


def fault(found: Address) -> str | None:
    """Why an address cannot be that of a single other host: "a multicast address"; None where it can."""
    if isinstance(found, IPv4Address) and found.packed[0] not in _SPECIAL_4:
        return None  # nearly all, and files with 100,000 servers are read while traffic flows
    if found.is_unspecified:
        return "the unspecified address"
    if found.is_loopback:
        return "a loopback address"
    if found.is_multicast:
        return "a multicast address"
    if found.is_link_local:
        return "a link-local address"
    return "a reserved address" if isinstance(found, IPv4Address) and found.packed[0] != 169 else None


def host_address(value: Value, text: str, what: str) -> Address | None:
    """The address of a VIP, a backend or the balancer: one host's, on a network."""
    found = parse_address(value, text)
    reason = fault(found) if found is not None else None
    if reason:
        value.error(f"{found} is {reason}, which cannot be {what}", "use a unicast address that the network routes")
        return None
    return found


def address4(value: Value) -> IPv4Address | None:
    """A unicast IPv4 address."""
    found = _own(value)
    if isinstance(found, IPv6Address):
        value.must_be("an IPv4 address", "the IPv6 address goes under the key that ends in 6")
        return None
    return found


def address6(value: Value) -> IPv6Address | None:
    """A unicast IPv6 address."""
    found = _own(value)
    if isinstance(found, IPv4Address):
        value.must_be("an IPv6 address", "the IPv4 address goes under the key that does not end in 6")
        return None
    return found


def _own(value: Value) -> Address | None:
    text = words(value, "an IP address")
    return None if text is None else host_address(value, text, value.label)


def prefix(value: Value) -> Prefix | None:
    """A prefix in CIDR notation. Host bits are cut off with a warning, as VC5 does without one."""
    text = words(value, "a prefix such as 192.0.2.0/24")
    if text is None:
        return None
    try:
        found = ip_network(text, strict=False)
    except ValueError:
        value.error(f"{shown(text)} is not a prefix", "such as 192.0.2.0/24 or 2001:db8::/32")
        return None
    length = text.partition("/")[2]
    if length != str(found.prefixlen):
        value.error(f"{shown(text)} has no prefix length", f"write {found}")
        return None
    if str(found) != text and ip_address(text.partition("/")[0]) != found.network_address:
        value.warn(f"{text} has bits set beyond its length", f"taken as {found}")
    return found


ANY: tuple[Prefix, ...] = (IPv4Network("0.0.0.0/0"), ip_network("::/0"))
