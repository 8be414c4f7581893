"""The values that every part speaks in: immutable, typed, without behaviour beyond printing and packing themselves.

Nothing here imports anything of Fairlead; every other module may import this one. Addresses are `ipaddress` objects, ports are host
integers, durations are seconds as float, moments are seconds since the Unix epoch as float unless a name says `monotonic`.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Prefix = IPv4Network | IPv6Network


def host_prefix(address: Address) -> Prefix:
    """The /32 or /128 that covers just this address."""
    return IPv4Network(address) if isinstance(address, IPv4Address) else IPv6Network(address)


# ---------------------------------------------------------------------------------------------------------------- configuration


class Severity(Enum):
    """An error refuses the file; a warning is said and lived with."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a file: line and column count from 1."""

    path: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a file: where, what, and what to do about it."""

    position: Position
    says: str
    hint: str = ""
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.position}: {self.severity.value}: {self.says}{hint}"


class Protocol(Enum):
    """Layer 4 protocols, by their IP protocol number."""

    TCP = 6
    UDP = 17

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True, order=False)
class ServiceKey:
    """What a client addresses: `192.0.2.10:80/tcp`, `[2001:db8::10]:80/tcp`."""

    vip: Address
    port: int
    protocol: Protocol

    def __str__(self) -> str:
        vip = f"[{self.vip}]" if self.vip.version == 6 else str(self.vip)
        return f"{vip}:{self.port}/{self.protocol}"

    @property
    def sort_key(self) -> tuple[int, int, int, int]:
        """IPv4 before IPv6, then by address, port and protocol number."""
        return (self.vip.version, int(self.vip), self.port, self.protocol.value)


class AdminState(Enum):
    """What the operator wants of a backend."""

    ACTIVE = "active"
    DRAIN = "drain"
    DISABLED = "disabled"


class Ttl(Enum):
    """What becomes of the TTL or hop limit of an L2-forwarded packet; the values are those of `enum ttl_rule`."""

    ONE = 0
    DECREMENT = 1
    KEEP = 2


class OnDown(Enum):
    """What becomes of a known flow whose backend is down or disabled."""

    KEEP = "keep"
    MOVE = "move"


@dataclass(frozen=True, slots=True)
class Check:
    """One health check; `expect` holds the accepted HTTP status codes, empty for any. Durations in seconds."""

    type: str  # "http"
    port: int
    host: str
    path: str = "/"
    method: str = "GET"
    expect: frozenset[int] = frozenset({200})
    interval: float = 2.0
    timeout: float = 2.0
    window: int = 5
    fall: int = 2
    rise: int = 5

    def __str__(self) -> str:
        return f"{self.type} {self.method} {self.path} port {self.port}"


@dataclass(frozen=True, slots=True)
class Backend:
    """A real server of one service. A drained backend has weight 0 or state DRAIN: no new flows, old ones stay."""

    address: Address
    weight: int = 1
    state: AdminState = AdminState.ACTIVE
    position: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Service:
    """One VIP, port and protocol with its backends (sorted by address) and checks (all must pass)."""

    key: ServiceKey
    name: str
    backends: tuple[Backend, ...]
    checks: tuple[Check, ...] = ()
    description: str = ""
    priority: str = ""
    need: int = 1
    sticky: bool = False
    ttl: Ttl = Ttl.ONE
    on_down: OnDown = OnDown.KEEP
    position: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """One BGP neighbour. `accept` and `reject` filter what is announced: accept wins, then reject, then accepted."""

    address: Address
    as_number: int  # ours towards this peer; the peer's own is what its OPEN says
    hold_time: int = 10  # seconds, 0 or at least 3
    source: Address | None = None
    local_pref: int | None = None  # iBGP only, 100 where unset
    med: int | None = None
    communities: tuple[tuple[int, int], ...] = ()
    next_hop_4: IPv4Address | None = None
    next_hop_6: IPv6Address | None = None
    accept: tuple[Prefix, ...] = ()
    reject: tuple[Prefix, ...] = ()
    position: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ProbeConfig:
    """How marked health probes leave: fwmark `mark << 20 | destination id`, mask 0xfff00000."""

    mark: int = 0xFA1  # 12 bits
    priority: int = 7070  # of the ip rule
    table: int = 7070  # of the routes


@dataclass(frozen=True, slots=True)
class Cluster:
    """The keys that instances of one cluster share; None means the documented constants."""

    key_file: str | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """A whole, valid configuration."""

    services: tuple[Service, ...]  # sorted by key
    interfaces: tuple[str, ...] = ()
    address: IPv4Address | None = None  # BGP router id, probe source where the egress has none
    address6: IPv6Address | None = None
    peers: tuple[PeerConfig, ...] = ()
    probe: ProbeConfig = ProbeConfig()
    cluster: Cluster = Cluster()
    path: str = ""
    warnings: tuple[Problem, ...] = field(default=(), compare=False)

    def vips(self) -> tuple[Address, ...]:
        """Every VIP once, in the order of the services."""
        return tuple(dict.fromkeys(s.key.vip for s in self.services))


# ------------------------------------------------------------------------------------------------------------------------ facts


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface as the kernel describes it. `foreign_xdp` is the id of an XDP program that is not ours, 0 for none."""

    ifindex: int
    name: str
    mac: bytes  # 6 bytes
    up: bool
    mtu: int
    foreign_xdp: int = 0


