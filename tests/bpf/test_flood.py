"""A flood of ten times the flow table's size, of any kind, takes no confirmed flow's entry away."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from scapy.packet import Packet

from bench.wrapper import Pick, Wrapper
from fairlead.model import Op, Store
from tests.bpf.flowtable import STATES, FlowTable, Word
from tests.bpf.packets import tcp4, udp4
from tests.bpf.plane import Plane, backend_mac

VIP = "192.0.2.10"
FLOWS = range(20000, 21000)
BLANK = "0.0.0.0"


def text(servers: str) -> str:
    return f"""
address: 10.1.0.1
services: [{{virtual: {VIP}, servers: [{servers}], policy: {{80/tcp*: , 53/udp*: }}}}]
"""


@pytest.fixture(autouse=True)
def one_cpu() -> Iterator[None]:
    """The wrapper keeps its parameters by CPU."""
    all_of_them = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(all_of_them)})
    yield
    os.sched_setaffinity(0, all_of_them)


@pytest.fixture
def plane(bpffs: str) -> Iterator[Plane]:
    with Plane(bpffs, text("10.1.0.11, 10.1.0.12, 10.1.0.13")) as made:
        yield made


def live(sport: int) -> Packet:
    """A packet of a live connection: TCP for even ports, UDP for odd ones."""
    return udp4(VIP, 53, sport=sport) if sport % 2 else tcp4(VIP, 80, "A", sport=sport)


def where(plane: Plane) -> dict[int, bytes]:
    """The backend's MAC of every live flow."""
    return {sport: plane.send(live(sport)).frame[:6] for sport in FLOWS}


def confirm_all(plane: Plane) -> None:
    """Make every entry there is a tick older, so that the flow's next packet confirms it."""
    words = memoryview(bytearray(plane.kernel.view("flows"))).cast("Q")
    for i, number in enumerate(words):
        if number:
            word = Word.of(number)
            words[i] = int(Word(word.tag, word.destination, (word.seen - 1) & 0xFF, word.state))
    plane.kernel.apply(Op("age all flows", (Store("flows", 0, bytes(words)),)))


FLOODS = {
    "SYN": tcp4(VIP, 80, "S", src=BLANK, sport=0),
    "ACK": tcp4(VIP, 80, "A", src=BLANK, sport=0),
    "SYN+ACK": tcp4(VIP, 80, "SA", src=BLANK, sport=0),
    "RST": tcp4(VIP, 80, "R", src=BLANK, sport=0),
    "UDP": udp4(VIP, 53, src=BLANK, sport=0),
}


def test_no_flood_evicts_a_confirmed_flow(plane: Plane) -> None:
    """1,000 live flows keep their backends through five floods, though their Maglev slots have gone elsewhere."""
    before = where(plane)
    confirm_all(plane)
    assert where(plane) == before
    table = FlowTable(plane)
    assert {word.state for s in FLOWS if (word := table.find(live(s)))} == {STATES[2], STATES[3]}
    plane.configure(text("10.1.0.11, 10.1.0.12, 10.1.0.13, 10.1.0.14, 10.1.0.15, 10.1.0.16"))
    words = plane.kernel.geometry.buckets * 8

    for name, packet in FLOODS.items():
        with Wrapper(plane.kernel.program("balancer"), v6=False) as wrapper:
            wrapper.run(bytes(packet), 10 * words // len(FLOODS), Pick.NEXT, seed=len(name) << 32)

        assert where(plane) == before, f"after the {name} flood"

    new = {backend_mac(a) for a in plane.paths} - set(before.values())
    fresh = {plane.send(tcp4(VIP, 80, "S", sport=s)).frame[:6] for s in range(30000, 30300)}
    assert fresh & new, "new connections do reach the new backends"
