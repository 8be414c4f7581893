"""What a service may ask for besides backends: flags, TTL, on-down, every port, scheduler, size; and what status adds up."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from fairlead._native import maglev as native
from fairlead.core import maglev, rendezvous
from fairlead.core.flow_time import misfit
from fairlead.core.geometry import holds
from fairlead.core.hashes import mapped
from fairlead.events import OperationFailed
from fairlead.model import (
    Backend,
    Limits,
    Link,
    OnDown,
    Protocol,
    Publish,
    Reject,
    Scheduler,
    Store,
    Timeouts,
    Ttl,
    Tunnel,
    TunnelKind,
)
from tests.unit.core.harness import LINK, SMALL, World, built, config, key, path, paths_of, service

A, B, C = "10.1.0.11", "10.1.0.12", "10.1.0.13"
IPIP = Tunnel(TunnelKind.IPIP)
ANY = key(port=0)


async def made(*services, **more) -> World:
    world = World()
    world.configure(config(*services, **more))
    await world.settle()
    return world


def flags(world: World, name=None) -> int:
    return world.read.service(name or key())["live"] >> 48


def vip_flags(world: World) -> int:
    vip = key().vip
    return world.read.find(vip, 4 << 24)["live"] >> 48


@pytest.mark.parametrize(
    ("sticky", "track", "expected"), [(False, True, 1), (True, True, 3), (False, False, 5), (True, False, 7)]
)
async def test_service_flags(sticky, track, expected):
    """Sticky and untracked are flags of the service's row; changing them moves no slot."""
    world = await made(service(checks=(), sticky=sticky, track=track))
    assert flags(world) == expected
    world.reconciler.set_config(config(service(checks=())))
    texts = await world.settle()
    assert flags(world) == 1
    assert not any(t.startswith("fill") for t in texts)


async def test_reject_is_the_vips():
    """A VIP answers unknown ports as soon as one of its services says so, and drops them again when none does."""
    quiet, loud = service(checks=()), service(key(port=443), checks=(), reject=Reject.UNREACHABLE)
    world = await made(quiet)
    assert vip_flags(world) == 1
    world.reconciler.set_config(config(quiet, loud))
    texts = await world.settle()
    assert vip_flags(world) == 9
    assert "set VIP 192.0.2.10: unknown ports are answered" in texts
    again = world.restart()
    again.configure(config(quiet))
    texts = await again.settle()
    assert vip_flags(again) == 1
    assert "set VIP 192.0.2.10: unknown ports are dropped" in texts


TTLS = [(None, None, 0), (None, IPIP, 1), (Ttl.KEEP, None, 2), (Ttl.ONE, IPIP, 0), (Ttl.DECREMENT, None, 1), (Ttl.KEEP, IPIP, 2)]


@pytest.mark.parametrize(("ttl", "tunnel", "expected"), TTLS)
async def test_ttl_rule(ttl, tunnel, expected):
    """TTL 1 to L2 neighbours and one less into tunnels, unless the service says otherwise."""
    world = await made(service(checks=(), ttl=ttl, tunnel=tunnel))
    assert {f.live >> 36 & 3 for f in world.read.resolve(key())} == {expected}


@pytest.mark.parametrize(("on_down", "expected"), [(OnDown.KEEP, 1 | 2), (OnDown.MOVE, 1), (OnDown.RESET, 1 | 8)])
@pytest.mark.parametrize("how", ["down", "disabled"])
async def test_on_down(on_down, expected, how):
    """What is down or disabled keeps its flows, lets them move, or has them reset, as the service says; what is up follows."""
    world = await built(service(on_down=on_down))
    number = next(f.id for f in world.read.resolve(key()) if str(f.backend) == A)
    assert world.read.live("destinations", number) >> 24 & 0xFF == 1 | 2 | 4
    if how == "down":
        world.probe(key(), A, False, 2)
    else:
        first = Backend(ip_address(A), state=type(service().backends[0].state).DISABLED)
        world.reconciler.set_config(config(service(backends=[first, B, C], on_down=on_down)))
    await world.settle()
    assert world.read.live("destinations", number) >> 24 & 0xFF == expected
    assert world.backends() == {B, C}


