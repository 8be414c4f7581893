"""Beyond rise and fall: hold, panic, backups, damping, and what an operator is told of each."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.damping import Penalty, decayed, fallen, released
from fairlead.core.moment import Moment
from fairlead.core.plan import ServiceFacts, State, plan_service
from fairlead.events import (
    BackendReleased,
    BackendSuppressed,
    BackupsRested,
    BackupsUsed,
    OperationFailed,
    PanicBegan,
    PanicEnded,
    VipDown,
    VipUp,
)
from fairlead.model import AdminState, Backend, Damping, Health, NoPath, Override
from tests.unit.core.harness import World, built, config, key, path, service

FIVE = [f"10.1.0.{n}" for n in range(11, 16)]
A, B, C, D, E = FIVE
CALM = Damping(penalty=1000, half_life=60, suppress=2500, reuse=1000)


def of(world: World, backend: str = A):
    """A backend of the first service, as status shows it."""
    found = status(world).services[0].backends
    return next(b for b in found if b.address == backend)


def status(world: World):
    return world.reconciler.status(lambda ids: [(0, 0, 0)] * len(ids), [])


def count(world: World, kind: type) -> int:
    return sum(isinstance(event, kind) for event in world.events)


async def flap(world: World, times: int, backend: str = A) -> None:
    for _ in range(times):
        world.probe(key(), backend, False, 2)
        await world.settle()
        world.probe(key(), backend, True, 5)
        await world.settle()


# -------------------------------------------------------------------------------------------------------------------------- hold


async def test_hold():
    """A VIP is announced when it has been up for as long as its most patient service says, counted from the last that came up."""
    world = World()
    made = config(service(hold=5.0), service(key(port=443), (A,), hold=2.0))
    world.configure(made)
    world.probe(key(), A, True, 5)
    world.probe(key(port=443), A, True, 5)
    await world.settle()
    world.time += 2.5
    assert (await world.settle(), status(world).vips[0].reason) == ([], "up for 2 of 5 s")
    assert world.reconciler.deadline() == pytest.approx(world.time + 2.5)
    world.probe(key(port=443), A, False, 2)
    await world.settle()
    world.probe(key(port=443), A, True, 5)
    assert await world.settle() != []
    assert status(world).vips[0].reason == "up for 0 of 5 s"
    world.time += 5
    assert await world.settle() == ["announce 192.0.2.10/32"]
    assert status(world).vips[0].reason == ""


async def test_hold_counts_from_when_it_came_up():
    """Down is down at once; the next hold begins with the next up."""
    world = await built(service(backends=(A,), hold=5.0))
    world.time += 5
    await world.settle()
    assert world.reconciler.routes()
    world.probe(key(), A, False, 2)
    assert (await world.settle())[0].startswith("withdraw")
    world.probe(key(), A, True, 5)
    assert not any(t.startswith("announce") for t in await world.settle())
    world.time += 5
    assert "announce 192.0.2.10/32" in await world.settle()


@pytest.mark.parametrize(("needed", "held"), [(1, False), (2, True)])
async def test_hold_goes_on_over_a_restart(needed, held):
    """What was up before has been up since then: only what the registry says of as many backends as are needed counts."""
    world = await built(service(backends=(A, B), hold=30.0, need=needed))
    world.time += 25
    world.probe(key(), B, False, 2)
    await world.settle()
    world.probe(key(), B, True, 5)
    await world.settle()
    again = world.restart()
    again.time = world.time + 8
    again.configure(config(service(backends=(A, B), hold=30.0, need=needed)))
    again.probe(key(), A, True)
    again.probe(key(), B, True)
    assert await again.settle() == ([] if held else ["announce 192.0.2.10/32"])
    assert status(again).vips[0].reason == ("up for 10 of 30 s" if held else "")


async def test_what_a_restart_hands_over_needs_no_hold():
    """A VIP that routers still know is announced by the first pass, however new the backend is that it rests on."""
    made = config(service(backends=(A, B), hold=30.0))
    world = await built(*made.services)
    world.time += 60
    await world.settle()
    world.probe(key(), A, False, 2)
    world.probe(key(), B, False, 1)
    await world.settle()
    world.probe(key(), A, True, 5)
    world.probe(key(), B, False, 2)
    await world.settle()
    assert world.reconciler.routes()
    for vouched in ((), (key().vip,)):
        again = world.restart()
        again.time = world.time
        again.reconciler._facts.vouched = vouched
        again.configure(made)
        assert await again.settle() == (["announce 192.0.2.10/32"] if vouched else [])


async def test_what_is_announced_needs_no_hold():
    """A longer hold, and a new service on the VIP, take nothing back."""
    world = await built()
    world.configure(config(service(hold=60.0), service(key(port=443), hold=60.0)))
    assert not any(t.startswith("withdraw") for t in await world.settle())
    assert world.reconciler.routes()


async def test_clock_that_somebody_sets():
    """Setting the clock back by a day neither prolongs a hold nor a backend's absence nor the wait after a failure."""
    world = World(steady=True)
    world.configure(config(service(backends=(A,), hold=5.0, damping=CALM)))
    world.all_up(config(service(backends=(A,))))
    await world.settle()
    world.time -= 86400
    world.steady += 5
    assert await world.settle() == ["announce 192.0.2.10/32"]
    for _ in range(3):
        world.probe(key(), A, False, 2)
        world.probe(key(), A, True, 5)
    await world.settle()
    assert of(world).state == "drain"
    world.time -= 86400
    world.steady += 120
    await world.settle()
    assert of(world).state == "up"


