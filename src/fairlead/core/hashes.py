"""The hashes of the data plane in Python: the twin of bpf/hash.h, used to place rows and to explain where a packet goes.

All loads are little-endian loads of bytes as they stand on the wire; arithmetic is modulo 2**64; shifts are logical.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from fairlead.model import Address

_U32 = (1 << 32) - 1
_U64 = (1 << 64) - 1
_M1 = 0x9E3779B97F4A7C15
_M2 = 0xC2B2AE3D27D4EB4F
_M3 = 0x165667B19E3779F9
_MAPPED = bytes(10) + b"\xff\xff"


def mapped(address: Address) -> bytes:
    """16 bytes in network order; IPv4 becomes ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2)."""
    return _MAPPED + address.packed if address.version == 4 else address.packed


class Known(NamedTuple):
    """An address in the forms that are asked for again and again: 16 bytes, text, and what it sorts by."""

    packed: bytes
    text: str
    order: int


_KNOWN: dict[int, Known] = {}
_KNOWN_MOST = 1 << 18


def known(address: Address) -> Known:
    """The forms of an address. `ipaddress` makes each anew every time, and its hash is slow as well: not for 100,000 backends."""
    order = int(address) if isinstance(address, IPv4Address) else int(address) | 1 << 128
    found = _KNOWN.get(order)
    if found is None:
        if len(_KNOWN) >= _KNOWN_MOST:
            _KNOWN.clear()
        found = _KNOWN[order] = Known(mapped(address), str(address), order)
    return found


def unmapped(packed: bytes) -> Address:
    """The reverse of `mapped`."""
    return IPv4Address(packed[12:]) if packed[:12] == _MAPPED else IPv6Address(packed)


def wire_port(port: int) -> int:
    """A host-order port as a little-endian load of its two wire bytes."""
    return (port & 0xFF) << 8 | port >> 8


def _load(data: bytes) -> int:
    return int.from_bytes(data, "little")


def vip_bit(vip: Address) -> int:
    """The bit of the VIP bitmap, 0 to 65,535."""
    packed = vip.packed
    if len(packed) == 4:
        return ((_load(packed) * 0x9E3779B1) & _U32) >> 16
    high, low = _load(packed[:8]), _load(packed[8:])
    return (((high ^ (low * _M1 & _U64)) * 0xD6E8FEB86659FD93) & _U64) >> 48


def service_places(vip: bytes, l4: int, mask: int) -> tuple[int, int]:
    """The two places of a key in the services table of `mask + 1` rows; `vip` as 16 bytes, `l4` as abi.h has it."""
    high, low = _load(vip[:8]), _load(vip[8:])
    h = high * _M1 & _U64
    h ^= h >> 32
    h = (h ^ low) * _M2 & _U64
    h ^= h >> 32
    h = (h ^ l4) * _M3 & _U64
    h ^= h >> 29
    first, second = h & mask, (h >> 48) & mask
    return first, second if second != first else first ^ 1


def _mix(h: int, x: int, key: int) -> int:
    h = (h ^ x) * key & _U64
    return h ^ (h >> 32)


def tuple_hash(
    key: tuple[int, int, int, int],
    source: Address,
    destination: Address,
    ports: tuple[int, int],
    protocol: int,
    sticky: bool = False,
) -> int:
    """The keyed hash of a 5-tuple, 64 bits. `ports` are (source, destination) in host order; a sticky hash leaves them out."""
    words = protocol << 32
    if not sticky:
        words |= wire_port(ports[0]) | wire_port(ports[1]) << 16
    a, b = source.packed, destination.packed
    if len(a) == 4:
        h = _mix(key[3], _load(a) | _load(b) << 32, key[0])
    else:
        halves = (a[:8], a[8:], b[:8], b[8:])
        h = sum(int.from_bytes(half, "big") * k for half, k in zip(halves, key, strict=True)) & _U64
        h ^= h >> 32
    return _mix(h, words, key[1])


def flow_place(h: int, bucket_mask: int) -> tuple[int, int]:
    """(bucket, tag) of a flow whose hash with the flow key is `h`."""
    return h & bucket_mask, (h >> 16) & _U32


def slot_of(h: int, size: int) -> int:
    """The slot, 0 to size - 1, of a packet whose hash with the slot key is `h`."""
    return ((h >> 32) * size) >> 32
