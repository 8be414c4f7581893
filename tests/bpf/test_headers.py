"""IPv4 options and IPv6 extension headers: stepped over within bounds, and left as they are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP, IPOption_Router_Alert, IPOption_RR, IPOption_Timestamp
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, PadN
from scapy.layers.ipsec import AH
from scapy.packet import Packet, Raw

from tests.bpf.packets import CLIENT4, CLIENT6, ether
from tests.bpf.rig import Rig, own_object
from tests.bpf.table import V4, V6, Row, check, leaves, service, tagged, world

WORLD = world(
    service(1, V4, 80),
    service(2, V4, 53, "udp"),
    service(3, V6, 80),
    service(4, V6, 53, "udp"),
    service(5, V4, 81, ttl="decrement"),
    service(6, V6, 81, ttl="decrement"),
)
WEB, DNS = TCP(sport=9, dport=80, flags="A"), UDP(sport=9, dport=53) / Raw(b"x" * 7)
HOPS, DEST, ROUTE = IPv6ExtHdrHopByHop, IPv6ExtHdrDestOpt, IPv6ExtHdrRouting


def opts(l4: Packet, *options: object, ttl: int = 60, **more: object) -> Packet:
    return ether() / IP(src=CLIENT4, dst=V4, ttl=ttl, id=7, options=list(options), **more) / l4


def chain(*layers: Packet, hlim: int = 60) -> Packet:
    packet = ether() / IPv6(src=CLIENT6, dst=V6, hlim=hlim)
    for layer in layers:
        packet /= layer
    return packet


def goes(claim: str, packet: Packet, ttl: int = 1) -> Row:
    return Row(claim, packet, "tx_forwarded", leaves(packet, ttl))


def stops(claim: str, packet: Packet | bytes, why: str) -> Row:
    return Row(claim, packet, f"drop_{why}")


def sized(units: int) -> Packet:
    """A destination options header of 8 x (units + 1) bytes."""
    return IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(6 + 8 * units - 2))])


NOP = IPOption_NOP()
ROWS = [
    goes("a router alert", opts(WEB, IPOption_Router_Alert())),
    goes("a router alert before a datagram", opts(DNS, IPOption_Router_Alert())),
    goes("record route", opts(WEB, IPOption_RR(length=39, routers=["0.0.0.0"] * 9))),
    goes("a timestamp", opts(DNS, IPOption_Timestamp())),
    goes("one word of options", opts(WEB, *[NOP] * 4)),
    goes("ten words, the most there can be", opts(WEB, *[NOP] * 40)),
    goes("ten words before a datagram", opts(DNS, *[NOP] * 40)),
    goes("options and DF", opts(WEB, *[NOP] * 8, flags="DF")),
    goes("options and `ttl: decrement`", opts(TCP(dport=81), *[NOP] * 8), 59),
    goes("options behind a tag", tagged(opts(WEB, *[NOP] * 8), 10)),
    goes("a hop-by-hop header", chain(HOPS(), WEB)),
    goes("a destination options header", chain(DEST(), WEB)),
    goes("a routing header with nothing left", chain(ROUTE(segleft=0), WEB)),
    goes("an authentication header", chain(AH(nh=6, payloadlen=4, icv=b"x" * 12), WEB)),
    goes("a datagram behind a hop-by-hop header", chain(HOPS(), DNS)),
    goes("a datagram behind destination options", chain(DEST(), DNS)),
    goes("two headers", chain(HOPS(), DEST(), WEB)),
    goes("the order that RFC 8200 recommends", chain(HOPS(), DEST(), ROUTE(segleft=0), IPv6ExtHdrFragment(), DEST(), WEB)),
    goes("any other order: it is not ours to judge", chain(DEST(), HOPS(), WEB)),
    goes("eight headers, the most that are followed", chain(*[DEST()] * 8, WEB)),
    goes("a header of 16 bytes", chain(sized(1), WEB)),
    goes("a header of 256 bytes", chain(sized(31), WEB)),
    goes("headers that put the ports as far as is read", chain(sized(31), sized(21), sized(2), WEB)),
    goes("extension headers and `ttl: decrement`", chain(DEST(), TCP(dport=81)), 59),
    goes("extension headers behind a tag", tagged(chain(DEST(), WEB), 10)),
    Row(
        "options and padding", bytes(opts(WEB, *[NOP] * 4)) + b"\0" * 3, "tx_forwarded", leaves(opts(WEB, *[NOP] * 4)) + b"\0" * 3
    ),
    Row(
        "extension headers and padding",
        bytes(chain(DEST(), WEB)) + b"\0" * 3,
        "tx_forwarded",
        leaves(chain(DEST(), WEB)) + b"\0" * 3,
    ),
    stops("a header length below 5", opts(WEB, ihl=4, len=40), "malformed"),
    stops("a header length of 0", opts(WEB, ihl=0, len=40), "malformed"),
    stops("options beyond the IP length", opts(Raw(b""), ihl=15, len=40, proto=6), "malformed"),
    stops("an IP length that ends within the options", opts(WEB, *[NOP] * 40, len=50), "malformed"),
    stops("an IP length that cuts the TCP header behind options", opts(WEB, *[NOP] * 40, len=79), "malformed"),
    stops("options and a frame cut short", bytes(opts(WEB, *[NOP] * 40))[:-1], "malformed"),
    stops("options and TTL 0", opts(WEB, *[NOP] * 4, ttl=0), "ttl_expired"),
    stops("options and an unknown port", opts(TCP(dport=99), *[NOP] * 4), "no_service"),
    stops("options before SCTP", opts(Raw(b"x" * 20), *[NOP] * 4, proto=132), "unsupported_protocol"),
    stops("nine headers", chain(*[DEST()] * 9, WEB), "extension_header"),
    stops("headers that put the ports too far", chain(sized(31), sized(31), WEB), "extension_header"),
    stops("a header longer than the packet", chain(DEST(len=9), WEB), "malformed"),
    stops("a header that fills the packet", chain(DEST(nh=6)), "malformed"),
    stops("a header cut short", bytes(chain(DEST(nh=6)))[:-3], "malformed"),
    stops("an extension header and half a TCP header", chain(DEST(nh=6), Raw(b"x" * 10)), "malformed"),
    stops("extension headers and a frame cut short", bytes(chain(DEST(), WEB))[:-1], "malformed"),
    stops("extension headers and hop limit 0", chain(DEST(), WEB, hlim=0), "ttl_expired"),
    stops("extension headers and an unknown port", chain(DEST(), TCP(dport=99)), "no_service"),
    stops("nothing behind extension headers", chain(DEST(nh=59)), "unsupported_protocol"),
    stops("SCTP behind extension headers", chain(DEST(nh=132), Raw(b"x" * 20)), "unsupported_protocol"),
    stops("ESP hides what is behind it", chain(DEST(nh=50), Raw(b"x" * 20)), "unsupported_protocol"),
    stops(
        "mobility",
        chain(Raw(b"x" * 24)).__class__(bytes(chain(Raw(b"x" * 24)))[:20] + b"\x87" + bytes(chain(Raw(b"x" * 24)))[21:]),
        "unsupported_protocol",
    ),
    Row("options to another address", ether() / IP(dst="192.0.2.99", options=[NOP] * 4) / WEB, "pass_not_a_vip"),
    Row("extension headers to another address", ether() / IPv6(dst="2001:db8::99") / DEST() / WEB, "pass_not_a_vip"),
]


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig(own_object(), WORLD) as made:
        yield made


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_row(rig: Rig, row: Row) -> None:
    """Each row's frame meets its verdict and leaves as the exact bytes."""
    check(rig, WORLD, row)
