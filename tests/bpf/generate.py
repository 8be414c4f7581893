"""Worlds and frames by the seed: valid, odd, damaged. All chance comes from the one `random.Random` that is handed in."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from random import Random

from tests.bpf import model_wire as wire
from tests.bpf.model import Backend, Hop, Interface, Service, World
from tests.bpf.model_wire import ETH_IPV4, ETH_IPV6, ETH_VLAN, ICMP, ICMP6, TCP, UDP, Tunnel, octets

LO = 1
OWN, ROUTER = bytes.fromhex("02000000001b"), bytes.fromhex("020000000001")
BOND = 77
PORTS = (80, 53, 443, 8080)
CLIENT_PORTS = (40000, 40001, 40002, 0, 65535, 80)


def packed(text: str) -> bytes:
    """An address in network byte order."""
    return ip_address(text).packed


VIPS4, VIPS6 = [packed(f"192.0.2.{n}") for n in (10, 11, 12)], [packed(f"2001:db8::{n}") for n in (10, 11, 12)]
CLIENTS4, CLIENTS6 = [packed(f"198.18.1.{n}") for n in range(1, 9)], [packed(f"2001:db8:1::{n}") for n in range(1, 9)]
NO_HOSTS4 = [packed(text) for text in ("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "240.1.2.3")]
NO_HOSTS6 = [packed(text) for text in ("::", "ff02::1", "::1")]
OUTER4, OUTER6 = (packed("10.1.0.1"), packed("10.1.0.11")), (packed("fd00::1"), packed("fd00::11"))


# ---- worlds ----


def a_tunnel(r: Random) -> Tunnel | None:
    """None in one case of four."""
    source, destination = r.choice((OUTER4, OUTER6))
    destination = destination[:-1] + bytes([r.randrange(1, 255)])
    kind = r.choice(("ipip", "gre", "fou", "gue", "fou", "gue", "", ""))
    udp = kind in {"fou", "gue"}
    return (
        Tunnel(kind, source, destination, r.choice((5555, 6080, 1)) if udp else 0, not udp or r.random() < 0.7) if kind else None
    )


def a_hop(r: Random, elsewhere: tuple[int, ...]) -> Hop | None:
    if r.random() < 0.03:
        return None
    interface = r.choice((LO, LO, *elsewhere))
    return Hop(
        mac=bytes([2, 0, 0xBE]) + r.randbytes(3),
        own_mac=OWN if interface == LO else bytes([2, 0, 0, 0, 1, interface & 255]),
        interface=interface,
        mtu=r.choice((1500, 1500, 1500, 1400, 1280, 300)),
        vlan=r.choice((0, 0, 1, 10, 4094)),
        bond=r.choice((0, 0, BOND)),
        tunnel=a_tunnel(r),
    )


def some_slots(r: Random, backends: tuple[Backend, ...]) -> tuple[int, ...]:
    """Slots of those that may get new flows; sometimes, against all rules, there is none."""
    able = [b.id for b in backends if b.state == "active"]
    return tuple(r.choice(able) for _ in range(r.choice((1, 7, 17, 251)))) if able else ()


def some_blocks(r: Random) -> frozenset[tuple[bytes, int]]:
    """A client of each family, and perhaps prefixes around it, beside it, of other lengths."""
    found = {(r.choice(CLIENTS4), 32), (r.choice(CLIENTS6), 128)}
    for clients, low, high in ((CLIENTS4, 1, 32), (CLIENTS6, 1, 128)):
        if r.random() < 0.3:
            length, width = r.choice((high, high - 1, high - 2, r.randrange(low, high))), 8 * len(clients[0])
            network = wire.number(r.choice(clients)) ^ (r.random() < 0.5) << (width - length)
            found.add(((network >> (width - length) << (width - length)).to_bytes(width // 8, "big"), length))
    return frozenset(found)


def a_world(r: Random, elsewhere: tuple[int, ...], *, blocks: bool = False) -> World:
    """Two to three VIPs of each family; `elsewhere`: interfaces that frames may leave by, the last not in the device map."""
    vips = {vip: r.random() < 0.4 for vip in VIPS4[: r.choice((2, 3))] + VIPS6[: r.choice((2, 3))]}
    services: list[Service] = []
    number = 1
    for vip in vips:
        for port, protocol in {(r.choice((*PORTS, 0)), r.choice((TCP, UDP))) for _ in range(4)}:
            count = r.choice((1, 2, 5))
            backends = tuple(
                Backend(number + n, a_hop(r, elsewhere), _state(r), r.choice(("one", "one", "decrement", "keep")))
                for n in range(count)
            )
            number += count
            slots = some_slots(r, backends)
            services.append(Service(vip, port, protocol, slots, backends, r.random() < 0.2, r.random() < 0.8))
    interfaces = {LO: Interface(OWN, BOND if r.random() < 0.5 else 0, r.random() < 0.98)}
    keys = [tuple(r.getrandbits(64) | 1 for _ in range(4)) for _ in range(2)]
    blocked = some_blocks(r) if blocks else frozenset()
    return World(interfaces, vips, tuple(services), frozenset(elsewhere[:-1]), *keys, blocked)


def _state(r: Random) -> str:
    return r.choice(
        ("active", "active", "active", "active", "active", "active", "active", "active", "drain", "keep", "move", "reset", "gone")
    )


def another_day(r: Random, world: World) -> World:
    """The same world with other healths: what makes flows differ from slots."""
    services = []
    for service in world.services:
        backends = tuple(replace(b, state=_state(r)) if r.random() < 0.5 else b for b in service.backends)
        services.append(replace(service, backends=backends, slots=some_slots(r, backends)))
    return replace(world, services=tuple(services))


# ---- packets ----


def ipv4(
    r: Random, source: bytes, destination: bytes, protocol: int, payload: bytes, place: int = 0, options: bytes = b""
) -> bytes:
    """An IPv4 packet; `place`: flags and fragment offset."""
    ttl = r.choice((64, 64, 60, 255, 128, 2, 1, 0))
    fixed = bytes([0x45 + len(options) // 4, r.choice((0, 0, 0xB8, 0x03, r.randrange(256)))])
    fixed += (
        octets(20 + len(options) + len(payload)) + octets(r.choice((0, 7, 8, 0xFFFF))) + octets(place) + bytes([ttl, protocol])
    )
    check = wire.checksum(fixed + source + destination + options)
    return fixed + octets(check) + source + destination + options + payload


def ipv6(r: Random, source: bytes, destination: bytes, protocol: int, payload: bytes) -> bytes:
    """An IPv6 packet; traffic class and flow label by chance."""
    first = octets(6 << 28 | r.choice((0, 0xB8, 3, r.randrange(256))) << 20 | r.choice((0, r.randrange(1 << 20))), 4)
    return first + octets(len(payload)) + bytes([protocol, r.choice((64, 64, 60, 255, 2, 1, 0))]) + source + destination + payload


def transport(r: Random, protocol: int, source: bytes, destination: bytes, ports: tuple[int, int]) -> bytes:
    """A TCP segment or a datagram with a right checksum; a datagram may have none, and few are wrong."""
    data = r.randbytes(r.choice((0, 0, 1, 2, 5, 16, 64, 100, 101, 500, 1400, 1440, 1460)))
    head = octets(ports[0]) + octets(ports[1])
    if protocol == UDP:
        segment, at = head + octets(8 + len(data)) + bytes(2) + data, 6
    else:
        flags = r.choice((0x02, 0x02, 0x10, 0x10, 0x10, 0x18, 0x11, 0x01, 0x04, 0x14, 0x12, 0x00, 0x3F, 0x29, r.randrange(256)))
        options = r.choice((b"", b"", b"\2\4\5\xb4", b"\1\1\x08\x0a" + bytes(8)))
        words = 5 + len(options) // 4 if r.random() < 0.97 else r.randrange(16)
        segment, at = (
            head + r.randbytes(8) + bytes([words << 4, flags]) + r.randbytes(2) + bytes(2) + r.randbytes(2) + options + data,
            16,
        )
    if protocol == UDP and r.random() < 0.2:
        return segment
    check = wire.checksum(wire.pseudo_header(source, destination, len(segment), protocol) + segment) or 0xFFFF
    if r.random() < 0.03:
        check ^= 1 << r.randrange(16)
    return segment[:at] + octets(check) + segment[at + 2 :]


def icmp_message(r: Random, world: World, source: bytes, destination: bytes) -> bytes:
    """Pings, errors about flows of the VIP, and other things; right checksum."""
    v6 = len(source) == 16
    if r.random() < 0.3:
        code = 0 if r.random() < 0.9 else 1
        message = bytes([r.choice((128, 128, 129) if v6 else (8, 8, 0, 13)), code, 0, 0]) + r.randbytes(
            r.choice((4, 12, 60, 999))
        )
    else:
        kind = r.choice((1, 2, 3, 4, 0, 135) if v6 else (3, 3, 11, 12, 5, 4))
        message = bytes([kind, r.randrange(5), 0, 0]) + r.randbytes(4) + inner_packet(r, world, source, destination)
    pseudo = wire.pseudo_header(source, destination, len(message), ICMP6) if v6 else b""
    return message[:2] + octets(wire.checksum(pseudo + message)) + message[4:]


def inner_packet(r: Random, world: World, client: bytes, vip: bytes) -> bytes:
    """What a backend sent to the client, as an error quotes it: cut short anywhere."""
    service = r.choice(world.services)
    port = service.port or r.choice(PORTS)
    protocol = service.protocol if r.random() < 0.95 else r.choice((1, 58, 44, 132))
    segment = octets(port) + octets(r.choice(CLIENT_PORTS)) + r.randbytes(16)
    sender = vip if r.random() < 0.95 else client
    if len(client) == 16:
        if r.random() < 0.2:
            place = r.choice((0, 1, 1, 1, 6, 8, 9, 0x0101))
            protocol, segment = 44, bytes([protocol, r.randrange(256)]) + octets(place) + r.randbytes(4) + segment
        packet = ipv6(r, sender, client, protocol, segment)
    else:
        options = bytes([1] * 8) if r.random() < 0.1 else b""
        packet = ipv4(r, sender, client, protocol, segment, r.choice((0, 0, 0, 0x4000, 0x2000, 0x2005)), options)
    return packet if r.random() < 0.8 else packet[: r.randrange(len(packet) + 1)]


def extension_headers(r: Random, protocol: int, payload: bytes, most: int) -> tuple[int, bytes]:
    """A chain of extension headers before `payload`: (first next header, bytes)."""
    for _ in range(r.randrange(1, most)):
        kind = r.choice((0, 43, 60, 51, 44, 44, 60))
        if kind == 44:
            place = r.choice((0, 1, 1, 8, 9, 0x0100, 6, r.randrange(1 << 16)))
            payload = bytes([protocol, r.choice((0, 255))]) + octets(place) + r.choice((b"\0\0\0\7", b"\0\1\0\0")) + payload
        else:
            size = r.choice((0, 0, 1, 2, 7))
            length = (size + 2) * 4 if kind == 51 else (size + 1) * 8
            payload = bytes([protocol, size]) + r.randbytes(length - 2) + payload
        protocol = kind
    return protocol, payload


def an_ip_packet(r: Random, world: World) -> bytes:
    """A packet, most likely for a service."""
    v6 = r.random() < 0.5
    vips = [vip for vip in world.vips if (len(vip) == 16) == v6]
    stranger = packed("2001:db8::99") if v6 else packed("192.0.2.99")
    source, destination = r.choice(CLIENTS6 if v6 else CLIENTS4), r.choice(vips) if r.random() < 0.96 else stranger
    if r.random() < 0.02:
        source = r.choice(NO_HOSTS6 if v6 else NO_HOSTS4)
    services = [s for s in world.services if s.vip == destination]
    service = (
        r.choice(services) if services and r.random() < 0.85 else Service(destination, r.choice(PORTS), r.choice((TCP, UDP)), ())
    )
    if r.random() < 0.15:
        protocol, payload = ICMP6 if v6 else ICMP, icmp_message(r, world, source, destination)
    elif r.random() < 0.03:
        protocol, payload = r.choice((47, 50, 59, 132, 2, 1, 58, 4, 41)), r.randbytes(r.choice((0, 4, 24, 100)))
    else:
        protocol = service.protocol
        ports = r.choice(CLIENT_PORTS), service.port or r.choice((*PORTS, 0, r.randrange(1 << 16)))
        payload = transport(r, protocol, source, destination, ports)
    if v6:
        if r.random() < 0.2:
            protocol, payload = extension_headers(r, protocol, payload, r.choice((2, 3, 4, 11)))
        return ipv6(r, source, destination, protocol, payload)
    place = r.choice((0, 0, 0, 0, 0, 0x4000, 0x4000, 0x4000, 0x2000, 0x2000, 0x0005, 0x2010, r.randrange(1 << 16)))
    if place & 0x1FFF:
        payload = payload[8:]
    options = bytes([1]) * r.choice((4, 8, 24, 40)) if r.random() < 0.12 else b""
    return ipv4(r, source, destination, protocol, payload, place, options)


def a_frame(r: Random, world: World) -> bytes:
    """A frame: tagged or not, padded or not, now and then damaged."""
    packet = an_ip_packet(r, world)
    kind = ETH_IPV6 if packet[0] >> 4 == 6 else ETH_IPV4
    tag = r.random()
    if tag < 0.3:
        kind = ETH_VLAN + octets(r.randrange(1 << 16)) + kind
    elif tag < 0.32:
        kind = r.choice((b"\x88\xa8\0\7", ETH_VLAN + b"\0\7" + ETH_VLAN + b"\0\x08", b"\x08\x06", b"\x81\x00")) + kind
    frame = (OWN if r.random() < 0.98 else r.choice((b"\xff" * 6, OWN[:5] + b"\0"))) + ROUTER + kind + packet
    if r.random() < 0.25:
        frame += r.randbytes(r.choice((1, 2, 6, 18, 46)))
    if r.random() < 0.12:
        frame = damaged(r, frame)
    return frame.ljust(14, b"\0")


def damaged(r: Random, frame: bytes) -> bytes:
    """Cut short, or with bits flipped, or with another length."""
    how = r.randrange(4)
    if how == 0:
        return frame[: r.randrange(14, len(frame) + 1)]
    out = bytearray(frame)
    if how == 1:
        at = 14 + r.choice((2, 4, 6))
        out[at : at + 2] = octets(r.choice((0, 1, 19, 20, 27, 28, 39, 40, 41, 60, 1500, 0xFFFF)))
        return bytes(out)
    for _ in range(r.choice((1, 1, 2, 8))):
        out[r.randrange(12, min(len(out), 90))] ^= 1 << r.randrange(8)
    return bytes(out)
