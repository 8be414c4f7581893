"""Which backend: every port of a protocol, sticky services, untracked ones, and what a backend's state does to its flows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from scapy.packet import Packet

from tests.bpf.model import Backend, Hop, Model, Service, World
from tests.bpf.packets import tcp4, tcp6, udp4, udp6
from tests.bpf.rig import LO, Rig, own_object
from tests.bpf.table import L2, OWN, V4, V6, Row, check, leaves, packed, service, tagged, world

TEN = tuple(Backend(100 + n, Hop(bytes.fromhex("0200be0001") + bytes([n]), OWN, LO)) for n in range(10))
SLOTS = tuple(b.id for b in TEN) * 25
OTHER = replace(L2, mac=bytes.fromhex("0200be000022"))
WORLD = world(
    service(1, V4, 0),
    service(2, V4, 80, hop=OTHER),
    service(3, V4, 0, "udp", ttl="decrement"),
    service(4, V6, 0),
    service(5, V6, 53, "udp"),
    service(6, V4, 81, slots=()),
    service(7, V4, 82, hop=None),
)


def elsewhere(packet: Packet) -> bytes:
    return OTHER.mac + leaves(packet)[6:]


ROWS = [
    Row("a port of a service of every port", tcp4(V4, 1234), "tx_forwarded", leaves(tcp4(V4, 1234))),
    Row("the lowest port", tcp4(V4, 1), "tx_forwarded", leaves(tcp4(V4, 1))),
    Row("port 0 is a port", tcp4(V4, 0), "tx_forwarded", leaves(tcp4(V4, 0))),
    Row("the highest port", tcp4(V4, 65535), "tx_forwarded", leaves(tcp4(V4, 65535))),
    Row("an exact port goes first", tcp4(V4, 80), "tx_forwarded", elsewhere(tcp4(V4, 80))),
    Row("an exact port whose pool is empty is not handed on", tcp4(V4, 81), "drop_no_backend"),
    Row("an exact port whose backend has no MAC, neither", tcp4(V4, 82), "drop_no_next_hop"),
    Row("every port of UDP is another service", udp4(V4, 1234), "tx_forwarded", leaves(udp4(V4, 1234), 59)),
    Row("a TCP service's exact port is any port of UDP", udp4(V4, 80), "tx_forwarded", leaves(udp4(V4, 80), 59)),
    Row("every port of an IPv6 VIP", tcp6(V6, 999), "tx_forwarded", leaves(tcp6(V6, 999))),
    Row("every port of TCP is no port of UDP", udp6(V6, 999), "drop_no_service"),
    Row("an exact UDP port besides", udp6(V6, 53), "tx_forwarded", leaves(udp6(V6, 53))),
    Row("a tagged packet to any port", tagged(tcp4(V4, 7), 10), "tx_forwarded", leaves(tcp4(V4, 7))),
    Row("an ACK follows its SYN", [tcp4(V4, 7), tcp4(V4, 7, "A")], "tx_forwarded", leaves(tcp4(V4, 7, "A"))),
]


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig(own_object(), WORLD) as made:
        yield made
        made.adopt(WORLD)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_row(rig: Rig, row: Row) -> None:
    """Each row's last frame meets its verdict and leaves as the exact bytes."""
    rig.adopt(WORLD)
    check(rig, WORLD, row)


class Pair:
    """Program and model side by side: `to` is the last byte of the backend's MAC, and both must say the same."""

    def __init__(self, rig: Rig, made: World) -> None:
        self.rig, self.model = rig, Model(made)
        rig.forget()
        rig.adopt(made)

    def adopt(self, made: World) -> None:
        self.rig.adopt(made)
        self.model.adopt(made)

    def to(self, packet: Packet) -> int:
        got, expected = self.rig.send(bytes(packet))[0], self.model.receive(bytes(packet), LO)
        assert got == expected
        assert got.verdict == "tx_forwarded"
        return got.frame[5]

    def verdict(self, packet: Packet) -> str:
        got, expected = self.rig.send(bytes(packet))[0], self.model.receive(bytes(packet), LO)
        assert got.verdict == expected.verdict
        return got.verdict


def many(
    port: int = 80, protocol: int = 6, backends: tuple[Backend, ...] = TEN, slots: tuple[int, ...] = SLOTS, **more: bool
) -> Service:
    return Service(packed(V4), port, protocol, slots, backends, **more)


def with_state(state: str) -> Service:
    """Backend 0 in this state and out of the slots."""
    backends = (replace(TEN[0], state=state), *TEN[1:])
    return many(backends=backends, slots=tuple(b.id for b in TEN[1:]) * 25)


def test_flows_spread(rig: Rig) -> None:
    """A service's flows go to all of its backends, by all of the tuple."""
    pair = Pair(rig, world(many()))

    assert {pair.to(tcp4(V4, 80, sport=n)) for n in range(1, 200)} == set(range(10))


