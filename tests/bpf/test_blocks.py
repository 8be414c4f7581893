"""Blocked sources and packets by source: what is dropped, what is counted, and which tables there are for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from scapy.packet import Packet

from fairlead._native import bpf
from fairlead.adapters.kernel import Kernel, rehearse
from fairlead.errors import Refused
from fairlead.model import Prefix
from tests.bpf.model import Model, World
from tests.bpf.packets import ping4, tcp4, tcp6, udp4
from tests.bpf.pinned import opened, pins
from tests.bpf.plane import Plane
from tests.bpf.rig import LO, C, Rig, mapped, own_object, vip_bit
from tests.bpf.table import V4, V6, Row, check, leaves, packed, service, tagged, world
from tests.bpf.test_fragments import later4

pytestmark = pytest.mark.root
TEXT = """
services:
  - {virtual: 192.0.2.10, servers: [10.1.0.11], policy: {80/tcp*: }}
  - {virtual: "2001:db8::10", servers: ["fd00::11"], policy: {80/tcp*: }}
"""
BLOCKED = frozenset(
    {
        (packed("198.18.1.0"), 24),
        (packed("198.18.1.7"), 32),
        (packed("10.0.0.0"), 8),
        (packed("2001:db8:1::"), 48),
        (packed("::"), 0),
    }
)
WORLD = replace(world(service(1, V4, 80), service(2, V6, 80)), blocked=BLOCKED)
OTHER4, OTHER6 = "203.0.113.1", "2001:db8:2::1"
SPARE = "192.0.2.77"

ROWS = [
    Row("a source in the prefix", tcp4(V4, 80, src="198.18.1.2"), "drop_blocked"),
    Row("its first address", tcp4(V4, 80, src="198.18.1.0"), "drop_blocked"),
    Row("its last address", tcp4(V4, 80, src="198.18.1.255"), "drop_blocked"),
    Row("the address after it", tcp4(V4, 80, src="198.18.2.0"), "tx_forwarded", leaves(tcp4(V4, 80, src="198.18.2.0"))),
    Row("one in a prefix within a prefix", tcp4(V4, 80, src="198.18.1.7"), "drop_blocked"),
    Row("a tagged frame", tagged(tcp4(V4, 80, src="10.9.9.9"), 7), "drop_blocked"),
    Row("IPv6, in the longer of two prefixes", tcp6(V6, 80, src="2001:db8:1::9"), "drop_blocked"),
    Row("IPv6, everybody", tcp6(V6, 80, src=OTHER6), "drop_blocked"),
    Row("everybody of IPv6 is nobody of IPv4", tcp4(V4, 80, src=OTHER4), "tx_forwarded", leaves(tcp4(V4, 80, src=OTHER4))),
    Row("a datagram to a port that no service has", udp4(V4, 9, src="10.0.0.1"), "drop_blocked"),
    Row("a ping", ping4(V4, src="10.0.0.1"), "drop_blocked"),
    Row("a later fragment", later4(9), "drop_blocked"),
    Row("a segment cut short", bytes(tcp4(V4, 80, src="10.0.0.1"))[:-1], "drop_blocked"),
    Row("a flow that it had before", [tcp4(V4, 80, src="10.0.0.1"), tcp4(V4, 80, "A", src="10.0.0.1")], "drop_blocked"),
    Row("what is not for a VIP", tcp4("192.0.2.99", 80, src="10.0.0.1"), "pass_not_a_vip"),
    Row("another's MAC", b"\xff" * 6 + bytes(tcp4(V4, 80, src="10.0.0.1"))[6:], "pass_not_mine"),
]


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig(own_object(), WORLD) as made:
        yield made


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_rows(rig: Rig, row: Row) -> None:
    """Each case meets its verdict, in the program and in the model."""
    check(rig, WORLD, row)


def test_a_vip_by_mistake_of_the_bitmap(rig: Rig) -> None:
    """An address that only shares its bit with a VIP belongs to the machine: its packets pass, whoever sends them."""
    rig.table("vips")[vip_bit(packed(SPARE)) >> 3] |= 1 << (vip_bit(packed(SPARE)) & 7)
    assert rig.send(bytes(tcp4(SPARE, 80, src="10.0.0.1")))[0].verdict == "pass_not_a_vip"
    rig.adopt(WORLD)


def test_a_family_that_is_not_asked_for() -> None:
    """With IPv4 prefixes only, IPv6 is not looked up, and the other way round."""
    only: World = replace(WORLD, blocked=frozenset({(packed("0.0.0.0"), 0)}))
    with Rig(own_object(), only) as made:
        model = Model(only)
        for packet in (tcp4(V4, 80), tcp6(V6, 80)):
            assert made.send(bytes(packet))[0] == model.receive(bytes(packet), LO)


def test_each_prefix_counts_what_it_drops() -> None:
    """Packets, and the lengths that their IP headers state."""
    with Rig(own_object(), WORLD) as made:
        for packet in (tcp4(V4, 80, src="10.0.0.1"), tcp4(V4, 80, src="10.0.0.2", data=b"x" * 100), tcp6(V6, 80, src=OTHER6)):
            made.send(bytes(packet))
        names = sorted(BLOCKED)
        found = dict(zip(names, made.blocked(), strict=False))
        plain = len(bytes(tcp4(V4, 80))) - 14
        assert found[packed("10.0.0.0"), 8] == (2, 2 * plain + 100)
        assert found[packed("::"), 0] == (1, len(bytes(tcp6(V6, 80))) - 14)
        assert sum(packets for packets, _ in found.values()) == 3


def put(kernel: Kernel, *prefixes: str, counted: bool = False) -> None:
    """These are wanted, and in effect."""
    kernel.sources.want([ip_network(prefix) for prefix in prefixes], counted=counted)
    if kernel.outdated():
        kernel.replace_programs()


def dropped(kernel: Kernel) -> dict[str, int]:
    return {str(prefix): packets for prefix, (packets, _) in kernel.sources.blocked().items()}


@contextmanager
def filled(bpffs: str) -> Iterator[Plane]:
    with Plane(bpffs, TEXT) as plane:
        yield plane


def beside(bpffs: str) -> set[str]:
    """Tables besides those that every data plane has."""
    return {name.rpartition("/")[2] for name in pins(bpffs)} & {"blocks", "blocked", "sources4", "sources6"}


def test_nothing_is_there_before_it_is_wanted(bpffs: str) -> None:
    """No table, and programs that do not ask: the first block and the last replace them, others in between do not."""
    with filled(bpffs) as plane:
        kernel = plane.kernel
        first = bpf.program_id(kernel.program("balancer"))
        assert beside(bpffs) == set()
        assert not kernel.outdated()
        put(kernel, "198.18.0.0/15")
        second = bpf.program_id(kernel.program("balancer"))
        assert second != first
        assert plane.send(tcp4(V4, 80)).verdict == "blocked"
        put(kernel, "198.18.0.0/15", "10.0.0.0/8")
        put(kernel, "10.0.0.0/8")
        assert bpf.program_id(kernel.program("balancer")) == second
        assert plane.send(tcp4(V4, 80)).verdict == "forwarded"
        put(kernel)
        assert bpf.program_id(kernel.program("balancer")) != second
        assert plane.send(tcp4(V4, 80, src="10.0.0.1")).verdict == "forwarded"


def test_a_row_begins_at_nothing(bpffs: str) -> None:
    """What a prefix has dropped is not charged to the one that gets its row."""
    with filled(bpffs) as plane:
        put(plane.kernel, "198.18.0.0/15")
        plane.send(tcp4(V4, 80))
        assert dropped(plane.kernel) == {"198.18.0.0/15": 1}
        put(plane.kernel, "10.0.0.0/8")
        assert dropped(plane.kernel) == {"10.0.0.0/8": 0}
        plane.send(tcp4(V4, 80, src="10.0.0.1"))
        put(plane.kernel, "10.0.0.0/8", "198.18.0.0/15")
        assert dropped(plane.kernel) == {"10.0.0.0/8": 1, "198.18.0.0/15": 0}


def test_blocks_are_adopted(bpffs: str) -> None:
    """The next process finds prefixes and counters, and its first generation asks for them before anybody says so."""
    with filled(bpffs) as plane:
        put(plane.kernel, "198.18.0.0/15", "2001:db8::/32", counted=True)
        plane.send(tcp4(V4, 80))
    with filled(bpffs) as plane:
        assert dropped(plane.kernel) == {"198.18.0.0/15": 1, "2001:db8::/32": 0}
        assert plane.send(tcp4(V4, 80)).verdict == "blocked"
        assert plane.send(tcp6(V6, 80)).verdict == "blocked"
        assert plane.kernel.sources.largest(5)[0] == [(ip_network("198.18.0.0/20"), 2)]
    rehearse(bpffs, plane.keys, 0xFA1)


def test_a_table_of_another_shape_is_made_anew(bpffs: str) -> None:
    """As another version might leave it."""
    kernel = opened(bpffs)
    put(kernel, "198.18.0.0/15")
    kernel.close()
    path = next(Path(bpffs).glob("tables-*")) / "blocks"
    path.unlink()
    made = bpf.map_create(bpf.MAP_LPM_TRIE, "blocks", 8, 4, 16, flags=bpf.NO_PREALLOC)
    bpf.pin(made, str(path))
    os.close(made)
    again = opened(bpffs)
    assert again.sources.blocked() == {}
    put(again, "198.18.0.0/15")
    assert dropped(again) == {"198.18.0.0/15": 0}
    again.close()


def test_as_many_as_there_is_room_for(bpffs: str) -> None:
    """All 16,384, of both families; one more is refused, and nothing has changed."""
    kernel = opened(bpffs)
    every: list[Prefix] = [ip_network((0x0B000000 + (n << 8), 24)) for n in range(C["BLOCKS_MOST"] - 1)]
    kernel.sources.want([*every, ip_network("2001:db8::/32")], counted=False)
    assert len(kernel.sources.blocked()) == C["BLOCKS_MOST"]
    with pytest.raises(Refused, match="16,385 prefixes: no more than 16,384"):
        kernel.sources.want([*every, ip_network("2001:db8::/32"), ip_network("10.0.0.0/8")], counted=False)
    assert len(kernel.sources.blocked()) == C["BLOCKS_MOST"]
    kernel.sources.want([], counted=False)
    assert kernel.sources.blocked() == {}
    kernel.close()


def test_packets_by_source(bpffs: str) -> None:
    """By /20 and /48, each packet for a VIP once, blocked or not, none that is not for one; and the tables go again."""
    packets: list[Packet] = [tcp4(V4, 80, src="198.18.1.2"), tcp4(V4, 80, src="198.18.15.255"), tcp4(V4, 80, src="198.18.16.0")]
    packets += [ping4(V4, src="255.255.255.254"), udp4(V4, 9, src="0.0.0.1"), tcp4("192.0.2.99", 80, src="9.9.9.9")]
    packets += [tcp6(V6, 80, src="2001:db8:5::1"), tcp6(V6, 80, src="2001:db8:5:9::1"), tcp6(V6, 80, src="2001:db8:6::1")]
    with filled(bpffs) as plane:
        put(plane.kernel, "198.18.1.2/32", counted=True)
        for packet in packets:
            plane.send(packet)
        ipv4, ipv6 = plane.kernel.sources.largest(10)
        assert {str(prefix): packets for prefix, packets in ipv4} == {
            "198.18.0.0/20": 2,
            "0.0.0.0/20": 1,
            "198.18.16.0/20": 1,
            "255.255.240.0/20": 1,
        }
        assert str(ipv4[0][0]) == "198.18.0.0/20", "most first"
        assert [(str(prefix), packets) for prefix, packets in ipv6] == [("2001:db8:5::/48", 2), ("2001:db8:6::/48", 1)]
        counts = (plane.kernel.sources.json() or b"")[1:-1].split(b",")
        assert len(counts) == 1 << 20
        assert (counts[0], counts[0xC6120], counts[0xFFFFF], counts[5]) == (b"1", b"2", b"1", b"0")
        put(plane.kernel, "198.18.1.2/32")
        assert plane.kernel.sources.json() is None
        assert plane.kernel.sources.largest(10) == ([], [])
        assert beside(bpffs) == {"blocks", "blocked"}
        sizes = plane.kernel.sizes()
        assert sizes["blocks"][0] == sizes["blocked"][0] // plane.kernel.geometry.cpus == C["BLOCKS_MOST"]
        assert "sources4" not in sizes
        assert plane.send(tcp4(V4, 80, src="198.18.1.2")).verdict == "blocked"


def test_more_ipv6_prefixes_than_there_is_room_for(bpffs: str) -> None:
    """Those seen last are kept; no packet is lost over it."""
    with filled(bpffs) as plane:
        put(plane.kernel, counted=True)
        frame = bytearray(bytes(tcp6(V6, 80)))
        program = plane.kernel.program("balancer")
        for n in range(C["SOURCES6"] + 5000):
            frame[24:28] = n.to_bytes(4, "big")
            bpf.test_run(program, bytes(frame))
        _, found = plane.kernel.sources.largest(1 << 20)
        assert C["SOURCES6"] // 2 < len(found) <= C["SOURCES6"]
        kept = {prefix.network_address.packed[2:6] for prefix, _ in found}
        assert (C["SOURCES6"] + 4999).to_bytes(4, "big") in kept


def test_mapped_is_not_ipv4(bpffs: str) -> None:
    """An IPv6 packet that says it comes from ::ffff:a.b.c.d is IPv6."""
    assert mapped(packed("10.0.0.1")) == packed("::ffff:10.0.0.1")
    with filled(bpffs) as plane:
        put(plane.kernel, "10.0.0.0/8", "2001:db8::/32")
        assert plane.send(tcp6(V6, 80, src="::ffff:10.0.0.1")).verdict == "forwarded"
