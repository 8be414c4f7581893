"""The pass over tables that are plain bytes, watched store by store."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from fairlead.events import BackendDown, BackendUp, OperationFailed, VipDown, VipUp
from fairlead.model import AdminState, Backend, Link, NoPath, OnDown, ProbeKey, Protocol, Ttl
from tests.unit.core.harness import CHECK, LINK, SMALL, World, built, config, key, kinds, path, paths_of, service

A, B, C = "10.1.0.11", "10.1.0.12", "10.1.0.13"
ACTIVE, DRAIN, DISABLED, DOWN, GONE = 1, 2, 3, 4, 5
FOLLOW, ACCEPT = 2 << 24, 4 << 24


def live_of(world: World, backend: str) -> int:
    number = world.reconciler._have.destination_id(world.reconciler._planner.services[key()].want.row, ip6(backend))
    return world.read.live("destinations", number)


def ip6(text: str) -> bytes:
    return bytes(10) + b"\xff\xff" + ip_address(text).packed


async def test_first_pass_order():
    """Next hops come before destinations, those before slots, those before the service; then the VIP, and last the announcement.
    Next hops come before destinations, those before slots, those before the service; then the VIP, and last the announcement.
    """
    world = World()
    world.configure(config(service(checks=())))
    found = kinds(await world.settle())
    assert found == ["add next"] * 3 + ["add destination"] * 3 + [
        "fill 1021",
        "point 192.0.2.10:80/tcp",
        "add VIP",
        "announce 192.0.2.10/32",
    ]
    assert world.backends() == {A, B, C}
    assert world.read.accepts(ip_address("192.0.2.10"))


async def test_new_backends_start_down():
    """Until the checks have passed `rise` times there are rows but no slots, and nothing is announced."""
    world = World()
    world.configure(config(service()))
    assert "point 192.0.2.10:80/tcp at no slots" in await world.settle()
    assert world.backends() == set()
    for _ in range(CHECK.rules.rise - 1):
        world.probe(key(), A, True)
    assert await world.settle() == []
    world.probe(key(), A, True)
    assert kinds(await world.settle())[-1] == "announce 192.0.2.10/32"
    assert world.backends() == {A}
    assert [type(e) for e in world.events if isinstance(e, BackendUp | VipUp)] == [BackendUp, VipUp]


async def test_one_health_change_touches_its_service_only():
    """With a hundred services on fifty VIPs, the operations after one backend's change are about its own service, three in
    number.
    """
    services = [service(key(f"192.0.2.{n}"), (A, B)) for n in range(1, 51)] + [
        service(key(f"192.0.2.{n}", 443), (B,)) for n in range(1, 51)
    ]
    world = await built(*services, geometry=replace(SMALL, services=512, slots=4096))
    assert not any(isinstance(e, OperationFailed) for e in world.events)
    world.probe(services[7].key, A, False, 2)
    result = await world.reconciler.run_pass()
    assert {op.about for op in result.done} == {services[7].key}
    assert kinds([op.text for op in result.done]) == ["fill 251", f"point {services[7].key}", "set destination"]


async def test_withdraw_comes_first():
    """A VIP below its need is withdrawn before anything is unpointed, with the reason, and forwards on to what is left."""
    world = await built(service(need=3))
    world.probe(key(), B, False, 2)
    texts = await world.settle()
    assert texts[0] == "withdraw 192.0.2.10/32: 80/tcp has 2 of 3 required backends"
    assert world.reconciler.routes() == ()
    assert world.backends() == {A, C}
    assert any(isinstance(e, VipDown) for e in world.events)
    assert world.reconciler.status(lambda ids: [(0, 0, 0)] * len(ids), []).vips[0].reason.startswith("80/tcp has 2 of 3")


async def test_every_service_of_a_vip_counts():
    """One service without enough backends takes its VIP out of the announcements, and names itself."""
    dns = key(port=53, protocol=Protocol.UDP)
    world = await built(service(), service(dns, (A,)))
    assert len(world.reconciler.routes()) == 1
    world.probe(dns, A, False, 2)
    texts = await world.settle()
    assert texts[0] == "withdraw 192.0.2.10/32: 53/udp has 0 of 1 required backends"
    assert world.backends() == {A, B, C}


async def test_new_service_does_not_take_its_vip_down():
    """A service added to an announced VIP starts up, and goes down if its checks then say so."""
    world = await built(service())
    more = config(service(), service(key(port=443), (A,)))
    world.configure(more)
    texts = await world.settle()
    assert not any(t.startswith("withdraw") for t in texts)
    assert world.backends(key(port=443)) == {A}
    world.probe(key(port=443), A, False, 2)
    assert (await world.settle())[0].startswith("withdraw")


async def test_restart_does_nothing():
    """A restart with the same config and health: no operation at all until a check has reported, then only the announcement."""
    world = await built(service(), service(key("2001:db8::10"), ("2001:db8:1::11", "2001:db8:1::12")))
    world.probe(key(), B, False, 2)
    await world.settle()
    made = config(*(p.plan.service for p in world.reconciler._planner.services.values()))
    again = world.restart()
    again.configure(made)
    assert await again.settle() == []
    assert again.tables.data == world.tables.data
    assert again.reconciler.routes() == ()
    status = again.reconciler.status(lambda ids: [(0, 0, 0)] * len(ids), [])
    assert status.vips[0].reason == "80/tcp waits for its checks: 0 of 1 required backends have reported"
    assert status.tables_hash == world.reconciler.status(lambda ids: [(0, 0, 0)] * len(ids), []).tables_hash
    again.probe(key(), A, False)
    assert await again.settle() == []
    again.probe(key(), C, True)
    assert await again.settle() == ["announce 192.0.2.10/32"]


async def test_restart_keeps_since_and_ids():
    """`since` of a state and the id of a backend outlive the daemon."""
    world = await built()
    before = world.reconciler.status(lambda ids: [(0, 0, 0)] * len(ids), []).services[0].backends
    again = world.restart()
    again.time = 5000.0
    again.configure(config(service()))
    await again.settle()
    after = again.reconciler.status(lambda ids: [(0, 0, 0)] * len(ids), []).services[0].backends
    assert [(b.since, b.destination, b.state) for b in before] == [(b.since, b.destination, b.state) for b in after]
    assert before[0].since < 1100


async def test_nothing_before_facts():
    """Nothing is written before configuration and paths are there: an adopted table must not be emptied for want of knowledge."""
    world = await built()
    again = world.restart()
    assert (await again.reconciler.run_pass()).done == []
    again.reconciler.set_config(config(service()))
    assert (await again.reconciler.run_pass()).done == []


async def test_states():
    """Each state of a backend has the flags of the contract; `keep` lets flows of down and disabled backends go on."""
    world = await built()
    assert live_of(world, A) & (FOLLOW | ACCEPT) == FOLLOW | ACCEPT
    for state, expected in ((AdminState.DRAIN, DRAIN), (AdminState.DISABLED, DISABLED)):
        for rule, follows in ((OnDown.KEEP, True), (OnDown.MOVE, state is AdminState.DRAIN)):
            world.configure(config(service(backends=(Backend(ip_address(A), state=state), B, C), on_down=rule)))
            await world.settle()
            live = live_of(world, A)
            assert live >> 32 & 15 == expected
            assert bool(live & FOLLOW) is follows
            assert not live & ACCEPT
            assert world.backends() == {B, C}


async def test_down_before_drain_before_active():
    """Health outranks drain, the operator's `disabled` outranks health, weight 0 drains."""
    world = await built(service(backends=(Backend(ip_address(A), weight=0), B, C)))
    assert live_of(world, A) >> 32 & 15 == DRAIN
    world.probe(key(), A, False, 2)
    await world.settle()
    assert live_of(world, A) >> 32 & 15 == DOWN
    world.configure(config(service(backends=(Backend(ip_address(A), state=AdminState.DISABLED), B, C))))
    await world.settle()
    assert live_of(world, A) >> 32 & 15 == DISABLED


