"""Fragments: the first one decides, later ones follow it, and only it; both families."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.packet import Packet, Raw

from tests.bpf.model import Backend, Hop, Service
from tests.bpf.packets import CLIENT4, CLIENT6, ether
from tests.bpf.rig import LO, Rig, own_object
from tests.bpf.table import OWN, V4, V6, Row, check, leaves, packed, service, tagged, world

TEN = tuple(Backend(100 + n, Hop(bytes.fromhex("0200be0001") + bytes([n]), OWN, LO)) for n in range(10))
WORLD = world(
    service(1, V4, 53, "udp"),
    service(2, V4, 80),
    service(3, V6, 53, "udp"),
    service(4, V6, 80),
    service(5, V4, 54, "udp", ttl="decrement"),
    service(6, V4, 55, "udp", track=False),
    service(7, V4, 56, "udp", slots=()),
    Service(packed(V4), 57, 17, tuple(b.id for b in TEN) * 25, TEN),
)


class Numbers:
    """Fragments are not forgotten between rows, so each row has identifications of its own."""

    last = 100

    @classmethod
    def next(cls) -> int:
        cls.last += 1
        return cls.last


def first4(id_: int, port: int = 53, protocol: str = "udp", ttl: int = 60, src: str = CLIENT4) -> Packet:
    l4 = UDP(sport=9, dport=port, len=1400) if protocol == "udp" else TCP(sport=9, dport=port, flags="A")
    return ether() / IP(src=src, dst=V4, id=id_, flags="MF", ttl=ttl) / l4 / Raw(b"x" * 24)


def later4(id_: int, more: bool = False, ttl: int = 60, src: str = CLIENT4, proto: int = 17, dst: str = V4) -> Packet:
    return ether() / IP(src=src, dst=dst, id=id_, frag=4, flags="MF" if more else "", ttl=ttl, proto=proto) / Raw(b"y" * 33)


def first6(id_: int, port: int = 53, protocol: str = "udp", before: Packet | None = None) -> Packet:
    l4 = UDP(sport=9, dport=port, len=1400) if protocol == "udp" else TCP(sport=9, dport=port, flags="A")
    ip = IPv6(src=CLIENT6, dst=V6, hlim=60)
    return ether() / (ip / before if before else ip) / IPv6ExtHdrFragment(m=1, id=id_) / l4 / Raw(b"x" * 24)


def later6(id_: int, nh: int = 17, src: str = CLIENT6, before: Packet | None = None) -> Packet:
    ip = IPv6(src=src, dst=V6, hlim=60)
    return ether() / (ip / before if before else ip) / IPv6ExtHdrFragment(m=0, offset=4, id=id_, nh=nh) / Raw(b"y" * 33)


def follows(claim: str, first: Packet, later: Packet, ttl: int = 1) -> list[Row]:
    return [
        Row(f"{claim}: the first decides", first, "tx_forwarded", leaves(first, ttl)),
        Row(f"{claim}: a later one follows", [first, later], "tx_forwarded", leaves(later, ttl)),
    ]


def lost(claim: str, *packets: Packet) -> Row:
    return Row(claim, list(packets), "drop_fragment")


N = Numbers.next
A, B, C, D, E, F, G, H, I, J, K, L = (N() for _ in range(12))
ROWS = [
    *follows("UDP over IPv4", first4(A), later4(A)),
    *follows("TCP over IPv4", first4(B, 80, "tcp"), later4(B, proto=6)),
    *follows("UDP over IPv6", first6(A), later6(A)),
    *follows("TCP over IPv6", first6(B, 80, "tcp"), later6(B, nh=6)),
    *follows("`ttl: decrement`", first4(C, 54), later4(C), 59),
    *follows("an untracked service", first4(D, 55), later4(D)),
    *follows("one in the middle", first4(E), later4(E, more=True)),
    *follows("identification 0 is one too", first4(0), later4(0)),
    *follows("identification 65,535", first4(65535), later4(65535)),
    *follows("an IPv6 identification of 32 bits", first6(0xFEDCBA98), later6(0xFEDCBA98)),
    *follows("behind a hop-by-hop header", first6(C, before=IPv6ExtHdrHopByHop()), later6(C, before=IPv6ExtHdrHopByHop())),
    *follows("behind destination options", first6(D, before=IPv6ExtHdrDestOpt()), later6(D, before=IPv6ExtHdrDestOpt())),
    Row("tagged fragments", [tagged(first4(F), 10), tagged(later4(F), 10)], "tx_forwarded", leaves(later4(F))),
    Row("a later fragment is padded", [first4(F), bytes(later4(F)) + b"\0" * 5], "tx_forwarded", leaves(later4(F)) + b"\0" * 5),
    Row(
        "an atomic fragment is a whole packet",
        ether() / IPv6(src=CLIENT6, dst=V6) / IPv6ExtHdrFragment(m=0, id=N()) / UDP(dport=53),
        "tx_forwarded",
        leaves(ether() / IPv6(src=CLIENT6, dst=V6) / IPv6ExtHdrFragment(m=0, id=Numbers.last) / UDP(dport=53)),
    ),
    lost(
        "an atomic fragment leaves no word",
        ether() / IPv6(src=CLIENT6, dst=V6) / IPv6ExtHdrFragment(m=0, id=N()) / UDP(dport=53),
        later6(Numbers.last),
    ),
    lost("a later one whose first was not seen", later4(N())),
    lost("IPv6: a later one whose first was not seen", later6(N())),
    lost("of another identification", first4(G), later4(N())),
    lost("of another source", first4(H), later4(H, src="198.18.1.3")),
    lost("of another protocol", first4(I), later4(I, proto=6)),
    lost("IPv6: of another identification", first6(E), later6(E ^ 0x10000)),
    lost("IPv6: of another source", first6(F), later6(F, src="2001:db8:1::3")),
    lost("IPv6: of another protocol", first6(G), later6(G, nh=6)),
    lost("a later one before its first", later4(J)),
    lost(
        "a later fragment of a ping",
        ether() / IP(src=CLIENT4, dst=V4, id=N(), flags="MF") / ICMP() / Raw(b"x" * 24),
        later4(Numbers.last, proto=1),
    ),
    lost("after a first one that no service takes", first4(K, 999), later4(K)),
    lost("after a first one whose service has no backend", first4(L, 56), later4(L)),
    Row("a first fragment to an unknown port", first4(N(), 999), "drop_no_service"),
    Row("a first fragment to a service without a backend", first4(N(), 56), "drop_no_backend"),
    Row("a first fragment with TTL 0", first4(N(), ttl=0), "drop_ttl_expired"),
    Row("a later fragment with TTL 0", [first4(N()), later4(Numbers.last, ttl=0)], "drop_ttl_expired"),
    Row(
        "a first fragment too small for a TCP header (RFC 1858)",
        ether() / IP(src=CLIENT4, dst=V4, flags="MF", proto=6) / Raw(b"x" * 8),
        "drop_malformed",
    ),
    Row(
        "a first fragment too small for a UDP header",
        ether() / IP(src=CLIENT4, dst=V4, flags="MF", proto=17, len=27) / Raw(b"x" * 8),
        "drop_malformed",
    ),
    Row(
        "IPv6: a first fragment too small for a TCP header",
        ether() / IPv6(src=CLIENT6, dst=V6) / IPv6ExtHdrFragment(m=1, nh=6) / Raw(b"x" * 16),
        "drop_malformed",
    ),
    Row("IPv6: a fragment header cut short", ether() / IPv6(src=CLIENT6, dst=V6, nh=44) / Raw(b"\x11\0\0"), "drop_malformed"),
    Row("a later fragment longer than its frame", bytes(later4(N()))[:-1], "drop_malformed"),
    Row(
        "IPv6: a ping in fragments",
        ether() / IPv6(src=CLIENT6, dst=V6) / IPv6ExtHdrFragment(m=1) / ICMPv6EchoRequest(),
        "drop_unsupported_icmp",
    ),
    Row(
        "fragments of SCTP, first",
        ether() / IP(src=CLIENT4, dst=V4, flags="MF", proto=132) / Raw(b"x" * 24),
        "drop_unsupported_protocol",
    ),
    Row("a fragment for another address goes to the kernel", later4(N(), dst="192.0.2.99"), "pass_not_a_vip"),
    Row(
        "DF alone is no fragment",
        ether() / IP(src=CLIENT4, dst=V4, flags="DF") / UDP(dport=53),
        "tx_forwarded",
        leaves(ether() / IP(src=CLIENT4, dst=V4, flags="DF") / UDP(dport=53)),
    ),
    Row(
        "the evil bit is no fragment",
        ether() / IP(src=CLIENT4, dst=V4, flags="evil") / UDP(dport=53),
        "tx_forwarded",
        leaves(ether() / IP(src=CLIENT4, dst=V4, flags="evil") / UDP(dport=53)),
    ),
]


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig(own_object(), WORLD) as made:
        yield made


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_row(rig: Rig, row: Row) -> None:
    """Each row's last frame meets its verdict and leaves as the exact bytes."""
    check(rig, WORLD, row)


def test_fragments_follow_their_flow(rig: Rig) -> None:
    """Later fragments go to the very backend of ten that their first fragment went to."""
    rig.forget()
    for n in range(60):
        id_ = 1000 + n
        first = ether() / IP(src=CLIENT4, dst=V4, id=id_, flags="MF") / UDP(sport=5000 + n, dport=57, len=99) / Raw(b"x" * 24)
        went = rig.send(bytes(first))[0].frame[:6]
        assert rig.send(bytes(later4(id_)))[0].frame[:6] == went
