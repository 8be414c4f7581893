"""802.1Q: tags are rewritten, pushed and popped; priority stays; what has two of them is the kernel's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, IPv6
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Raw

from tests.bpf.packets import CLIENT4, CLIENT6, ROUTER_MAC, ether, ping4, ping6, tcp4, tcp6, udp4, udp6
from tests.bpf.rig import Rig, own_object
from tests.bpf.table import L2, V4, V6, Row, answered, check, leaves, service, tagged, world

VLAN20, VLAN1, VLAN4094 = (replace(L2, vlan=n) for n in (20, 1, 4094))
WORLD = world(
    service(1, V4, 80),
    service(2, V4, 81, hop=VLAN20),
    service(3, V4, 82, hop=VLAN1),
    service(4, V4, 83, hop=VLAN4094),
    service(5, V4, 53, "udp"),
    service(6, V4, 54, "udp", hop=VLAN20),
    service(7, V6, 80),
    service(8, V6, 81, hop=VLAN20),
    service(9, V6, 53, "udp"),
    service(10, V6, 54, "udp", hop=VLAN20),
    service(11, V4, 84, hop=VLAN20, ttl="decrement"),
    service(12, V4, 85, hop=VLAN20, ttl="keep"),
)
T20 = Dot1Q(vlan=20)

ROWS = [
    # pop
    Row("a tag is popped for an untagged backend", tagged(tcp4(V4, 80), 10), "tx_forwarded", leaves(tcp4(V4, 80))),
    Row("a datagram's tag is popped", tagged(udp4(V4, 53), 10), "tx_forwarded", leaves(udp4(V4, 53))),
    Row("an IPv6 segment's tag is popped", tagged(tcp6(V6, 80), 10), "tx_forwarded", leaves(tcp6(V6, 80))),
    Row("an IPv6 datagram's tag is popped", tagged(udp6(V6, 53), 10), "tx_forwarded", leaves(udp6(V6, 53))),
    Row("a priority tag, id 0, is popped", tagged(tcp4(V4, 80), 0, prio=5), "tx_forwarded", leaves(tcp4(V4, 80))),
    Row("popping loses the priority: nothing can carry it", tagged(tcp4(V4, 80), 10, 7, 1), "tx_forwarded", leaves(tcp4(V4, 80))),
    Row("the highest id is popped", tagged(tcp4(V4, 80), 4095), "tx_forwarded", leaves(tcp4(V4, 80))),
    # push
    Row("a tag is pushed for a tagged backend", tcp4(V4, 81), "tx_forwarded", leaves(tcp4(V4, 81), tag=T20)),
    Row("a datagram gets a tag", udp4(V4, 54), "tx_forwarded", leaves(udp4(V4, 54), tag=T20)),
    Row("an IPv6 segment gets a tag", tcp6(V6, 81), "tx_forwarded", leaves(tcp6(V6, 81), tag=T20)),
    Row("an IPv6 datagram gets a tag", udp6(V6, 54), "tx_forwarded", leaves(udp6(V6, 54), tag=T20)),
    Row("the lowest id is pushed", tcp4(V4, 82), "tx_forwarded", leaves(tcp4(V4, 82), tag=Dot1Q(vlan=1))),
    Row("the highest usable id is pushed", tcp4(V4, 83), "tx_forwarded", leaves(tcp4(V4, 83), tag=Dot1Q(vlan=4094))),
    Row("a pushed tag has priority 0", tcp4(V4, 81, "A"), "tx_forwarded", leaves(tcp4(V4, 81, "A"), tag=Dot1Q(vlan=20, prio=0))),
    Row("`ttl: decrement` behind a tag", tcp4(V4, 84), "tx_forwarded", leaves(tcp4(V4, 84), 59, T20)),
    Row("`ttl: keep` behind a tag", tcp4(V4, 85), "tx_forwarded", leaves(tcp4(V4, 85), 60, T20)),
    Row(
        "a full-sized segment gets a tag",
        tcp4(V4, 81, "A", data=b"x" * 1460),
        "tx_forwarded",
        leaves(tcp4(V4, 81, "A", data=b"x" * 1460), tag=T20),
    ),
    # rewrite
    Row("a tag is rewritten", tagged(tcp4(V4, 81), 10), "tx_forwarded", leaves(tcp4(V4, 81), tag=T20)),
    Row("the same tag stays", tagged(tcp4(V4, 81), 20), "tx_forwarded", leaves(tcp4(V4, 81), tag=T20)),
    Row("PCP is kept", tagged(tcp4(V4, 81), 10, 5), "tx_forwarded", leaves(tcp4(V4, 81), tag=Dot1Q(vlan=20, prio=5))),
    Row("DEI is kept", tagged(tcp4(V4, 81), 10, 0, 1), "tx_forwarded", leaves(tcp4(V4, 81), tag=Dot1Q(vlan=20, dei=1))),
    Row(
        "PCP and DEI are kept",
        tagged(tcp4(V4, 81), 10, 7, 1),
        "tx_forwarded",
        leaves(tcp4(V4, 81), tag=Dot1Q(vlan=20, prio=7, dei=1)),
    ),
    Row("every bit of the old id goes", tagged(tcp4(V4, 82), 4095), "tx_forwarded", leaves(tcp4(V4, 82), tag=Dot1Q(vlan=1))),
    Row(
        "a priority tag gets the id", tagged(tcp4(V4, 81), 0, 3), "tx_forwarded", leaves(tcp4(V4, 81), tag=Dot1Q(vlan=20, prio=3))
    ),
    Row(
        "an IPv6 tag is rewritten", tagged(tcp6(V6, 81), 10, 6), "tx_forwarded", leaves(tcp6(V6, 81), tag=Dot1Q(vlan=20, prio=6))
    ),
    Row("a datagram's tag is rewritten", tagged(udp6(V6, 54), 10), "tx_forwarded", leaves(udp6(V6, 54), tag=T20)),
    Row(
        "padding behind a tag stays",
        bytes(tagged(tcp4(V4, 81), 10)) + b"pad",
        "tx_forwarded",
        leaves(tcp4(V4, 81), tag=T20) + b"pad",
    ),
    Row(
        "padding stays when a tag is popped",
        bytes(tagged(tcp4(V4, 80), 10)) + b"\0" * 6,
        "tx_forwarded",
        leaves(tcp4(V4, 80)) + b"\0" * 6,
    ),
    Row(
        "padding stays when a tag is pushed",
        bytes(tcp4(V4, 81)) + b"\0" * 6,
        "tx_forwarded",
        leaves(tcp4(V4, 81), tag=T20) + b"\0" * 6,
    ),
    # answers
    Row(
        "a tagged ping is answered with its tag",
        tagged(ping4(V4), 10, 5),
        "tx_echo_reply",
        answered(tagged(ping4(V4), 10, 5), IP(src=V4, dst=CLIENT4, ttl=64, id=7) / ICMP(type=0, id=1, seq=2) / Raw(b"ping!")),
    ),
    Row(
        "a tagged IPv6 ping is answered with its tag",
        tagged(ping6(V6), 10),
        "tx_echo_reply",
        answered(tagged(ping6(V6), 10), IPv6(src=V6, dst=CLIENT6, hlim=64) / ICMPv6EchoReply(id=1, seq=2, data=b"ping!")),
    ),
    # not ours
    Row("a tagged packet for another address goes to the kernel", tagged(tcp4("192.0.2.99", 80), 10), "pass_not_a_vip"),
    Row("a tagged IPv6 packet for another address, too", tagged(tcp6("2001:db8::99", 80), 10), "pass_not_a_vip"),
    Row("a tagged ARP goes to the kernel", ether() / Dot1Q(vlan=10) / ARP(pdst=V4), "pass_not_ip"),
    Row(
        "two 802.1Q tags go to the kernel", ether() / Dot1Q(vlan=10) / Dot1Q(vlan=20) / IP(dst=V4) / TCP(dport=80), "pass_not_ip"
    ),
    Row("QinQ goes to the kernel", ether() / Dot1AD(vlan=10) / Dot1Q(vlan=20) / IP(dst=V4) / TCP(dport=80), "pass_not_ip"),
    Row("one 802.1ad tag goes to the kernel", ether() / Dot1AD(vlan=10) / IP(dst=V4) / TCP(dport=80), "pass_not_ip"),
    Row("a tag and nothing behind it", bytes(ether() / Dot1Q(vlan=10, type=0x800)), "pass_not_ip"),
    Row("a tag, and IPv4's type over IPv6", ether() / Dot1Q(vlan=10, type=0x800) / IPv6(dst=V6) / TCP(), "pass_not_ip"),
    Row("a tag cut short", bytes(ether() / Dot1Q(vlan=10, type=0x800))[:16], "pass_not_ip"),
    Row(
        "a tagged frame for another MAC",
        Ether(dst="02:00:00:00:00:77", src=ROUTER_MAC) / Dot1Q(vlan=1) / tcp4(V4, 80)[IP],
        "pass_not_mine",
    ),
    # dropped
    Row("a tagged packet for an unknown port", tagged(tcp4(V4, 8080), 10), "drop_no_service"),
    Row("a tagged packet with TTL 0", tagged(tcp4(V4, 80, ttl=0), 10), "drop_ttl_expired"),
    Row("a tagged packet with TTL 1 to `ttl: decrement`", tagged(tcp4(V4, 84, ttl=1), 10), "drop_ttl_expired"),
    Row("a tagged packet cut short", bytes(tagged(tcp4(V4, 80), 10))[:-1], "drop_malformed"),
    Row(
        "a tagged datagram cut short",
        bytes(ether() / Dot1Q(vlan=1) / IP(src=CLIENT4, dst=V4, len=27) / UDP(dport=53)),
        "drop_malformed",
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