async def test_ttl_rule():
    """The service's TTL rule stands in its destinations."""
    world = await built(service(ttl=Ttl.KEEP))
    assert live_of(world, A) >> 36 & 3 == 2


async def test_path_change_is_a_new_row():
    """A new MAC is a new next-hop row; every destination of that backend is flipped to it, the old row is freed after a grace
    period.
    """
    world = await built(service(), service(key(port=443)))
    moved = paths_of(config(service())) | {ip_address(A): path(999)}
    world.reconciler.set_paths(moved)
    texts = [op.text for op in (await world.reconciler.run_pass()).done]
    assert kinds(texts) == ["add next", "set destination", "set destination"]
    assert texts[1].endswith("next hop 4")
    assert world.tables.applied[-1] == texts[-1]
    await world.reconciler.collect()
    assert world.tables.applied[-1] == "free next hop 1"
    assert {f.hop["mac_destination"] for f in world.read.resolve(key()) if str(f.backend) == A} == {path(999).mac_destination}


async def test_path_flap_reuses_the_row():
    """A path that comes back before its row is freed gets its row back, and nothing frees it under the reader."""
    world = await built()
    old = paths_of(config(service()))
    world.reconciler.set_paths(old | {ip_address(A): path(999)})
    await world.reconciler.run_pass()
    world.reconciler.set_paths(old)
    result = await world.reconciler.run_pass()
    assert [op.text for op in result.done] == ["set destination 1: 10.1.0.11 for 192.0.2.10:80/tcp next hop 1"]
    await world.settle()
    world.read.check()


