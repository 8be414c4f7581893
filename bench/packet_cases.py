"""Nanoseconds per packet: the program under the wrapper, less the bare wrapper, in pairs that alternate."""

from __future__ import annotations

import ctypes
import os
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import run as command

from bench.results import Figure
from bench.scenes import BLANK4, PEER, SECOND, SECOND_MAC, Case, Scene, scenes
from bench.wrapper import LENGTHS, Pick, Wrapper
from fairlead._native import bpf
from fairlead.model import Geometry, Link
from tests.bpf.plane import LO, OWN_MAC, Plane

CLONE_NEWNET = 0x40000000


def own_network() -> None:
    """This process in a network of its own, with a pair of veth, ifindex 2 and 3: nothing of the machine's is touched."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "cannot have a network namespace")
    pair = ["ip", "link", "add", "bench0", "index", str(SECOND), "type", "veth", "peer", "name", "bench1", "index", str(PEER)]
    command(pair, check=True)
    for device in ("lo", "bench0", "bench1"):
        command(["ip", "link", "set", device, "up"], check=True)


@contextmanager
def bench_plane(text: str) -> Iterator[tuple[Plane, Path]]:
    """A plane with the default geometry: 8.4 million flow words; and the directory of its pins."""
    with tempfile.TemporaryDirectory() as directory:
        command(["mount", "-t", "bpf", "fairlead-bench", directory], check=True)
        try:
            with Plane(f"{directory}/fairlead", text, Geometry()) as plane:
                yield plane, Path(directory, "fairlead")
        finally:
            command(["umount", "-l", directory], check=True)


def open_ports(pins: Path) -> None:
    """Let frames leave by the second interface: nothing is attached here, which would fill the device map."""
    for path in pins.glob("gen-*/ports"):
        fd = bpf.open_pin(str(path))
        bpf.map_put(fd, SECOND, SECOND)
        os.close(fd)


def prepare(plane: Plane, scene: Scene, pins: Path) -> None:
    """Paths of the scene, and the interface that some of them name."""
    links = [Link(LO, "lo", OWN_MAC, True, 65536), Link(SECOND, "bench0", SECOND_MAC, True, 1500)]
    plane.reconciler.set_links(links)
    plane.resolve(scene.paths)
    plane.kernel.sources.want(plane.config.blocked, counted=plane.config.count_prefixes)
    if plane.kernel.outdated():
        plane.kernel.replace_programs()
    open_ports(pins)


def warm(wrapper: Wrapper, frame: bytes, case: Case) -> None:
    """Fill the table, and visit every flow of a working set often enough that all have their entry."""
    for i in range(case.warm):
        wrapper.run(frame, 1 << 20, Pick.NEXT, seed=i << 20)
    if case.pick is Pick.RANDOM:
        wrapper.run(frame, 1 << 20, Pick.RANDOM, case.mask)


def first(plane: Plane, case: Case) -> None:
    """The packet that must have been seen before: with the source that the wrapper gives to the flow, if it was left blank."""
    if case.first is None:
        return
    frame = bytearray(bytes(case.first))
    if frame[26:30] == bytes(map(int, BLANK4.split("."))):
        frame[26:30] = (case.mask * 2654435761 & 0xFFFFFFFF).to_bytes(4, "little")
    plane.kernel.test_run("balancer", bytes(frame), LO)


def measure(plane: Plane, case: Case, packets: int, runs: int) -> Figure:
    """Medians of `runs` pairs. The verdict's counter proves that every packet took the path the case is named for."""
    frame = bytes(case.packet)
    numbers = [number for number, name in plane.names.items() if name in case.verdict.split()]
    length = max(len(frame), LENGTHS[case.v6] + 4 * case.tagged)
    shape = {"v6": case.v6, "tagged": case.tagged, "services": case.services, "length": length}
    floors, nets = [], []
    with Wrapper(None, **shape) as bare, Wrapper(plane.kernel.program("balancer"), **shape, grown=case.grown) as wrapper:
        first(plane, case)
        warm(wrapper, frame, case)
        before, sent = counted(plane, numbers), 0
        for i in range(runs):
            floor = bare.run(frame, packets, case.pick, case.mask, seed=i)
            gross = wrapper.run(frame, packets, case.pick, case.mask, seed=(1 << 40) + i * packets)
            sent += packets
            floors.append(floor.ns)
            nets.append(gross.ns - floor.ns)
        found = counted(plane, numbers) - before
    assert found == sent, f"{case.name}: {found} of {sent} packets were {case.verdict}; {plane.kernel.verdicts()}"
    return Figure(case.name, "ns", statistics.median(nets), min(nets), max(nets), statistics.median(floors), case.goal, case.must)


def counted(plane: Plane, verdicts: list[int]) -> int:
    """Packets under these verdicts."""
    tallies = plane.kernel.verdicts()
    return sum(tallies.get(number, (0, 0))[0] for number in verdicts)


def figures(packets: int, runs: int, only: str) -> Iterator[Figure]:
    """Every case whose name contains `only`."""
    for scene in scenes(only):
        with bench_plane(scene.text) as (plane, pins):
            prepare(plane, scene, pins)
            for case in scene.cases:
                yield measure(plane, case, packets, runs)
