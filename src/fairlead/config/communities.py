"""Communities as operators write them, and back: standard, large and extended ones, by number and by well-known name."""

from __future__ import annotations

import re
from ipaddress import IPv4Address

from fairlead.config.nodes import Value
from fairlead.config.report import meant, shown
from fairlead.config.scalars import words
from fairlead.model import Community, LargeCommunity

# IANA, "BGP Well-known Communities"; in a file `no-export` and NO_EXPORT are the same.
WELL_KNOWN: dict[str, Community] = {
    "graceful-shutdown": (65535, 0),  # RFC 8326
    "accept-own": (65535, 1),  # RFC 7611
    "llgr-stale": (65535, 6),  # RFC 9494
    "no-llgr": (65535, 7),  # RFC 9494
    "blackhole": (65535, 666),  # RFC 7999
    "no-export": (65535, 65281),  # RFC 1997
    "no-advertise": (65535, 65282),  # RFC 1997
    "no-export-subconfed": (65535, 65283),  # RFC 1997
    "no-peer": (65535, 65284),  # RFC 3765
}
_ALSO = {"nopeer": "no-peer", "local-as": "no-export-subconfed", "gshut": "graceful-shutdown"}

_NUMBER = "(0|[1-9][0-9]{0,9})"
_STANDARD = re.compile(f"{_NUMBER}:{_NUMBER}")
_LARGE = re.compile(f"{_NUMBER}:{_NUMBER}:{_NUMBER}")
_EXTENDED = re.compile(rf"([a-z]+):([0-9]+(?:\.[0-9]+){{3}}|[0-9]+):{_NUMBER}")
_RAW = re.compile(r"0x[0-9A-Fa-f]{16}")
_U16, _U32 = (1 << 16) - 1, (1 << 32) - 1

# Kinds of extended communities that have two readings of their own, by the low octet of their type (RFC 4360 sections 4 and 5).
_KINDS = {"rt": 0x02, "target": 0x02, "soo": 0x03, "origin": 0x03}
# The high octet of a transitive one says how the rest is divided (RFC 4360 section 3, RFC 5668); 0 is an AS number of two octets.
_ADDRESS, _FOUR_OCTETS = 0x01, 0x02


def standard(value: Value) -> Community | None:
    """`65000:100`, or a well-known name; two numbers of 16 bits (RFC 1997)."""
    text = words(value, "a community such as 65000:100 or `no-export`")
    if text is None:
        return None
    name = text.lower().replace("_", "-")
    if found := WELL_KNOWN.get(_ALSO.get(name, name)):
        return found
    match = _STANDARD.fullmatch(text)
    if not match or max(int(match[1]), int(match[2])) > _U16:
        value.error(f"{shown(text)} is not a community", _hint(text))
        return None
    return int(match[1]), int(match[2])


def _hint(text: str) -> str:
    if text.count(":") == 2:
        if text[:1].isdigit():
            return "three numbers are a large community: put it under `large_communities`"
        return "one with a kind in front is an extended community: put it under `ext_communities`"
    numbers = "two numbers from 0 to 65535, such as 65000:100"
    return numbers if ":" in text else meant(text, WELL_KNOWN, f"{numbers}, or a name such as `no-export`")


def large(value: Value) -> LargeCommunity | None:
    """`4200000000:1:2`: three numbers of 32 bits (RFC 8092 section 5)."""
    text = words(value, "a large community such as 65000:1:2")
    if text is None:
        return None
    match = _LARGE.fullmatch(text)
    if not match or max(map(int, match.groups())) > _U32:
        value.error(f"{shown(text)} is not a large community", "three numbers from 0 to 4294967295, such as 65000:1:2")
        return None
    return int(match[1]), int(match[2]), int(match[3])


def extended(value: Value) -> int | None:
    """`rt:65000:100`, `soo:192.0.2.1:7`, or all eight octets as `0x...`, which is what comes out, as a big-endian number."""
    text = words(value, "an extended community such as rt:65000:100")
    if text is None:
        return None
    if _RAW.fullmatch(text):
        return int(text, 16)
    match = _EXTENDED.fullmatch(text)
    found = _packed(match[1], match[2], int(match[3])) if match else None
    if found is None:
        hint = "`rt:` or `soo:`, an AS number or an IPv4 address, and a number: rt:65000:100; or all of it as 0x and 16 digits"
        value.error(f"{shown(text)} is not an extended community", hint)
    return found


def _packed(kind: str, administrator: str, number: int) -> int | None:
    """A number of 32 bits goes with an AS number of two octets, one of 16 bits with the other two."""
    low = _KINDS.get(kind)
    if low is None:
        return None
    if "." in administrator:
        try:
            who = int(IPv4Address(administrator))
        except ValueError:
            return None
        return _joined(_ADDRESS, low, who, number)
    who = int(administrator)
    if who > _U32:
        return None
    if who > _U16:
        return _joined(_FOUR_OCTETS, low, who, number)
    return None if number > _U32 else low << 48 | who << 32 | number


def _joined(high: int, low: int, administrator: int, number: int) -> int | None:
    return None if number > _U16 else high << 56 | low << 48 | administrator << 16 | number


def standard_text(community: Community) -> str:
    """As a file may have it, by number."""
    return f"{community[0]}:{community[1]}"


def large_text(community: LargeCommunity) -> str:
    """As a file may have it."""
    return ":".join(map(str, community))


def extended_text(community: int) -> str:
    """As a file may have it: all eight octets."""
    return f"0x{community:016x}"
