"""What becomes of one packet, from a configuration on: a row is a claim, a packet, its verdict, and the exact bytes that leave.

Topics - tags, redirects, tunnels, ICMP errors, fragments, headers, services, refusals - have files of their own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from fairlead.model import NoPath, Op, Store
from tests.bpf.packets import CLIENT4, CLIENT6, ROUTER_MAC, ether, forwarded, mac_text, ping4, ping6, tcp4, tcp6, udp4, udp6
from tests.bpf.plane import OWN_MAC, Plane, backend_mac

V4, V6, OTHER4, OTHER6 = "192.0.2.10", "2001:db8::10", "192.0.2.99", "2001:db8::99"
B4, B6 = backend_mac(ip_address("10.1.0.11")), backend_mac(ip_address("fd00::11"))
CONFIG = f"""
address: 10.1.0.1
services:
  - {{name: web, virtual: {V4}, servers: [10.1.0.11], policy: {{80/tcp*: , 53/udp*: }}}}
  - {{name: web6, virtual: "{V6}", servers: ["fd00::11"], policy: {{80/tcp*: , 53/udp*: }}}}
  - {{name: decrement, virtual: [{V4}, "192.0.2.11"], servers: [10.1.0.11], ttl: decrement, policy: {{81/tcp*: }}}}
  - {{name: keep, virtual: {V4}, servers: [10.1.0.11], ttl: keep, policy: {{82/tcp*: }}}}
  - {{name: decrement6, virtual: "{V6}", servers: ["fd00::11"], ttl: decrement, policy: {{81/tcp*: }}}}
  - {{name: keep6, virtual: "{V6}", servers: ["fd00::11"], ttl: keep, policy: {{82/tcp*: }}}}
  - {{name: empty, virtual: {V4}, servers: [10.1.0.12*], policy: {{83/tcp*: }}}}
  - {{name: lost, virtual: {V4}, servers: [10.1.0.13], policy: {{84/tcp*: }}}}
  - {{name: empty6, virtual: "{V6}", servers: ["fd00::12*"], policy: {{83/tcp*: }}}}
