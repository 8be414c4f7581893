"""When things go wrong: operations that fail, tables that are full, bytes that somebody else has written."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from fairlead.events import OperationFailed, Repaired
from tests.unit.core.harness import SMALL, World, built, config, key, path, paths_of, service

A, B, C = "10.1.0.11", "10.1.0.12", "10.1.0.13"
ACTIVE = 1


async def test_failed_operation_is_tried_again():
    """A failure ends its own chain only, is logged with its words, rests, and is done when its time has come."""
    world = await built(service(), service(key("192.0.2.11"), (A, B)))
    world.tables.fail = {"fill 1021 slots for 192.0.2.10"}
    world.probe(key(), B, False, 2)
    world.probe(key("192.0.2.11"), B, False, 2)
    result = await world.reconciler.run_pass()
    assert [r.text.split(":")[0] for r in result.failed] == ["fill 1021 slots for 192.0.2.10"]
    assert world.backends(key("192.0.2.11")) == {A}
    assert world.backends() == {A, B, C}
    assert {f.state for f in world.read.resolve(key())} == {ACTIVE}
    assert sum(isinstance(e, OperationFailed) for e in world.events) == 1
    world.tables.fail = set()
    assert (await world.reconciler.run_pass()).done == []
    assert world.reconciler.deadline() == pytest.approx(world.time + 1)
    world.time += 1
    await world.settle()
    assert world.backends() == {A, C}


async def test_delay_grows_and_a_new_wish_ends_it():
    """Each further failure doubles the delay; a change of what is wanted is tried at once."""
    world = await built()
    world.tables.fail = {"fill"}
    world.probe(key(), B, False, 2)
    delays = []
    for _ in range(8):
        await world.reconciler.run_pass()
        delays.append(world.reconciler.deadline() - world.time)
        world.time += delays[-1]
        await world.reconciler.collect()
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]
    world.tables.fail = set()
    world.probe(key(), C, False, 2)
    await world.settle()
    assert world.backends() == {A}


async def test_all_next_hops_change_in_a_narrow_table():
    """Where not all new next hops have room beside the old ones, destinations keep their old one until theirs has."""
    world = World(replace(SMALL, nexthops=6))
    made = config(service(checks=(), backends=(A, B)), service(key(port=443), (C,), checks=()))
    world.configure(made)
    await world.settle()
    world.reconciler.set_paths({ip_address(a): path(1000 + n) for n, a in enumerate((A, B, C))})
    await world.reconciler.run_pass()
    assert {found.hop["mac_destination"] for found in world.read.resolve(key(port=443))} == {
        paths_of(made)[ip_address(C)].mac_destination
    }
    await world.settle()
    found = [*world.read.resolve(key()), *world.read.resolve(key(port=443))]
    assert {each.hop["mac_destination"] for each in found} == {path(1000 + n).mac_destination for n in range(3)}
    assert not [e for e in world.events if isinstance(e, OperationFailed)]


@pytest.mark.parametrize(
    ("field", "value", "names", "limit"),
    [
        ("destinations", 6, "no destination is free", "destinations"),
        ("nexthops", 3, "no next hop is free", "destinations"),
        ("slots", 80, "no slot region is free", "slots"),
        ("services", 2, "no services row is free", "services"),
    ],
)
async def test_full_tables(field, value, names, limit):
    """A table that is full fails and names the key to raise; what fits is served, what ran runs on, and room heals it."""
    world = World(replace(SMALL, **{field: value}))
    first = config(service(checks=(), backends=(A, B)))
    world.configure(first)
    await world.settle()
    assert world.backends() == {A, B}
    second = config(
        service(checks=(), backends=(A, B)),
        service(key(port=443), ("10.1.0.21", "10.1.0.22", "10.1.0.23", "10.1.0.24"), checks=()),
    )
    world.configure(second)
    for _ in range(4):
        await world.reconciler.run_pass()
        await world.reconciler.collect()
    said = [e for e in world.events if isinstance(e, OperationFailed)]
    assert said
    assert all(names in e.says and f"raise limits.{limit} " in e.says for e in said)
    assert world.backends() == {A, B}
    world.read.check()
    world.configure(first)
    await world.settle()
    world.read.check()


async def test_rebuilds_wait_for_room():
    """When many services change at once and the free quarter is not enough, the rest follows after the collection, without any
    failure.
    """
    services = [service(key(f"192.0.2.{n}"), (A, B)) for n in range(1, 21)]
    world = await built(*services, geometry=replace(SMALL, services=256, slots=16 * 20 * 4 // 3 + 2))
    for s in services:
        world.probe(s.key, A, False, 2)
    result = await world.reconciler.run_pass()
    assert result.postponed
    assert not result.failed
    await world.settle()
    assert all(world.backends(s.key) == {B} for s in services)
    assert not any(isinstance(e, OperationFailed) for e in world.events)


async def test_verify_repairs():
    """Whatever was changed behind Fairlead's back is found, repaired, counted and said; a second look finds nothing."""
    world = await built()
    assert await world.reconciler.verify() == 0
    for table, at in (("services", None), ("destinations", 1), ("nexthops", 2), ("slots", None), ("vips", 0), ("settings", 0)):
        place = next(iter(world.read.lives("services"))) if at is None else at
        at = (
            world.reconciler._have.service(world.reconciler._planner.services[key()].want.row).base if table == "slots" else place
        )
        offset = at * world.tables.size[table] + (
            0 if table in ("slots", "vips", "settings") else world.tables.size[table] // 2 - 8
        )
        world.tables.data[table][offset : offset + 6] = b"\x5a" * 6
        world.tables._watch = lambda _: None
        repairs = world.reconciler.repairs
        assert await world.reconciler.verify() > 0, table
        assert world.reconciler.repairs > repairs or table == "nexthops"
        await world.settle()
        assert world.backends() == {A, B, C}, table
        world.read.check()
        assert await world.reconciler.verify() == 0
    assert any(isinstance(e, Repaired) for e in world.events)


