"""From facts to verdicts, with reasons; wants, times, and the books of rows."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead._native import maglev as native
from fairlead.core.facts import Facts
from fairlead.core.flow_time import ticks, timeouts
from fairlead.core.moment import Moment
from fairlead.core.plan import ServiceFacts, State, plan_service, plan_vip
from fairlead.core.rows import Rows, chosen, named, service_key, vip_key
from fairlead.model import (
    AdminState,
    Backend,
    Geometry,
    Health,
    NoPath,
    Path,
    ProbeKey,
    ProbeResult,
    Rules,
    Timeouts,
    Tunnel,
    TunnelKind,
)
from tests.unit.core.harness import CHECK, LAYOUT, SMALL, World, config, key, path, paths_of, service

A, B = ip_address("10.1.0.11"), "10.1.0.12"
NOW = Moment(0.0, 0.0)
UP, DOWN = Health(True, 0.0, "200", True), Health(False, 0.0, "503", True)


def judged(backend: Backend, health: Health, found: Path | NoPath):
    plan = plan_service(ServiceFacts(service(backends=(backend,)), (health,), (found,)))
    return plan.backends[0]


@pytest.mark.parametrize(
    ("state", "weight", "health", "found", "expected", "reason"),
    [
        (AdminState.ACTIVE, 1, UP, path(1), State.ACTIVE, "200"),
        (AdminState.ACTIVE, 0, UP, path(1), State.DRAIN, "weight 0"),
        (AdminState.DRAIN, 1, UP, path(1), State.DRAIN, "drained in the configuration"),
        (AdminState.DRAIN, 1, DOWN, path(1), State.DOWN, "503"),
        (AdminState.ACTIVE, 1, DOWN, path(1), State.DOWN, "503"),
        (AdminState.ACTIVE, 1, UP, NoPath("no route"), State.DOWN, "no route"),
        (AdminState.ACTIVE, 1, DOWN, NoPath("no route"), State.DOWN, "no route"),
        (AdminState.ACTIVE, 1, UP, NoPath("no neighbour", True, path(1)), State.DOWN, "no neighbour"),
        (AdminState.DISABLED, 1, DOWN, NoPath("no route"), State.DISABLED, "disabled in the configuration"),
    ],
)
def test_backend(state, weight, health, found, expected, reason):
    """The operator's `disabled` first, then the path, without which no check passes, then health, then drain; each has a why."""
    plan = judged(Backend(A, weight, state), health, found)
    assert (plan.state, plan.reason) == (expected, reason)
    assert plan.usable is (expected is State.ACTIVE)


@pytest.mark.parametrize(("need", "healths", "up", "announced"), [
    (1, (UP, DOWN), True, True),
    (2, (UP, DOWN), False, False),
    (0, (DOWN, DOWN), True, True),
    (2, (UP, replace(UP, reported=False)), True, False),
    (1, (UP, replace(UP, reported=False)), True, True),
])  # fmt: skip
def test_need(need, healths, up, announced):
    """Up with as many usable backends as needed, announced when as many of them have reported."""
    plan = plan_service(ServiceFacts(service(backends=("10.1.0.11", "10.1.0.12"), need=need), healths, (path(1), path(2))))
    vip = plan_vip(key().vip, [plan])
    assert (plan.up, vip.up, vip.announced) == (up, up, announced)
    assert bool(vip.reason) is not announced


def test_names():
    """Rows have names for people."""
    assert named(service_key(key())) == "192.0.2.10:80/tcp"
    assert named(service_key(key("2001:db8::1", 53))) == "[2001:db8::1]:53/tcp"
    assert named(vip_key(key().vip)) == "VIP 192.0.2.10"
    assert named(vip_key(key().vip)[:18] + b"\x84\x04") == "192.0.2.10 (protocol 132)"


def test_timeouts():
    """Timeouts in ticks, rounded up; established flows count coarse ticks; what 8 bits cannot tell is an error."""
    made = timeouts(LAYOUT.constants, Geometry(hz=250, fine_shift=9, coarse_shift=14), Timeouts())
    names = ["EMPTY", "EMBRYONIC", "ESTABLISHED", "DATAGRAM", "CLOSING"]
    assert [made[LAYOUT.constants[f"FLOW_{n}"]] for n in names] == [0, 5, 55, 59, 15]
    assert made[LAYOUT.constants["FLOW_REFUSED"] :] == bytes([15]) * 3, "answered with RST: closing as well"
    assert ticks(1, 1000, 20) == 1
    with pytest.raises(ValueError, match="a quarter of the 256"):
        ticks(3600, 1000, 9)


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**32 - 1), st.integers(1, 2**20 - 1), st.integers(1, 2**64 - 1))
def test_fast_packers(vip, l4, number, live):
    """The packers that are made for speed write and read what the general ones do."""
    struct = LAYOUT.structs["service"]
    assert chosen(struct, "vip", "l4", "id", "live").pack(vip, l4, number, live) == struct.pack(
        vip=vip, l4=l4, id=number, live=live
    )
    row = Rows(LAYOUT).read_service(bytearray(struct.pack(vip=vip, l4=l4, id=number, live=live)), 0)
    assert (row.key, row.id, row.live) == (vip + l4.to_bytes(4, "little"), number, live)


