"""The daemon may die between any two stores: whatever it leaves behind forwards each packet as before or as after, and heals."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import pytest

from fairlead.model import Path
from tests.bpf.packets import tcp4, tcp6, udp4
from tests.bpf.plane import LO, OWN_MAC, Plane

V4, V6 = "192.0.2.10", "2001:db8::10"
PROBES = [tcp4(V4, 80, "A", sport=s) for s in range(20000, 20024)]
PROBES += [tcp6(V6, 80, "A", sport=s) for s in range(20000, 20012)] + [udp4(V4, 53, sport=s) for s in range(20000, 20006)]
MOVED = Path(LO, bytes.fromhex("02000000ee11"), OWN_MAC, 1500)


NARROW = Path(LO, bytes.fromhex("0200be00000b"), OWN_MAC, 600, ip_address("10.1.0.1"))


def text(servers: str, more: str = "", keys: str = "") -> str:
    return f"""
address: 10.1.0.1
services:
  - {{name: web, virtual: {V4}, servers: [{servers}], on-down: move, {keys}policy: {{80/tcp*: , 53/udp*: }}}}
  - {{name: web6, virtual: "{V6}", servers: ["fd00::11", "fd00::12"], policy: {{80/tcp*: }}}}
{more}
"""


TWO = "10.1.0.11, 10.1.0.12"
NEW_SERVICE = "  - {name: new, virtual: 192.0.2.99, servers: [10.1.0.11], policy: {80/tcp*: }}"
CHANGES: dict[str, Callable[[Plane], None]] = {
    "a MAC changes": lambda plane: plane.resolve({"10.1.0.11": MOVED}),
    "a backend comes": lambda plane: plane.configure(text(TWO + ", 10.1.0.13")),
    "a backend goes": lambda plane: plane.configure(text("10.1.0.11")),
    "a backend is drained": lambda plane: plane.configure(text("10.1.0.11, 10.1.0.12*")),
    "a backend is disabled": lambda plane: plane.configure(text("10.1.0.11, {address: 10.1.0.12, state: disabled}")),
    "a tunnel comes": lambda plane: plane.configure(text(TWO, keys="tunnel-type: gue, tunnel-port: 6080, ")),
    "an MTU changes": lambda plane: plane.resolve({"10.1.0.11": NARROW}),
    "a service comes": lambda plane: plane.configure(text(TWO, NEW_SERVICE)),
}


@pytest.fixture
def plane(bpffs: str) -> Iterator[Plane]:
    with Plane(bpffs, text(TWO)) as made:
        yield made


def frames(plane: Plane) -> list[tuple[str, bytes]]:
    """Verdict and frame of every probe packet, none of which has a flow entry."""
    found = []
    for packet in PROBES:
        plane.forget_flows()
        outcome = plane.send(packet)
        found.append((outcome.verdict, outcome.frame))
    plane.forget_flows()
    return found


def stores_of(plane: Plane, change: Callable[[Plane], None]) -> tuple[int, list[tuple[str, bytes]]]:
    """How many stores a change takes, and what the packets become after it. Looks at the packets after every single store."""
    old, seen = frames(plane), []

    def look(_: int) -> None:
        plane.kernel.after_store = None
        seen.append(frames(plane))
        plane.kernel.after_store = look

    plane.kernel.after_store = look
    change(plane)
    plane.kernel.after_store = None
    new = frames(plane)
    for number, now in enumerate(seen):
        for was, is_, will in zip(old, now, new, strict=True):
            assert is_ in (was, will), f"after store {number}"
    return len(seen), new


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_every_store_leaves_old_or_new(plane: Plane, change: Callable[[Plane], None]) -> None:
    """After each single store of a change, every packet is forwarded exactly as before it or as after it."""
    count, _ = stores_of(plane, change)

    assert count > 2


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_killed_between_any_two_stores(plane: Plane, bpffs: str, change: Callable[[Plane], None]) -> None:
    """A daemon killed after the n-th store, for every n, leaves tables that forward as before or after; the next one adopts."""
    plane.let_others_in()
    old = frames(plane)
    for number in range(100):
        died = killed_at(bpffs, change, number)
        left = frames(plane)
        with Plane(bpffs, text(TWO), programs=False) as heir:
            change(heir)
            new = frames(plane)
            for was, is_, will in zip(old, left, new, strict=True):
                assert is_ in (was, will), f"killed after store {number}"
            heir.resolve({"10.1.0.11": heir.path_to(ip_address("10.1.0.11"))})
            heir.configure(text(TWO))
            heir.collect()
            assert frames(plane) == old, f"the heir of store {number} did not mend the tables"
        if not died:
            break
    assert not died, "the change never came to its end"
    assert number > 2


def killed_at(bpffs: str, change: Callable[[Plane], None], number: int) -> bool:
    """Let a child adopt the tables, begin the change, and kill itself after its n-th store. False if the change ended before."""
    child = os.fork()
    if not child:
        try:
            heir = Plane(bpffs, text(TWO), programs=False)
            countdown = iter(range(number, -1, -1))

            def die(_: int) -> None:
                if not next(countdown):
                    os.kill(os.getpid(), signal.SIGKILL)

            heir.kernel.after_store = die
            change(heir)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)
