"""A data plane for packet tests: real objects, loaded by the real adapter, filled by the real planner from a configuration text.

Nothing is attached: packets are put through BPF_PROG_TEST_RUN, which makes them arrive on `lo` (ifindex 1), so `lo` is given a
MAC in the interface table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Self

from fairlead import config
from fairlead._native import maglev, rendezvous
from fairlead.adapters.kernel import Kernel
from fairlead.core import hashes, keys
from fairlead.core import maglev as maglev_reference
from fairlead.model import Address, Config, Geometry, Link, NoPath, Op, Path, ProbeKey, ProbeResult, Protocol, ServiceKey, Store
from fairlead.reconcile import Reconciler

OWN_MAC = bytes.fromhex("02000000001b")
LO = 1
ACTIONS = {0: "aborted", 1: "drop", 2: "pass", 3: "tx", 4: "redirect"}
# Small tables; the flow table's smallest, so that floods fill it in a second.
SMALL = Geometry(services=1024, destinations=4096, nexthops=1024, slots=16384, buckets=1 << 16)
PROBE_MARK = 0xFA1


def backend_mac(address: Address) -> bytes:
    """The MAC that tests give to a backend: its last two address bytes stand in it."""
    return bytes.fromhex("0200be00") + address.packed[-2:]


def path_to(address: Address) -> Path:
    """A path to a backend on the test's one interface."""
    source: Address = IPv4Address("10.1.0.1") if address.version == 4 else IPv6Address("fd00::1")
    return Path(LO, backend_mac(address), OWN_MAC, 1500, source)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one packet; `frame` is what left or was passed on."""

    verdict: str
    action: str
    frame: bytes


class Plane:
    """Use as a context manager; `text` is a configuration."""

    def __init__(self, bpffs: str, text: str, geometry: Geometry = SMALL, secret: bytes = b"", *, programs: bool = True) -> None:
        self.keys = keys.derive(secret)
        self.kernel = Kernel.open(bpffs, geometry, self.keys, PROBE_MARK)
        self.names = self.kernel.layout.verdict_names()
        self.events: list[str] = []
        self.now = 1_000_000.0
        self.reconciler = Reconciler(
            self.kernel,
            keys=self.keys,
            log=lambda event: self.events.append(str(event)),
            clock=lambda: self.now,
            maglev=maglev,
            rendezvous=rendezvous,
        )
        self._loop = asyncio.new_event_loop()
        self.reconciler.adopt()
        if programs:
            self.kernel.replace_programs()
        self.reconciler.set_links([Link(LO, "lo", OWN_MAC, True, 65536)])
        self.paths: dict[Address, Path | NoPath] = {}
        self.configure(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.close()
        self.kernel.close()

    def configure(self, text: str) -> None:
        """Take over a configuration text and run a pass."""
        self.config: Config = config.parse(text, "test.yaml")
        self.reconciler.set_config(self.config)
        for service in self.config.services:
            for backend in service.backends:
                self.paths.setdefault(backend.address, path_to(backend.address))
        self.resolve({})

    def resolve(self, changes: Mapping[str, Path | NoPath]) -> None:
        """Change the paths of some backends and run a pass."""
        self.paths.update({ip_address(address): path for address, path in changes.items()})
        self.reconciler.set_paths(dict(self.paths))
        self.run_pass()

    def let_others_in(self) -> None:
        """Give up the lock on the BPF file system: this plane only sends packets from now on, while others write."""
        self.kernel.unlock()

    def forget_flows(self) -> None:
        """Empty the flow table."""
        self.kernel.apply(Op("forget all flows", (Store("flows", 0, bytes(len(self.kernel.view("flows")))),)))

    def collect(self) -> None:
        """Free what was let go: grace, sweep, grace."""
        self._loop.run_until_complete(self.reconciler.collect())

    @staticmethod
    def path_to(address: Address) -> Path:
        """The path that a backend has unless a test says otherwise."""
        return path_to(address)

    def run_pass(self) -> None:
        """Passes of the reconciler until nothing waits for room any more, as the daemon does."""
        while self._loop.run_until_complete(self.reconciler.run_pass()).postponed:
            self.collect()

    def probe(self, key: ProbeKey, passed: bool, times: int = 5) -> None:
        """Let a check report `times` results alike, and run a pass."""
        for _ in range(times):
            self.now += 2
            self.reconciler.probed(
                key, ProbeResult(passed, "200 after 1 ms" if passed else "no answer within 2 s", 0.001, self.now)
            )
        self.run_pass()

    def send(self, packet: object, ifindex: int = LO) -> Outcome:
        """One packet through the program, and the one verdict that it was counted under."""
        before = self.kernel.verdicts()
        action, frame = self.kernel.test_run("balancer", bytes(packet), ifindex)  # type: ignore[call-overload]
        after = self.kernel.verdicts()
        counted = [v for v in after if after[v][0] != before.get(v, (0, 0))[0]]
        assert len(counted) == 1, f"one packet, {len(counted)} verdicts: {counted}"
        return Outcome(self.names[counted[0]], ACTIONS[action], frame)

    def ids(self, vip: str, port: int, protocol: int = 6) -> dict[str, int]:
        """Backend -> destination id of the service (TCP unless said otherwise), read from the destination rows."""
        layout = self.kernel.layout.structs["destination"]
        view = self.kernel.view("destinations")
        key = ServiceKey(ip_address(vip), port, Protocol(protocol))
        wanted = hashes.mapped(key.vip), hashes.wire_port(port) | protocol << 16 | key.vip.version << 24
        found = {}
        for index in range(1, self.kernel.geometry.destinations):
            row = layout.unpack(view[index * layout.size : (index + 1) * layout.size])
            if row["live"] and (row["vip"], row["l4"]) == wanted and int(row["live"]) >> 32 & 15 != 5:  # type: ignore[arg-type]
                found[str(hashes.unmapped(row["backend"]))] = index  # type: ignore[arg-type]
        return found

    def reference(self, packet: object, service: int) -> Address:
        """Where the reference sends a TCP packet of the given service (by position in the test's text) that has no entry."""
        family = (4, 6)[service]
        of = next(s for s in self.config.services if s.key.vip.version == family and s.key.port == 80 and len(s.backends) > 1)
        ip, tcp = packet.payload, packet.payload.payload  # type: ignore[attr-defined]
        nodes = sorted((b.address for b in of.backends), key=maglev_reference.order)
        size = maglev_reference.table_size(len(nodes))
        pairs = [maglev_reference.permutation(a, size) for a in nodes]
        slots = memoryview(maglev_reference.fill(size, [o for o, _ in pairs], [s for _, s in pairs], [1] * len(nodes))).cast("I")
        h = hashes.tuple_hash(self.keys.slot, ip_address(ip.src), ip_address(ip.dst), (tcp.sport, tcp.dport), 6)
        return nodes[slots[hashes.slot_of(h, size)]]