# ------------------------------------------------------------------------------------------------------------------------- panic


def planned(healthy: str, **more):
    """A service of as many backends as letters: `u` up, `d` down, `n` no path, `?` not decided; capitals are backups."""
    made = tuple(Backend(ip_address(f"10.1.0.{n}"), backup=c.isupper()) for n, c in enumerate(healthy, 11))
    healths = tuple(Health(c in "uUnN", 0.0, c, reported=c != "?", decided=c != "?") for c in healthy)
    paths = tuple(NoPath("no route") if c in "nN" else path(n) for n, c in enumerate(healthy))
    return plan_service(ServiceFacts(service(backends=made, **more), healths, paths))


def usable(plan) -> str:
    """The letters of those that get new flows."""
    return "".join(b.says if b.path else "n" for b in plan.backends if b.usable)


@pytest.mark.parametrize(
    ("healthy", "more", "used", "panic"),
    [
        ("uuddd", {"panic": 0.2}, "uu", False),
        ("udddd", {"panic": 0.2}, "u", False),
        ("udddd", {"panic": 0.21}, "udddd", True),
        ("ddddd", {"panic": 0.2}, "ddddd", True),
        ("ddddd", {}, "", False),
        ("ddd?d", {"panic": 0.5}, "", False),
        ("dddnd", {"panic": 0.5}, "dddd", True),
        ("ddddU", {"panic": 0.5}, "U", False),
        ("ddddU", {"panic": 0.5, "need": 2}, "ddddU", True),
        ("ddddD", {"panic": 0.5}, "dddd", True),
        ("uddddU", {"panic": 0.5}, "udddd", True),
    ],
)
def test_panic(healthy, more, used, panic):
    """Below the share all that have a path count as up, unless healthy backups are enough; never before all is decided."""
    plan = planned(healthy, **more)
    assert (usable(plan), plan.panic) == (used, panic)
    assert plan.available == len(used)
    assert ("panic" in plan.reason) is (panic and plan.up)


