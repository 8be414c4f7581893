"""Tunnels: the bytes of every outer header, over both families, around both; sizes, TTLs, checksums, tags."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_Router_Alert
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import GRE, Dot1Q, Ether
from scapy.packet import Packet, Raw

from tests.bpf.packets import CLIENT4, CLIENT6, ether, mac_text, tcp4, tcp6, udp4, udp6
from tests.bpf.rig import Rig, own_object
from tests.bpf.table import (
    BACKEND,
    L2,
    OWN,
    V4,
    V6,
    Row,
    Tunnel,
    answered,
    check,
    entropy,
    inner,
    packed,
    quoted,
    service,
    tagged,
    world,
)

ENDS = {4: ("10.1.0.1", "10.1.0.11"), 6: ("fd00::1", "fd00::11")}
KINDS = ("ipip", "gre", "fou", "gue")
UDP_PORT = {"fou": 5555, "gue": 6080}
# A service's port says what tunnel it has: 100 + kind, + 10 for an IPv6 outer header, + 20 without UDP checksum.
PORTS = {(kind, outer): 100 + n + 10 * (outer == 6) for n, kind in enumerate(KINDS) for outer in (4, 6)}
BARE = {pair: port + 20 for pair, port in PORTS.items() if pair[0] in UDP_PORT}
TAGGED, SHORT, KEEP, ONE, UNREACHED = 150, 151, 152, 153, 154


def tunnel(kind: str, outer: int, checksum: bool = True) -> Tunnel:
    source, destination = map(packed, ENDS[outer])
    return Tunnel(kind, source, destination, UDP_PORT.get(kind, 0), checksum)


def services() -> list[object]:
    hops = {port: replace(L2, tunnel=tunnel(*pair)) for pair, port in PORTS.items()}
    hops |= {port: replace(L2, tunnel=tunnel(*pair, checksum=False)) for pair, port in BARE.items()}
    hops |= {TAGGED: replace(L2, vlan=20, tunnel=tunnel("ipip", 4)), SHORT: replace(L2, mtu=600, tunnel=tunnel("gue", 6))}
    hops |= {KEEP: replace(L2, tunnel=tunnel("ipip", 4)), ONE: replace(L2, tunnel=tunnel("ipip", 6))}
    rules = {KEEP: "keep", ONE: "one"}
    keys = [(vip, protocol, port) for vip in (V4, V6) for protocol in ("tcp", "udp") for port in hops]
    return [
        service(n, vip, port, protocol, hop=hops[port], ttl=rules.get(port, "decrement"))
        for n, (vip, protocol, port) in enumerate(keys, 1)
    ]


WORLD = world(*services())


def wrapped(
    packet: Packet,
    kind: str,
    outer: int,
    *,
    ttl: int = 59,
    flow: int | None = None,
    checksum: bool = True,
    tag: Packet | None = None,
    tos: int = 0,
) -> bytes:
    """The frame that must leave; scapy adds up the checksums over every byte."""
    source, destination = ENDS[outer]
    inside = inner(packet, ttl)
    v6 = isinstance(inside, IPv6)
    flow = entropy(packet) if flow is None else flow
    carried = 41 if v6 else 4
    middle: Packet | None = None
    if kind == "gre":
        middle = GRE(proto=0x86DD if v6 else 0x0800)
    elif kind in UDP_PORT:
        middle = UDP(sport=0xC000 | flow, dport=UDP_PORT[kind])
        if not checksum:
            middle.chksum = 0
        if kind == "gue":
            middle /= Raw(bytes([0, carried, 0, 0]))
    protocol = {"ipip": carried, "gre": 47}.get(kind, 17)
    if outer == 4:
        header: Packet = IP(src=source, dst=destination, id=0, flags="DF", ttl=64, proto=protocol, tos=tos)
    else:
        header = IPv6(src=source, dst=destination, hlim=64, nh=protocol, tc=tos, fl=flow)
    content = bytes(inside)
    body = header / middle / Raw(content) if middle is not None else header / Raw(content)
    frame = Ether(dst=mac_text(BACKEND), src=mac_text(OWN), type=0x0800 if outer == 4 else 0x86DD)
    if tag is not None:
        frame.type, tag.type = 0x8100, frame.type
        return bytes(frame / tag / Raw(bytes(body)))
    return bytes(frame / Raw(bytes(body)))


def row(claim: str, packet: Packet, kind: str, outer: int, **more: object) -> Row:
    return Row(claim, packet, "tx_encapsulated", wrapped(packet, kind, outer, **more))  # type: ignore[arg-type]


def no_checksum(packet: Packet) -> Packet:
    """A datagram without a checksum: the outer one cannot be derived from it."""
    packet[UDP].chksum = 0
    return packet


def each_tunnel(kind: str, outer: int) -> list[Row]:
    """What holds for every kind over every outer family."""
    port, name = PORTS[kind, outer], f"{kind} over IPv{outer}"
    dscp4 = ether() / IP(src=CLIENT4, dst=V4, tos=0xBB, ttl=60) / TCP(sport=9, dport=port, flags="A")
    dscp6 = ether() / IPv6(src=CLIENT6, dst=V6, tc=0xBB, fl=0xABCDE, hlim=60) / TCP(sport=9, dport=port, flags="A")
    return [
        row(f"{name}: a SYN", tcp4(V4, port), kind, outer),
        row(f"{name}: a segment of odd length", tcp4(V4, port, "PA", data=b"GET / HTTP/1.1\r\n\r"), kind, outer),
        row(f"{name}: a datagram", udp4(V4, port), kind, outer),
        row(f"{name}: a datagram without a checksum", no_checksum(udp4(V4, port)), kind, outer),
        row(f"{name}: an empty datagram", udp4(V4, port, data=b""), kind, outer),
        row(f"{name}: an IPv6 SYN", tcp6(V6, port), kind, outer),
        row(f"{name}: an IPv6 segment of odd length", tcp6(V6, port, "PA", data=b"x" * 77), kind, outer),
        row(f"{name}: an IPv6 datagram", udp6(V6, port), kind, outer),
        row(f"{name}: DSCP and ECN are copied out", dscp4, kind, outer, tos=0xBB),
        row(f"{name}: traffic class is copied out, flow label is the flow's", dscp6, kind, outer, tos=0xBB),
        row(
            f"{name}: IPv4 options stay inside",
            ether() / IP(src=CLIENT4, dst=V4, ttl=60, options=[IPOption_Router_Alert()]) / TCP(sport=7, dport=port),
            kind,
            outer,
        ),
        row(
            f"{name}: extension headers stay inside",
            ether() / IPv6(src=CLIENT6, dst=V6, hlim=60) / IPv6ExtHdrDestOpt() / UDP(sport=7, dport=port),
            kind,
            outer,
        ),
        row(f"{name}: the tag of the way in is gone", tagged(tcp4(V4, port), 10), kind, outer),
        Row(
            f"{name}: padding is not counted",
            bytes(tcp4(V4, port)) + b"\xff" * 6,
            "tx_encapsulated",
            wrapped(tcp4(V4, port), kind, outer) + b"\xff" * 6,
        ),
        Row(
            f"{name}: padding, IPv6",
            bytes(udp6(V6, port)) + b"\xff" * 3,
            "tx_encapsulated",
            wrapped(udp6(V6, port), kind, outer) + b"\xff" * 3,
        ),
    ]


def without_checksum(kind: str, outer: int) -> list[Row]:
    port, name = BARE[kind, outer], f"{kind} over IPv{outer}, tunnel-no-checksum"
    return [
        row(f"{name}: a segment", tcp4(V4, port), kind, outer, checksum=False),
        row(f"{name}: an IPv6 datagram", udp6(V6, port), kind, outer, checksum=False),
        row(f"{name}: a datagram that has none either", no_checksum(udp4(V4, port)), kind, outer, checksum=False),
    ]


FIRST4 = (
    ether()
    / IP(src=CLIENT4, dst=V4, id=5, flags="MF", ttl=60, proto=17)
    / Raw(bytes(UDP(sport=9, dport=PORTS["gue", 4], chksum=7, len=80)) + b"x" * 24)
)
LATER4 = ether() / IP(src=CLIENT4, dst=V4, id=5, frag=4, ttl=60, proto=17) / Raw(b"y" * 25)
FIRST_ENTROPY = entropy(ether() / IP(src=CLIENT4, dst=V4) / UDP(sport=9, dport=PORTS["gue", 4]))
FITS4 = ether() / IP(src=CLIENT4, dst=V4, flags="DF", ttl=60) / TCP(sport=3, dport=SHORT, flags="A") / Raw(b"x" * 508)
LARGE4 = ether() / IP(src=CLIENT4, dst=V4, flags="DF", ttl=60) / TCP(sport=3, dport=SHORT, flags="A") / Raw(b"x" * 509)
MAY_BE_CUT = ether() / IP(src=CLIENT4, dst=V4, ttl=60) / TCP(sport=3, dport=SHORT, flags="A") / Raw(b"x" * 509)
FULL4 = ether() / IP(src=CLIENT4, dst=V4, flags="DF", ttl=60) / TCP(sport=3, dport=SHORT, flags="A") / Raw(bytes(range(256)) * 5)
FULL6 = tcp6(V6, SHORT, "A", data=bytes(range(255)) * 5)
LARGE6, LARGE_UDP6 = tcp6(V6, SHORT, "A", data=b"x" * 489), udp6(V6, SHORT, data=b"x" * 501)

ROWS = [r for kind in KINDS for outer in (4, 6) for r in each_tunnel(kind, outer)]
ROWS += [r for kind, outer in BARE for r in without_checksum(kind, outer)]
ROWS += [
    row("a tunnel's frame gets the egress's tag", tcp4(V4, TAGGED), "ipip", 4, tag=Dot1Q(vlan=20)),
    row("and keeps the priority it came with", tagged(tcp4(V4, TAGGED), 10, 5), "ipip", 4, tag=Dot1Q(vlan=20, prio=5)),
    row("an IPv6 packet in a tagged tunnel", tcp6(V6, TAGGED), "ipip", 4, tag=Dot1Q(vlan=20)),
    row("`ttl: keep` in a tunnel", tcp4(V4, KEEP), "ipip", 4, ttl=60),
    row("`ttl: one` in a tunnel", tcp4(V4, ONE), "ipip", 6, ttl=1),
    row("`ttl: keep`, IPv6", tcp6(V6, KEEP), "ipip", 4, ttl=60),
    row("TTL 2 leaves as 1", tcp4(V4, PORTS["gre", 4], ttl=2), "gre", 4, ttl=1),
    Row("TTL 1 ends before the tunnel", tcp4(V4, PORTS["gre", 4], ttl=1), "drop_ttl_expired"),
    Row("hop limit 1 ends before the tunnel", tcp6(V6, PORTS["gre", 4], hlim=1), "drop_ttl_expired"),
    Row("a first fragment is added up byte by byte", FIRST4, "tx_encapsulated", wrapped(FIRST4, "gue", 4, flow=FIRST_ENTROPY)),
    Row("a later fragment goes into the same tunnel", [FIRST4, LATER4], "tx_encapsulated", wrapped(LATER4, "gue", 4, flow=0)),
    row("exactly the tunnel's MTU", FITS4, "gue", 6),
    Row(
        "a byte more: the client is told the MTU less the outer header",
        LARGE4,
        "tx_too_big",
        answered(LARGE4, IP(src=V4, dst=CLIENT4, flags="DF", id=0) / ICMP(type=3, code=4, nexthopmtu=548) / quoted(LARGE4)),
    ),
    Row(
        "a byte more, IPv6",
        LARGE6,
        "tx_too_big",
        answered(LARGE6, IPv6(src=V6, dst=CLIENT6) / ICMPv6PacketTooBig(mtu=548) / quoted(LARGE6)),
    ),
    Row(
        "a datagram too large, IPv6",
        LARGE_UDP6,
        "tx_too_big",
        answered(LARGE_UDP6, IPv6(src=V6, dst=CLIENT6) / ICMPv6PacketTooBig(mtu=548) / quoted(LARGE_UDP6)),
    ),
    Row(
        "of a full-sized segment 548 bytes are quoted",
        FULL4,
        "tx_too_big",
        answered(FULL4, IP(src=V4, dst=CLIENT4, flags="DF", id=0) / ICMP(type=3, code=4, nexthopmtu=548) / quoted(FULL4)),
    ),
    Row(
        "of a full-sized IPv6 segment 1,232 bytes are quoted",
        FULL6,
        "tx_too_big",
        answered(FULL6, IPv6(src=V6, dst=CLIENT6) / ICMPv6PacketTooBig(mtu=548) / quoted(FULL6)),
    ),
    Row(
        "padding is not quoted",
        bytes(LARGE6) + b"\xff" * 5,
        "tx_too_big",
        answered(LARGE6, IPv6(src=V6, dst=CLIENT6) / ICMPv6PacketTooBig(mtu=548) / quoted(LARGE6)),
    ),
    Row("a byte more, without DF", MAY_BE_CUT, "drop_too_big"),
    Row(
        "a tagged one is told with its tag",
        tagged(LARGE4, 10, 3),
        "tx_too_big",
        answered(
            tagged(LARGE4, 10, 3),
            IP(src=V4, dst=CLIENT4, flags="DF", id=0) / ICMP(type=3, code=4, nexthopmtu=548) / quoted(LARGE4),
        ),
    ),
]


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig(own_object(), WORLD) as made:
        yield made


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_row(rig: Rig, row: Row) -> None:
    """Each row's frame meets its verdict and leaves as the exact bytes."""
    check(rig, WORLD, row)


def test_wrong_inner_checksum_makes_a_wrong_outer_one(rig: Rig) -> None:
    """A damaged segment is not made whole: its outer UDP checksum is wrong too, so that it is dropped one hop earlier."""
    packet = tcp4(V4, PORTS["gue", 4], data=b"abc")
    whole = wrapped(packet, "gue", 4)
    packet[TCP].chksum = 0x1234
    rig.forget()

    frame = rig.send(bytes(packet))[0].frame

    assert frame[40:42] == whole[40:42], "as if the inner checksum were right"
    assert frame[40:42] != wrapped(packet, "gue", 4)[40:42]
