"""Rows as bytes: the codec between values and the structs of abi.h. Every offset and shift comes from the Layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from fairlead.core.hashes import mapped, unmapped, wire_port
from fairlead.core.plan import State
from fairlead.model import Address, Layout, Path, Protocol, ServiceKey, Ttl

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


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """A row of services in use. `base` in elements of the slots table, `size` in slots."""

    key: RowKey
    id: int
    live: int
    base: int
    size: int


@dataclass(frozen=True, slots=True)
class DestinationRow:
    """A row of destinations in use. `state` is None where the live word holds no known one."""

    key: RowKey
    service: int
    backend: bytes
    live: int
    hop: int
    state: State | None


@dataclass(frozen=True, slots=True)
class RegistryRow:
    """What outlives the daemon: `since` in ns since the Unix epoch; `base` = packets, bytes and flows when the id got its owner."""

    since: int
    base: tuple[int, int, int]
    healthy: bool


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
    return (
        str(service)
        if service is not None
        else f"{unmapped(key[:16])} (protocol {key[18]})"
        if key[18]
        else f"VIP {unmapped(key[:16])}"
    )


class Rows:
    """Packs and unpacks; made once per Layout."""

    def __init__(self, layout: Layout) -> None:
        self._structs = {table: layout.structs[name] for table, name in STRUCTS.items()}
        self.size = {table: struct.size for table, struct in self._structs.items()}
        self.live_at = {table: self._structs[table].offset("live") for table in ("services", "destinations", "interfaces")}
        self.timeouts_at = self._structs["settings"].offset("timeouts")
        self.constants = layout.constants
        self.slots_per_element = layout.constants["SLOTS_PER_ELEMENT"]
        self._states = {layout.constants[f"DESTINATION_{s.name}"]: s for s in State}
        self._state_numbers = {s: n for n, s in self._states.items()}
        self.hop = lru_cache(maxsize=1 << 14)(self._hop)

    def elements(self, slots: int) -> int:
        """How many elements of the slots table hold that many slots."""
        return -(-slots // self.slots_per_element)

    # -------------------------------------------------------------------------------------------------------------- live words

    def service_live(self, base: int, size: int, sticky: bool) -> int:
        """services.live of a row in use; `base` in elements."""
        c = self.constants
        flags = c["SERVICE_LIVE"] | (c["SERVICE_STICKY"] if sticky else 0)
        return base << c["SERVICE_BASE_SHIFT"] | size << c["SERVICE_SIZE_SHIFT"] | flags << c["SERVICE_FLAG_SHIFT"]

    def destination_live(self, hop: int, state: State, ttl: Ttl, keep: bool) -> int:
        """destinations.live of a row in use; `keep`: known flows stay although the backend is down or disabled."""
        c = self.constants
        flags = c["DESTINATION_LIVE"]
        if state in (State.ACTIVE, State.DRAIN) or (keep and state is not State.GONE):
            flags |= c["DESTINATION_FOLLOW"]
        if state is State.ACTIVE:
            flags |= c["DESTINATION_ACCEPT"]
        live = hop << c["DESTINATION_NEXTHOP_SHIFT"] | flags << c["DESTINATION_FLAG_SHIFT"]
        return live | self._state_numbers[state] << c["DESTINATION_STATE_SHIFT"] | ttl.value << c["DESTINATION_TTL_SHIFT"]

    def interface_live(self, mac: bytes) -> int:
        """interfaces.live of a row in use."""
        c = self.constants
        return int.from_bytes(mac, "little") | c["INTERFACE_LIVE"] << c["INTERFACE_FLAG_SHIFT"]

    # ------------------------------------------------------------------------------------------------- payloads, `live` still zero

    def service(self, key: RowKey, number: int) -> bytes:
        """A row of services."""
        return self._structs["services"].pack(vip=key[:16], l4=int.from_bytes(key[16:], "little"), id=number)

    def destination(self, key: RowKey, number: int, backend: bytes) -> bytes:
        """A row of destinations for service `number`; `backend` as 16 bytes."""
        l4 = int.from_bytes(key[16:], "little")
        return self._structs["destinations"].pack(vip=key[:16], l4=l4, l4_mask=(1 << 32) - 1, backend=backend, service=number)

    def _hop(self, path: Path) -> bytes:
        return self._structs["nexthops"].pack(
            mac_destination=path.mac_destination, mac_source=path.mac_source, ifindex=path.ifindex, mtu=min(path.mtu, 0xFFFF)
        )

    def interface(self, ifindex: int) -> bytes:
        """A row of interfaces."""
        return self._structs["interfaces"].pack(ifindex=ifindex)

    def registry(self, row: RegistryRow) -> bytes:
        """A row of the registry."""
        packets, octets, flows = row.base
        return self._structs["registry"].pack(
            since=row.since, base_packets=packets, base_bytes=octets, base_flows=flows, healthy=int(row.healthy)
        )

    # ---------------------------------------------------------------------------------------------------------- rows read back

    def read_service(self, data: bytes) -> ServiceRow | None:
        """A row of services; None if it is not in use."""
        row = self._structs["services"].unpack(data)
        live, vip, l4, number = row["live"], row["vip"], row["l4"], row["id"]
        assert isinstance(live, int) and isinstance(vip, bytes) and isinstance(l4, int) and isinstance(number, int)
        if not live:
            return None
        c = self.constants
        base = live >> c["SERVICE_BASE_SHIFT"] & (1 << c["SERVICE_BASE_BITS"]) - 1
        size = live >> c["SERVICE_SIZE_SHIFT"] & (1 << c["SERVICE_SIZE_BITS"]) - 1
        return ServiceRow(vip + l4.to_bytes(4, "little"), number, live, base, size)

    def read_destination(self, data: bytes) -> DestinationRow | None:
        """A row of destinations; None if it is not in use."""
        row = self._structs["destinations"].unpack(data)
        live, vip, l4, number, backend = row["live"], row["vip"], row["l4"], row["service"], row["backend"]
        assert isinstance(live, int) and isinstance(vip, bytes) and isinstance(l4, int)
        assert isinstance(number, int) and isinstance(backend, bytes)
        if not live:
            return None
        c = self.constants
        hop = live >> c["DESTINATION_NEXTHOP_SHIFT"] & (1 << c["DESTINATION_NEXTHOP_BITS"]) - 1
        state = live >> c["DESTINATION_STATE_SHIFT"] & (1 << c["DESTINATION_STATE_BITS"]) - 1
        return DestinationRow(vip + l4.to_bytes(4, "little"), number, backend, live, hop, self._states.get(state))

    def read_interface(self, data: bytes) -> tuple[int, int] | None:
        """(ifindex, live) of a row of interfaces; None if it is not in use."""
        row = self._structs["interfaces"].unpack(data)
        ifindex, live = row["ifindex"], row["live"]
        assert isinstance(ifindex, int) and isinstance(live, int)
        return (ifindex, live) if live else None

    def read_registry(self, data: bytes) -> RegistryRow:
        """A row of the registry."""
        row = self._structs["registry"].unpack(data)
        since, packets, octets, flows = row["since"], row["base_packets"], row["base_bytes"], row["base_flows"]
        assert isinstance(since, int) and isinstance(packets, int) and isinstance(octets, int) and isinstance(flows, int)
        return RegistryRow(since, (packets, octets, flows), row["healthy"] == 1)

    def read_cell(self, data: bytes) -> tuple[int, int, int]:
        """(packets, bytes, flows) of a counters cell."""
        row = self._structs["counters"].unpack(data)
        packets, octets, flows = row["packets"], row["bytes"], row["flows"]
        assert isinstance(packets, int) and isinstance(octets, int) and isinstance(flows, int)
        return packets, octets, flows
