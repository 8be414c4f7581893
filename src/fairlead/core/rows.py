"""Rows as bytes: the codec between values and the structs of abi.h. Every offset and shift comes from the Layout."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

from fairlead.core.hashes import mapped, unmapped, wire_port
from fairlead.core.plan import State
from fairlead.core.tunnels import Outer, outer
from fairlead.model import Address, Layout, OnDown, Path, Protocol, Service, ServiceKey, StructLayout, Ttl, Tunnel

# Which struct of abi.h the elements of each table are.
STRUCTS: Mapping[str, str] = {
    "vips": "vip_bitmap",
    "services": "service",
    "slots": "slots",
    "destinations": "destination",
    "nexthops": "nexthop",
    "interfaces": "interface",
    "settings": "settings",
    "registry": "registry",
    "counters": "cell",
    "flows": "bucket",
}

# The tables whose bytes Fairlead keeps a confirmed copy of: all that nobody else writes, but for the slots.
MIRRORED = ("vips", "services", "destinations", "nexthops", "interfaces", "settings", "registry")

RowKey = bytes  # VIP as 16 bytes, then l4 as a little-endian u32: what a row of services and of destinations is found by


class ServiceRow(NamedTuple):
    """A row of services in use. `base` in elements of the slots table, `size` in slots."""

    key: RowKey
    id: int
    live: int
    base: int
    size: int


class DestinationRow(NamedTuple):
    """A row of destinations in use. `state` is None where the live word holds no known one."""

    key: RowKey
    service: int
    backend: bytes
    live: int
    hop: int
    state: State | None


class InterfaceRow(NamedTuple):
    """A row of interfaces in use; `bond` is an ifindex, 0 for none."""

    ifindex: int
    live: int
    bond: int


class RegistryRow(NamedTuple):
    """What outlives the daemon: `since` in ns since the epoch; `base` = packets, bytes and flows when the id got its owner.

    Of damping: the `penalty` as it was when it was added to last, at `penalised` in ns since the epoch.
    """

    since: int
    base: tuple[int, int, int]
    healthy: bool
    penalty: int = 0
    penalised: int = 0
    suppressed: bool = False
    undecided: bool = False  # told of services with panic only


def service_key(key: ServiceKey) -> RowKey:
    """The key of a service's row."""
    l4 = wire_port(key.port) | key.protocol.value << 16 | key.vip.version << 24
    return mapped(key.vip) + l4.to_bytes(4, "little")


def vip_key(vip: Address) -> RowKey:
    """The key of a VIP's own row: port 0, protocol 0."""
    return mapped(vip) + (vip.version << 24).to_bytes(4, "little")


def is_vip(key: RowKey) -> bool:
    """Whether a row is a VIP's own."""
    return key[16:19] == bytes(3)


def parsed(key: RowKey) -> ServiceKey | None:
    """The service of a row's key, None for a VIP's own row and for what no configuration could have asked for."""
    try:
        return ServiceKey(unmapped(key[:16]), int.from_bytes(key[16:18], "big"), Protocol(key[18]))
    except ValueError:
        return None


def named(key: RowKey) -> str:
    """A row's key for people."""
    service = parsed(key)
    if service is not None:
        return str(service)
    return f"VIP {unmapped(key[:16])}" if is_vip(key) else f"{unmapped(key[:16])} (protocol {key[18]})"


def chosen(layout: StructLayout, *members: str) -> struct.Struct:
    """A packer for some members, in the order of their offsets, with zeroes between: several times as fast as the general one."""
    text, at, last = "<", 0, -1
    for member in layout.members:
        if member.name not in members:
            continue
        each = member.size // member.count
        text += f"{member.offset - at}x" + (
            f"{member.size}s" if each == 1 < member.count else f"{member.count}{'BHxIxxxQ'[each - 1]}"
        )
        at, index = member.offset + member.size, members.index(member.name)
        assert index > last, f"{layout.name}: name the members in the order of their offsets"
        last = index
    return struct.Struct(f"{text}{layout.size - at}x")


