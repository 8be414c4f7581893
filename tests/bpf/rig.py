"""The program in a world of the reference model: an object loaded by itself, its tables filled with rows packed from that world.

No planner, no daemon, no pins: what is shown here rests on the C alone. Packets arrive on `lo`.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from fairlead._native import bpf, layout
from fairlead.adapters.kernel.tables import Tables
from fairlead.adapters.kernel.twin import Twin
from fairlead.model import Geometry
from tests.bpf.model import Backend, Hop, Outcome, Service, World
from tests.bpf.model_wire import Tunnel, ipv4_header, ipv6_header, octets

LAYOUT = layout()
C = LAYOUT.constants
LO = 1
SERVICES, DESTINATIONS, NEXTHOPS, SLOTS, BUCKETS = 8192, 512, 512, 4096, 1 << 16
TAILS = ("rare", "too_big", "reset", "unreachable")
ACTIONS = {0: "aborted", 1: "drop", 2: "pass", 3: "tx", 4: "redirect"}
KINDS = {None: "TUNNEL_NONE", "ipip": "TUNNEL_IPIP", "gre": "TUNNEL_GRE", "fou": "TUNNEL_FOU", "gue": "TUNNEL_GUE"}
TTLS = {"one": "TTL_ONE", "decrement": "TTL_DECREMENT", "keep": "TTL_KEEP"}
# state -> (state in abi.h, flags besides LIVE)
STATES = {
    "active": ("ACTIVE", ("FOLLOW", "ACCEPT")),
    "drain": ("DRAIN", ("FOLLOW",)),
    "keep": ("DOWN", ("FOLLOW",)),
    "move": ("DOWN", ()),
    "reset": ("DOWN", ("RESET",)),
    "gone": ("GONE", ()),
}
VERDICTS = {
    value: name.lower()
    for name, value in C.items()
    if name.startswith(("PASS_", "TX_", "REDIRECT_", "DROP_")) and -64 <= value < 64
}
OBJECT = Path(__file__).parents[2] / "src/fairlead/_objects/balancer.bpf.o"
_MASK64 = (1 << 64) - 1


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")


def mapped(address: bytes) -> bytes:
    """16 bytes; IPv4 as ::ffff:a.b.c.d."""
    return bytes(10) + b"\xff\xff" + address if len(address) == 4 else address


def l4_of(port: int, protocol: int, vip: bytes) -> int:
    """abi.h: port as it stands on the wire | protocol << 16 | family << 24."""
    return _little(octets(port)) | protocol << 16 | (4 if len(vip) == 4 else 6) << 24


def vip_bit(vip: bytes) -> int:
    """The bit of the VIP bitmap: hash.h."""
    if len(vip) == 4:
        return (_little(vip) * 0x9E3779B1 & 0xFFFFFFFF) >> 16
    high, low = _little(vip[:8]), _little(vip[8:])
    return ((high ^ (low * 0x9E3779B97F4A7C15 & _MASK64)) * 0xD6E8FEB86659FD93 & _MASK64) >> 48


def service_places(vip: bytes, l4: int) -> tuple[int, int]:
    """The two places of a row: hash.h."""
    h = _little(mapped(vip)[:8]) * 0x9E3779B97F4A7C15 & _MASK64
    h ^= h >> 32
    h = (h ^ _little(mapped(vip)[8:])) * 0xC2B2AE3D27D4EB4F & _MASK64
    h ^= h >> 32
    h = (h ^ l4) * 0x165667B19E3779F9 & _MASK64
    h ^= h >> 29
    first, second = h & (SERVICES - 1), h >> 48 & (SERVICES - 1)
    return first, second if second != first else first ^ 1


def word_sum(data: bytes) -> int:
    """Unfolded sum of little-endian 16-bit words."""
    return sum(_little(data[at : at + 2]) for at in range(0, len(data), 2))


def nexthop_row(hop: Hop) -> bytes:
    """`struct nexthop` as the daemon would fill it."""
    tunnel = hop.tunnel
    outer, outer_sum, udp_sum, flags = b"", 0, 0, 0
    if tunnel:
        outer, outer_sum, udp_sum, flags = _template(tunnel)
    return LAYOUT.structs["nexthop"].pack(
        mac_destination=hop.mac,
        mac_source=hop.own_mac,
        ifindex=hop.interface,
        mtu=hop.mtu,
        vlan=hop.vlan,
        tunnel=C[KINDS[tunnel.kind if tunnel else None]],
        flags=flags,
        outer_length=len(outer),
        outer_sum=outer_sum,
        bond=hop.bond,
        udp_sum=udp_sum,
        outer=outer,
    )


def _template(tunnel: Tunnel) -> tuple[bytes, int, int, int]:
    v6 = len(tunnel.source) == 16
    header = (ipv6_header if v6 else ipv4_header)(tunnel.source, tunnel.destination, 0, 0)
    if not v6:
        header = header[:2] + bytes(2) + header[4:10] + bytes(2) + header[12:]
    flags = (C["NEXTHOP_OUTER_IPV6"] if v6 else 0) | (0 if tunnel.checksum else C["NEXTHOP_NO_CHECKSUM"])
    port = octets(tunnel.port)
    behind = {"ipip": b"", "gre": bytes(4), "fou": bytes(2) + port + bytes(4), "gue": bytes(2) + port + bytes(8)}[tunnel.kind]
    udp_sum = word_sum(tunnel.source + tunnel.destination + b"\0\x11" + port) if tunnel.kind in {"fou", "gue"} else 0
    return header + behind, 0 if v6 else word_sum(header), udp_sum, flags


def block_row(network: bytes, length: int, row: int) -> tuple[bytes, bytes]:
    """Key and value of a blocked prefix: abi_sources.h."""
    key = LAYOUT.structs["block_key"].pack(length=length + (96 if len(network) == 4 else 0), address=mapped(network))
    return key, LAYOUT.structs["block"].pack(family=4 if len(network) == 4 else 6, row=row)


def own_object() -> bytes:
    """The balancer as it is compiled."""
    return OBJECT.read_bytes()


class Rig:
    """A loaded object. Use as a context manager."""

    def __init__(self, data: bytes, world: World, *, limits: Sequence[int] = (1 << 31,) * 4) -> None:
        self.cpus = bpf.possible_cpus()
        self._fds: dict[str, int] = {}
        self._maps: dict[str, memoryview] = {}
        self._object = bpf.Object("balancer", data)
        try:
            self._load(world, limits)
            self.adopt(world)
        except BaseException:
            self.close()
            raise
        self.tallies = self._maps["verdicts"].cast("Q")
        self._before = self.tallies.tolist()
        self.last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give everything back."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()
        self._object.__exit__(None, None, None)

    def _load(self, world: World, limits: Sequence[int]) -> None:
        shapes = {
            "vips": ("vip_bitmap", 1),
            "services": ("service", SERVICES),
            "slots": ("slots", SLOTS),
            "destinations": ("destination", DESTINATIONS),
            "nexthops": ("nexthop", NEXTHOPS),
            "interfaces": ("interface", C["INTERFACE_ROWS"]),
            "settings": ("settings", 1),
            "flows": ("bucket", BUCKETS),
            "counters": ("cell", self.cpus * DESTINATIONS),
            "verdicts": ("tally", self.cpus * C["VERDICT_ROWS"]),
            "limits": ("limiter", self.cpus * C["LIMITS"]),
        }
        asked = {len(network) for network, _ in world.blocked}
        sources = sum(C[f"SOURCES_BLOCKED_IPV{family}"] for family, length in ((4, 4), (6, 16)) if length in asked)
        if sources:
            shapes["blocked"] = ("tally", self.cpus * C["BLOCKS_MOST"])
            key, row = (LAYOUT.structs[name].size for name in ("block_key", "block"))
            made = bpf.map_create(bpf.MAP_LPM_TRIE, "blocks", key, row, C["BLOCKS_MOST"], flags=bpf.NO_PREALLOC)
            self._fds["blocks"] = made
            self._object.reuse("blocks", made)
        for name, (struct, rows) in shapes.items():
            size = LAYOUT.structs[struct].size
            self._fds[name] = bpf.map_create(bpf.MAP_ARRAY, name, 4, size, rows, flags=bpf.MMAPABLE)
            self._maps[name] = memoryview(mmap.mmap(self._fds[name], size * rows))[: size * rows]
            self._object.reuse(name, self._fds[name])
        # Ticks so coarse that none passes, and a window that never ends: time stands still, as the model has it.
        self._options = LAYOUT.structs["options"].pack(
            flow_key=world.flow_key,
            slot_key=world.slot_key,
            bucket_mask=BUCKETS - 1,
            service_mask=SERVICES - 1,
            destinations=DESTINATIONS,
            slots=SLOTS,
            fine_shift=48,
            coarse_shift=48,
            window_shift=48,
            echo_limit=limits[0],
            too_big_limit=limits[1],
            reset_limit=limits[2],
            reject_limit=limits[3],
            sources=sources,
        )
        self._object.constant("options", self._options)
        self._object.load()
        for index, program in enumerate(TAILS):
            bpf.map_put(self._object.map("tails"), index, self._object.program(program))
        for port in world.ports:
            bpf.map_put(self._object.map("ports"), port & (C["INTERFACE_ROWS"] - 1), port)
        self._program = self._object.program("balancer")

    def adopt(self, world: World) -> None:
        """Write all rows of a world anew; keys and ports stay what they were at load, as does whether blocks are looked for."""
        self._block(world.blocked)
        self._write("settings", 0, LAYOUT.structs["settings"].pack(timeouts=_MASK64))
        for name in ("vips", "services", "slots", "destinations", "nexthops", "interfaces"):
            self._maps[name][:] = bytes(len(self._maps[name]))
        for index, interface in world.interfaces.items():
            flags = C["INTERFACE_LIVE"] | (0 if interface.active else C["INTERFACE_INACTIVE"])
            live = _little(interface.mac) | flags << C["INTERFACE_FLAG_SHIFT"]
            row = LAYOUT.structs["interface"].pack(live=live, ifindex=index, bond=interface.bond)
            self._write("interfaces", index & (C["INTERFACE_ROWS"] - 1), row)
        for vip, reject in world.vips.items():
            self._maps["vips"][vip_bit(vip) >> 3] |= 1 << (vip_bit(vip) & 7)
            self._service(vip, 0, 0, C["SERVICE_LIVE"] | (C["SERVICE_REJECT"] if reject else 0))
        base, hop = 0, 0
        for service in world.services:
            hop = self._backends(service, hop)
            base = self._slots(service, base)

    def _block(self, wanted: Iterable[tuple[bytes, int]]) -> None:
        """The rows of `blocks`; tallies stay."""
        if "blocks" not in self._fds:
            return
        for key, _ in bpf.map_read(self._fds["blocks"]):
            bpf.map_delete(self._fds["blocks"], key)
        for row, (network, length) in enumerate(sorted(wanted)):
            bpf.map_update(self._fds["blocks"], *block_row(network, length, row))

    def _write(self, table: str, index: int, row: bytes) -> None:
        self._maps[table][index * len(row) : (index + 1) * len(row)] = row

    def _service(self, vip: bytes, port: int, protocol: int, flags: int, base: int = 0, size: int = 0) -> None:
        l4 = l4_of(port, protocol, vip)
        live = base | size << C["SERVICE_SIZE_SHIFT"] | flags << C["SERVICE_FLAG_SHIFT"]
        row = LAYOUT.structs["service"].pack(vip=mapped(vip), l4=l4, id=1 if protocol else 0, live=live)
        for place in service_places(vip, l4):
            if not any(self._maps["services"][place * 64 : place * 64 + 64]):
                self._write("services", place, row)
                return
        raise AssertionError("both places are taken: the world has too many services")

    def _slots(self, service: Service, base: int) -> int:
        flags = (
            C["SERVICE_LIVE"] | (C["SERVICE_STICKY"] if service.sticky else 0) | (0 if service.track else C["SERVICE_UNTRACKED"])
        )
        self._service(service.vip, service.port, service.protocol, flags, base, len(service.slots))
        data = b"".join(slot.to_bytes(4, "little") for slot in service.slots)
        self._maps["slots"][base * 64 : base * 64 + len(data)] = data
        return base + (len(data) + 63) // 64

    def _backends(self, service: Service, hop: int) -> int:
        for backend in service.backends:
            if backend.hop:
                hop += 1
                self._write("nexthops", hop, nexthop_row(backend.hop))
            self._write("destinations", backend.id, self._destination(service, backend, hop if backend.hop else 0))
        return hop

    @staticmethod
    def _destination(service: Service, backend: Backend, hop: int) -> bytes:
        state, flags = STATES[backend.state]
        number = C["DESTINATION_LIVE"]
        for flag in flags:
            number |= C[f"DESTINATION_{flag}"]
        live = hop | number << C["DESTINATION_FLAG_SHIFT"] | C[f"DESTINATION_{state}"] << C["DESTINATION_STATE_SHIFT"]
        live |= C[TTLS[backend.ttl]] << C["DESTINATION_TTL_SHIFT"]
        return LAYOUT.structs["destination"].pack(
            vip=mapped(service.vip),
            l4=l4_of(service.port, service.protocol, service.vip),
            l4_mask=0xFFFFFFFF if service.port else 0xFFFF0000,
            live=live,
            service=1,
        )

    def send(self, frame: bytes) -> tuple[Outcome, str]:
        """One frame through the program: what became of it, and the action. Exactly one verdict must have counted it."""
        action, out, _ = bpf.test_run(self._program, frame)
        now = self.tallies.tolist()
        changed = [at for at, (a, b) in enumerate(zip(self._before, now, strict=True)) if a != b] if now != self._before else []
        charged, before = [at for at in changed if at & 1], self._before
        self._before = now
        counted = [at for at in changed if not at & 1]
        assert len(counted) == 1 and now[counted[0]] == before[counted[0]] + 1, f"{len(counted)} verdicts for one packet"
        verdict = VERDICTS[counted[0] // 2 % C["VERDICT_ROWS"] - C["VERDICT_BASE"]]
        self.last = verdict
        return Outcome(verdict, out, now[charged[0]] - before[charged[0]] if charged else 0), ACTIONS[action]

    def counts(self) -> dict[int, list[int]]:
        """Destination id -> [packets, bytes, flows], over all CPUs, of those that have any."""
        words = self._maps["counters"].cast("Q").tolist()
        found: dict[int, list[int]] = {}
        for at in range(0, len(words), 4):
            if any(words[at : at + 3]):
                cell = found.setdefault(at // 4 % DESTINATIONS, [0, 0, 0])
                for n in range(3):
                    cell[n] += words[at + n]
        return found

    def twin(self, world: World) -> Twin:
        """The program's twin, on the same tables and with the same options and ports; whoever asks for it closes it."""
        tables = Tables(Geometry())
        tables.fds.update(self._fds, fragments=self._object.map("fragments"))
        tables.readable.update({name: view.toreadonly() for name, view in self._maps.items()})
        made = Twin(tables, self._options)
        made.redirect_to(world.ports)
        return made

    def snapshot(self, *, fragments: bool = True) -> dict[str, object]:
        """Every table and counter, byte for byte."""
        found: dict[str, object] = {name: bytes(view) for name, view in self._maps.items()}
        return found | ({"fragments": sorted(bpf.map_read(self._object.map("fragments")))} if fragments else {})

    def blocked(self) -> list[tuple[int, int]]:
        """(packets, bytes) that each blocked prefix has dropped, in the order of the prefixes; all rows in use so far."""
        words, most = self._maps["blocked"].cast("Q").tolist(), C["BLOCKS_MOST"]
        rows = [(sum(words[2 * row :: 2 * most]), sum(words[2 * row + 1 :: 2 * most])) for row in range(16)]
        while rows and rows[-1] == (0, 0):
            rows.pop()
        return rows

    def use_up(self, kind: str) -> None:
        """Use up the limiter of a kind of answer: LIMIT_ECHO and so on."""
        row = LAYOUT.structs["limiter"]
        for cpu in range(self.cpus):
            at = (cpu * C["LIMITS"] + C[kind]) * row.size + row.offset("count")
            self._maps["limits"][at : at + 8] = (1 << 40).to_bytes(8, "little")

    def forget(self) -> None:
        """No flows, no counts, no limiter in use."""
        for name in ("flows", "counters", "limits"):
            self._maps[name][:] = bytes(len(self._maps[name]))

    def break_tail(self, program: str) -> None:
        """Leave a tail empty."""
        bpf.map_drop(self._object.map("tails"), TAILS.index(program))

    def table(self, name: str) -> memoryview:
        """A table's bytes, to be broken by hand."""
        return self._maps[name]