def test_panic_spares_whom_the_operator_does_not_want():
    """Disabled, drained and weightless backends neither count nor come back."""
    made = (
        Backend(ip_address(A)),
        Backend(ip_address(B), state=AdminState.DISABLED),
        Backend(ip_address(C), state=AdminState.DRAIN),
        Backend(ip_address(D), weight=0),
    )
    down = Health(False, 0.0, "503", reported=True)
    plan = plan_service(ServiceFacts(service(backends=made, panic=0.5), (down,) * 4, tuple(map(path, range(4)))))
    assert [b.state for b in plan.backends] == [State.ACTIVE, State.DISABLED, State.DOWN, State.DOWN]
    assert plan.backends[0].reason == "counts as up, for only 0 of 1 are healthy: 503"


async def test_panic_begins_and_ends():
    """Nothing panics while checks have yet to report; then all get flows, the VIP stays, and health ends it; events say so."""
    made = service(backends=FIVE, panic=0.3)
    world = await built(made)
    for backend in FIVE:
        world.probe(key(), backend, False, 2)
    await world.settle()
    assert world.backends() == set(FIVE)
    assert world.reconciler.routes()
    found = status(world).services[0]
    assert (found.panic, found.available, found.state) == (True, 5, "up")
    assert of(world).reason.startswith(
        "counts as up, for only 0 of 5 are healthy: http GET / on 10.1.0.11 for 192.0.2.10:80: 503"
    )
    assert not of(world).checks[0].up
    again = world.restart()
    again.configure(config(made))
    assert await again.settle() == [], "a restart in panic moves nobody"
    world.probe(key(), A, True, 5)
    world.probe(key(), B, True, 5)
    await world.settle()
    assert world.backends() == {A, B}
    assert (count(world, PanicBegan), count(world, PanicEnded)) == (1, 1)


async def test_no_panic_at_a_cold_start():
    """A new VIP starts down, panic or not."""
    world = World()
    world.configure(config(service(panic=0.9)))
    await world.settle()
    assert world.backends() == set()
    assert not world.reconciler.routes()


# ----------------------------------------------------------------------------------------------------------------------- backups


@pytest.mark.parametrize(
    ("healthy", "need", "used", "backups"),
    [
        ("uuU", 1, "uu", False),
        ("udU", 1, "u", False),
        ("udU", 2, "uU", True),
        ("ddU", 1, "U", True),
        ("ddU", 0, "U", True),
        ("ddD", 1, "", False),
        ("nnU", 1, "U", True),
        ("uUU", 2, "uUU", True),
    ],
)
def test_backups(healthy, need, used, backups):
    """Backups get flows only while the others are too few; then all that are healthy do."""
    plan = planned(healthy, need=need)
    assert (usable(plan), plan.backups) == (used, backups)
    rested = [b for b in plan.backends if b.backend.backup and b.says == "U" and not b.usable]
    assert all(b.state is State.DRAIN and b.reason.startswith("backup: ") for b in rested)


async def test_backups_come_and_go():
    """A backup that is let go keeps the flows it has; events and status say which way it went."""
    world = await built(service(backends=(A, B, Backend(ip_address(C), backup=True)), need=2))
    assert world.backends() == {A, B}
    assert (of(world, C).state, of(world, C).backup) == ("drain", True)
    world.probe(key(), A, False, 2)
    await world.settle()
    assert world.backends() == {B, C}
    assert status(world).services[0].reason == "has 1 of 2 required backends without its backups, which are used"
    assert world.reconciler.routes()
    world.probe(key(), A, True, 5)
    await world.settle()
    assert world.backends() == {A, B}
    assert (count(world, BackupsUsed), count(world, BackupsRested)) == (1, 1)


# ----------------------------------------------------------------------------------------------------------------------- damping


def test_penalty():
    """It halves each half-life, adds up, and has a ceiling of four half-lives above `reuse`."""
    at = Moment(7.0, 100.0)
    one = fallen(None, CALM, at)
    assert one == Penalty(1000.0, 100.0, 7_000_000_000, suppressed=False)
    assert decayed(one, CALM, 160.0) == pytest.approx(500.0)
    assert decayed(one, CALM, 40.0) == 1000.0, "a clock that went back gives nothing away"
    three = fallen(fallen(one, CALM, at), CALM, at)
    assert (three.value, three.suppressed) == (3000.0, True)
    assert decayed(three, CALM, released(three, CALM)) == pytest.approx(CALM.reuse)
    many = three
    for _ in range(100):
        many = fallen(many, CALM, at)
    assert released(many, CALM) == pytest.approx(100.0 + 4 * CALM.half_life)


