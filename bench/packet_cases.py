"""Nanoseconds per packet: the program under the wrapper, less the bare wrapper, in pairs that alternate."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from subprocess import run as command

from scapy.packet import Packet

from bench.results import Figure
from bench.wrapper import Pick, Wrapper
from fairlead.model import Geometry
from tests.bpf.packets import tcp4, tcp6, udp4, udp6
from tests.bpf.plane import Plane

BACKENDS4 = ", ".join(f"10.1.0.{i}" for i in range(11, 21))
BACKENDS6 = ", ".join(f'"fd00::{i}"' for i in range(11, 21))
OTHERS = "\n".join(f"  - {{virtual: 198.51.100.{i}, servers: [10.1.0.11], policy: {{80/tcp*: }}}}" for i in range(1, 101))
CONFIG = f"""
address: 10.1.0.1
services:
  - {{virtual: 192.0.2.1, servers: [{BACKENDS4}], policy: {{80/tcp*: , 53/udp*: }}}}
  - {{virtual: "2001:db8::1", servers: [{BACKENDS6}], policy: {{80/tcp*: , 53/udp*: }}}}
{OTHERS}
"""
V4, V6 = "192.0.2.1", "2001:db8::1"
BLANK4, BLANK6 = "0.0.0.0", "2001:db8:1::"
MILLION = (1 << 20) - 1


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table. `warm`: how many million new flows are sent before, so that the table is as full as it gets."""

    name: str
    packet: Packet
    pick: Pick
    mask: int
    goal: float
    must: float
    verdict: str = "forwarded"
    warm: int = 0

    @property
    def v6(self) -> bool:
        """Whether the frame carries IPv6."""
        return bytes(self.packet)[12:14] == b"\x86\xdd"


def ack4(dst: str, flags: str = "A") -> Packet:
    return tcp4(dst, 80, flags, src=BLANK4, sport=0)


CASES = (
    Case("L2, TCP, IPv4, established", ack4(V4), Pick.SAME, 5, 15, 30),
    Case("L2, UDP, IPv4, established", udp4(V4, 53, src=BLANK4, sport=0), Pick.SAME, 5, 15, 30),
    Case("L2, TCP, IPv6, established", tcp6(V6, 80, "A", src=BLANK6, sport=0), Pick.SAME, 5, 17, 30),
    Case("L2, UDP, IPv6, established", udp6(V6, 53, src=BLANK6, sport=0), Pick.SAME, 5, 17, 30),
    Case("not for a VIP, IPv4", ack4("192.0.2.77"), Pick.SAME, 5, 5, 15, "not_a_vip"),
    Case("not for a VIP, IPv6", tcp6("2001:db8::77", 80, "A", src=BLANK6, sport=0), Pick.SAME, 5, 5, 15, "not_a_vip"),
    Case("1 k flows, random", ack4(V4), Pick.RANDOM, 1023, 0, 0, warm=1),
    Case("64 k flows, random", ack4(V4), Pick.RANDOM, 65535, 0, 0, warm=1),
    Case("1 M flows, random", ack4(V4), Pick.RANDOM, MILLION, 110, 200, warm=1),
    Case("new flow (SYN), table full", ack4(V4, "S"), Pick.NEXT, 0, 120, 220, warm=20),
    Case("new flow (UDP), table full", udp4(V4, 53, src=BLANK4, sport=0), Pick.NEXT, 0, 120, 220, warm=1),
)


@contextmanager
def bench_plane() -> Iterator[Plane]:
    """A plane with the default geometry: 8.4 million flow words."""
    with tempfile.TemporaryDirectory() as directory:
        command(["mount", "-t", "bpf", "fairlead-bench", directory], check=True)
        try:
            with Plane(f"{directory}/fairlead", CONFIG, Geometry()) as plane:
                yield plane
        finally:
            command(["umount", "-l", directory], check=True)


def warm(wrapper: Wrapper, frame: bytes, case: Case) -> None:
    """Fill the table, and visit every flow of a working set often enough that all have their entry."""
    for i in range(case.warm):
        wrapper.run(frame, 1 << 20, Pick.NEXT, seed=i << 20)
    if case.pick is Pick.RANDOM:
        wrapper.run(frame, 1 << 20, Pick.RANDOM, case.mask)


def measure(plane: Plane, case: Case, packets: int, runs: int) -> Figure:
    """Medians of `runs` pairs. The verdict's counter proves that every packet took the path the case is named for."""
    frame, number = bytes(case.packet), next(v for v, name in plane.names.items() if name == case.verdict)
    floors, nets = [], []
    with Wrapper(None, v6=case.v6) as bare, Wrapper(plane.kernel.program("balancer"), v6=case.v6) as wrapper:
        warm(wrapper, frame, case)
        before, sent = plane.kernel.verdicts().get(number, (0, 0))[0], 0
        for i in range(runs):
            floor = bare.run(frame, packets, case.pick, case.mask, seed=i)
            gross = wrapper.run(frame, packets, case.pick, case.mask, seed=(1 << 40) + i * packets)
            sent += packets
            floors.append(floor.ns)
            nets.append(gross.ns - floor.ns)
        counted = plane.kernel.verdicts()[number][0] - before
    assert counted == sent, f"{case.name}: {counted} of {sent} packets were {case.verdict}"
    return Figure(case.name, "ns", statistics.median(nets), min(nets), max(nets), statistics.median(floors), case.goal, case.must)


def figures(packets: int, runs: int, only: str) -> Iterator[Figure]:
    """Every case whose name contains `only`."""
    with bench_plane() as plane:
        for case in CASES:
            if only in case.name:
                yield measure(plane, case, packets, runs)
