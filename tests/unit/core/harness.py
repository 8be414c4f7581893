"""Tables as plain bytes that watch every store, and a reader that walks them as the program does, written independently of
core.tables.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from fairlead._native import layout
from fairlead.core import maglev
from fairlead.core.hashes import mapped, service_places, unmapped, vip_bit, wire_port
from fairlead.core.keys import derive
from fairlead.errors import KernelError
from fairlead.model import (
    Address,
    Backend,
    Check,
    Config,
    Geometry,
    Link,
    Path,
    ProbeKey,
    ProbeResult,
    Protocol,
    Publish,
    Service,
    ServiceKey,
)
from fairlead.reconcile import Reconciler

LAYOUT = layout()
SMALL = Geometry(services=64, destinations=256, nexthops=64, slots=512, buckets=65536, cpus=2)
STRUCTS = {
    "vips": "vip_bitmap",
    "services": "service",
    "slots": "slots",
    "destinations": "destination",
    "nexthops": "nexthop",
    "interfaces": "interface",
    "settings": "settings",
    "registry": "registry",
    "counters": "cell",
}
LINK = Link(2, "eth0", bytes.fromhex("020000000001"), True, 1500)
CHECK = Check("http", 80, "")


def rows_of(geometry: Geometry) -> dict[str, int]:
    g = geometry
    return {
        "vips": 1,
        "services": g.services,
        "slots": g.slots,
        "destinations": g.destinations,
        "nexthops": g.nexthops,
        "interfaces": 1024,
        "settings": 1,
        "registry": g.destinations,
        "counters": g.cpus * g.destinations,
    }


class FakeTables:
    """A store of bytes, and a watchman: nothing that readers can reach, or could until the last grace period, is ever rewritten.
    A store of bytes, and a watchman: nothing that readers can reach, or could until the last grace period, is ever rewritten.
    """

    def __init__(self, geometry: Geometry = SMALL, data: dict[str, bytes] | None = None) -> None:
        self.layout, self.geometry = LAYOUT, geometry
        self.size = {table: LAYOUT.structs[name].size for table, name in STRUCTS.items()}
        given = data or {table: bytes(n * self.size[table]) for table, n in rows_of(geometry).items()}
        self.data = {table: bytearray(b) for table, b in given.items()}
        self.reader = Reader(self.data, geometry)
        self.hot: set[tuple[str, int]] = set()  # rows that somebody may still be reading
        self.phase: dict[int, int] = {}  # gone id -> graces and sweeps since
        self.fail: set[str] = set()  # beginnings of the texts of operations that fail
        self.torn: int | None = None  # so many stores more, then one fails in the middle of its operation
        self.watching = True
        self.after_store = lambda: None
        self.applied: list[str] = []
        self.sweeps: list[bytes] = []

    def sizes(self) -> dict[str, tuple[int, int]]:
        return {table: (rows, rows * self.size[table]) for table, rows in rows_of(self.geometry).items()} | {
            "flows": (self.geometry.buckets, 64 * self.geometry.buckets)
        }

    def view(self, table: str) -> memoryview:
        return memoryview(self.data[table]).toreadonly()

    def apply(self, op) -> None:
        if any(op.text.startswith(text) for text in self.fail):
            raise KernelError("apply", op.text, 5)
        for store in op.stores:
            if self.torn is not None:
                self.torn -= 1
                if self.torn < 0:
                    self.torn = None
                    raise KernelError("apply", op.text, 5)
            if self.watching:
                self._watch(store)
            data = store.value.to_bytes(8, "little") if isinstance(store, Publish) else store.data
            assert store.offset + len(data) <= len(self.data[store.table])
            self.data[store.table][store.offset : store.offset + len(data)] = data
            self.after_store()
        self.applied.append(op.text)

    def grace(self) -> None:
        self.hot.clear()
        for number, phase in self.phase.items():
            self.phase[number] = {0: 1, 2: 3}.get(phase, phase)

    def sweep(self, owned: bytes) -> int:
        self.sweeps.append(owned)
        for number, phase in self.phase.items():
            if not owned[number >> 3] >> (number & 7) & 1:
                assert phase >= 1, "swept without a grace period before it"
                self.phase[number] = max(phase, 2)
        return 0

    def _watch(self, store) -> None:
        row = store.offset // self.size[store.table]
        if isinstance(store, Publish):
            self._watch_switch(store, row)
            return
        assert store.table in ("destinations", "services", "nexthops", "interfaces", "slots", "registry"), store.table
        for touched in range(row, row + -(-len(store.data) // self.size[store.table])):
            assert (store.table, touched) not in self.hot, f"{store.table} row {touched} rewritten before a grace period"
            assert not self.reader.reachable(store.table, touched), f"{store.table} row {touched} rewritten under readers"

    def _watch_switch(self, store: Publish, row: int) -> None:
        assert store.offset % 8 == 0
        if store.table in ("vips", "settings"):
            return
        assert store.offset % self.size[store.table] == LAYOUT.structs[STRUCTS[store.table]].offset("live")
        old = self.reader.live(store.table, row)
        if store.table == "services" and old:
            base, size = self.reader.region(old)
            self.hot |= {("slots", element) for element in range(base, base + -(-size // 16))}
        if store.table == "destinations" and old:
            self.hot.add(("nexthops", old & 0xFFFFFF))
            if store.value >> 32 & 15 == 5:
                self.phase[row] = 0
            if not store.value:
                assert self.phase.pop(row) == 3, f"destination {row} freed without grace, sweep, grace"
                assert not self.reader.named_in_slots(row), f"destination {row} freed while slots name it"
        if old and not store.value and store.table != "destinations":
            self.hot.add((store.table, row))


@dataclass
class Found:
    """What a packet finds."""

    backend: Address
    state: int
    live: int
    hop: dict
    id: int


@dataclass
class Reader:
    """VIP bit -> service places -> slots -> destination -> next hop, straight from the bytes."""

    data: dict[str, bytearray]
    geometry: Geometry
    problems: list[str] = field(default_factory=list)

    def row(self, table: str, index: int) -> dict:
        struct = LAYOUT.structs[STRUCTS[table]]
        return struct.unpack(bytes(self.data[table][index * struct.size : (index + 1) * struct.size]))

    def live(self, table: str, index: int) -> int:
        struct = LAYOUT.structs[STRUCTS[table]]
        at = index * struct.size + struct.offset("live")
        return int.from_bytes(self.data[table][at : at + 8], "little")

    @staticmethod
    def region(live: int) -> tuple[int, int]:
        return live & (1 << 28) - 1, live >> 28 & (1 << 20) - 1

    def lives(self, table: str) -> dict[int, int]:
        struct = LAYOUT.structs[STRUCTS[table]]
        words = memoryview(self.data[table]).cast("Q")[struct.offset("live") // 8 :: struct.size // 8].tolist()
        return {i: live for i, live in enumerate(words) if live}

    def reachable(self, table: str, index: int) -> bool:
        if table in ("destinations", "services", "interfaces"):
            return bool(self.live(table, index))
        if table == "nexthops":
            return any(live & 0xFFFFFF == index for live in self.lives("destinations").values())
        if table == "slots":
            regions = map(self.region, self.lives("services").values())
            return any(base <= index < base + -(-size // 16) for base, size in regions)
        return False

    def named_in_slots(self, number: int) -> bool:
        return any(number in self.slots(live) for live in self.lives("services").values())

    def slots(self, live: int) -> list[int]:
        base, size = self.region(live)
        return memoryview(self.data["slots"]).cast("I")[base * 16 : base * 16 + size].tolist()

    def accepts(self, vip: Address) -> bool:
        bit = vip_bit(vip)
        return bool(self.data["vips"][bit >> 3] >> (bit & 7) & 1) and self.find(vip, vip.version << 24) is not None

    def find(self, vip: Address, l4: int) -> dict | None:
        for place in service_places(mapped(vip), l4, self.geometry.services - 1):
            row = self.row("services", place)
            if row["live"] and row["vip"] == mapped(vip) and row["l4"] == l4:
                return row
        return None

    def service(self, key: ServiceKey) -> dict | None:
        return self.find(key.vip, wire_port(key.port) | key.protocol.value << 16 | key.vip.version << 24)

    def resolve(self, key: ServiceKey) -> list[Found] | None:
        """What each slot leads to; None without a service. Raises where a packet would find something broken."""
        row = self.service(key)
        return None if row is None else self._follow(row)

    def _follow(self, row: dict) -> list[Found]:
        cache: dict[int, Found] = {}
        found = []
        for number in self.slots(row["live"]):
            if number not in cache:
                cache[number] = self._destination(row, number)
            found.append(cache[number])
        return found

    def _destination(self, service: dict, number: int) -> Found:
        assert number, "a slot names no destination"
        row = self.row("destinations", number)
        assert row["live"], f"a slot names destination {number}, which is not in use"
        assert (row["vip"], row["l4"], row["service"]) == (service["vip"], service["l4"], service["id"]), (
            "a slot crosses services"
        )
        hop = row["live"] & 0xFFFFFF
        hop_row = self.row("nexthops", hop) if hop else {}
        assert not hop or any(hop_row["mac_destination"]), f"next hop {hop} is empty"
        return Found(unmapped(row["backend"]), row["live"] >> 32 & 15, row["live"], hop_row, number)

    def check(self) -> None:
        """No packet can find anything broken, whatever it is for."""
        for index in self.lives("services"):
            row = self.row("services", index)
            if row["id"]:
                self._follow(row)


# ------------------------------------------------------------------------------------------------------------------ short forms


def key(vip: str = "192.0.2.10", port: int = 80, protocol: Protocol = Protocol.TCP) -> ServiceKey:
    return ServiceKey(ip_address(vip), port, protocol)


def service(name: ServiceKey | None = None, backends=("10.1.0.11", "10.1.0.12", "10.1.0.13"), **more) -> Service:
    made = tuple(b if isinstance(b, Backend) else Backend(ip_address(b)) for b in backends)
    name = name or key()
    return Service(name, "", made, **({"checks": (check_of(name),), "hold": 0.0} | more))


def check_of(name: ServiceKey) -> Check:
    """A question of its own for each service of a VIP."""
    return CHECK if (name.port, name.protocol) == (80, Protocol.TCP) else replace(CHECK, port=name.port, host=str(name.protocol))


def config(*services: Service, **more) -> Config:
    return Config(tuple(sorted(services, key=lambda s: s.key.sort_key)), **more)


def path(number: int, ifindex: int = 2, mtu: int = 1500) -> Path:
    return Path(ifindex, b"\x02\x00\x00\x00" + number.to_bytes(2, "big"), LINK.mac, mtu, ip_address("10.1.0.1"))


def paths_of(*configs: Config) -> dict[Address, Path]:
    addresses = {b.address for c in configs for s in c.services for b in s.backends}
    return {a: path(int(a) & 0xFFFF) for a in addresses}


class World:
    """A reconciler over watched bytes, with a clock that stands still until told; `steady`: with another that nobody sets."""

    def __init__(
        self, geometry: Geometry = SMALL, data: dict[str, bytes] | None = None, filler=maglev, *, steady: bool = False
    ) -> None:
        self.tables = FakeTables(geometry, data)
        self.events: list = []
        self.time = 1000.0
        self.steady = 5000.0
        self.reconciler = Reconciler(
            self.tables,
            keys=derive(b""),
            log=self.events.append,
            clock=lambda: self.time,
            steady=(lambda: self.steady) if steady else None,
            maglev=filler,
        )
        self.reconciler.adopt()
        self.reconciler.set_links([LINK])

    @property
    def read(self) -> Reader:
        return self.tables.reader

    def configure(self, made: Config, paths=None) -> None:
        self.reconciler.set_config(made)
        self.reconciler.set_paths(paths_of(made) if paths is None else paths)

    def probe(self, name: ServiceKey, backend: str, passed: bool, times: int = 1, index: int = 0) -> None:
        for _ in range(times):
            self.time += 1
            result = ProbeResult(passed, "200" if passed else "503", 0.001, self.time)
            for question in self.questions(name, backend)[index : index + 1]:
                self.reconciler.probed(question, result)

    def questions(self, name: ServiceKey, backend: str) -> list[ProbeKey]:
        """What the checks of a service ask of a backend."""
        services = {s.key: s for s in self.reconciler._facts.config.services}
        found = services.get(name)
        return [ProbeKey(name.vip, ip_address(backend), found.tunnel, c.asked()) for c in found.checks] if found else []

    def all_up(self, made: Config) -> None:
        for s in made.services:
            for b in s.backends:
                for index, check in enumerate(s.checks):
                    self.probe(s.key, str(b.address), True, check.rules.rise, index)

    async def settle(self) -> list[str]:
        """Pass and collect until nothing changes any more; the texts of all operations of the passes."""
        texts: list[str] = []
        for _ in range(50):
            result = await self.reconciler.run_pass()
            texts += [op.text for op in result.done]
            await self.reconciler.collect()
            if not result.done and not self.reconciler.changed:
                return texts
        raise AssertionError(f"does not settle: {texts[-10:]}")

    def restart(self, filler=maglev) -> World:
        """Another daemon over the same bytes."""
        return World(self.tables.geometry, {t: bytes(b) for t, b in self.tables.data.items()}, filler)

    def backends(self, name: ServiceKey | None = None) -> set[str]:
        return {str(f.backend) for f in self.read.resolve(name or key()) or ()}


async def built(*services, **more) -> World:
    """A world in which everything is up."""
    world = World(**more)
    made = config(*(services or (service(),)))
    world.configure(made)
    await world.settle()
    world.all_up(made)
    await world.settle()
    return world


def kinds(texts: list[str]) -> list[str]:
    return [" ".join(t.split()[:2]) for t in texts if not t.startswith(("set flow", "add interface"))]