@given(st.lists(st.floats(0, 1000), max_size=30), st.floats(1, 5000), st.floats(1, 5000), st.floats(1, 600))
def test_nobody_is_kept_out_for_ever(waits, reuse, more, half_life):
    """Whatever the falls and the rules, the time out has an end, and it is not before the penalty is down to `reuse`."""
    rules = Damping(1000.0, half_life, reuse + more, reuse)
    penalty, now = None, 0.0
    for wait in waits:
        now += wait
        penalty = fallen(penalty, rules, Moment(now, now))
        assert penalty.value <= max(16 * reuse, 2 * rules.suppress) + 1e-6
        assert now <= released(penalty, rules) < now + half_life * 40
        assert decayed(penalty, rules, released(penalty, rules)) <= max(reuse, 1e-9) * (1 + 1e-9)


async def test_damping():
    """After three falls in a row a backend that passes its checks gets no new flows until its penalty has decayed."""
    world = await built(service(damping=CALM))
    await flap(world, 2)
    assert of(world).state == "up"
    assert 1000 < of(world).penalty < 2000
    await flap(world, 1)
    found = of(world)
    assert found.state == "drain"
    assert found.reason.startswith("went down too often (penalty 2")
    assert ": no new flows until " in found.reason
    assert world.backends() == {B, C}
    assert of(world, B).penalty == 0
    world.probe(key(), A, False, 2)
    await world.settle()
    assert of(world).state == "down"
    assert "; went down too often (penalty 3" in of(world).reason
    world.probe(key(), A, True, 5)
    until = world.reconciler.deadline()
    world.time = until - 0.5
    await world.settle()
    assert of(world).state == "drain"
    world.time = until
    await world.settle()
    assert of(world).state == "up"
    assert of(world).penalty == pytest.approx(CALM.reuse, rel=0.01)
    assert world.backends() == {A, B, C}
    assert (count(world, BackendSuppressed), count(world, BackendReleased)) == (1, 1)


async def test_damping_takes_a_vip_down_only_by_need():
    """The only backend flaps: the service lacks it as if it were down, and panic, where asked for, gives it back."""
    world = await built(service(backends=(A,), damping=CALM))
    await flap(world, 3)
    assert not world.reconciler.routes()
    assert status(world).vips[0].reason == "80/tcp has 0 of 1 required backends"
    world.configure(config(service(backends=(A,), damping=CALM, panic=0.2)))
    await world.settle()
    assert world.reconciler.routes()
    assert world.backends() == {A}


async def test_damping_goes_on_over_a_restart():
    """The registry remembers penalty and verdict: who was kept out is, no longer than it would have been, and nothing moves."""
    made = service(damping=CALM)
    world = await built(made)
    await flap(world, 2)
    await flap(world, 1, B)
    again = world.restart()
    again.time = world.time
    again.configure(config(made))
    assert await again.settle() == []
    assert of(again).penalty == pytest.approx(of(world).penalty, rel=0.01)
    assert of(again, C).penalty == 0
    await flap(again, 1)
    third = again.restart()
    third.time = again.time
    third.configure(config(made))
    assert await third.settle() == []
    assert of(third).state == "drain"
    assert third.reconciler.deadline() == pytest.approx(again.reconciler.deadline(), rel=0.001)
    third.time = third.reconciler.deadline()
    await third.settle()
    assert of(third).state == "up"