async def test_every_port():
    """A service of every port has port 0 in its key and a mask without the port; an exact port is another service."""
    world = await made(service(ANY, [A], checks=()), service(backends=[B], checks=()))
    found = world.read.resolve(ANY)[0]
    row = world.read.row("destinations", found.id)
    assert (row["l4"], row["l4_mask"]) == (6 << 16 | 4 << 24, 0xFFFF0000)
    assert world.read.row("destinations", world.read.resolve(key())[0].id)["l4_mask"] == 0xFFFFFFFF
    assert any("for 192.0.2.10:any/tcp" in text for text in world.tables.applied)
    again = world.restart()
    again.configure(config(service(backends=[B], checks=())))
    assert "remove 192.0.2.10:any/tcp" in await again.settle()
    assert again.backends() == {B}


async def test_every_port_named():
    """The reason of a VIP names a service of every port as the configuration does."""
    world = await made(service(key(port=0, protocol=Protocol.UDP)))
    (vip,) = world.reconciler.status(lambda ids: [(0, 0, 0)] * len(ids), []).vips
    assert vip.reason == "any/udp has 0 of 1 required backends"


async def test_rendezvous():
    """A rendezvous service has the slots of the reference; another scheduler is another table and another hash."""
    backends = [Backend(ip_address(a), w) for a, w in ((A, 1), (B, 2), (C, 5))]
    world = await made(service(backends=backends, checks=(), scheduler=Scheduler.RENDEZVOUS, table_size=1021))
    slots = memoryview(rendezvous.fill(1021, [mapped(b.address) for b in backends], [1, 2, 5])).cast("I")
    assert [f.backend for f in world.read.resolve(key())] == [backends[n].address for n in slots]
    before = hash_of(world)
    world.reconciler.set_config(config(service(backends=backends, checks=(), table_size=1021)))
    assert any(t.startswith("fill 1021 slots") for t in await world.settle())
    assert hash_of(world) != before


def hash_of(world: World) -> str:
    return world.reconciler.status(lambda ids: [(0, 0, 0)] * len(ids), []).tables_hash


async def test_table_size():
    """The configured size is the size, and a change of it goes through a new region."""
    world = await made(service(checks=(), table_size=4093))
    assert len(world.read.resolve(key())) == 4093
    world.reconciler.set_config(config(service(checks=())))
    await world.settle()
    assert len(world.read.resolve(key())) == maglev.table_size(3)


async def test_weights():
    """Slots follow weights up to 1,000; a weight of 0 has none."""
    weights = {A: 1000, B: 500, C: 0}
    world = await made(service(backends=[Backend(ip_address(a), w) for a, w in weights.items()], checks=()))
    found = [str(f.backend) for f in world.read.resolve(key())]
    assert abs(found.count(A) - 2 * found.count(B)) <= 2
    assert C not in found


async def test_timeouts():
    """The configured timeouts are set, also while packets flow; what the tables cannot express is refused."""
    world = await made(service(checks=()), timeouts=Timeouts(embryonic=2.5, confirmed=600, closing=5, udp=30))
    assert "set flow timeouts: embryonic 2.5 s, established 600 s, datagram 30 s, closing 5 s" in world.tables.applied
    ticks = world.tables.data["settings"][:8]
    assert list(ticks[1:5]) == [2, 10, 15, 3]
    long = Timeouts(udp=600)
    world.reconciler.set_config(config(service(checks=()), timeouts=long))
    await world.reconciler.run_pass()
    (failed,) = [e for e in world.events if isinstance(e, OperationFailed)]
    assert "`fairlead detach` first" in failed.says
    assert "600 s" in misfit(SMALL, long)
    assert misfit(SMALL, Timeouts()) == ""
    assert world.tables.data["settings"][:8] == ticks


async def test_bond_members():
    """A member's row names its bond; one that is not active keeps its row with a flag, another bond means a new row."""
    world = await made(service(checks=()))
    member = replace(LINK, bond=9)
    for links, expected in (
        ([member], (9, 1)),
        ([replace(member, active=False)], (9, 3)),
        ([LINK], (0, 1)),
        ([replace(member, bond=12)], (12, 1)),
    ):
        world.reconciler.set_links(links)
        await world.settle()
        row = world.read.row("interfaces", LINK.ifindex)
        assert (row["ifindex"], row["bond"], row["live"] >> 48) == (LINK.ifindex, *expected)


