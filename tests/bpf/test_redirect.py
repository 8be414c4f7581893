"""Backends behind other interfaces: redirected through the device map, but not out of the interface or bond they came in by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6
from scapy.layers.l2 import Dot1Q

from tests.bpf.model import Hop, World
from tests.bpf.packets import CLIENT4, CLIENT6, ether, tcp4, tcp6, udp4, udp6
from tests.bpf.rig import Rig, own_object
from tests.bpf.table import BACKEND, L2, V4, V6, Row, answered, check, leaves, quoted, service, tagged, world

THERE, BOND = bytes.fromhex("020000000a01"), 77
T30 = Dot1Q(vlan=30)


def make_world(elsewhere: tuple[int, ...]) -> World:
    """`lo` belongs to a bond; the third of the other interfaces is not in the device map."""
    there = Hop(BACKEND, THERE, elsewhere[0])
    small = replace(there, mtu=600)
    hops = {
        80: L2,
        81: there,
        82: replace(there, vlan=30),
        83: replace(there, interface=elsewhere[2]),
        84: small,
        85: replace(there, bond=BOND),
        86: replace(there, bond=BOND + 1),
        87: replace(there, bond=BOND, vlan=30),
        88: replace(L2, mtu=100),
        89: replace(there, bond=BOND, mtu=100),
        90: replace(there, interface=elsewhere[1]),
    }
    services = [
        service(100 * v + 10 * p + port - 80, vip, port, protocol, hop=hop)
        for v, vip in enumerate((V4, V6), 1)
        for p, protocol in enumerate(("tcp", "udp"), 1)
        for port, hop in hops.items()
        if port < 90
    ]
    return world(*services, service(1, V4, 90, hop=hops[90]), ports=elsewhere[:2], bond=BOND)


def large(port: int, flags: str = "DF") -> object:
    return ether() / IP(src=CLIENT4, dst=V4, flags=flags, id=9) / TCP(sport=4, dport=port, flags="A") / (b"x" * 561)


LARGE4, LARGE6, SMALL6 = large(84), tcp6(V6, 84, "A", data=b"x" * 541), tcp6(V6, 84, "A", data=b"x" * 540)
EXACT4 = ether() / IP(src=CLIENT4, dst=V4, flags="DF") / TCP(dport=84, flags="A") / (b"x" * 560)

ROWS = [
    Row("a segment goes out by another interface", tcp4(V4, 81), "redirect_forwarded", leaves(tcp4(V4, 81), own=THERE)),
    Row("a second other interface", tcp4(V4, 90), "redirect_forwarded", leaves(tcp4(V4, 90), own=THERE)),
    Row("a datagram goes there", udp4(V4, 81), "redirect_forwarded", leaves(udp4(V4, 81), own=THERE)),
    Row("an IPv6 segment goes there", tcp6(V6, 81), "redirect_forwarded", leaves(tcp6(V6, 81), own=THERE)),
    Row("an IPv6 datagram goes there", udp6(V6, 81), "redirect_forwarded", leaves(udp6(V6, 81), own=THERE)),
    Row("the tag of the way in is popped", tagged(tcp4(V4, 81), 10), "redirect_forwarded", leaves(tcp4(V4, 81), own=THERE)),
    Row("a tag is pushed for the way out", tcp4(V4, 82), "redirect_forwarded", leaves(tcp4(V4, 82), 1, T30, THERE)),
    Row(
        "a tag is rewritten for the way out", tagged(udp6(V6, 82), 10), "redirect_forwarded", leaves(udp6(V6, 82), 1, T30, THERE)
    ),
    Row(
        "PCP goes with it",
        tagged(tcp4(V4, 82), 10, 6),
        "redirect_forwarded",
        leaves(tcp4(V4, 82), 1, Dot1Q(vlan=30, prio=6), THERE),
    ),
    Row("what came in here leaves here", tcp4(V4, 80), "tx_forwarded", leaves(tcp4(V4, 80))),
    Row(
        "a member of the same bond: back out of the one it came by", tcp4(V4, 85), "tx_forwarded", leaves(tcp4(V4, 85), own=THERE)
    ),
    Row("likewise IPv6", udp6(V6, 85), "tx_forwarded", leaves(udp6(V6, 85), own=THERE)),
    Row("likewise with a tag", tcp4(V4, 87), "tx_forwarded", leaves(tcp4(V4, 87), 1, T30, THERE)),
    Row("another bond is another way", tcp4(V4, 86), "redirect_forwarded", leaves(tcp4(V4, 86), own=THERE)),
    Row("an interface that is not in the device map", tcp4(V4, 83), "drop_no_redirect"),
    Row("likewise IPv6", tcp6(V6, 83), "drop_no_redirect"),
    Row("TTL 0 is not redirected", tcp4(V4, 81, ttl=0), "drop_ttl_expired"),
    Row("hop limit 0 is not redirected", udp6(V6, 81, hlim=0), "drop_ttl_expired"),
    Row("padding goes along", bytes(tcp4(V4, 81)) + b"\0" * 6, "redirect_forwarded", leaves(tcp4(V4, 81), own=THERE) + b"\0" * 6),
    Row("exactly the other interface's MTU", EXACT4, "redirect_forwarded", leaves(EXACT4, own=THERE)),
    Row("exactly the MTU, IPv6", SMALL6, "redirect_forwarded", leaves(SMALL6, own=THERE)),
    Row(
        "a byte more, with DF: the client is told the size",
        LARGE4,
        "tx_too_big",
        answered(LARGE4, IP(src=V4, dst=CLIENT4, flags="DF", id=0) / ICMP(type=3, code=4, nexthopmtu=600) / quoted(LARGE4)),
    ),
    Row(
        "a byte more, IPv6: the client is told the size",
        LARGE6,
        "tx_too_big",
        answered(LARGE6, IPv6(src=V6, dst=CLIENT6) / ICMPv6PacketTooBig(mtu=600) / quoted(LARGE6)),
    ),
    Row("a byte more, without DF", large(84, ""), "drop_too_big"),
    Row(
        "what leaves by its own interface has shown that it fits",
        tcp4(V4, 88, "A", data=b"x" * 500),
        "tx_forwarded",
        leaves(tcp4(V4, 88, "A", data=b"x" * 500)),
    ),
    Row(
        "likewise by its bond",
        tcp4(V4, 89, "A", data=b"x" * 500),
        "tx_forwarded",
        leaves(tcp4(V4, 89, "A", data=b"x" * 500), own=THERE),
    ),
]


@pytest.fixture(scope="module")
def pair(elsewhere: tuple[int, ...]) -> Iterator[tuple[Rig, World]]:
    made = make_world(elsewhere)
    with Rig(own_object(), made) as rig:
        yield rig, made


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_row(pair: tuple[Rig, World], row: Row) -> None:
    """Each row's frame meets its verdict and leaves as the exact bytes."""
    check(*pair, row)