async def test_damping_forgets_with_its_rules():
    """Other rules, or none, start without a penalty; an edit of anything else goes on with it."""
    world = await built(service(damping=CALM))
    await flap(world, 3)
    world.configure(config(service(damping=CALM, sticky=True)))
    await world.settle()
    assert of(world).state == "drain"
    world.configure(config(service(damping=replace(CALM, reuse=500.0))))
    await world.settle()
    assert (of(world).state, of(world).penalty) == ("up", 0)


# --------------------------------------------------------------------------------------------------------------- words and status


@pytest.mark.parametrize(
    ("state", "weight", "said", "reason"),
    [
        (AdminState.DRAIN, 1, (AdminState.DRAIN, None), "drained by ann since 19"),
        (AdminState.DISABLED, 1, (AdminState.DISABLED, None), "disabled by ann since 19"),
        (AdminState.ACTIVE, 0, (None, 0), "weight 0 by ann since 19"),
        (AdminState.DRAIN, 5, (None, 5), "drained in the configuration"),
        (AdminState.ACTIVE, 0, (AdminState.ACTIVE, None), "weight 0"),
    ],
)
async def test_who_said_so(state, weight, said, reason):
    """A backend without new flows says whether a file or a person wants it so."""
    override = Override(ip_address(A), None, *said, who="ann", at=100000.0)
    world = await built(service(backends=(Backend(ip_address(A), weight, state, override=override), B)))
    assert of(world).reason.startswith(reason)
    assert " by ann since 19" in of(world).override
    assert of(world, B).override == ""


async def test_priority():
    """The most important service of a VIP says how loud its changes are."""
    made = service(priority="low"), service(key(port=443), (A,), priority="critical")
    world = await built(*made)
    world.probe(key(port=443), A, False, 2)
    await world.settle()
    loud = {type(e): e.severity for e in world.events if isinstance(e, VipUp | VipDown)}
    assert loud == {VipUp: 3, VipDown: 3}
    assert {e.severity for e in (await built()).events if isinstance(e, VipUp)} == {5}


async def test_applied():
    """What could not be carried out says what, why and when it is tried again, and what waits says what for."""
    world = await built()
    assert status(world).services[0].applied == "done"
    world.tables.fail = {"fill"}
    world.probe(key(), A, False, 2)
    assert status(world).services[0].applied == "done", "nothing new is wanted before a pass"
    await world.reconciler.run_pass()
    assert status(world).services[0].applied.startswith("failed, next try in 1 s: fill 1021 slots for 192.0.2.10:80/tcp: ")
    world.time += 1
    await world.reconciler.run_pass()
    assert status(world).services[0].applied.startswith("failed, next try in 2 s: ")
    world.tables.fail = set()
    world.time += 2
    await world.settle()
    assert status(world).services[0].applied == "done"


async def test_vip_that_is_not_applied():
    """A VIP whose row cannot be written says so in its reason, and so do its services."""
    world = World()
    world.tables.fail = {"add VIP"}
    world.configure(config(service(checks=())))
    await world.reconciler.run_pass()
    found = status(world)
    assert found.services[0].applied.startswith("failed, next try in 1 s: add VIP 192.0.2.10: ")
    assert found.vips[0].reason.startswith("its tables are not complete yet: failed, next try in 1 s: add VIP 192.0.2.10")
    assert count(world, OperationFailed) == 1


async def test_troubles_of_no_service():
    """Timeouts that cannot be set are a warning, for no service is to blame."""
    world = World()
    world.tables.fail = {"set flow timeouts"}
    world.configure(config(service(checks=())))
    await world.reconciler.run_pass()
    assert status(world).warnings[0].startswith("failed, next try in 1 s: set flow timeouts")
    world.tables.fail = {"add VIP"}
    world.configure(config(service(key("192.0.2.99"), checks=())))
    await world.reconciler.run_pass()
    assert len(status(world).warnings) == 2
    world.configure(config(service(checks=())))
    world.tables.fail = set()
    world.time += 10
    await world.settle()
    assert status(world).warnings == (), "what nobody wants any more is no trouble"
