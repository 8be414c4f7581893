"""Rehearsals against the real thing: what a change would do is what it then does, and thinking about it changes nothing."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead._native import maglev as native
from fairlead.core.keys import derive
from fairlead.model import AdminState, Backend, Config, NoPath, OnDown, Protocol, Scheduler
from fairlead.rehearse import Rehearsing
from tests.unit.core.harness import LINK, World, config, key, paths_of, service

A, B, C, D = "10.1.0.11", "10.1.0.12", "10.1.0.13", "10.1.0.14"
OTHER = key("192.0.2.20")


class Stage(World):
    """A world whose reconciler can rehearse."""

    def __init__(self, *services) -> None:
        super().__init__()
        self.told: list = []
        self.reconciler = Rehearsing(
            self.tables,
            keys=derive(b""),
            log=self.events.append,
            clock=lambda: self.time,
            maglev=native,
            announce=self.told.append,
        )
        self.reconciler.adopt()
        self.reconciler.set_links([LINK])
        self.config = config(*services)
        self.flows = [0] * self.tables.geometry.destinations

    async def up(self) -> Stage:
        self.configure(self.config)
        await self.settle()
        self.all_up(self.config)
        await self.settle()
        return self

    async def rehearse(self, made: Config):
        return await self.reconciler.rehearse(made, [LINK], self.flows, "new.yaml")

    def everything(self) -> tuple:
        return ({t: bytes(b) for t, b in self.tables.data.items()}, len(self.events), len(self.told), self.tables.applied[:])

    def set_flows(self, **counts: int) -> None:
        owners = {str(address): number for number, (_, address) in self.reconciler.owners().items()}
        for backend, count in counts.items():
            self.flows[owners[{"a": A, "b": B, "c": C}[backend]]] = count


def disabled(address: str) -> Backend:
    return Backend(ip_address(address), state=AdminState.DISABLED)


CHANGES = {
    "less": (service(backends=(A, B)),),
    "more": (service(backends=(A, B, C, D)),),
    "other": (service(), service(OTHER, (A, D))),
    "none": (),
    "weights": (service(backends=(A, B, Backend(ip_address(C), 5))),),
    "disabled": (service(backends=(A, B, disabled(C)), on_down=OnDown.MOVE),),
    "moved": (service(OTHER),),
    "size": (service(table_size=251),),
    "rendezvous": (service(scheduler=Scheduler.RENDEZVOUS),),
    "sticky": (service(sticky=True),),
    "unchecked": (service(backends=(A, B, C, D), checks=()),),
}


@pytest.mark.parametrize("services", CHANGES.values(), ids=CHANGES.keys())
async def test_the_rehearsal_is_true(services):
    """Exactly the operations that are foretold are carried out, in this order; the rehearsal itself writes and says nothing."""
    stage = await Stage(service()).up()
    after = config(*services)
    before = stage.everything()
    foretold = await stage.rehearse(after)
    again = await stage.rehearse(after)
    assert stage.everything() == before
    assert foretold == again
    assert foretold.changed
    result = await stage.reconciler.change(after, [LINK])
    assert tuple(op.text for op in result.done) == foretold.operations
    assert not result.failed
    stage.reconciler.set_paths(paths_of(after))
    await stage.settle()
    stage.read.check()


BACKENDS = st.lists(
    st.builds(
        Backend,
        st.sampled_from([ip_address(f"10.1.0.{n}") for n in range(11, 17)]),
        weight=st.sampled_from([1, 1, 1, 0, 3]),
        state=st.sampled_from([AdminState.ACTIVE, AdminState.ACTIVE, *AdminState]),
    ),
    max_size=5,
    unique_by=lambda b: b.address,
)
SERVICES = st.lists(
    st.builds(
        service,
        st.sampled_from([key(), OTHER, key(port=443), key("192.0.2.30", 0), key("2001:db8::1", 53, Protocol.UDP)]),
        BACKENDS.map(lambda found: sorted(found, key=lambda b: int(b.address))),
        on_down=st.sampled_from(list(OnDown)),
        track=st.booleans(),
        scheduler=st.sampled_from(list(Scheduler)),
        need=st.integers(0, 2),
    ),
    max_size=4,
    unique_by=lambda s: s.key,
)


@settings(max_examples=20, deadline=None)
@given(st.lists(SERVICES, min_size=2, max_size=5))
async def test_any_rehearsal_is_true(steps):
    """From any configuration to any other, and whatever has come up meanwhile: what is foretold is what happens."""
    stage = Stage()
    stage.configure(config())
    for number, services in enumerate(steps):
        after = config(*services)
        stage.flows = [3] * len(stage.flows)
        foretold = await stage.rehearse(after)
        result = await stage.reconciler.change(after, [LINK])
        assert tuple(op.text for op in result.done) == foretold.operations
        assert 0 <= foretold.moved.percent <= 100
        assert all(0 <= c.slots_moved <= c.slots and 0 <= c.flows_moved <= c.flows for c in foretold.services)
        stage.reconciler.set_paths(paths_of(after))
        if number % 2:
            stage.all_up(after)
            await stage.settle()
        stage.read.check()


async def test_nothing_to_do():
    """The running configuration is nothing to do, and moves nothing."""
    stage = await Stage(service()).up()
    found = await stage.rehearse(stage.config)
    assert (found.changed, found.operations, found.services, found.later) == (False, (), (), ())
    assert found.moved.percent == 0


async def test_slots_and_flows_of_a_backend_that_goes():
    """Its slots move, and all its flows; those of the others stay where they are."""
    stage = await Stage(service(table_size=1021)).up()
    stage.set_flows(a=30, b=50, c=20)
    had = sum(str(f.backend) == C for f in stage.read.resolve(key()))
    found = await stage.rehearse(config(service(backends=(A, B), table_size=1021)))
    (change,) = found.services
    shares = {b.address: b for b in change.backends}
    assert had <= change.slots_moved < 1.1 * had
    assert (change.flows, change.flows_moved, shares[C].moved, shares[A].moved) == (100, 20, 20, 0)
    assert (shares[C].before, shares[C].after) == (pytest.approx(had / 1021), 0)
    assert shares[A].after == pytest.approx(0.5, abs=0.01)
    assert found.moved.flows == 20
    assert found.moved.percent == pytest.approx(max(20, 100 * change.slots_moved / 1021), abs=0.001)


async def test_what_a_new_backend_takes_is_foretold():
    """A backend that is new moves no slot at once, but it will once it is up; that counts."""
    stage = await Stage(service(table_size=1021)).up()
    stage.set_flows(a=100)
    after = config(service(backends=(A, B, C, D), table_size=1021))
    found = await stage.rehearse(after)
    assert found.operations == (f"add destination 4: {D} for {key()}",)
    moved = found.moved.slots
    assert found.later == (f"{moved} of 1021 slots of {key()} move once {D} is up",)
    assert moved == pytest.approx(1021 / 4, rel=0.1)
    assert found.moved.flows == 0
    old = [f.backend for f in stage.read.resolve(key())]
    await stage.reconciler.change(after, [LINK])
    stage.reconciler.set_paths(paths_of(after))
    stage.all_up(after)
    await stage.settle()
    assert sum(a != f.backend for a, f in zip(old, stage.read.resolve(key()), strict=True)) == moved


@pytest.mark.parametrize(
    ("on_down", "state", "moved"),
    [
        (OnDown.KEEP, AdminState.DISABLED, 0),
        (OnDown.MOVE, AdminState.DISABLED, 7),
        (OnDown.RESET, AdminState.DISABLED, 7),
        (OnDown.MOVE, AdminState.DRAIN, 0),
    ],
)
async def test_on_down_decides_about_flows(on_down, state, moved):
    """A backend that is drained keeps its flows; one that is disabled loses them where `on-down` says so."""
    stage = await Stage(service(on_down=on_down)).up()
    stage.set_flows(c=7)
    found = await stage.rehearse(config(service(backends=(A, B, Backend(ip_address(C), state=state)), on_down=on_down)))
    assert found.moved.flows == moved


async def test_a_full_table_is_foretold():
    """What finds no room is a problem of the plan, not a surprise of the change."""
    stage = await Stage(service()).up()
    many = [Backend(ip_address(f"10.1.1.{n}")) for n in range(1, 255)]
    after = config(service(backends=(A, B, C, *many)))
    found = await stage.rehearse(after)
    assert any("the table is full: no destination is free" in p and "limits.destinations" in p for p in found.problems)
    result = await stage.reconciler.change(after, [LINK])
    assert tuple(f"{r.text}: {r.says}" for r in result.failed) == found.problems


async def test_a_path_that_goes_between():
    """Facts that change after a rehearsal make another pass, and another rehearsal says so."""
    stage = await Stage(service()).up()
    assert not (await stage.rehearse(stage.config)).changed
    stage.reconciler.set_paths(paths_of(stage.config) | {ip_address(C): NoPath("no route")})
    found = await stage.rehearse(stage.config)
    assert any("no next hop" in text for text in found.operations)


async def test_a_world_of_its_own():
    """Passes after a rehearsal go on as if it had never been: numbers, quarantine and all."""
    first, second = await Stage(service()).up(), await Stage(service()).up()
    for services in CHANGES.values():
        await first.rehearse(config(*services))
    for stage in (first, second):
        for services in ((service(backends=(A, B)),), (service(backends=(B, C, D)),)):
            await stage.reconciler.change(config(*services), [LINK])
            stage.reconciler.set_paths(paths_of(config(*services)))
            await stage.settle()
    assert first.tables.data == second.tables.data