@dataclass(frozen=True, slots=True)
class Path:
    """How a frame gets to a backend; `source` is the address the kernel would send from, for probes."""

    ifindex: int
    mac_destination: bytes
    mac_source: bytes
    mtu: int
    source: Address | None = None


@dataclass(frozen=True, slots=True)
class NoPath:
    """Why a backend cannot be reached: "no route", "no neighbour on eth0", "behind a gateway, which needs a tunnel"."""

    reason: str


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What one run of one check brought. `at` is a Unix time, `took` seconds; `says` is for an operator: "503 after 12 ms"."""

    passed: bool
    says: str
    took: float
    at: float


@dataclass(frozen=True, slots=True)
class Health:
    """The standing of one backend in one service as its checks see it. `since` is the Unix time of the last change of `up`."""

    up: bool
    since: float
    reason: str
    reported: bool = False  # every check has been decided at least once since the daemon started


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """What the prober must ask, and how: connect to vip:check.port with `mark`, from `source`."""

    vip: Address
    backend: Address
    check: Check
    mark: int
    source: Address | None


# (service, backend address, index of the check)
ProbeKey = tuple[ServiceKey, Address, int]


# ------------------------------------------------------------------------------------------------------------------- operations


@dataclass(frozen=True, slots=True)
class Store:
    """Plain bytes into a row that no reader can reach yet (or a private table): table name, byte offset, contents."""

    table: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Publish:
    """One aligned u64 with release order: the switch that makes stored rows reachable, or unreachable. `value` is host order."""

    table: str
    offset: int
    value: int


@dataclass(frozen=True, slots=True)
class Op:
    """One step of a pass. `text` is what `plan`, the event log, the API and the tests show; `about` the service it belongs to.

    `stores` are carried out in order; each may be the last one before a crash, so every prefix of the list must leave tables that
    readers can live with.
    """

    text: str
    stores: tuple[Store | Publish, ...]
    about: ServiceKey | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One prefix to announce, and the next hop's family follows from it. `why` is shown in status."""

    prefix: Prefix
    why: str = ""