def test_facts_change_for_one_service_only():
    """A fact about one service leaves the facts of the others the very same objects, on which the cache of plans rests."""
    facts = Facts(lambda _: {})
    made = config(service(), service(key(port=443), checks=(replace(CHECK, port=443),)))
    facts.set_config(made, (), NOW)
    facts.set_paths(paths_of(made))
    before = dict(facts.services)
    for _ in range(5):
        facts.probed(ProbeKey(key().vip, A, None, CHECK), ProbeResult(True, "200", 0.01, 1.0), NOW)
    changed = [k for k in before if facts.services[k] is not before[k]]
    assert changed == [key()]
    assert not facts.probed(ProbeKey(ip_address("192.0.2.99"), A, None, CHECK), ProbeResult(True, "200", 0.01, 1.0), NOW)
    facts.set_config(config(service(), service(key(port=443), checks=(replace(CHECK, port=443),))), (), NOW)
    assert facts.services[key(port=443)] is before[key(port=443)]


def test_one_answer_for_all_who_asked():
    """Services that ask the same each judge the answer by rules of their own; another way to the backend is another question."""
    facts, strict = Facts(lambda _: {}), replace(CHECK, rules=Rules(1, 1, 2))
    other = replace(CHECK, path="/other")
    tunnelled = service(key(port=53), checks=(CHECK,), tunnel=Tunnel(TunnelKind.GRE))
    made = config(
        service(), service(key(port=443), checks=(other, strict)), service(key(port=25), (B,), checks=(CHECK,)), tunnelled
    )
    facts.set_config(made, (), NOW)
    question = ProbeKey(key().vip, A, None, replace(CHECK))
    assert list(facts.questions.users(question)) == [(key(port=25), 0), (key(), 0), (key(port=443), 1)]
    for at in range(5):
        facts.probed(question, ProbeResult(True, "200", 0.01, float(at)), NOW)
    assert facts.seen(key(), NOW)(A).health.up
    assert not facts.seen(key(port=443), NOW)(A).health.up, "its other check has not been asked"
    assert facts.seen(key(port=25), NOW)(A) is None
    assert not facts.seen(key(port=53), NOW)(A).health.up
    facts.probed(question._replace(tunnel=Tunnel(TunnelKind.GRE)), ProbeResult(True, "200", 0.01, 1.0), NOW)
    assert facts.seen(key(port=53), NOW)(A).checks[0].says == "200"


@given(st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
async def test_tables_hash_is_blind_to_history(random):
    """Two instances that came to one state by different ways, with different ids, have the same hash; another state has not."""
    last = config(
        service(backends=[Backend(ip_address(f"10.1.0.{n}"), n % 3 + 1) for n in range(11, 15)]), service(key(port=443))
    )
    hashes = set()
    for _ in range(2):
        world = World(SMALL, filler=native)
        for _ in range(random.randrange(3)):
            some = random.sample(range(11, 30), 5)
            world.configure(config(service(backends=[f"10.1.0.{n}" for n in sorted(some)]), service(key("192.0.2.77"))))
            world.all_up(world.reconciler._facts.config)
            await world.settle()
        world.configure(last)
        events = [(s.key, str(b.address)) for s in last.services for b in s.backends] * 5
        random.shuffle(events)
        for name, backend in events:
            world.probe(name, backend, True)
        world.probe(key(), "10.1.0.12", False, 2)
        await world.settle()
        hashes.add(hash_of(world))
    assert len(hashes) == 1
    world.probe(key(), "10.1.0.13", False, 2)
    await world.settle()
    assert hash_of(world) not in hashes


def hash_of(world: World) -> str:
    return world.reconciler.status(lambda ids: [(0, 0, 0)] * len(ids), []).tables_hash


async def test_both_fillers_agree():
    """The reference and its twin in C lead to the same bytes."""
    data = []
    made = config(service(checks=()), service(key("2001:db8::10"), ("2001:db8:1::11", "2001:db8:1::12"), checks=(CHECK,)))
    for filler in (None, native):
        world = World() if filler is None else World(filler=filler)
        world.configure(made)
        world.all_up(made)
        await world.settle()
        data.append(world.tables.data)
    assert data[0] == data[1]