async def test_no_path_is_down_with_its_reason():
    """A backend without a path is down, its row without next hop, and the reason is the path's."""
    world = await built()
    world.reconciler.set_paths(paths_of(config(service())) | {ip_address(A): NoPath("no neighbour on eth0")})
    assert (await world.settle())[-1] == "set destination 1: 10.1.0.11 for 192.0.2.10:80/tcp down, no next hop"
    backend = world.reconciler.status(lambda ids: [(0, 0, 0)] * len(ids), []).services[0].backends[0]
    assert (backend.state, backend.reason) == ("down", "no neighbour on eth0")
    assert [str(e) for e in world.events if isinstance(e, BackendDown)] == [
        "backend 10.1.0.11 is down for 192.0.2.10:80/tcp: no neighbour on eth0"
    ]


SILENT = NoPath("no neighbour on eth0", silent=True)


KNOWN = paths_of(config(service()))[ip_address(A)]


@pytest.mark.parametrize("last", [KNOWN, replace(KNOWN, ifindex=3)], ids=["as it was", "by another NIC"])
async def test_a_silent_neighbour_keeps_the_last_path(last):
    """No new flows, but those that are known go where the neighbour was last, out of where the route leads by now."""
    world = await built()
    old = paths_of(config(service()))
    world.reconciler.set_paths(old | {ip_address(A): replace(SILENT, last=last)})
    await world.settle()
    live = live_of(world, A)
    assert (live >> 32 & 15, world.backends()) == (DOWN, {B, C})
    hop = world.read.row("nexthops", live & 0xFFFFFF)
    assert (hop["mac_destination"], hop["ifindex"]) == (last.mac_destination, last.ifindex)
    world.reconciler.set_paths(old | {ip_address(A): NoPath("eth0 is down")})
    await world.settle()
    assert live_of(world, A) & 0xFFFFFF == 0, "the link is down, the last path is none any more"
    world.reconciler.set_paths(old)
    await world.settle()
    assert world.backends() == {A, B, C}