# ----------------------------------------------------------------------------------------------------------------------- layout


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a struct in abi.h: offset and size in bytes, `count` elements (1 unless an array)."""

    name: str
    offset: int
    size: int
    count: int


@dataclass(frozen=True, slots=True)
class StructLayout:
    """A struct of abi.h. Integers pack in host order; byte arrays as they are."""

    name: str
    size: int
    members: tuple[Member, ...]
    _packer: struct.Struct = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        codes = {1: "B", 2: "H", 4: "I", 8: "Q"}
        text, at = ("<" if sys.byteorder == "little" else ">"), 0
        for member in self.members:
            text += f"{member.offset - at}x" if member.offset > at else ""
            each = member.size // member.count
            bytes_like = each == 1 and member.count > 1
            text += f"{member.size}s" if bytes_like else f"{member.count}{codes[each]}"
            at = member.offset + member.size
        text += f"{self.size - at}x" if self.size > at else ""
        object.__setattr__(self, "_packer", struct.Struct(text))

    def offset(self, member: str) -> int:
        """Byte offset of a member; KeyError if there is none of that name."""
        for m in self.members:
            if m.name == member:
                return m.offset
        raise KeyError(f"{self.name}.{member}")

    def pack(self, **values: int | bytes | Sequence[int]) -> bytes:
        """The struct as bytes; members not named are zero. KeyError for a name that the struct does not have."""
        flat: list[int | bytes] = []
        for m in self.members:
            each = m.size // m.count
            if each == 1 and m.count > 1:
                value = values.pop(m.name, b"")
                flat.append(bytes(value) if not isinstance(value, int) else value.to_bytes(m.size, "big"))
            elif m.count > 1:
                numbers = values.pop(m.name, (0,) * m.count)
                assert not isinstance(numbers, int | bytes)
                flat.extend(numbers)
            else:
                number = values.pop(m.name, 0)
                assert isinstance(number, int)
                flat.append(number)
        if values:
            raise KeyError(f"{self.name} has no member {sorted(values)[0]}")
        return self._packer.pack(*flat)

    def unpack(self, data: bytes | memoryview) -> dict[str, int | bytes | tuple[int, ...]]:
        """The members of one struct by name: int, bytes for byte arrays, tuple for other arrays."""
        flat = iter(self._packer.unpack(data))
        found: dict[str, int | bytes | tuple[int, ...]] = {}
        for m in self.members:
            if m.size // m.count != 1 and m.count > 1:
                found[m.name] = tuple(next(flat) for _ in range(m.count))
            else:
                found[m.name] = next(flat)
        return found


@dataclass(frozen=True, slots=True)
class Layout:
    """abi.h as Python sees it: structs by name, and every `#define` and enum constant by name."""

    structs: Mapping[str, StructLayout]
    constants: Mapping[str, int]

    def verdict_names(self) -> dict[int, str]:
        """Verdict number -> the name that metrics, CLI and docs use: `not_a_vip`, `forwarded`, `no_service`."""
        kinds = ("PASS_", "TX_", "REDIRECT_", "DROP_")
        names: dict[int, str] = {}
        for name, value in self.constants.items():
            for kind in kinds:
                if name.startswith(kind):
                    short = name.removeprefix(kind).lower()
                    names[value] = "redirected" if name == "REDIRECT_FORWARDED" else short
        return names


@dataclass(frozen=True, slots=True)
class Geometry:
    """How many rows each table has; see `struct meta` for the units."""

    services: int = 32768
    destinations: int = 131072
    nexthops: int = 65536
    slots: int = 1 << 20  # elements of 16: 16.7 million slots
    buckets: int = 1 << 20  # 8.4 million flow words
    cpus: int = 1
    hz: int = 250
    fine_shift: int = 9
    coarse_shift: int = 14


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of the flow table and of the slot hash: four odd u64 each; `fingerprint` is what status shows and adoption compares."""

    flow: tuple[int, int, int, int]
    slot: tuple[int, int, int, int]
    fingerprint: int


# ----------------------------------------------------------------------------------------------------------------------- status


@dataclass(frozen=True, slots=True)
class InterfaceStatus:
    """`mode` is "native" or "generic"."""

    name: str
    mode: str


@dataclass(frozen=True, slots=True)
class VipStatus:
    """`state` is "up" or "down"; `reason` says why it is not announced, "" when it is."""

    address: str
    state: str
    announced: bool
    reason: str


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """`state` is "up", "down", "drain" or "disabled"; `since` a Unix time; counters as the data plane has them."""

    address: str
    port: int
    state: str
    since: float
    reason: str
    weight: int
    packets: int
    bytes: int
    flows: int  # current entries in the flow table
    new_flows: int  # entries made
    destination: int  # id in the data plane


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """`state` is "up" or "down"."""

    name: str
    vip: str
    port: int
    protocol: str
    state: str
    reason: str
    need: int
    available: int
    slots: int
    backends: tuple[BackendStatus, ...]


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """One BGP session: `state` in the words of RFC 4271 section 8.2.2, `since` a Unix time; `withheld` are routes with reasons."""

    address: str
    state: str
    since: float
    remote_as: int
    routes: tuple[str, ...]
    last_error: str
    withheld: tuple[str, ...] = ()  # "2001:db8::10/128: no IPv6 next hop is known ..."


@dataclass(frozen=True, slots=True)
class TableStatus:
    """Use of one table: `used` of `rows`; `bytes` of kernel memory."""

    name: str
    used: int
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Status:
    """What is known, at one moment: the one object behind `status`, `status --json`, the API, and later console and metrics."""

    version: str
    started: float
    config: str
    key_fingerprint: str
    interfaces: tuple[InterfaceStatus, ...]
    vips: tuple[VipStatus, ...]
    services: tuple[ServiceStatus, ...]
    peers: tuple[PeerStatus, ...]
    verdicts: Mapping[str, int]
    tables: tuple[TableStatus, ...]
    tables_hash: str
    repairs: int
    warnings: tuple[str, ...]
