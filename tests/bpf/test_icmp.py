"""ICMP errors about flows of a VIP go to the one backend that owns the flow; everything else that is ICMP stops here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
)
from scapy.packet import Packet, Raw

from tests.bpf.model import Backend, Hop, Model, Service
from tests.bpf.packets import CLIENT4, CLIENT6, ether, ping4, ping6, tcp4
from tests.bpf.rig import LO, Rig, own_object
from tests.bpf.table import L2, OWN, V4, V6, Row, Tunnel, answered, check, leaves, packed, service, tagged, world

ROUTER4, ROUTER6 = "203.0.113.1", "2001:db8:9::1"
NINE = tuple(Backend(100 + n, Hop(bytes.fromhex("0200be0001") + bytes([n]), OWN, LO)) for n in range(9))
MANY = Service(packed(V4), 90, 6, tuple(b.id for b in NINE) * 27, NINE)
TUNNEL = replace(L2, tunnel=Tunnel("gre", packed("10.1.0.1"), packed("10.1.0.11")), mtu=200)
WORLD = world(
    service(1, V4, 80),
    service(2, V4, 53, "udp"),
    service(3, V6, 80),
    service(4, V6, 53, "udp"),
    service(5, V4, 81, state="drain", slots=()),
    service(6, V4, 0, "udp"),
    service(7, V4, 82, hop=None),
    service(8, V4, 83, hop=TUNNEL, ttl="decrement"),
    service(9, V4, 84, hop=replace(L2, vlan=20)),
    MANY,
)


def sent4(l4: Packet, src: str = V4, **more: object) -> Packet:
    """What a backend sent to the client, as far as the router quotes it."""
    return IP(src=src, dst=CLIENT4, ttl=50, id=3, **more) / l4


def error4(inside: Packet | bytes, kind: int = 3, code: int = 4, **more: object) -> Packet:
    return ether() / IP(src=ROUTER4, dst=V4, ttl=60) / ICMP(type=kind, code=code, **more) / inside


def sent6(l4: Packet, src: str = V6) -> Packet:
    return IPv6(src=src, dst=CLIENT6, hlim=50) / l4


def error6(inside: Packet, message: Packet | None = None) -> Packet:
    return ether() / IPv6(src=ROUTER6, dst=V6, hlim=60) / (message or ICMPv6PacketTooBig(mtu=1280)) / inside


def relayed(claim: str, packet: Packet) -> Row:
    return Row(claim, packet, "tx_icmp_relayed", leaves(packet))


def stopped(claim: str, packet: Packet | bytes, why: str = "unsupported_icmp") -> Row:
    return Row(claim, packet, f"drop_{why}")


WEB = TCP(sport=80, dport=40000, flags="A", seq=1)
DNS = UDP(sport=53, dport=40000) / Raw(b"x" * 20)
CUT = bytes(sent4(WEB))[:28]
TCP6 = TCP(sport=80, dport=40000, flags="A")

ROWS = [
    relayed("fragmentation needed goes to the backend", error4(sent4(WEB), nexthopmtu=1400)),
    relayed("net unreachable", error4(sent4(WEB), code=0)),
    relayed("host unreachable", error4(sent4(WEB), code=1)),
    relayed("port unreachable, of a datagram", error4(sent4(DNS), code=3)),
    relayed("administratively prohibited", error4(sent4(WEB), code=13)),
    relayed("time exceeded in transit", error4(sent4(WEB), 11, 0)),
    relayed("reassembly time exceeded", error4(sent4(DNS), 11, 1)),
    relayed("parameter problem", error4(sent4(WEB), 12, 0)),
    relayed("28 bytes quoted are enough", error4(CUT)),
    relayed("24 bytes quoted are enough: the ports are in", error4(CUT[:24])),
    relayed("options inside are stepped over", error4(sent4(WEB, options=[IPOption_NOP()] * 8))),
    relayed("DF inside, as path MTU discovery has it", error4(sent4(WEB, flags="DF"))),
    relayed("a first fragment inside has ports", error4(sent4(DNS, flags="MF"))),
    relayed("an inner checksum that NAT broke does not matter", error4(sent4(WEB, chksum=1))),
    relayed("a service of every port", error4(sent4(UDP(sport=999, dport=7) / Raw(b"x")), code=3)),
    relayed(
        "options outside are stepped over",
        ether() / IP(src=ROUTER4, dst=V4, ttl=60, options=[IPOption_NOP()] * 4) / ICMP(type=3, code=4) / sent4(WEB),
    ),
    relayed("a router that is the client itself", ether() / IP(src=CLIENT4, dst=V4, ttl=60) / ICMP(type=3, code=3) / sent4(DNS)),
    relayed("IPv6 packet too big", error6(sent6(TCP6))),
    relayed("IPv6 packet too big, about a datagram", error6(sent6(DNS))),
    relayed("IPv6: a first fragment inside has ports", error6(sent6(IPv6ExtHdrFragment(m=1, id=7) / DNS))),
    relayed("IPv6: a first fragment of TCP", error6(sent6(IPv6ExtHdrFragment(m=1, id=7) / TCP6))),
    relayed("IPv6: an atomic fragment", error6(sent6(IPv6ExtHdrFragment(m=0, id=7) / DNS))),
    relayed("IPv6: reassembly time exceeded", error6(sent6(IPv6ExtHdrFragment(m=1) / DNS), ICMPv6TimeExceeded(code=1))),
    relayed("IPv6: 52 bytes quoted of a fragment are enough", error6(Raw(bytes(sent6(IPv6ExtHdrFragment(m=1) / DNS))[:52]))),
    relayed("IPv6 no route", error6(sent6(TCP6), ICMPv6DestUnreach(code=0))),
    relayed("IPv6 port unreachable", error6(sent6(DNS), ICMPv6DestUnreach(code=4))),
    relayed("IPv6 hop limit exceeded", error6(sent6(TCP6), ICMPv6TimeExceeded())),
    relayed("IPv6 parameter problem", error6(sent6(TCP6), ICMPv6ParamProblem())),
    relayed(
        "extension headers outside are stepped over",
        ether() / IPv6(src=ROUTER6, dst=V6, hlim=60) / IPv6ExtHdrDestOpt() / ICMPv6PacketTooBig(mtu=1280) / sent6(TCP6),
    ),
    Row("padding stays", bytes(error4(CUT)) + b"\0" * 9, "tx_icmp_relayed", leaves(error4(CUT)) + b"\0" * 9),
    Row("a tag is popped", tagged(error4(CUT), 10), "tx_icmp_relayed", leaves(error4(CUT))),
    stopped("of an address that is not the VIP", error4(sent4(WEB, src="192.0.2.11"))),
    stopped("IPv6 of an address that is not the VIP", error6(sent6(TCP6, src="2001:db8::11"))),
    stopped("23 bytes quoted: a port is missing", error4(CUT[:23])),
    stopped(
        "a quote that ends before the ports, and padding behind it",
        bytes(ether() / IP(src=ROUTER4, dst=V4, ttl=60, len=48) / ICMP(type=3) / CUT),
    ),
    stopped("nothing quoted", error4(b"")),
    stopped("a quoted header cut short", error4(CUT[:16])),
    stopped("a quoted header length below 5", error4(b"\x44" + CUT[1:])),
    stopped("options inside that hide the ports", error4(bytes(sent4(WEB, options=[IPOption_NOP()] * 40))[:60])),
    stopped("IPv6 quoted by an IPv4 error", error4(sent6(TCP6))),
    stopped("IPv4 quoted by an IPv6 error", error6(sent4(WEB))),
    stopped("a later fragment inside has no ports", error4(sent4(DNS, frag=5))),
    stopped("an error about an error", error4(sent4(ICMP(type=8)))),
    stopped("about SCTP", error4(sent4(Raw(b"x" * 20), proto=132))),
    stopped("IPv6 about ICMPv6", error6(sent6(ICMPv6EchoRequest()))),
    stopped("IPv6: a later fragment inside has no ports", error6(sent6(IPv6ExtHdrFragment(m=1, offset=1, nh=17) / DNS))),
    stopped("IPv6: the last fragment inside, likewise", error6(sent6(IPv6ExtHdrFragment(m=0, offset=179, nh=17) / DNS))),
    stopped("IPv6: a quoted fragment that ends before the ports", error6(Raw(bytes(sent6(IPv6ExtHdrFragment(m=1) / DNS))[:51]))),
    stopped("IPv6: a quoted fragment header cut short", error6(Raw(bytes(sent6(IPv6ExtHdrFragment(m=1) / DNS))[:46]))),
    stopped("IPv6: a first fragment of ICMPv6", error6(sent6(IPv6ExtHdrFragment(m=1) / ICMPv6EchoRequest()))),
    stopped("IPv6: other extension headers are not followed", error6(sent6(IPv6ExtHdrDestOpt() / DNS))),
    stopped("IPv6: nor others behind that of a fragment", error6(sent6(IPv6ExtHdrFragment(m=1) / IPv6ExtHdrDestOpt() / DNS))),
    stopped(
        "IPv6 quote cut before the ports",
        ether() / IPv6(src=ROUTER6, dst=V6) / ICMPv6PacketTooBig() / Raw(bytes(sent6(TCP6))[:43]),
    ),
    stopped("source quench", error4(sent4(WEB), 4, 0)),
    stopped("redirect", error4(sent4(WEB), 5, 1)),
    stopped("echo reply", ether() / IP(src=CLIENT4, dst=V4) / ICMP(type=0)),
    stopped("router advertisement", ether() / IP(src=CLIENT4, dst=V4) / ICMP(type=9)),
    stopped("timestamp request", ether() / IP(src=CLIENT4, dst=V4) / ICMP(type=13)),
    stopped("address mask request", ether() / IP(src=CLIENT4, dst=V4) / ICMP(type=17)),
    stopped("IPv6 echo reply", ether() / IPv6(src=CLIENT6, dst=V6) / ICMPv6EchoReply()),
    stopped("IPv6 type 0", ether() / IPv6(src=CLIENT6, dst=V6, nh=58) / Raw(bytes(8))),
    stopped(
        "IPv6 neighbour solicitation, to the VIP itself", ether() / IPv6(src=CLIENT6, dst=V6, nh=58) / Raw(b"\x87" + bytes(23))
    ),
    stopped("a ping with a code", ether() / IP(src=CLIENT4, dst=V4) / ICMP(type=8, code=1)),
    stopped("a ping in fragments", ether() / IP(src=CLIENT4, dst=V4, flags="MF") / ICMP(type=8) / Raw(b"x" * 24)),
    stopped("an error in fragments", ether() / IP(src=ROUTER4, dst=V4, flags="MF") / ICMP(type=3, code=4) / sent4(WEB)),
    stopped("a ping from everybody", ping4(V4, src="255.255.255.255")),
    stopped("a ping from a multicast group", ping4(V4, src="224.0.0.5")),
    stopped("a ping from nobody", ping4(V4, src="0.0.0.0")),
    stopped("a ping from itself", ping4(V4, src="127.0.0.1")),
    stopped("an IPv6 ping from nobody", ping6(V6, src="::")),
    stopped("an IPv6 ping from a multicast group", ping6(V6, src="ff02::1")),
    stopped("an IPv6 ping from ::1", ping6(V6, src="::1")),
    stopped("about a port that no service has", error4(sent4(TCP(sport=8080, dport=4))), "no_service"),
    stopped("about a service without a backend", error4(sent4(TCP(sport=81, dport=4))), "no_backend"),
    stopped("about a backend without a MAC", error4(sent4(TCP(sport=82, dport=4))), "no_next_hop"),
    stopped("with TTL 0", ether() / IP(src=ROUTER4, dst=V4, ttl=0) / ICMP(type=3, code=4) / sent4(WEB), "ttl_expired"),
    stopped("cut within the ICMP header", bytes(error4(b""))[:40], "malformed"),
    stopped(
        "too large for the tunnel: never an error about an error",
        error4(sent4(TCP(sport=83, dport=4)) / Raw(b"x" * 200)),
        "too_big",
    ),
    Row(
        "an answered IPv6 ping of a host whose address begins and ends with zeros",
        ping6(V6, src="::4000:200:0:0"),
        "tx_echo_reply",
        answered(ether(), IPv6(src=V6, dst="::4000:200:0:0", hlim=64) / ICMPv6EchoReply(id=1, seq=2, data=b"ping!")),
    ),
    Row(
        "an answered IPv6 ping behind an extension header",
        ether() / IPv6(src=CLIENT6, dst=V6, hlim=9) / IPv6ExtHdrDestOpt() / ICMPv6EchoRequest(id=1),
        "tx_echo_reply",
        answered(ether(), IPv6(src=V6, dst=CLIENT6, hlim=64) / IPv6ExtHdrDestOpt() / ICMPv6EchoReply(id=1)),
    ),
    Row(
        "an answered ping with options",
        ether() / IP(src=CLIENT4, dst=V4, ttl=9, options=[IPOption_NOP()] * 4) / ICMP(id=1),
        "tx_echo_reply",
        answered(ether(), IP(src=V4, dst=CLIENT4, ttl=64, options=[IPOption_NOP()] * 4) / ICMP(type=0, id=1)),
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


def test_error_follows_its_flow(rig: Rig) -> None:
    """An error goes to the backend of its flow: without a flow entry to the slot of the reversed tuple, which is the same one."""
    rig.forget()
    model = Model(WORLD)
    for sport in range(2000, 2040):
        error = bytes(error4(sent4(TCP(sport=90, dport=sport)), nexthopmtu=1400))
        flow = bytes(tcp4(V4, 90, "A", sport=sport))
        before, owner, after = (rig.send(frame)[0].frame[:6] for frame in (error, flow, error))
        assert before == owner == after == model.receive(flow, LO).frame[:6]


def test_error_follows_a_flow_that_has_moved_on(rig: Rig) -> None:
    """When slots change, errors stay with the flow's own backend."""
    rig.forget()
    flow, error = bytes(tcp4(V4, 90, "A", sport=3000)), bytes(error4(sent4(TCP(sport=90, dport=3000))))
    owner = rig.send(flow)[0].frame[:6]
    others = tuple(b.id for b in NINE if b.hop and b.hop.mac != owner)
    rig.adopt(replace(WORLD, services=(*WORLD.services[:-1], replace(MANY, slots=others))))

    assert rig.send(error)[0].frame[:6] == owner
    rig.adopt(WORLD)


def test_error_in_a_tunnel(rig: Rig) -> None:
    """An error is encapsulated like its flow, and counts as relayed."""
    rig.forget()
    outcome, action = rig.send(bytes(error4(sent4(TCP(sport=83, dport=4)))))

    assert (outcome.verdict, action) == ("tx_icmp_relayed", "tx")
    assert outcome.frame[14 + 9] == 47