async def test_a_restart_while_a_neighbour_is_silent():
    """The next daemon has never heard of its MAC: what the tables have is kept until it answers, or nothing can lead there."""
    world = await built()
    paths = paths_of(config(service()))
    world.reconciler.set_paths(paths | {ip_address(A): replace(SILENT, last=KNOWN)})
    await world.settle()
    again = world.restart()
    again.configure(config(service()), paths | {ip_address(A): SILENT})
    assert await again.settle() == []
    assert live_of(again, A) == live_of(world, A)
    again.reconciler.set_paths(paths | {ip_address(A): path(99)})
    await again.settle()
    assert again.read.row("nexthops", live_of(again, A) & 0xFFFFFF)["mac_destination"] == path(99).mac_destination
    once_more = world.restart()
    once_more.configure(config(service()), paths | {ip_address(A): NoPath("no route")})
    await once_more.settle()
    assert live_of(once_more, A) & 0xFFFFFF == 0


async def test_removed_backend_leaves_in_order():
    """Slots let go first, then the row is gone, and only grace, sweep, grace later its id is free."""
    world = await built()
    world.configure(config(service(backends=(A, B))), paths_of(config(service())))
    texts = [op.text for op in (await world.reconciler.run_pass()).done]
    assert kinds(texts) == ["fill 251", "point 192.0.2.10:80/tcp", "remove destination"]
    assert world.read.live("destinations", 3) >> 32 & 15 == GONE
    assert world.tables.sweeps == []
    await world.reconciler.collect()
    assert world.read.live("destinations", 3) == 0
    assert not world.tables.sweeps[0][0] >> 3 & 1
    assert world.tables.sweeps[0][0] >> 1 & 1


async def test_ids_are_not_reused_early():
    """A backend that comes while another's id rests gets another id; after the collection the lowest is taken again."""
    world = await built()
    world.configure(config(service(backends=(A, B))))
    await world.reconciler.run_pass()
    world.configure(config(service(backends=(A, B, "10.1.0.14"))))
    result = await world.reconciler.run_pass()
    assert any(op.text.startswith("add destination 4: 10.1.0.14") for op in result.done)
    await world.reconciler.collect()
    world.configure(config(service(backends=(A, B, "10.1.0.14", "10.1.0.15"))))
    result = await world.reconciler.run_pass()
    assert any(op.text.startswith("add destination 3: 10.1.0.15") for op in result.done)


async def test_gone_rows_go_on_into_quarantine():
    """A daemon killed between `remove` and `free` leaves a gone row; the next one sweeps and frees it."""
    world = await built()
    world.configure(config(service(backends=(A, B))), paths_of(config(service())))
    await world.reconciler.run_pass()
    again = world.restart()
    again.tables.phase[3] = 0
    again.configure(config(service(backends=(A, B))), paths_of(config(service())))
    assert await again.settle() == []
    assert again.read.live("destinations", 3) == 0
    assert len(again.tables.sweeps) == 1


async def test_half_written_rows_are_free():
    """A payload without `live` is nothing: its id is the next to be given out."""
    world = World()
    struct = world.tables.layout.structs["destination"]
    row = struct.pack(vip=ip6("192.0.2.99"), l4=77, backend=ip6("10.9.9.9"), service=9)
    world.tables.data["destinations"][64:128] = row
    again = world.restart()
    again.configure(config(service(checks=())))
    assert "add destination 1: 10.1.0.11 for 192.0.2.10:80/tcp" in await again.settle()


async def test_counters_start_at_the_base():
    """What an id counted for its former owner is not counted for the next one, on any CPU."""
    world = World()
    cell = world.tables.layout.structs["cell"]
    for cpu in range(2):
        at = (cpu * SMALL.destinations + 1) * cell.size
        world.tables.data["counters"][at : at + cell.size] = cell.pack(packets=100, bytes=2000, flows=7)
    world.configure(config(service(checks=())))
    await world.settle()
    backends = world.reconciler.status(lambda ids: [(250, 4000, 20)] * len(ids), [0, 5]).services[0].backends
    assert (backends[0].packets, backends[0].bytes, backends[0].new_flows, backends[0].flows) == (50, 0, 6, 5)
    assert backends[1].packets == 250


