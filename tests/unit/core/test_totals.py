"""Totals of services and VIPs never fall: not when backends or services go, not when ids are used again, not over restarts."""

from __future__ import annotations

from fairlead._native import flows, layout
from fairlead.model import Kept
from tests.unit.core.harness import SMALL, World, config, key, service

A, B, C = "10.1.0.11", "10.1.0.12", "10.1.0.13"
TLS = key(port=443)
CELL = layout().structs["cell"]


def watched(kept: Kept | None = None, data=None) -> tuple[World, list[Kept]]:
    """A world that notes what it would keep."""
    saved: list[Kept] = []
    world = World(SMALL, data)
    world.reconciler._keep = lambda each: (saved.append(each), "")[1]
    world.reconciler.adopt(kept=kept)
    world.tables.phase = {n: 0 for n, live in world.read.lives("destinations").items() if live >> 32 & 15 == 5}  # gone
    return world, saved


def count(world: World, number: int, packets: int) -> None:
    """The data plane forwards so many packets of 100 bytes to a destination."""
    at = number * CELL.size
    cell = CELL.unpack(bytes(world.tables.data["counters"][at : at + CELL.size]))
    cell = CELL.pack(packets=cell["packets"] + packets, bytes=cell["bytes"] + 100 * packets, flows=cell["flows"] + 1)
    world.tables.data["counters"][at : at + CELL.size] = cell


def counters(world: World):
    return lambda ids: flows.totals(world.tables.view("counters"), SMALL.cpus, SMALL.destinations, ids)


def totals(world: World) -> tuple[dict[int, int], int]:
    """Packets of each service by port, and of the VIP; bytes and new flows have to agree."""
    report = world.reconciler.status(counters(world), [])
    (vip,) = report.vips
    assert all(each.bytes == 100 * each.packets for each in (*report.services, vip))
    return {s.port: s.packets for s in report.services}, vip.packets


async def test_a_backend_leaves():
    """What a backend counted stays in the sums at every step of its removal, and its id counts for the next owner only."""
    world, saved = watched()
    world.configure(config(service(backends=(A, B), checks=())))
    await world.settle()
    count(world, 1, 5)
    count(world, 2, 7)
    assert totals(world) == ({80: 12}, 12)
    world.reconciler.set_config(config(service(backends=(B,), checks=())))
    assert totals(world) == ({80: 12}, 12)
    await world.reconciler.run_pass()
    count(world, 1, 1)  # a packet that was under way
    assert totals(world) == ({80: 13}, 13)
    await world.reconciler.collect()
    assert totals(world) == ({80: 13}, 13)
    assert list(saved[-1].sums.values()) == [(6, 600, 2)]
    world.configure(config(service(backends=(B, C), checks=())))
    await world.settle()
    assert totals(world) == ({80: 13}, 13)
    count(world, 1, 10)
    report = world.reconciler.status(counters(world), [])
    assert [(b.address, b.packets) for b in report.services[0].backends] == [(B, 7), (C, 10)]
    assert totals(world) == ({80: 23}, 23)


async def test_a_service_leaves():
    """A VIP keeps what a service counted that it has no more; the VIP itself begins anew when it comes back."""
    world, _ = watched()
    both = config(service(backends=(A,), checks=()), service(TLS, backends=(B,), checks=()))
    world.configure(both)
    await world.settle()
    count(world, 1, 5)
    count(world, 2, 7)
    assert totals(world)[1] == 12
    world.reconciler.set_config(config(service(backends=(A,), checks=())))
    await world.reconciler.run_pass()
    assert totals(world)[1] == 12
    await world.settle()
    assert totals(world)[1] == 12
    world.configure(both)
    await world.settle()
    assert totals(world)[1] == 12
    world.configure(config(service(key("192.0.2.11"), (A,), checks=())))
    await world.settle()
    world.configure(both)
    await world.settle()
    assert totals(world)[1] == 0


async def test_over_a_restart():
    """The next daemon goes on from what was kept, and adds nothing twice wherever the one before was killed."""
    wanted = config(service(backends=(B,), checks=()))
    for killed in ("gone", "kept", "freed"):
        world, saved = watched()
        world.configure(config(service(backends=(A, B), checks=())))
        await world.settle()
        count(world, 1, 5)
        count(world, 2, 7)
        world.reconciler.set_config(wanted)
        await world.reconciler.run_pass()
        if killed == "kept":
            world.tables.fail = {"free destination"}  # as if nothing came after the file
        if killed != "gone":
            await world.reconciler.collect()
        assert bool(saved) == (killed != "gone")
        data = {table: bytes(b) for table, b in world.tables.data.items()}
        again, _ = watched(saved[-1] if saved else None, data)
        again.configure(wanted)
        await again.reconciler.run_pass()
        assert totals(again) == ({80: 12}, 12), killed
        await again.settle()
        assert totals(again) == ({80: 12}, 12), killed


async def test_an_id_that_comes_free_twice():
    """What is kept says whose life of an id was counted: a later one that ends in the same place is counted, too."""
    world, saved = watched()
    steps = [(A, B), (B,), (B, C)]
    for step in steps:
        world.time += 1
        world.configure(config(service(backends=step, checks=())))
        await world.settle()
    count(world, 1, 3)  # the second life; in the first it counted nothing
    world.reconciler.set_config(config(service(backends=(B,), checks=())))
    await world.reconciler.run_pass()
    data = {table: bytes(b) for table, b in world.tables.data.items()}
    again, _ = watched(saved[-1], data)
    again.configure(config(service(backends=(B,), checks=())))
    await again.settle()
    assert totals(again) == ({80: 3}, 3)


async def test_a_disk_that_does_not_take_it():
    """What cannot be kept is said, and ids come free all the same."""
    world, _ = watched()
    world.reconciler._keep = lambda _: "no space left"
    world.configure(config(service(backends=(A, B), checks=())))
    await world.settle()
    world.configure(config(service(backends=(B,), checks=())))
    await world.settle()
    assert any("no space left" in str(event) for event in world.events)
    assert "free destination 1: 10.1.0.11 for 192.0.2.10:80/tcp" in world.tables.applied