def test_sticky(rig: Rig) -> None:
    """With `sticky` a client's flows all go to one backend, and clients spread."""
    pair = Pair(rig, world(many(sticky=True)))

    assert len({pair.to(tcp4(V4, 80, sport=n)) for n in range(1, 60)}) == 1
    assert len({pair.to(tcp4(V4, 80, src=f"198.18.2.{n}")) for n in range(1, 100)}) == 10


def test_sticky_across_ports(rig: Rig) -> None:
    """Two services with the same backends and `sticky` agree on a client's backend."""
    again = tuple(replace(b, id=b.id + 50) for b in TEN)
    pair = Pair(rig, world(many(sticky=True), many(443, backends=again, slots=tuple(b.id for b in again) * 25, sticky=True)))

    for n in range(1, 40):
        assert pair.to(tcp4(V4, 80, src=f"198.18.2.{n}")) == pair.to(tcp4(V4, 443, src=f"198.18.2.{n}"))


def to_first(pair: Pair) -> Packet:
    """A packet whose flow backend 0 has; the flow is known from now on."""
    return next(p for p in (tcp4(V4, 80, "A", sport=n) for n in range(1, 400)) if pair.to(p) == 0)


def test_untracked(rig: Rig) -> None:
    """`track: false` makes no flow entries: every packet takes its slot, as it is now."""
    pair = Pair(rig, world(many(track=False)))
    packet = to_first(pair)
    pair.adopt(world(replace(with_state("drain"), track=False)))

    assert pair.to(packet) != 0
    assert all(cell[2] == 0 for cell in rig.counts().values())


@pytest.mark.parametrize("state", ["drain", "keep"])
def test_known_flows_stay(rig: Rig, state: str) -> None:
    """A backend that drains, or is down with `on-down: keep`, keeps its flows; a new connection goes elsewhere."""
    pair = Pair(rig, world(many()))
    packet = to_first(pair)
    pair.adopt(world(with_state(state)))

    assert pair.to(packet) == 0
    assert pair.to(tcp4(V4, 80, "S", sport=packet.sport)) != 0
    assert pair.to(packet) != 0, "that SYN was a new connection, and the flow is its now"


@pytest.mark.parametrize("state", ["move", "gone"])
def test_known_flows_move(rig: Rig, state: str) -> None:
    """A backend that is down with `on-down: move`, or gone from the configuration, loses its flows to others, for good."""
    pair = Pair(rig, world(many()))
    packet = to_first(pair)
    pair.adopt(world(with_state(state)))
    moved = pair.to(packet)
    pair.adopt(world(many()))

    assert moved != 0
    assert pair.to(packet) == moved


def test_syn_does_not_move_a_live_flow(rig: Rig) -> None:
    """A SYN on a live flow stays with it, whatever the slots say now: it may be forged."""
    pair = Pair(rig, world(many()))
    packet = to_first(pair)
    pair.adopt(world(many(slots=tuple(b.id for b in TEN[1:]) * 25)))

    assert pair.to(tcp4(V4, 80, "S", sport=packet.sport)) == 0
    assert pair.to(packet) == 0


@pytest.mark.parametrize("end", ["FA", "R", "RA", "F"])
def test_syn_after_the_end_is_new(rig: Rig, end: str) -> None:
    """After a FIN or RST packets still follow the flow, but a SYN takes the slot."""
    pair = Pair(rig, world(many()))
    packet = to_first(pair)
    pair.adopt(world(many(slots=tuple(b.id for b in TEN[1:]) * 25)))

    assert pair.to(tcp4(V4, 80, end, sport=packet.sport)) == 0
    assert pair.to(packet) == 0
    assert pair.to(tcp4(V4, 80, "S", sport=packet.sport)) != 0


def test_new_exact_port_leaves_known_flows(rig: Rig) -> None:
    """A service for one port, added beside a service of every port, takes new flows and leaves the others where they are."""
    every = many(0)
    pair = Pair(rig, world(every))
    known = tcp4(V4, 80, "A", sport=77)
    before = pair.to(known)
    pair.adopt(world(every, service(1, V4, 80, hop=OTHER)))

    assert pair.to(known) == before
    assert pair.to(tcp4(V4, 80, sport=78)) == OTHER.mac[5]


def test_no_slots_but_flows(rig: Rig) -> None:
    """When the last backend drains, its flows go on and new ones are dropped."""
    pair = Pair(rig, world(service(1, V4, 80)))
    known = tcp4(V4, 80, "A")
    pair.to(known)
    pair.adopt(world(service(1, V4, 80, state="drain", slots=())))

    assert pair.to(known) == 0x11
    assert pair.verdict(tcp4(V4, 80, sport=9)) == "drop_no_backend"
