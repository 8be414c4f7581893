"""Two CPUs send, the daemon sweeps and reuses ids, all at once: no packet may ever reach a backend of another service."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from bench.wrapper import Pick, Wrapper
from fairlead.model import Geometry
from tests.bpf.packets import tcp4, tcp6
from tests.bpf.plane import Plane

BLANK4, BLANK6 = "0.0.0.0", "2001:db8:1::"
# Few ids, so that what one service gives up is soon another's. Byte 4 of a backend's MAC is the last byte but one of its address:
# 1 for the first service, 2 for the second.
TIGHT = Geometry(services=1024, destinations=32, nexthops=64, slots=4096, buckets=1 << 16)
ROUNDS = 16


def text(first: range, second: range) -> str:
    """Two services; the ranges say which backends each has."""
    one = ", ".join(f"10.1.1.{i}" for i in first)
    two = ", ".join(f'"fd00::2{i:02x}"' for i in second)
    return f"""
address: 10.1.0.1
services:
  - {{name: one, virtual: 192.0.2.1, servers: [{one}], policy: {{80/tcp*: }}}}
  - {{name: two, virtual: "2001:db8::1", servers: [{two}], policy: {{80/tcp*: }}}}
"""


FEW, MANY = range(1, 4), range(1, 24)
# In turn: what the one gives up is collected, and taken by the other.
PHASES = [(FEW, FEW), (FEW, MANY), (FEW, FEW), (MANY, FEW)]


@pytest.fixture
def plane(bpffs: str) -> Iterator[Plane]:
    with Plane(bpffs, text(MANY, FEW), TIGHT) as made:
        yield made


class Sender(threading.Thread):
    """Sends random flows of one service from one CPU until told to stop, and adds up what went wrong."""

    def __init__(self, plane: Plane, cpu: int, frame: bytes, service: int, *, v6: bool) -> None:
        super().__init__()
        self._cpu, self._frame, self._service = cpu, frame, service
        self._wrapper = Wrapper(plane.kernel.program("balancer"), v6=v6)
        self.stopped = threading.Event()
        self.crossed = self.packets = 0

    def run(self) -> None:
        os.sched_setaffinity(0, {self._cpu})
        with self._wrapper as wrapper:
            while not self.stopped.is_set():
                run = wrapper.run(self._frame, 50_000, Pick.RANDOM, 0xFFFFF, seed=self.packets, service=self._service)
                self.crossed += run.crossed
                self.packets += 50_000


def owners(plane: Plane) -> dict[int, str]:
    """Destination id -> the service that has it."""
    found = dict.fromkeys(plane.ids("192.0.2.1", 80).values(), "one")
    return found | dict.fromkeys(plane.ids("2001:db8::1", 80).values(), "two")


def test_no_packet_crosses_services(plane: Plane) -> None:
    """Insert, evict, sweep and id reuse race on two CPUs; no frame ever carries one service's packet to another's backend."""
    senders = [
        Sender(plane, 0, bytes(tcp4("192.0.2.1", 80, "A", src=BLANK4, sport=0)), 1, v6=False),
        Sender(plane, 1 % (os.cpu_count() or 1), bytes(tcp6("2001:db8::1", 80, "A", src=BLANK6, sport=0)), 2, v6=True),
    ]
    had: dict[int, set[str]] = {}
    for sender in senders:
        sender.start()
    try:
        for i in range(ROUNDS):
            plane.configure(text(*PHASES[i % len(PHASES)]))
            plane.collect()
            for number, owner in owners(plane).items():
                had.setdefault(number, set()).add(owner)
    finally:
        for sender in senders:
            sender.stopped.set()
        for sender in senders:
            sender.join()

    assert [s.crossed for s in senders] == [0, 0]
    assert all(s.packets >= 100_000 for s in senders), "both sent all the while"
    assert any(len(o) == 2 for o in had.values()), "some id did change hands"