class Rows:
    """Packs and unpacks; made once per Layout."""

    def __init__(self, layout: Layout) -> None:
        self._structs = {table: layout.structs[name] for table, name in STRUCTS.items()}
        self.size = {table: row.size for table, row in self._structs.items()}
        self.live_at = {table: self._structs[table].offset("live") for table in ("services", "destinations", "interfaces")}
        self.timeouts_at = self._structs["settings"].offset("timeouts")
        self.constants = layout.constants
        self.slots_per_element = layout.constants["SLOTS_PER_ELEMENT"]
        self._states = {layout.constants[f"DESTINATION_{s.name}"]: s for s in State}
        self._state_numbers = {s: n for n, s in self._states.items()}
        self._hop_shift = layout.constants["DESTINATION_NEXTHOP_SHIFT"]
        self._hop_mask = (1 << layout.constants["DESTINATION_NEXTHOP_BITS"]) - 1
        self._state_shift = layout.constants["DESTINATION_STATE_SHIFT"]
        self._state_mask = (1 << layout.constants["DESTINATION_STATE_BITS"]) - 1
        rows = self._structs
        self._service = chosen(rows["services"], "vip", "l4", "id", "live")
        self._destination = chosen(rows["destinations"], "vip", "l4", "l4_mask", "live", "backend", "service")
        bases = ("base_packets", "base_bytes", "base_flows")
        others = ("penalised", "healthy", "penalty", "suppressed", "undecided")
        self._registry = chosen(rows["registry"], "since", *bases, *others)
        self._interface = chosen(rows["interfaces"], "live", "ifindex", "bond")
        self._backend_at = rows["destinations"].offset("backend")
        self._cell_at = [rows["counters"].offset(name) // 8 for name in ("packets", "bytes", "flows")]
        self._hops: dict[tuple[int, ...], tuple[Path, bytes]] = {}

    def elements(self, slots: int) -> int:
        """How many elements of the slots table hold that many slots."""
        return -(-slots // self.slots_per_element)

    # -------------------------------------------------------------------------------------------------------------- live words

    def service_flags(self, service: Service) -> int:
        """services.live of a service's row before it is pointed at slots."""
        c = self.constants
        sticky, untracked = c["SERVICE_STICKY"] if service.sticky else 0, 0 if service.track else c["SERVICE_UNTRACKED"]
        return (c["SERVICE_LIVE"] | sticky | untracked) << c["SERVICE_FLAG_SHIFT"]

    def vip_live(self, reject: bool) -> int:
        """services.live of a VIP's own row; `reject`: unknown ports are answered."""
        c = self.constants
        return (c["SERVICE_LIVE"] | (c["SERVICE_REJECT"] if reject else 0)) << c["SERVICE_FLAG_SHIFT"]

    def pointed(self, live: int, base: int, size: int) -> int:
        """`live` of a service with `size` slots from element `base` on."""
        c = self.constants
        return live | base << c["SERVICE_BASE_SHIFT"] | size << c["SERVICE_SIZE_SHIFT"]

    def destination_live(self, hop: int, state: State, ttl: Ttl, on_down: OnDown) -> int:
        """destinations.live of a row in use; `on_down`: what becomes of known flows when the backend is down or disabled."""
        c = self.constants
        flags, out = c["DESTINATION_LIVE"], state in (State.DOWN, State.DISABLED)
        if state in (State.ACTIVE, State.DRAIN) or (out and on_down is OnDown.KEEP):
            flags |= c["DESTINATION_FOLLOW"]
        if out and on_down is OnDown.RESET:
            flags |= c["DESTINATION_RESET"]
        if state is State.ACTIVE:
            flags |= c["DESTINATION_ACCEPT"]
        live = hop << c["DESTINATION_NEXTHOP_SHIFT"] | flags << c["DESTINATION_FLAG_SHIFT"]
        return live | self._state_numbers[state] << c["DESTINATION_STATE_SHIFT"] | ttl.value << c["DESTINATION_TTL_SHIFT"]

    def interface_live(self, mac: bytes, active: bool = True) -> int:
        """interfaces.live of a row in use; a bond member that is not `active` forwards nothing."""
        c = self.constants
        flags = c["INTERFACE_LIVE"] | (0 if active else c["INTERFACE_INACTIVE"])
        return int.from_bytes(mac, "little") | flags << c["INTERFACE_FLAG_SHIFT"]

    # ------------------------------------------------------------------------------------------------ payloads, `live` still zero

    def service(self, key: RowKey, number: int) -> bytes:
        """A row of services."""
        return self._service.pack(key[:16], int.from_bytes(key[16:], "little"), number, 0)

    def destinations(self, key: RowKey, number: int) -> Callable[[bytes], bytes]:
        """What makes rows of destinations for service `number`, of backends as 16 bytes."""
        l4 = int.from_bytes(key[16:], "little")
        mask = 0xFFFFFFFF if l4 & 0xFFFF else 0xFFFF0000  # port 0 stands for every port
        empty, at = self._destination.pack(key[:16], l4, mask, 0, bytes(16), number), self._backend_at
        head, tail = empty[:at], empty[at + 16 :]
        return lambda backend: head + backend + tail

    def hop(self, path: Path, tunnel: Tunnel | None, backend: Address) -> bytes:
        """A row of nexthops; `path.source` must be of the backend's family where there is a tunnel.

        Many services share paths (the same objects) and tunnel parameters, so the last rows are remembered.
        """
        key: tuple[int, ...] = (id(path),)
        if tunnel is not None:
            key = (id(path), tunnel.kind.value, tunnel.port, tunnel.checksum, tunnel.mtu, int(backend))
        known = self._hops.get(key)
        if known is None:
            if len(self._hops) >= 1 << 17:
                self._hops.clear()
            known = self._hops[key] = path, self._hop(path, tunnel, backend)
        return known[1]

    def _hop(self, path: Path, tunnel: Tunnel | None, backend: Address) -> bytes:
        made, flags, mtu = Outer(b"", 0, 0), 0, path.mtu
        if tunnel is not None:
            assert path.source is not None
            made = outer(tunnel, path.source, backend)
            flags = self.constants["NEXTHOP_OUTER_IPV6"] if backend.version == 6 else 0
            if made.udp_sum and not tunnel.checksum:
                flags |= self.constants["NEXTHOP_NO_CHECKSUM"]
            mtu = min(path.mtu, tunnel.mtu or path.mtu)
        return self._structs["nexthops"].pack(
            mac_destination=path.mac_destination,
            mac_source=path.mac_source,
            ifindex=path.ifindex,
            mtu=min(mtu, 0xFFFF),
            vlan=path.vlan,
            tunnel=0 if tunnel is None else tunnel.kind.value,
            flags=flags,
            outer_length=len(made.header),
            outer_sum=made.outer_sum,
            bond=path.bond,
            udp_sum=made.udp_sum,
            outer=made.header,
        )

    def interface(self, ifindex: int, bond: int) -> bytes:
        """A row of interfaces."""
        return self._interface.pack(0, ifindex, bond)

    def registry(self, row: RegistryRow) -> bytes:
        """A row of the registry."""
        return self._registry.pack(row.since, *row.base, row.penalised, row.healthy, row.penalty, row.suppressed, row.undecided)

    # --------------------------------------------------------------------------------- rows read back; `at` in bytes into `data`

    def read_service(self, data: bytearray, at: int) -> ServiceRow | None:
        """A row of services; None if it is not in use."""
        vip, l4, number, live = self._service.unpack_from(data, at)
        if not live:
            return None
        c = self.constants
        base = live >> c["SERVICE_BASE_SHIFT"] & (1 << c["SERVICE_BASE_BITS"]) - 1
        size = live >> c["SERVICE_SIZE_SHIFT"] & (1 << c["SERVICE_SIZE_BITS"]) - 1
        return ServiceRow(vip + l4.to_bytes(4, "little"), number, live, base, size)

    def read_destination(self, data: bytearray, at: int) -> DestinationRow | None:
        """A row of destinations; None if it is not in use."""
        vip, l4, _, live, backend, number = self._destination.unpack_from(data, at)
        if not live:
            return None
        state = self._states.get(live >> self._state_shift & self._state_mask)
        hop = live >> self._hop_shift & self._hop_mask
        return DestinationRow(vip + l4.to_bytes(4, "little"), number, backend, live, hop, state)

    def read_interface(self, data: bytearray, at: int) -> InterfaceRow | None:
        """A row of interfaces; None if it is not in use."""
        live, ifindex, bond = self._interface.unpack_from(data, at)
        return InterfaceRow(ifindex, live, bond) if live else None

    def read_registry(self, data: bytearray, at: int) -> RegistryRow:
        """A row of the registry."""
        since, packets, octets, flows, penalised, healthy, penalty, kept, new = self._registry.unpack_from(data, at)
        return RegistryRow(since, (packets, octets, flows), healthy == 1, penalty, penalised, kept == 1, new == 1)

    def read_cells(self, data: memoryview, first: int, count: int) -> list[tuple[int, int, int]]:
        """(packets, bytes, flows) of `count` counters cells from number `first` on."""
        width = self.size["counters"] // 8
        words = data[first * 8 * width : (first + count) * 8 * width].cast("Q")
        packets, octets, flows = (words[at::width].tolist() for at in self._cell_at)
        return list(zip(packets, octets, flows, strict=True))
