"""Answers to what cannot be served: `reject: unreachable` for unknown ports, `on-down: reset` for known flows; rate limits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.packet import Packet, Raw

from tests.bpf.model import Model
from tests.bpf.packets import CLIENT4, CLIENT6, ether, ping4, tcp4, tcp6, udp4, udp6
from tests.bpf.rig import Rig, own_object
from tests.bpf.table import L2, V4, V6, Row, Tunnel, answered, check, packed, quoted, service, tagged, world

SERVED = [service(1, V4, 80), service(2, V6, 80), service(3, V4, 53, "udp"), service(4, V4, 81, slots=())]
WORLD = world(*SERVED, reject=True)


def tcp(flags: str, seq: int = 1000, ack: int = 2000, data: bytes = b"", **more: object) -> Packet:
    return (
        ether() / IP(src=CLIENT4, dst=V4, ttl=9, id=7) / TCP(sport=9, dport=99, flags=flags, seq=seq, ack=ack, **more) / Raw(data)
    )


def tcp_v6(flags: str, seq: int = 1000, ack: int = 2000, data: bytes = b"") -> Packet:
    return ether() / IPv6(src=CLIENT6, dst=V6, hlim=9) / TCP(sport=9, dport=99, flags=flags, seq=seq, ack=ack) / Raw(data)


def reset(claim: str, packet: Packet | bytes, flags: str, seq: int, ack: int, like: Packet | None = None) -> Row:
    """The RST: from the VIP, TTL 64, no options, window 0."""
    question = like if like is not None else packet
    assert isinstance(question, Packet)
    asked = question[TCP]
    rst = TCP(sport=asked.dport, dport=asked.sport, flags=flags, seq=seq, ack=ack, window=0)
    ip: Packet = IPv6(src=V6, dst=CLIENT6, hlim=64) if IPv6 in question else IP(src=V4, dst=CLIENT4, ttl=64, id=0, flags="DF")
    return Row(claim, packet, "tx_reset", answered(question, ip / rst))


def unreachable(claim: str, packet: Packet) -> Row:
    if IPv6 in packet:
        reply: Packet = IPv6(src=V6, dst=CLIENT6, hlim=64) / ICMPv6DestUnreach(code=4) / quoted(packet)
    else:
        reply = IP(src=V4, dst=CLIENT4, ttl=64, id=0, flags="DF") / ICMP(type=3, code=3) / quoted(packet)
    return Row(claim, packet, "tx_unreachable", answered(packet, reply))


def silent(claim: str, packet: Packet | bytes, why: str = "no_service") -> Row:
    return Row(claim, packet, f"drop_{why}")


REJECTED = [
    reset("a SYN to an unknown port: RST+ACK of the next number", tcp("S"), "RA", 0, 1001),
    reset("a SYN with data", tcp("S", data=b"abc"), "RA", 0, 1004),
    reset("a SYN with options", tcp("S", options=[("MSS", 1460), ("SAckOK", b"")]), "RA", 0, 1001),
    reset("the last sequence number wraps", tcp("S", seq=0xFFFFFFFF), "RA", 0, 0),
    reset("a bare FIN counts as one", tcp("F"), "RA", 0, 1001),
    reset("SYN and FIN count as two", tcp("SF"), "RA", 0, 1002),
    reset("no flag at all", tcp("", data=b"xy"), "RA", 0, 1002),
    reset("an ACK: RST of its acknowledgement number", tcp("A"), "R", 2000, 0),
    reset("data with ACK", tcp("PA", data=b"x" * 100), "R", 2000, 0),
    reset("a FIN with ACK", tcp("FA"), "R", 2000, 0),
    reset("a SYN with ACK", tcp("SA"), "R", 2000, 0),
    reset("an ACK of 0", tcp("A", ack=0), "R", 0, 0),
    reset("a full-sized segment", tcp("A", data=b"x" * 1460), "R", 2000, 0),
    reset("a padded SYN: padding is no data", bytes(tcp("S")) + b"\0" * 6, "RA", 0, 1001, tcp("S")),
    reset("a tagged SYN keeps its tag", tagged(tcp("S"), 10, 5, 1), "RA", 0, 1001),
    reset(
        "a SYN behind IP options",
        ether() / IP(src=CLIENT4, dst=V4, options=[IPOption_NOP()] * 8) / TCP(dport=9, seq=5),
        "RA",
        0,
        6,
    ),
    reset("an IPv6 SYN", tcp_v6("S"), "RA", 0, 1001),
    reset("an IPv6 SYN with data", tcp_v6("S", data=b"abc"), "RA", 0, 1004),
    reset("an IPv6 ACK", tcp_v6("A"), "R", 2000, 0),
    reset("an IPv6 FIN with ACK and data", tcp_v6("FA", data=b"abc"), "R", 2000, 0),
    reset("a tagged IPv6 SYN", tagged(tcp_v6("S"), 10), "RA", 0, 1001),
    reset(
        "an IPv6 SYN behind an extension header",
        ether() / IPv6(src=CLIENT6, dst=V6) / IPv6ExtHdrDestOpt() / TCP(dport=9, seq=5),
        "RA",
        0,
        6,
    ),
    unreachable("a datagram to an unknown port", udp4(V4, 99)),
    unreachable("an empty datagram", udp4(V4, 99, data=b"")),
    unreachable("a datagram that just fits 576 bytes with the error before it", udp4(V4, 99, data=b"x" * 520)),
    unreachable("one byte of a datagram is left out", udp4(V4, 99, data=b"x" * 521)),
    unreachable("of a large datagram 548 bytes are quoted", udp4(V4, 99, data=b"x" * 1400)),
    unreachable("a datagram to port 0", udp4(V4, 0)),
    unreachable("a tagged datagram", tagged(udp4(V4, 99), 10, 3)),
    unreachable("an IPv6 datagram", udp6(V6, 99)),
    unreachable("an IPv6 datagram that just fits 1,280 bytes", udp6(V6, 99, data=b"x" * 1184)),
    unreachable("one byte of an IPv6 datagram is left out", udp6(V6, 99, data=b"x" * 1185)),
    unreachable("of a large IPv6 datagram 1,232 bytes are quoted", udp6(V6, 99, data=b"x" * 1400)),
    unreachable("an IPv6 datagram of odd length", udp6(V6, 99, data=b"x" * 101)),
    unreachable("a large tagged IPv6 datagram", tagged(udp6(V6, 99, data=b"x" * 1400), 10)),
    unreachable(
        "a datagram with options is quoted with them",
        ether() / IP(src=CLIENT4, dst=V4, options=[IPOption_NOP()] * 4) / UDP(dport=9),
    ),
    unreachable(
        "an IPv6 datagram with its extension header", ether() / IPv6(src=CLIENT6, dst=V6) / IPv6ExtHdrDestOpt() / UDP(dport=9)
    ),
    unreachable(
        "an IPv6 first fragment",
        ether() / IPv6(src=CLIENT6, dst=V6) / IPv6ExtHdrFragment(m=1, id=88) / UDP(dport=9) / Raw(b"x" * 16),
    ),
    unreachable("a tagged IPv6 datagram", tagged(udp6(V6, 99), 10)),
    unreachable(
        "a first fragment", ether() / IP(src=CLIENT4, dst=V4, flags="MF", id=77) / UDP(sport=9, dport=99, len=99) / Raw(b"x" * 24)
    ),
    silent("a RST is never answered", tcp("R")),
    silent("nor one with ACK", tcp("RA")),
    silent("nor an IPv6 one", tcp_v6("R")),
    silent("a data offset below 5", tcp("S", dataofs=4), "malformed"),
    silent("a data offset beyond the segment", tcp("S", dataofs=6), "malformed"),
    silent("a data offset of 0 with ACK", tcp("A", dataofs=0), "malformed"),
    silent("a later fragment", ether() / IP(src=CLIENT4, dst=V4, frag=9, proto=17) / Raw(b"x" * 24), "fragment"),
    silent("an unknown protocol", ether() / IP(src=CLIENT4, dst=V4, proto=132) / Raw(b"x" * 24), "unsupported_protocol"),
    silent("a SYN from everybody", tcp4(V4, 99, src="255.255.255.255")),
    silent("a SYN from a multicast group", tcp4(V4, 99, src="224.0.0.1")),
    silent("a SYN from nobody", tcp4(V4, 99, src="0.0.0.0")),
    silent("a datagram from 127.0.0.1", udp4(V4, 99, src="127.0.0.1")),
    silent("an IPv6 SYN from nobody", tcp6(V6, 99, src="::")),
    silent("an IPv6 datagram from a multicast group", udp6(V6, 99, src="ff02::1")),
    silent("a service without a backend is known", tcp4(V4, 81), "no_backend"),
]


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig(own_object(), WORLD) as made:
        yield made


@pytest.mark.parametrize("row", REJECTED, ids=str)
def test_rejected(rig: Rig, row: Row) -> None:
    """A VIP with `reject: unreachable` answers for ports that no service has."""
    check(rig, WORLD, row)


@pytest.mark.parametrize("packet", [tcp("S"), tcp("A"), udp4(V4, 99), tcp_v6("S"), udp6(V6, 99)], ids=str)
def test_dropped_by_default(rig: Rig, packet: Packet) -> None:
    """A VIP with `reject: drop` says nothing."""
    rig.adopt(world(*SERVED))
    assert rig.send(bytes(packet))[0].verdict == "drop_no_service"
    rig.adopt(WORLD)


UP = world(service(1, V4, 80), service(2, V6, 80), service(3, V4, 53, "udp"))
DOWN = world(
    service(1, V4, 80, state="reset", slots=(4,)),
    service(2, V6, 80, state="reset", slots=()),
    service(3, V4, 53, "udp", state="reset", slots=()),
    replace(service(4, V4, 80), port=80, vip=packed("192.0.2.11")),
)
SECOND = service(4, V4, 80)
DOWN = world(*[replace(s, backends=(*s.backends, *SECOND.backends)) if s.slots == (4,) else s for s in DOWN.services[:3]])
KNOWN4, KNOWN6 = tcp4(V4, 80, "A", sport=5), tcp6(V6, 80, "A", sport=5)

DOWNED = [
    ("an ACK is answered with RST", KNOWN4, KNOWN4, "tx_reset"),
    ("data too", KNOWN4, tcp4(V4, 80, "PA", sport=5, data=b"x"), "tx_reset"),
    ("a FIN too", KNOWN4, tcp4(V4, 80, "FA", sport=5), "tx_reset"),
    ("IPv6 too", KNOWN6, KNOWN6, "tx_reset"),
    ("a segment without ACK too", KNOWN4, tcp4(V4, 80, "P", sport=5), "tx_reset"),
    ("never a SYN: it is a new connection, elsewhere", KNOWN4, tcp4(V4, 80, "S", sport=5), "tx_forwarded"),
    ("never a RST", KNOWN4, tcp4(V4, 80, "R", sport=5), "tx_forwarded"),
    ("an unknown flow goes to another backend", KNOWN4, tcp4(V4, 80, "A", sport=6), "tx_forwarded"),
    ("an IPv6 SYN, where no backend is left", KNOWN6, tcp6(V6, 80, "S", sport=5), "drop_no_backend"),
    ("a datagram has no RST", udp4(V4, 53, sport=5), udp4(V4, 53, sport=5), "drop_no_backend"),
]


@pytest.mark.parametrize(("claim", "before", "packet", "verdict"), DOWNED, ids=[d[0] for d in DOWNED])
def test_on_down_reset(rig: Rig, claim: str, before: Packet, packet: Packet, verdict: str) -> None:
    """Known flows of a backend that is down with `on-down: reset`, as program and model both have it."""
    rig.forget()
    rig.adopt(UP)
    model = Model(UP)
    assert rig.send(bytes(before))[0] == model.receive(bytes(before), 1)
    rig.adopt(DOWN)
    model.adopt(DOWN)

    got, expected = rig.send(bytes(packet))[0], model.receive(bytes(packet), 1)

    assert got.verdict == verdict
    assert got == expected
    rig.adopt(WORLD)


def test_challenge_acks_are_answered_again(rig: Rig) -> None:
    """RFC 5961: a client that challenges our RST is answered each time, with the number that it then accepts."""
    rig.forget()
    rig.adopt(UP)
    rig.send(bytes(KNOWN4))
    rig.adopt(DOWN)

    for number in (2, 77, 78, 79):
        challenge = tcp4(V4, 80, "A", sport=5)
        challenge[TCP].ack = number
        out = rig.send(bytes(challenge))[0]
        assert out.verdict == "tx_reset"
        assert TCP(out.frame[34:]).seq == number
    rig.adopt(WORLD)


def test_each_flow_has_three_resets(rig: Rig) -> None:
    """Whatever others use up, three packets of each known flow are answered; the fourth only as the rate limit allows."""
    rig.forget()
    rig.adopt(UP)
    flows = [tcp4(V4, 80, "A", sport=port) for port in range(5, 25)] + [tcp6(V6, 80, "A", sport=port) for port in range(5, 25)]
    for packet in flows:
        rig.send(bytes(packet))
    rig.adopt(DOWN)
    rig.use_up("LIMIT_RESET")
    rig.use_up("LIMIT_REJECT")

    for expected in ("tx_reset", "tx_reset", "tx_reset", "drop_rate_limited", "drop_rate_limited"):
        assert {rig.send(bytes(packet))[0].verdict for packet in flows} == {expected}
    rig.adopt(WORLD)


def test_the_rate_is_left_to_those_who_had_three() -> None:
    """The first three answers of a flow use up nothing of the rate, which is a CPU's."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        with Rig(own_object(), UP, limits=(0, 0, 2, 0)) as small:
            small.send(bytes(KNOWN4))
            small.adopt(DOWN)
            seen = [small.send(bytes(KNOWN4))[0].verdict for _ in range(7)]
    finally:
        os.sched_setaffinity(0, before)

    assert seen == ["tx_reset"] * 5 + ["drop_rate_limited"] * 2


