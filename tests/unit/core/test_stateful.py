"""Random changes of configuration, health and paths, with crashes and failures: the tables always follow, and are never broken
on the way.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_address

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fairlead.core.maglev import order, table_size
from fairlead.model import AdminState, Backend, Config, NoPath, OnDown, Protocol, Rules, ServiceKey, Ttl
from tests.unit.core.harness import CHECK, SMALL, World, config, path, service

VIPS = [ip_address(a) for a in ("192.0.2.10", "192.0.2.11", "2001:db8::10")]
BACKENDS = {4: [ip_address(f"10.1.0.{n}") for n in range(11, 16)], 6: [ip_address(f"2001:db8:1::{n}") for n in range(11, 16)]}
CHECKS = ((), (CHECK,), (CHECK, replace(CHECK, path="/deep", rules=Rules(1, 1, 1))))
GEOMETRY = replace(SMALL, services=32, destinations=64, nexthops=32, slots=1024)


@st.composite
def services(draw, vip):
    name = ServiceKey(vip, draw(st.sampled_from([53, 80])), draw(st.sampled_from(Protocol)))
    some = draw(st.lists(st.sampled_from(BACKENDS[vip.version]), unique=True, max_size=5))
    made = tuple(
        Backend(a, draw(st.sampled_from([0, 1, 1, 2, 5])), draw(st.sampled_from([AdminState.ACTIVE, *AdminState])))
        for a in sorted(some, key=order)
    )
    return service(
        name,
        made,
        checks=draw(st.sampled_from(CHECKS)),
        sticky=draw(st.booleans()),
        on_down=draw(st.sampled_from(OnDown)),
        ttl=draw(st.sampled_from(Ttl)),
        need=draw(st.integers(0, 2)),
    )


@st.composite
def configs(draw):
    made = [draw(services(vip)) for vip in draw(st.lists(st.sampled_from(VIPS), max_size=5))]
    return config(*{s.key: s for s in made}.values())


@st.composite
def paths(draw):
    some = st.one_of(st.integers(1, 4).map(path), st.integers(1, 4).map(path), st.just(NoPath("no neighbour on eth0")))
    return {a: draw(some) for family in BACKENDS.values() for a in family}


class Machine(RuleBasedStateMachine):
    """`world` is the daemon; at each store of it the watchman of the tables and a whole walk of a reader look on."""

    def __init__(self) -> None:
        super().__init__()
        self.config = Config(())
        self.paths: dict = {}
        self.start(World(GEOMETRY))

    def start(self, world: World) -> None:
        self.world = world
        world.tables.after_store = world.read.check
        world.reconciler.set_config(self.config)
        world.reconciler.set_paths(self.paths)

    @initialize(made=configs(), found=paths())
    def begin(self, made, found):
        self.configure(made)
        self.reroute(found)

    @rule(made=configs())
    def configure(self, made):
        self.config = made
        self.world.reconciler.set_config(made)

    @rule(found=paths())
    def reroute(self, found):
        self.paths = found
        self.world.reconciler.set_paths(found)

    @rule(data=st.data(), passed=st.booleans(), times=st.integers(1, 5))
    def probe(self, data, passed, times):
        known = [(s, b) for s in self.config.services for b in s.backends if s.checks]
        if known:
            s, b = data.draw(st.sampled_from(known))
            for index in range(len(s.checks)):
                self.world.probe(s.key, str(b.address), passed, times, index)

    @rule()
    def one_pass(self):
        asyncio.run(self.world.reconciler.run_pass())

    @rule()
    def collect(self):
        asyncio.run(self.world.reconciler.collect())

    @rule(begins=st.sampled_from(["add", "fill", "point", "set", "remove", "free"]))
    def failing_pass(self, begins):
        self.world.tables.fail = {begins}
        asyncio.run(self.world.reconciler.run_pass())
        asyncio.run(self.world.reconciler.collect())
        self.world.tables.fail = set()

    @rule(after=st.integers(1, 12))
    def killed(self, after):
        """SIGKILL behind any store: the next daemon takes the bytes as they are."""
        left = after

        def count() -> None:
            nonlocal left
            self.world.read.check()
            left -= 1
            if not left:
                raise KeyboardInterrupt

        self.world.tables.after_store = count
        try:
            asyncio.run(self.world.reconciler.run_pass())
            asyncio.run(self.world.reconciler.collect())
        except KeyboardInterrupt:
            pass
        self.restart()

    @rule()
    def restart(self):
        phases = self.world.tables.phase
        self.start(self.world.restart())
        self.world.tables.phase = dict.fromkeys(phases, 0)
        self.world.tables.after_store = self.world.read.check

    @rule()
    def settle(self):
        self.world.time += 100
        asyncio.run(self.world.settle())
        self.compare()
        self.adopted_is_continued()

    def compare(self):
        """Every service leads to exactly the wanted backends, in the order that Maglev says, and nothing else is there."""
        facts, read = self.world.reconciler._facts, self.world.read
        for vip in VIPS:
            assert read.accepts(vip) == (vip in self.config.vips())
        for s in self.config.services:
            usable = {
                b.address: b.weight
                for b in s.backends
                if b.state is AdminState.ACTIVE
                and b.weight
                and facts.seen(s.key, self.world.reconciler._now())(b.address).health.up
                and not isinstance(self.paths[b.address], NoPath)
            }
            found = read.resolve(s.key)
            assert {f.backend for f in found} == usable.keys()
            assert len(found) == (table_size(len(s.backends)) if usable else 0)
            for f in found:
                wanted = self.paths[f.backend]
                assert (f.hop["mac_destination"], f.hop["ifindex"]) == (wanted.mac_destination, wanted.ifindex)
                assert f.state == 1
                assert f.live >> 36 & 3 == s.ttl.value
        pairs = sum(len(s.backends) for s in self.config.services)
        assert len(read.lives("destinations")) == pairs
        assert len(read.lives("services")) == len(self.config.services) + len(self.config.vips())

    def adopted_is_continued(self):
        """What another daemon decodes from the bytes is what this one knows; and it finds nothing to do."""
        here, there = self.world.reconciler._have, self.world.restart().reconciler._have
        for name in ("services", "places", "destinations", "owned", "strays", "spare", "hops", "hop_rows", "interfaces"):
            assert getattr(here, name) == getattr(there, name), name
        again = self.world.restart()
        again.reconciler.set_config(self.config)
        again.reconciler.set_paths(self.paths)
        unchecked = {s.key for s in self.config.services if not s.checks}
        texts = asyncio.run(again.settle())
        assert all(t.startswith("announce") for t in texts), texts
        assert unchecked is not None
        assert again.tables.data == self.world.tables.data
        assert self.hash(again) == self.hash(self.world)

    @staticmethod
    def hash(world: World) -> str:
        return world.reconciler.status(lambda ids: [(0, 0, 0)] * len(ids), []).tables_hash

    @invariant()
    def whole(self):
        self.world.read.check()

    def teardown(self):
        self.settle()


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
