"""Frames for `fairlead explain`: one made of what somebody asks about, and any told in a line."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from fairlead.errors import UsageError
from fairlead.model import Address

TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58  # IANA, protocol numbers
ROUTER = bytes.fromhex("020000000001")  # whom made frames come from: locally administered
_FLAGS = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ece": 64, "cwr": 128}  # RFC 9293 section 3.1
_NUMBERS = {"tcp": TCP, "udp": UDP, "icmp": ICMP}
_NAMES = {TCP: "tcp", UDP: "udp", ICMP: "icmp", ICMP6: "icmp"}
_IPV4, _IPV6, _VLAN = b"\x08\x00", b"\x86\xdd", b"\x81\x00"
_DF, _TTL, _WINDOW, _REQUEST4, _REQUEST6 = 0x4000, 64, 64240, 8, 128
_PORTED = {TCP: 20, UDP: 8, ICMP: 8, ICMP6: 8}  # bytes of the header
_PLACE = re.compile(r"(?:\[(?P<v6>[^]]*)\]|(?P<plain>[^/]*?))(?::(?P<port>\d{1,5}))?(?:/(?P<protocol>[a-z]+))?")


@dataclass(frozen=True, slots=True)
class Asked:
    """A packet to be made. `size` is that of the IP packet in bytes, 0 the least; `vlan` the frame's tag, 0 none."""

    source: Address
    source_port: int
    vip: Address
    port: int
    protocol: int
    flags: int = 2
    size: int = 0
    vlan: int = 0


def asked(source: str, destination: str, flags: str = "syn", size: int = 0, vlan: int = 0) -> Asked:
    """From `198.51.100.7:40000` and `192.0.2.10:443/tcp` (`[2001:db8::7]:40000`; `192.0.2.10/icmp` is a ping); UsageError."""
    client, sport, word = _place(source)
    vip, port, protocol = _place(destination)
    if word:
        raise UsageError(f"{source}: the protocol stands behind the VIP, as in 192.0.2.10:443/tcp")
    if protocol not in _NUMBERS:
        raise UsageError(f"{destination}: say the protocol, as in 192.0.2.10:443/tcp, 192.0.2.10:53/udp or 192.0.2.10/icmp")
    if client.version != vip.version:
        raise UsageError(f"{client} and {vip} are not of one family")
    number = ICMP6 if protocol == "icmp" and vip.version == 6 else _NUMBERS[protocol]
    if protocol != "icmp" and (sport is None or port is None):
        raise UsageError(f"{source if sport is None else destination}: a port is missing, as in 192.0.2.10:443/tcp")
    return Asked(client, sport or 0, vip, port or 0, number, _flags(flags), size, vlan)


def _place(text: str) -> tuple[Address, int | None, str]:
    """Address, port and protocol, as far as they are there."""
    found = _PLACE.fullmatch(text.strip())
    bare = text.partition("/")[0]
    try:
        if found is None or (found["plain"] and ":" in found["plain"]):
            return ip_address(bare), None, text[len(bare) + 1 :]
        port = None if found["port"] is None else int(found["port"])
        if port is not None and not 0 < port < 1 << 16:
            raise UsageError(f"{text}: a port is a number from 1 to 65535")
        return ip_address(found["v6"] or found["plain"]), port, found["protocol"] or ""
    except ValueError:
        raise UsageError(f"{text}: that is no address, as 198.51.100.7:40000 and [2001:db8::7]:40000 are") from None


def _flags(text: str) -> int:
    """`syn`, `ack+psh`, `syn,ack`, `none`."""
    names = [name for name in re.split(r"[,+| ]+", text.lower()) if name and name != "none"]
    strange = [name for name in names if name not in _FLAGS]
    if strange:
        raise UsageError(f"{strange[0]} is no flag of TCP: there are {', '.join(_FLAGS)}, and none")
    return sum(_FLAGS[name] for name in set(names))


def made(what: Asked, mac: bytes) -> bytes:
    """The frame as a router would send it to the interface with this MAC: right checksums, DF set, TTL 64, zeros for data."""
    v6 = what.vip.version == 6
    header = 40 if v6 else 20
    least, most = header + _PORTED[what.protocol], 0xFFFF
    if what.size and not least <= what.size <= most:
        raise UsageError(f"{what.size} bytes: such a packet has {least} at least, and {most} at most")
    segment = _segment(what, (what.size or least) - header)
    tag = _VLAN + struct.pack("!H", what.vlan) if what.vlan else b""
    if v6:
        fixed = struct.pack("!IHBB", 6 << 28, len(segment), what.protocol, _TTL)
        return mac + ROUTER + tag + _IPV6 + fixed + what.source.packed + what.vip.packed + segment
    fixed = struct.pack("!BBHHHBBH", 0x45, 0, header + len(segment), 1, _DF, _TTL, what.protocol, 0)
    fixed += what.source.packed + what.vip.packed
    return mac + ROUTER + tag + _IPV4 + fixed[:10] + struct.pack("!H", checksum(fixed)) + fixed[12:] + segment