def test_a_flow_that_was_reset_is_closing(rig: Rig) -> None:
    """When its backend is back, a SYN on it chooses afresh, as program and model both have it."""
    rig.forget()
    rig.adopt(UP)
    model = Model(UP)
    back = world(replace(service(1, V4, 80), slots=(4,), backends=(*UP.services[0].backends, *SECOND.backends)), *UP.services[1:])
    for now, packet in ((UP, KNOWN4), (DOWN, KNOWN4), (back, KNOWN4), (back, tcp4(V4, 80, "S", sport=5)), (back, KNOWN4)):
        rig.adopt(now)
        model.adopt(now)
        assert rig.send(bytes(packet))[0] == model.receive(bytes(packet), 1)
    assert rig.counts() == model.counts
    assert model.counts[4] == [2, 80, 1]
    rig.adopt(WORLD)


TUNNEL = replace(L2, mtu=500, tunnel=Tunnel("ipip", packed("10.1.0.1"), packed("10.1.0.11")))
LIMITED = [
    ("LIMIT_ECHO", ping4(V4), "tx_echo_reply"),
    ("LIMIT_REJECT", tcp("S"), "tx_reset"),
    ("LIMIT_REJECT", udp4(V4, 99), "tx_unreachable"),
    ("LIMIT_REJECT", udp6(V6, 99), "tx_unreachable"),
    ("LIMIT_TOO_BIG", tcp6(V6, 82, "A", data=b"x" * 800), "tx_too_big"),
]


@pytest.mark.parametrize(("kind", "packet", "verdict"), LIMITED, ids=[f"{kind}, {verdict}" for kind, _, verdict in LIMITED])
def test_answers_are_limited(rig: Rig, kind: str, packet: Packet, verdict: str) -> None:
    """Each kind of answer has a rate of its own; beyond it the packet is dropped and counted as that."""
    rig.forget()
    rig.adopt(world(*SERVED, service(9, V6, 82, hop=TUNNEL), reject=True))
    assert rig.send(bytes(packet))[0].verdict == verdict
    rig.use_up(kind)

    assert rig.send(bytes(packet))[0].verdict == "drop_rate_limited"
    rig.forget()
    for other in {"LIMIT_ECHO", "LIMIT_REJECT", "LIMIT_TOO_BIG", "LIMIT_RESET"} - {kind}:
        rig.use_up(other)
    assert rig.send(bytes(packet))[0].verdict == verdict, "what others use up is not this one's"
    rig.adopt(WORLD)
