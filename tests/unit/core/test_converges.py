"""Random facts and faults: whatever happened, the tables come to what is wanted, and are never broken on the way.

Facts are configurations with every rule, health, paths and time; faults are stores that fail, operations torn in the middle,
tables that are full, bytes that somebody else has written, and SIGKILL behind any store, after which another daemon takes over.
Behind every single store a reader written independently walks all services: none names a row that is not filled.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_address

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fairlead.core.maglev import order, table_size
from fairlead.model import AdminState, Backend, Config, Damping, NoPath, OnDown, Protocol, Rules, Service, ServiceKey, Ttl
from tests.unit.core.harness import CHECK, SMALL, World, config, path, service

VIPS = [ip_address(a) for a in ("192.0.2.10", "192.0.2.11", "2001:db8::10")]
BACKENDS = {4: [ip_address(f"10.1.0.{n}") for n in range(11, 16)], 6: [ip_address(f"2001:db8:1::{n}") for n in range(11, 16)]}
CHECKS = ((), (CHECK,), (CHECK, replace(CHECK, path="/deep", rules=Rules(1, 1, 1))))
ROOMY = replace(SMALL, services=32, destinations=64, nexthops=32, slots=1024)
TIGHT = replace(SMALL, services=8, destinations=16, nexthops=6, slots=130)
SCRIBBLED = ("vips", "services", "destinations", "nexthops", "interfaces", "settings", "registry", "slots")


@st.composite
def services(draw, vip):
    name = ServiceKey(vip, draw(st.sampled_from([53, 80])), draw(st.sampled_from(Protocol)))
    some = draw(st.lists(st.sampled_from(BACKENDS[vip.version]), unique=True, max_size=5))
    made = tuple(
        Backend(
            a,
            draw(st.sampled_from([0, 1, 1, 2, 5])),
            draw(st.sampled_from([AdminState.ACTIVE, *AdminState])),
            backup=draw(st.integers(0, 3)) == 0,
        )
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
        hold=draw(st.sampled_from([0.0, 0.0, 5.0, 50.0])),
        panic=draw(st.sampled_from([0.0, 0.0, 0.3, 0.9])),
        damping=draw(st.sampled_from([None, None, Damping(half_life=30.0), Damping(1000.0, 100.0, 500.0, 400.0)])),
    )


@st.composite
def configs(draw):
    made = [draw(services(vip)) for vip in draw(st.lists(st.sampled_from(VIPS), max_size=5))]
    return config(*{s.key: s for s in made}.values())


@st.composite
def paths(draw):
    known = st.integers(1, 4).map(path)
    silent = st.builds(NoPath, st.just("no neighbour on eth0"), st.just(value=True), st.none() | known)
    some = st.one_of(known, known, st.just(NoPath("eth0 is down")), silent)
    return {a: draw(some) for family in BACKENDS.values() for a in family}


class Machine(RuleBasedStateMachine):
    """`world` is the daemon; at each store of it the watchman of the tables and a whole walk of a reader look on."""

    def __init__(self) -> None:
        super().__init__()
        self.config = Config(())
        self.paths: dict = {}

    @initialize(geometry=st.sampled_from([ROOMY, ROOMY, TIGHT]), made=configs(), found=paths())
    def begin(self, geometry, made, found):
        self.start(World(geometry))
        self.configure(made)
        self.reroute(found)

    def start(self, world: World) -> None:
        self.world = world
        world.tables.after_store = world.read.check
        world.reconciler.set_config(self.config)
        world.reconciler.set_paths(self.paths)

    # --------------------------------------------------------------------------------------------------------------- facts

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

    @rule(data=st.data(), times=st.integers(1, 4))
    def flap(self, data, times):
        for _ in range(times):
            self.probe(data, False, 2)
            self.probe(data, True, 5)

    @rule(seconds=st.sampled_from([1, 5, 30]))
    def wait(self, seconds):
        self.world.time += seconds

    @rule()
    def one_pass(self):
        asyncio.run(self.world.reconciler.run_pass())

    @rule()
    def collect(self):
        asyncio.run(self.world.reconciler.collect())

    # -------------------------------------------------------------------------------------------------------------- faults

    @rule(begins=st.sampled_from(["add", "fill", "point", "set", "remove", "free"]))
    def failing_pass(self, begins):
        self.world.tables.fail = {begins}
        asyncio.run(self.world.reconciler.run_pass())
        asyncio.run(self.world.reconciler.collect())
        self.world.tables.fail = set()

    @rule(after=st.integers(0, 12))
    def torn_pass(self, after):
        self.world.tables.torn = after
        asyncio.run(self.world.reconciler.run_pass())
        asyncio.run(self.world.reconciler.collect())
        self.world.tables.torn = None

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
        phases, time = self.world.tables.phase, self.world.time
        self.start(self.world.restart())
        self.world.time = time
        self.world.tables.phase = dict.fromkeys(phases, 0)

    @precondition(lambda self: self.world.tables.geometry is ROOMY)  # without room, spoilt slots stay until there is some
    @rule(data=st.data(), table=st.sampled_from(SCRIBBLED), junk=st.binary(min_size=8, max_size=8), restarts=st.booleans())
    def scribble(self, data, table, junk, restarts):
        """Somebody else writes: readers may find anything until it is read back, and after that nothing is left of it."""
        tables = self.world.tables
        rows = list(self.world.read.lives(table)) if table in ("services", "destinations", "interfaces") else []
        size = tables.size[table]
        row = data.draw(st.sampled_from(rows)) if rows else data.draw(st.integers(0, len(tables.data[table]) // size - 1))
        at = row * size + data.draw(st.integers(0, size // 8 - 1)) * 8
        tables.data[table][at : at + 8] = junk
        if restarts:
            self.restart()
        self.world.tables.watching, self.world.tables.after_store = False, lambda: None
        asyncio.run(self.world.reconciler.verify())
        self.come_to_rest()
        assert asyncio.run(self.world.reconciler.verify()) == 0
        self.world.tables.watching, self.world.tables.after_store = True, self.world.read.check
        self.world.tables.hot.clear()
        self.compare()

    # --------------------------------------------------------------------------------------------------------------- truth

    def come_to_rest(self):
        """Long enough for whatever failed to be tried again, and for whatever came up to be announced."""
        for _ in range(2):
            self.world.time += 100
            asyncio.run(self.world.settle())

    @rule()
    def settle(self):
        self.come_to_rest()
        self.compare()
        self.adopted_is_continued()

    def usable(self, s: Service) -> set:
        """Who is to get new flows of a service, by the rules as the documentation has them."""
        seen = self.world.reconciler._facts.seen(s.key, self.world.reconciler._now())
        there = [b for b in s.backends if not isinstance(self.paths[b.address], NoPath)]
        asked = [b for b in s.backends if b.state is AdminState.ACTIVE and b.weight]
        good = {b.address for b in asked if b in there and seen(b.address).health.up and not seen(b.address).damped}
        mains, wanted = [b for b in asked if not b.backup], max(s.need, 1)
        used = {b.address for b in mains} & good
        healthy = len(used)
        if healthy < wanted:
            used = good
        decided = all(seen(b.address).health.decided or b not in there for b in mains)
        helped = used > {b.address for b in mains} & good and len(used) >= wanted
        if s.panic and mains and decided and healthy < s.panic * len(mains) and not helped:
            used = used | {b.address for b in mains if b in there}
        return used

    def compare(self):
        """Every service leads to exactly the wanted backends and nothing else is there; what does not fit is said to."""
        read, world = self.world.read, self.world
        lacking = self.refused()
        for vip in VIPS:
            assert read.accepts(vip) <= (vip in self.config.vips())
            assert read.accepts(vip) or vip not in self.config.vips() or lacking
        for s in self.config.services:
            if s.key not in lacking:
                self.leads(s)
        announced = {r.prefix.network_address for r in world.reconciler.routes()}
        due = {vip for vip in self.config.vips() if all(self.vouched(s) for s in self.config.services if s.key.vip == vip)}
        assert announced == due or (lacking and announced < due)
        pairs = sum(len(s.backends) for s in self.config.services)
        assert len(read.lives("destinations")) == pairs or lacking
        assert len(read.lives("services")) == len(self.config.services) + len(self.config.vips()) or lacking

    def refused(self) -> set:
        """Services that have no room; in a roomy table none."""
        found = self.world.reconciler.status(lambda ids: [(0, 0, 0)] * len(ids), []).services
        lacking = {k.key for k, f in zip(self.config.services, found, strict=True) if f.applied != "done"}
        for f in found:
            assert f.applied == "done" or (self.world.tables.geometry == TIGHT and "table is full" in f.applied), f.applied
        return lacking

    def vouched(self, s: Service) -> bool:
        seen = self.world.reconciler._facts.seen(s.key, self.world.reconciler._now())
        return sum(seen(address).health.reported for address in self.usable(s)) >= s.need

    def leads(self, s: Service) -> None:
        usable, found = self.usable(s), self.world.read.resolve(s.key)
        assert {f.backend for f in found} == usable
        assert len(found) == (table_size(len(s.backends)) if usable else 0)
        for f in found:
            wanted = self.paths[f.backend]
            assert (f.hop["mac_destination"], f.hop["ifindex"]) == (wanted.mac_destination, wanted.ifindex)
            assert f.state == 1
            assert f.live >> 36 & 3 == s.ttl.value

    def adopted_is_continued(self):
        """What another daemon decodes from the bytes is what this one knows; and it finds nothing to do but to announce."""
        here, again = self.world.reconciler._have, self.world.restart()
        there = again.reconciler._have
        for name in ("services", "places", "destinations", "owned", "strays", "spare", "interfaces"):
            assert getattr(here, name) == getattr(there, name), name
        used = {row.hop for row in here.destinations.values()} - {0}  # other rows are free, whatever somebody wrote into them
        assert {n: here.hop_rows[n] for n in used} == there.hop_rows
        if self.refused():
            return
        again.time = self.world.time
        again.reconciler.set_config(self.config)
        again.reconciler.set_paths(self.paths)
        texts = asyncio.run(again.settle())
        assert all(t.startswith("announce") for t in texts), texts
        assert again.tables.data == self.world.tables.data
        assert self.hash(again) == self.hash(self.world)

    @staticmethod
    def hash(world: World) -> str:
        return world.reconciler.status(lambda ids: [(0, 0, 0)] * len(ids), []).tables_hash

    @invariant()
    def whole(self):
        self.world.read.check()

    @invariant()
    def announced_is_served(self):
        assert all(self.world.read.accepts(r.prefix.network_address) for r in self.world.reconciler.routes())

    def teardown(self):
        """In the end there is room and nothing fails: everything is as wanted; and when nothing is wanted, nothing is left."""
        if not hasattr(self, "world"):
            return
        self.settle()
        self.configure(Config(()))
        self.settle()
        assert not any(self.world.read.lives(t) for t in ("services", "destinations"))
        assert self.world.reconciler._have.holdings.regions.used == 0


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