"""


@pytest.fixture(scope="module")
def plane(bpffs_module: str) -> Iterator[Plane]:
    with Plane(bpffs_module, CONFIG) as made:
        made.resolve({"10.1.0.13": NoPath("no neighbour on lo")})
        yield made


@dataclass(frozen=True)
class Row:
    """`out`: the frame that leaves; None: the frame is as it was (dropped, or passed to the kernel's stack)."""

    claim: str
    packet: Packet | bytes
    verdict: str
    out: bytes | None = None


def to_backend(claim: str, packet: Packet, to: bytes, ttl: int = 1) -> Row:
    return Row(claim, packet, "forwarded", forwarded(packet, to, ttl))


def tx_frame(packet: Packet) -> bytes:
    """The frame of an answer: the MACs change places."""
    packet[Ether].src, packet[Ether].dst = mac_text(OWN_MAC), ROUTER_MAC
    return bytes(packet)


FORWARDED = [
    to_backend("a SYN to the VIP leaves for the backend with TTL 1", tcp4(V4, 80), B4),
    to_backend("an ACK without a flow entry leaves too", tcp4(V4, 80, "A", sport=40001), B4),
    to_backend("data is not touched", tcp4(V4, 80, "PA", sport=40002, data=b"GET / HTTP/1.1\r\n\r\n"), B4),
    to_backend("a full-sized segment leaves", tcp4(V4, 80, "A", sport=40003, data=b"x" * 1446), B4),
    to_backend("a FIN leaves", tcp4(V4, 80, "FA", sport=40004), B4),
    to_backend("a RST leaves", tcp4(V4, 80, "R", sport=40005), B4),
    to_backend("a SYN+ACK of a confused client leaves", tcp4(V4, 80, "SA", sport=40006), B4),
    to_backend("every flag at once leaves", tcp4(V4, 80, "FSRPAUEC", sport=40007), B4),
    to_backend("TTL 255 becomes 1", tcp4(V4, 80, sport=40008, ttl=255), B4),
    to_backend("TTL 1 stays 1: the VIP is where the packet was going", tcp4(V4, 80, sport=40009, ttl=1), B4),
    to_backend("a datagram leaves", udp4(V4, 53), B4),
    to_backend("an empty datagram leaves", udp4(V4, 53, data=b"", sport=40010), B4),
    to_backend("port 0 as a source is a port", udp4(V4, 53, sport=0), B4),
    to_backend("a SYN to an IPv6 VIP leaves with hop limit 1", tcp6(V6, 80), B6),
    to_backend("an IPv6 ACK leaves", tcp6(V6, 80, "A", sport=40001, data=b"abc"), B6),
    to_backend("an IPv6 datagram leaves", udp6(V6, 53), B6),
    to_backend("IPv6 hop limit 1 stays 1", tcp6(V6, 80, sport=40002, hlim=1), B6),
    to_backend(
        "IPv6 traffic class and flow label are kept", ether() / IPv6(src=CLIENT6, dst=V6, tc=0xB8, fl=0xABCDE) / TCP(dport=80), B6
    ),
    to_backend(
        "IPv4 DSCP, ECN, id and DF are kept",
        ether() / IP(src=CLIENT4, dst=V4, tos=0xBB, id=0xBEEF, flags="DF") / TCP(dport=80),
        B4,
    ),
    to_backend(
        "TCP options are no IP options",
        ether() / IP(src=CLIENT4, dst=V4) / TCP(dport=80, options=[("MSS", 1460), ("SAckOK", b"")]),
        B4,
    ),
    to_backend("`ttl: decrement` decrements", tcp4(V4, 81, ttl=60), B4, 59),
    to_backend("`ttl: decrement` across a byte of the checksum", tcp4(V4, 81, sport=40001, ttl=128), B4, 127),
    to_backend("`ttl: keep` keeps", tcp4(V4, 82, ttl=60), B4, 60),
    to_backend("`ttl: decrement` decrements a hop limit", tcp6(V6, 81, hlim=60), B6, 59),
    to_backend("`ttl: keep` keeps a hop limit", tcp6(V6, 82, hlim=60), B6, 60),
    to_backend("a second VIP of the same service is a service too", tcp4("192.0.2.11", 81, ttl=9), B4, 8),
    to_backend("bytes behind the IP packet are padding", tcp4(V4, 80, sport=40011) / Raw(b""), B4),
]

PADDED = [
    Row(
        f"{len(pad)} bytes of Ethernet padding stay behind the packet",
        bytes(tcp4(V4, 80, sport=41000 + len(pad))) + pad,
        "forwarded",
        forwarded(tcp4(V4, 80, sport=41000 + len(pad)), B4) + pad,
    )
    for pad in (b"\0" * 6, b"\0" * 10, b"\xff" * 18, b"\0" * 60)
] + [
    Row(
        "a padded IPv6 frame is forwarded",
        bytes(udp6(V6, 53, data=b"")) + b"\0" * 4,
        "forwarded",
        forwarded(udp6(V6, 53, data=b""), B6) + b"\0" * 4,
    ),
    Row(
        "a padded datagram is forwarded",
        bytes(udp4(V4, 53, data=b"x")) + b"\0" * 17,
        "forwarded",
        forwarded(udp4(V4, 53, data=b"x"), B4) + b"\0" * 17,
    ),
]

NOT_OURS = [
    Row("ARP goes to the kernel", ether() / ARP(pdst=V4), "not_ip"),
    Row("a broadcast ARP is not even looked at", Ether(dst="ff:ff:ff:ff:ff:ff", src=ROUTER_MAC) / ARP(pdst=V4), "not_mine"),
    Row("LLDP goes to the kernel", Ether(dst="01:80:c2:00:00:0e", src=ROUTER_MAC, type=0x88CC) / Raw(b"\0" * 50), "not_mine"),
    Row(
        "a frame for another MAC is left alone: it was flooded",
        Ether(dst="02:00:00:00:00:77", src=ROUTER_MAC) / tcp4(V4, 80)[IP],
        "not_mine",
    ),
    Row(
        "a multicast frame with the VIP inside is left alone",
        Ether(dst="01:00:5e:00:00:01", src=ROUTER_MAC) / tcp4(V4, 80)[IP],
        "not_mine",
    ),
    Row(
        "an IPv6 frame for another MAC is left alone",
        Ether(dst="02:00:00:00:00:77", src=ROUTER_MAC) / tcp6(V6, 80)[IPv6],
        "not_mine",
    ),
    Row("TCP to another address goes to the kernel", tcp4(OTHER4, 80), "not_a_vip"),
    Row("UDP to another address goes to the kernel", udp4(OTHER4, 53), "not_a_vip"),
    Row("ping of another address goes to the kernel", ping4(OTHER4), "not_a_vip"),
    Row("IPv6 to another address goes to the kernel", tcp6(OTHER6, 80), "not_a_vip"),
    Row("IPv6 ping of another address goes to the kernel", ping6(OTHER6), "not_a_vip"),
    Row(
        "a reply from the VIP is not for the VIP",
        ether() / IP(src=V4, dst=CLIENT4) / TCP(sport=80, dport=40000, flags="SA"),
        "not_a_vip",
    ),
    Row(
        "a fragment for another address goes to the kernel",
        ether() / IP(src=CLIENT4, dst=OTHER4, frag=10) / Raw(b"x" * 20),
        "not_a_vip",
    ),
    Row("a bad length for another address is the kernel's affair", bytes(tcp4(OTHER4, 80))[:40], "not_a_vip"),
    Row(
        "an IPv4-mapped IPv6 destination is not the IPv4 VIP",
        ether() / IPv6(src=CLIENT6, dst=f"::ffff:{V4}") / TCP(dport=80),
        "not_a_vip",
    ),
    Row("an EtherType of IPv4 over something else goes to the kernel", ether() / Raw(b"\x65" + b"\0" * 39), "not_ip"),
    Row("a frame shorter than an IP header goes to the kernel", bytes(tcp4(V4, 80))[:30], "not_ip"),
    Row("a bare Ethernet header goes to the kernel", bytes(Ether(dst=mac_text(OWN_MAC), src=ROUTER_MAC, type=0x0800)), "not_ip"),
]
NOT_OURS[11].packet[Ether].type = 0x0800
NOT_OURS[15].packet[Ether].type = 0x0800

DROPPED = [
    Row("a port that no service has", tcp4(V4, 8080), "no_service"),
    Row("TCP to a UDP service's port", tcp4(V4, 53), "no_service"),
    Row("UDP to a TCP service's port", udp4(V4, 80), "no_service"),
    Row("port 0 is not every port", tcp4(V4, 0), "no_service"),
    Row("an unknown port of an IPv6 VIP", udp6(V6, 54), "no_service"),
    Row("a service whose only backend is drained", tcp4(V4, 83), "no_backend"),
    Row("an IPv6 service whose only backend is drained", tcp6(V6, 83), "no_backend"),
    Row("a service whose only backend has no path", tcp4(V4, 84), "no_backend"),
    Row("TTL 0 is no packet", tcp4(V4, 80, sport=42000, ttl=0), "ttl_expired"),
    Row("hop limit 0 is no packet", tcp6(V6, 80, sport=42000, hlim=0), "ttl_expired"),
    Row("TTL 1 ends at a service that decrements", tcp4(V4, 81, sport=42000, ttl=1), "ttl_expired"),
    Row("hop limit 1 ends at a service that decrements", tcp6(V6, 81, sport=42000, hlim=1), "ttl_expired"),
    Row("a later fragment", ether() / IP(src=CLIENT4, dst=V4, frag=100) / Raw(b"x" * 24), "fragment"),
    Row("a header length below 5", ether() / IP(src=CLIENT4, dst=V4, ihl=4, len=60) / TCP(dport=80), "malformed"),
    Row("GRE to a VIP", ether() / IP(src=CLIENT4, dst=V4, proto=47) / Raw(b"\0" * 24), "unsupported_protocol"),
    Row("SCTP to a VIP", ether() / IP(src=CLIENT4, dst=V4, proto=132) / Raw(b"\0" * 24), "unsupported_protocol"),
    Row("ESP to an IPv6 VIP", ether() / IPv6(src=CLIENT6, dst=V6, nh=50) / Raw(b"\0" * 24), "unsupported_protocol"),
    Row("no next header", ether() / IPv6(src=CLIENT6, dst=V6, nh=59), "unsupported_protocol"),
    Row("ICMPv6 over IPv4", ether() / IP(src=CLIENT4, dst=V4, proto=58) / Raw(b"\x80\0" + b"\0" * 20), "unsupported_protocol"),
    Row("an echo reply", ether() / IP(src=CLIENT4, dst=V4) / ICMP(type=0), "unsupported_icmp"),
    Row("an echo request with a code", ether() / IP(src=CLIENT4, dst=V4) / ICMP(type=8, code=1), "unsupported_icmp"),
    Row("a timestamp request", ether() / IP(src=CLIENT4, dst=V4) / ICMP(type=13), "unsupported_icmp"),
    Row("an ICMPv6 echo reply", ether() / IPv6(src=CLIENT6, dst=V6) / ICMPv6EchoReply(), "unsupported_icmp"),
    Row(
        "an ICMPv6 unreachable",
        ether() / IPv6(src=CLIENT6, dst=V6) / ICMPv6DestUnreach() / IPv6(src=V6, dst=CLIENT6),
        "unsupported_icmp",
    ),
    Row("an IP length beyond the frame", ether() / IP(src=CLIENT4, dst=V4, len=1000) / TCP(dport=80), "malformed"),
    Row("an IP length below its header", ether() / IP(src=CLIENT4, dst=V4, len=19) / TCP(dport=80), "malformed"),
    Row("an IP length that cuts the TCP header", ether() / IP(src=CLIENT4, dst=V4, len=39) / TCP(dport=80), "malformed"),
    Row(
        "an IP length that cuts the UDP header",
        ether() / IP(src=CLIENT4, dst=V4, len=27) / UDP(dport=53) / Raw(b"x" * 20),
        "malformed",
    ),
    Row("a frame that ends within the TCP header", bytes(tcp4(V4, 80))[:50], "malformed"),
    Row("an IPv6 length beyond the frame", ether() / IPv6(src=CLIENT6, dst=V6, plen=1000) / TCP(dport=80), "malformed"),
    Row("an IPv6 length that cuts the TCP header", ether() / IPv6(src=CLIENT6, dst=V6, plen=19) / TCP(dport=80), "malformed"),
    Row("an IPv6 length that cuts the UDP header", ether() / IPv6(src=CLIENT6, dst=V6, plen=7) / UDP(dport=53), "malformed"),
    Row("a ping that is cut short", bytes(ping4(V4))[: 14 + 20 + 6], "malformed"),
    Row("an IPv6 ping that is cut short", bytes(ping6(V6))[: 14 + 40 + 6], "malformed"),
]

ANSWERED = [
    Row(
        "the balancer answers ping for a VIP with TTL 64",
        ping4(V4),
        "echo_reply",
        tx_frame(ether() / IP(src=V4, dst=CLIENT4, ttl=64, id=7) / ICMP(type=0, id=1, seq=2) / Raw(b"ping!")),
    ),
    Row(
        "a large ping is answered whole",
        ping4(V4, data=bytes(range(256)) * 5),
        "echo_reply",
        tx_frame(ether() / IP(src=V4, dst=CLIENT4, ttl=64, id=7) / ICMP(type=0, id=1, seq=2) / Raw(bytes(range(256)) * 5)),
    ),
    Row(
        "the balancer answers IPv6 ping for a VIP with hop limit 64",
        ping6(V6),
        "echo_reply",
        tx_frame(ether() / IPv6(src=V6, dst=CLIENT6, hlim=64) / ICMPv6EchoReply(id=1, seq=2, data=b"ping!")),
    ),
]

ALL = FORWARDED + PADDED + NOT_OURS + DROPPED + ANSWERED
PASSED = {"not_ip", "not_mine", "not_a_vip", "no_interface"}


@pytest.mark.parametrize("row", ALL, ids=[row.claim for row in ALL])
def test_packet(plane: Plane, row: Row) -> None:
    """Each row's packet meets its verdict, the action that belongs to it, and leaves as the exact bytes."""
    outcome = plane.send(row.packet)

    assert outcome.verdict == row.verdict
    if row.out is not None:
        assert outcome.action == "tx"
        assert outcome.frame.hex() == row.out.hex()
    else:
        assert outcome.action == ("pass" if row.verdict in PASSED else "drop")
    if row.verdict in PASSED:
        assert outcome.frame == bytes(row.packet), "what the kernel gets is untouched"


def test_unknown_interface(plane: Plane, veth_index: int) -> None:
    """A packet on an interface that is not in the table goes to the kernel, whatever it is."""
    assert plane.send(tcp4(V4, 80), veth_index).verdict == "no_interface"


def test_ping_is_limited(plane: Plane) -> None:
    """Once the window's replies are used up, further pings are dropped and counted by name; the next window answers again."""
    limiter = plane.kernel.layout.structs["limiter"]
    used_up = limiter.offset("count")
    deadline = time.monotonic() + 10
    while plane.send(ping4(V4)).verdict != "rate_limited":
        assert time.monotonic() < deadline, "never limited"
        for cpu in range(plane.kernel.geometry.cpus):
            at = cpu * plane.kernel.layout.constants["LIMITS"] * limiter.size + used_up
            plane.kernel.apply(Op("use up", (Store("limits", at, (1 << 32).to_bytes(8, "little")),)))
    while plane.send(ping4(V4)).verdict != "echo_reply":
        assert time.monotonic() < deadline, "limited for ever"


def test_bytes_are_ip_lengths(plane: Plane) -> None:
    """A verdict and a destination are charged with the IP length: neither Ethernet header nor padding."""
    number = next(v for v, name in plane.names.items() if name == "forwarded")
    before = plane.kernel.verdicts()[number]
    plane.send(bytes(tcp4(V4, 80, sport=43000)) + b"\0" * 20)

    after = plane.kernel.verdicts()[number]

    assert (after[0] - before[0], after[1] - before[1]) == (1, 40)