def _segment(what: Asked, length: int) -> bytes:
    """TCP, UDP or an echo request, `length` bytes in all."""
    if what.protocol == TCP:
        ack = 1 if what.flags & _FLAGS["ack"] else 0
        head = struct.pack("!HHIIBBHHH", what.source_port, what.port, 1, ack, 0x50, what.flags, _WINDOW, 0, 0)
        at = 16
    elif what.protocol == UDP:
        head, at = struct.pack("!HHHH", what.source_port, what.port, length, 0), 6
    else:
        head, at = struct.pack("!BBHHH", _REQUEST6 if what.protocol == ICMP6 else _REQUEST4, 0, 0, 1, 1), 2
    data = head + bytes(length - len(head))
    check = checksum((b"" if what.protocol == ICMP else _pseudo(what, length)) + data)
    return data[:at] + struct.pack("!H", check or (0xFFFF if what.protocol == UDP else 0)) + data[at + 2 :]


def _pseudo(what: Asked, length: int) -> bytes:
    """RFC 9293 section 3.1, RFC 8200 section 8.1."""
    v6 = what.vip.version == 6
    rest = struct.pack("!II", length, what.protocol) if v6 else struct.pack("!HH", what.protocol, length)
    return what.source.packed + what.vip.packed + rest


def checksum(data: bytes) -> int:
    """RFC 1071."""
    data += bytes(len(data) & 1)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclass(frozen=True, slots=True)
class Seen:
    """What a frame's headers say, as far as they go; `text` is a line for people."""

    text: str
    destination: Address | None = None


def seen(frame: bytes) -> Seen:
    """Whatever the frame is: nothing is refused here, the data plane judges."""
    at = 18 if frame[12:14] == _VLAN else 14
    kind, tag = frame[at - 2 : at], frame[14:16] if at > 14 else b""
    tagged = f", VLAN {int.from_bytes(tag, 'big') & 0xFFF}" if tag else ""
    if kind == _IPV4 and len(frame) >= at + 20:
        source, destination = IPv4Address(frame[at + 12 : at + 16]), IPv4Address(frame[at + 16 : at + 20])
        protocol, length = frame[at + 9], int.from_bytes(frame[at + 2 : at + 4], "big")
        place = int.from_bytes(frame[at + 6 : at + 8], "big")
        later, l4 = place & 0x1FFF, at + (frame[at] & 15) * 4
        return _told(source, destination, protocol, length, b"" if later else frame[l4:], tagged, fragment=bool(place & 0x3FFF))
    if kind == _IPV6 and len(frame) >= at + 40:
        source6, destination6 = IPv6Address(frame[at + 8 : at + 24]), IPv6Address(frame[at + 24 : at + 40])
        length = 40 + int.from_bytes(frame[at + 4 : at + 6], "big")
        return _told(source6, destination6, frame[at + 6], length, frame[at + 40 :], tagged, fragment=False)
    return Seen(f"a frame of {len(frame)} bytes{tagged}, EtherType 0x{kind.hex()}")


def _told(source: Address, destination: Address, protocol: int, length: int, l4: bytes, tagged: str, *, fragment: bool) -> Seen:
    name, ports, flags = _NAMES.get(protocol, f"protocol {protocol}"), ("", ""), ""
    if protocol in {TCP, UDP} and len(l4) >= 8:
        ports = (f":{int.from_bytes(l4[:2], 'big')}", f":{int.from_bytes(l4[2:4], 'big')}")
    if protocol == TCP and len(l4) > 13:
        flags = f", {'+'.join(flag.upper() for flag, bit in _FLAGS.items() if l4[13] & bit) or 'no flags'}"
    elif protocol in {ICMP, ICMP6} and len(l4) >= 2:
        flags = f", type {l4[0]} code {l4[1]}"
    ends = [f"[{a}]{p}" if a.version == 6 and p else f"{a}{p}" for a, p in zip((source, destination), ports, strict=True)]
    odd = ", a fragment" if fragment else ""
    return Seen(f"{ends[0]} > {ends[1]}/{name}{flags}, {length} bytes{tagged}{odd}", destination)