async def test_torn_anywhere():
    """Whichever store fails, in the middle of whatever operation: what was written of it is known, and the rest follows."""
    steps = (
        config(service(), service(key(port=443), (A, B), need=2)),
        config(service(sticky=True, backends=(A, B, "10.1.0.14")), service(key("2001:db8::10"), ("2001:db8:1::11",))),
        config(service(key("192.0.2.11"), (A,), checks=())),
        config(),
    )
    torn, after = True, 0
    while torn:
        torn = False
        for last in range(len(steps)):
            world = World()
            world.tables.after_store = world.read.check
            for at, made in enumerate(steps[: last + 1]):
                world.configure(made)
                world.tables.torn = after if at == last else None
                await world.settle()
                torn = torn or (at == last and world.tables.torn is None)
                world.tables.torn = None
                world.time += 100
                world.all_up(made)
                await world.settle()
            assert await world.reconciler.verify() == 0
            for s in steps[last].services:
                assert world.backends(s.key) == {str(b.address) for b in s.backends}, (last, after)
            assert len(world.read.lives("destinations")) == sum(len(s.backends) for s in steps[last].services)
        after += 1
    assert after > 20


async def test_no_room_for_new_slots():
    """While there is no room for other slots the old ones stay in use, and with them every destination that they name."""
    world = await built(geometry=replace(SMALL, slots=120))
    world.configure(config(service(backends=(A, B, "10.1.0.14"))))
    world.probe(key(), "10.1.0.14", True, 5)
    await world.settle()
    assert any(isinstance(e, OperationFailed) and "raise limits.slots" in e.says for e in world.events)
    assert {(str(f.backend), f.state) for f in world.read.resolve(key())} == {(A, ACTIVE), (B, ACTIVE), (C, ACTIVE)}


async def test_destination_of_no_service():
    """A destination that somebody else wrote, of a VIP's own row, goes; the VIP does not."""
    world = await built()
    for row, like in ((100, None), (101, 1)):
        size = world.tables.size["destinations"]
        if like is not None:  # a copy of a real one, with the key of its VIP
            data = bytearray(world.tables.data["destinations"][like * size : (like + 1) * size])
            data[16:19] = bytes(3)
            world.tables.data["destinations"][row * size : (row + 1) * size] = data
        else:
            at = row * size + size // 2 - 8
            world.tables.data["destinations"][at : at + 8] = world.read.live("destinations", 1).to_bytes(8, "little")
    world.tables.watching = False
    assert await world.reconciler.verify() == 2
    await world.settle()
    assert set(world.read.lives("destinations")) == {1, 2, 3}
    assert world.read.accepts(key().vip)
    assert world.backends() == {A, B, C}
