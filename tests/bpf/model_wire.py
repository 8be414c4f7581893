"""The bytes of the reference model: checksums, hashes, outer headers, answers. From the RFCs, not from src/fairlead or bpf/."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

U64 = (1 << 64) - 1
TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
IPIP, IP6IP, GRE = 4, 41, 47
ETH_IPV4, ETH_IPV6, ETH_VLAN = b"\x08\x00", b"\x86\xdd", b"\x81\x00"
REPLY_TTL = 64


def octets(number: int, width: int = 2) -> bytes:
    """A number in network byte order."""
    return number.to_bytes(width, "big")


def number(data: bytes) -> int:
    """The number that these bytes are in network byte order."""
    return int.from_bytes(data, "big")


def ones_sum(data: bytes) -> int:
    """The one's complement sum of 16-bit words (RFC 1071), an odd last byte padded with zero; 0 only for all zeros."""
    total = int.from_bytes(data + b"\0" * (len(data) & 1), "big")
    # 2**16 is congruent to 1 modulo 2**16 - 1, so the number itself is congruent to the sum of its words.
    return (total - 1) % 0xFFFF + 1 if total else 0


def checksum(data: bytes) -> int:
    """The Internet checksum of data whose checksum field is zero."""
    return 0xFFFF - ones_sum(data)


def updated(check: int, was: int, now: int) -> int:
    """RFC 1624, equation 3: the checksum after one of its words has changed. A wrong checksum stays wrong by as much."""
    return 0xFFFF - ones_sum(octets(0xFFFF - check) + octets(0xFFFF - was) + octets(now))


def pseudo_header(source: bytes, destination: bytes, length: int, protocol: int) -> bytes:
    """RFC 768, RFC 9293 section 3.1, RFC 8200 section 8.1. Both kinds have the same words in their sums."""
    return source + destination + octets(length, 4) + octets(protocol, 4)


def documented_key(person: bytes) -> tuple[int, ...]:
    """The four odd numbers that every Fairlead without a key file uses: BLAKE2b (RFC 7693) of nothing, under this name."""
    digest = blake2b(b"", digest_size=32, person=person).digest()
    return tuple(int.from_bytes(digest[at : at + 8], "little") | 1 for at in range(0, 32, 8))


def tuple_hash(key: tuple[int, ...], source: bytes, destination: bytes, ports: bytes, protocol: int) -> int:
    """The documented hash of a 5-tuple: little-endian loads of wire bytes, but IPv6 halves as big-endian ones; modulo 2**64."""

    def little(data: bytes) -> int:
        return int.from_bytes(data, "little")

    if len(source) == 4:
        h = (key[3] ^ little(source + destination)) * key[0] & U64
    else:
        halves = (source[:8], source[8:], destination[:8], destination[8:])
        h = sum(int.from_bytes(half, "big") * key[i] for i, half in enumerate(halves)) & U64
    h ^= h >> 32
    h = (h ^ (little(ports) | protocol << 32)) * key[1] & U64
    return h ^ h >> 32


@dataclass(frozen=True)
class Tunnel:
    """`kind`: ipip, gre, fou or gue. Addresses are packed; `port` and `checksum` belong to the UDP kinds."""

    kind: str
    source: bytes
    destination: bytes
    port: int = 0
    checksum: bool = True

    @property
    def overhead(self) -> int:
        """Bytes of the outer header."""
        return (20 if len(self.source) == 4 else 40) + {"ipip": 0, "gre": 4, "fou": 8, "gue": 12}[self.kind]


def outer_header(tunnel: Tunnel, inner: bytes, inner_sum: int, entropy: int) -> bytes:
    """What stands before `inner`: RFC 2003, 4213 and 2473 (IPIP), 2784 (GRE), GUE variant 0 and FOU over UDP.

    The whole octet of DSCP and ECN is carried over (RFC 2983, RFC 6040 in normal mode), the flow's entropy stands in the UDP
    source port or the flow label (RFC 6438), and an IPv4 header has DF and id 0 (RFC 6864).
    """
    v6 = inner[0] >> 4 == 6
    protocol = carried = IP6IP if v6 else IPIP
    between = b""
    if tunnel.kind == "gre":
        protocol, between = GRE, b"\0\0" + (ETH_IPV6 if v6 else ETH_IPV4)
    elif tunnel.kind in {"fou", "gue"}:
        protocol = UDP
        behind = bytes([0, carried, 0, 0]) if tunnel.kind == "gue" else b""
        between = _outer_udp(tunnel, behind, len(inner), inner_sum, entropy) + behind
    tos = number(inner[:2]) >> 4 & 0xFF if v6 else inner[1]
    payload = len(between) + len(inner)
    if len(tunnel.source) == 4:
        return ipv4_header(tunnel.source, tunnel.destination, payload, protocol, tos) + between
    return ipv6_header(tunnel.source, tunnel.destination, payload, protocol, tos << 20 | entropy) + between


def _outer_udp(tunnel: Tunnel, behind: bytes, inner_length: int, inner_sum: int, entropy: int) -> bytes:
    length = 8 + len(behind) + inner_length
    header = octets(0xC000 | entropy) + octets(tunnel.port) + octets(length)
    if not tunnel.checksum:
        return header + b"\0\0"
    over = pseudo_header(tunnel.source, tunnel.destination, length, UDP) + header + behind + octets(inner_sum)
    return header + octets(checksum(over) or 0xFFFF)


def ipv4_header(source: bytes, destination: bytes, payload: int, protocol: int, tos: int = 0) -> bytes:
    """RFC 791, without options: DF, id 0, TTL 64."""
    before = bytes([0x45, tos]) + octets(20 + payload) + b"\0\0\x40\0" + bytes([REPLY_TTL, protocol])
    return before + octets(checksum(before + source + destination)) + source + destination


def ipv6_header(source: bytes, destination: bytes, payload: int, protocol: int, low_bits: int = 0) -> bytes:
    """RFC 8200; `low_bits`: traffic class and flow label. Hop limit 64."""
    return octets(6 << 28 | low_bits, 4) + octets(payload) + bytes([protocol, REPLY_TTL]) + source + destination


def answer(source: bytes, destination: bytes, protocol: int, message: bytes, check_at: int) -> bytes:
    """An IP packet of ours: `message` with a zero checksum at `check_at`, which is filled in."""
    v6 = len(source) == 16
    over = message if protocol == ICMP else pseudo_header(source, destination, len(message), protocol) + message
    message = message[:check_at] + octets(checksum(over)) + message[check_at + 2 :]
    return (ipv6_header if v6 else ipv4_header)(source, destination, len(message), protocol) + message


def reset_segment(segment: bytes) -> bytes:
    """RFC 9293 section 3.5.2, group 1: the RST that answers a whole TCP segment; its checksum is zero yet."""
    flags, header = segment[13], (segment[12] >> 4) * 4
    if flags & 0x10:
        numbers, answered = segment[8:12] + bytes(4), 0x04
    else:
        length = len(segment) - header + bool(flags & 0x02) + bool(flags & 0x01)
        numbers, answered = bytes(4) + octets((number(segment[4:8]) + length) & 0xFFFFFFFF, 4), 0x14
    return segment[2:4] + segment[:2] + numbers + bytes([0x50, answered]) + bytes(6)
