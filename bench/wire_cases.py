"""Millions of packets a second over a pair of veth: one core generates, balances and takes them in again."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address

from bench.packet_cases import bench_plane, prepare
from bench.results import Figure
from bench.scenes import BASIC, MILLION, PEER, SECOND, SECOND_MAC, V4, Scene, ack4, elsewhere, tunnel_vip, tunnels
from bench.wrapper import Pick, Wrapper
from fairlead._native import bpf
from fairlead.model import Link

NAME = "veth end to end, one core"


@dataclass(frozen=True, slots=True)
class Wire:
    """One row of the table."""

    name: str
    scene: Scene
    vip: str
    pick: Pick
    mask: int
    goal: float = 0
    must: float = 0


def wires() -> tuple[Wire, ...]:
    ipip = tunnels(), tunnel_vip("ipip", 4)
    return (
        Wire("L2, 1 flow", BASIC, V4, Pick.SAME, 5, 4.5, 4.0),
        Wire("L2, 1 M flows, random", BASIC, V4, Pick.RANDOM, MILLION),
        Wire("IPIP, 1 flow", *ipip, Pick.SAME, 5, 4.3, 3.8),
        Wire("IPIP, 1 M flows, random", *ipip, Pick.RANDOM, MILLION),
    )


def frame_to(vip: str) -> bytes:
    packet = ack4(vip)
    packet.dst = SECOND_MAC.hex(":")
    return bytes(packet)


@contextmanager
def attached(program: int, ifindex: int) -> Iterator[None]:
    """A program on an interface, natively, for a while."""
    link = bpf.link_create(program, ifindex, bpf.ATTACH_XDP, bpf.XDP_NATIVE)
    try:
        yield
    finally:
        bpf.link_detach(link)
        os.close(link)


def rates(program: int | None, wire: Wire, packets: int, runs: int) -> list[float]:
    """Mpps that went there and back through the program, or through a bare XDP_TX."""
    with Wrapper(None, v6=False) as wrapper:
        under_test = wrapper.program("bare") if program is None else program
        with attached(wrapper.program("sink"), PEER), attached(under_test, SECOND):
            found = []
            for _ in range(runs + 1):
                run = wrapper.live(frame_to(wire.vip), packets, PEER, wire.pick, wire.mask)
                found.append(1000 / run.ns * run.unsent / packets)
    return found[1:]  # the first run fills tables and caches


def measure(wire: Wire, packets: int, runs: int) -> Figure:
    """Backends are said to be behind the veth."""
    with bench_plane(wire.scene.text) as (plane, pins):
        prepare(plane, wire.scene, pins)
        plane.reconciler.set_links([Link(SECOND, "bench0", SECOND_MAC, True, 1500)])
        backends = {b.address for service in plane.config.services for b in service.backends}
        plane.resolve({str(address): elsewhere(str(ip_address(address))) for address in backends})
        found = rates(plane.kernel.program("balancer"), wire, packets, runs)
    floor = statistics.median(rates(None, wire, packets, runs))
    name = f"{NAME}: {wire.name}"
    return Figure(name, "Mpps", statistics.median(found), min(found), max(found), floor, wire.goal, wire.must)


def figures(packets: int, runs: int, only: str) -> Iterator[Figure]:
    """Every case whose name contains `only`. The floor is the same wire with a bare XDP_TX at its end."""
    for wire in wires():
        if only in f"{NAME}: {wire.name}":
            yield measure(wire, packets * 2, runs)