async def test_registry_remembers_health():
    """The registry has the verdict of the checks even where the operator's word decides the state."""
    world = await built(service(backends=(Backend(ip_address(A), state=AdminState.DISABLED), B)))
    assert world.read.row("registry", 1)["healthy"] == 1
    world.probe(key(), A, False, 2)
    assert await world.settle() == ["note destination 1: 10.1.0.11 for 192.0.2.10:80/tcp unhealthy"]
    assert world.read.row("registry", 1)["healthy"] == 0


async def test_interfaces():
    """Interfaces stand at ifindex mod 1024; a new MAC is one store, one that takes another's place waits for it to rest."""
    world = await built()
    assert world.read.row("interfaces", 2)["ifindex"] == 2
    world.reconciler.set_links([replace(LINK, mac=bytes.fromhex("020000000099"))])
    assert await world.settle() == ["set interface eth0 with 02:00:00:00:00:99"]
    assert world.read.row("interfaces", 2)["live"] == int.from_bytes(bytes.fromhex("020000000099"), "little") | 1 << 48
    world.reconciler.set_links([Link(1026, "eth9", LINK.mac, True, 1500)])
    assert await world.settle() == ["remove interface 2", "add interface eth9 with 02:00:00:00:00:01"]


async def test_removed_vip():
    """Withdraw, close the door, unpoint, remove; then nothing is left, in the bytes or in the books."""
    world = await built()
    world.configure(config())
    texts = await world.settle()
    assert kinds(texts) == ["withdraw 192.0.2.10/32:", "remove VIP", "remove 192.0.2.10:80/tcp"] + ["remove destination"] * 3
    assert not any(world.tables.data["vips"])
    assert all(not world.read.lives(t) for t in ("services", "destinations"))
    assert not any(world.tables.data["nexthops"])
    assert world.reconciler._have.holdings.regions.used == 0


async def test_targets():
    """A probe carries the mark of its destination and comes from the path's source; equal targets are the same object."""
    world = await built()
    targets = world.reconciler.targets()
    target = targets[ProbeKey(key().vip, ip_address(B), None, CHECK)]
    assert (target.mark, target.source, target.check) == (0xFA1 << 20 | 2, ip_address("10.1.0.1"), CHECK)
    world.probe(key(), B, False, 2)
    await world.settle()
    assert world.reconciler.targets() is targets
    world.configure(config(service(backends=(A, B))))
    await world.settle()
    assert len(world.reconciler.targets()) == 2


async def test_edited_checks_take_nothing_down():
    """A changed check inherits the verdict: an edit must not withdraw a VIP."""
    world = await built()
    world.configure(config(service(checks=(replace(CHECK, path="/health"), CHECK))))
    assert await world.settle() == []
    assert world.backends() == {A, B, C}


async def test_same_config_again_does_nothing():
    """A reload of an equal configuration is no operation."""
    world = await built()
    world.configure(config(service()))
    assert await world.settle() == []


async def test_ipv6():
    """IPv6 VIPs and backends go the same way."""
    name = key("2001:db8::10")
    world = await built(service(name, ("2001:db8:1::11", "2001:db8:1::12")))
    assert world.backends(name) == {"2001:db8:1::11", "2001:db8:1::12"}
    assert world.read.accepts(name.vip)
    assert str(world.reconciler.routes()[0].prefix) == "2001:db8::10/128"


async def test_size_change_fills_a_new_region():
    """More backends than the table's size allows for give a larger one; the smaller is freed."""
    world = await built(service(backends=(A, B)))
    assert len(world.read.resolve(key())) == 251
    world.configure(config(service()))
    await world.settle()
    assert len(world.read.resolve(key())) == 1021
    assert world.reconciler._have.holdings.regions.used == 64


async def test_sticky_is_a_flag_only():
    """`sticky` changes the service's word and nothing else."""
    world = await built()
    world.configure(config(service(sticky=True)))
    assert await world.settle() == ["point 192.0.2.10:80/tcp at slots 16..1037"]
    assert world.read.service(key())["live"] >> 48 == 3