async def test_next_hop_of_a_member():
    """The next hop over a bond names the member that frames leave by, and the bond; another member is another next hop."""
    world = World()
    made = config(service(backends=[A], checks=()))
    first = replace(path(11), bond=9, vlan=100)
    world.reconciler.set_links([replace(LINK, bond=9), Link(3, "eth1", LINK.mac, True, 1500, bond=9)])
    world.configure(made, {ip_address(A): first})
    await world.settle()
    hop = world.read.resolve(key())[0].hop
    assert (hop["ifindex"], hop["bond"], hop["vlan"]) == (2, 9, 100)
    world.reconciler.set_paths({ip_address(A): replace(first, ifindex=3)})
    await world.settle()
    hop = world.read.resolve(key())[0].hop
    assert (hop["ifindex"], hop["bond"], hop["vlan"]) == (3, 9, 100)


async def test_totals():
    """A service counts what its backends do, a VIP what its services do: packets, bytes, new flows, flows."""
    world = await made(service(backends=[A, B], checks=()), service(key(port=443), [A], checks=()))
    report = world.reconciler.status(lambda ids: [(n, 100 * n, 2 * n) for n in ids], [0, 5, 6, 7])
    web, tls = report.services
    assert (web.packets, web.bytes, web.new_flows, web.flows) == (3, 300, 6, 11)
    assert (tls.packets, tls.bytes, tls.new_flows, tls.flows) == (3, 300, 6, 7)
    (vip,) = report.vips
    assert (vip.packets, vip.bytes, vip.new_flows, vip.flows) == (6, 600, 12, 18)


async def test_limits():
    """Status says how much of each limit is in use, in the configuration's units, and what to raise."""
    made = config(service(checks=()), service(key(port=443), [A], checks=()), limits=Limits(services=5))
    world = World()
    world.configure(made)
    await world.settle()
    found = {x.name: (x.used, x.limit) for x in world.reconciler.status(lambda ids: [(0, 0, 0)] * len(ids), [0, 5, 6]).limits}
    there = holds(SMALL)
    assert found == {
        "services": (2, 5),
        "destinations": (4, there.destinations),
        "slots": (1021 + 251, there.slots),
        "flows": (11, there.flows),
    }


async def test_table_limits():
    """Status names use, rows and memory of each table, and the key that makes it larger."""
    world = await made(service(checks=()))
    tables = {t.name: t for t in world.reconciler.status(lambda ids: [(0, 0, 0)] * len(ids), []).tables}
    assert (tables["destinations"].used, tables["destinations"].rows) == (3, SMALL.destinations)
    assert tables["destinations"].bytes == 64 * SMALL.destinations
    for name, limit in (("services", "services"), ("destinations", "destinations"), ("nexthops", "destinations")):
        assert tables[name].limit == f"limits.{limit}"
    assert {tables["slots"].limit, tables["flows"].limit} == {"limits.slots", "limits.flows"}
    assert (tables["counters"].bytes, tables["registry"].used) == (SMALL.cpus * SMALL.destinations * 32, 3)
    assert tables["vips"].used is None
    assert all(hasattr(Limits(), t.limit.removeprefix("limits.")) for t in tables.values() if t.limit)


async def test_many_destinations_in_one_operation():
    """Many new destinations are one operation; whichever store was the last before a kill, the next start mends it."""
    backends = [f"10.1.1.{n}" for n in range(1, 41)]
    wanted = config(service(backends=backends, checks=()))
    world = World()
    counters = world.tables.data["counters"]
    counters[5 * 32 : 5 * 32 + 8] = (77).to_bytes(8, "little")
    world.configure(wanted)
    stops: list[World] = []
    world.tables.after_store = lambda: stops.append(world.restart(native))
    texts = await world.settle()
    assert "add 40 destinations for 192.0.2.10:80/tcp" in texts
    assert world.backends() == set(backends)
    assert world.reconciler._have.registry(5).base == (77, 0, 0)
    assert len(stops) > 2 * 40
    for heir in stops[::7]:
        heir.configure(wanted, paths_of(wanted))
        heir.read.check()
        await heir.settle()
        assert heir.backends() == set(backends)
        assert len({f.id for f in heir.read.resolve(key())}) == 40


async def test_payloads_come_before_switches():
    """In an operation for many destinations every payload is stored before the first row is switched on."""
    world = World()
    ops = []
    apply = world.tables.apply
    world.tables.apply = lambda op: (ops.append(op), apply(op))
    world.configure(config(service(backends=[f"10.1.1.{n}" for n in range(1, 41)], checks=())))
    await world.settle()
    (many,) = [op for op in ops if op.text.startswith("add 40 destinations")]
    switched = [isinstance(store, Publish) for store in many.stores]
    assert switched == sorted(switched)
    assert sum(switched) == 40
    assert sum(len(s.data) for s in many.stores if isinstance(s, Store) and s.table == "destinations") == 40 * 64
