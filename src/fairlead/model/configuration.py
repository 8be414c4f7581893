"""What the operator asks for: services, backends, checks, peers; and what is wrong with a file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from fairlead.model.peers import Aggregate, Listen, PeerConfig
from fairlead.model.places import Address, Position, Prefix
from fairlead.model.speaking import Api, Logging


class Severity(Enum):
    """An error refuses the file; a warning is said and lived with."""

    ERROR = "error"
    WARNING = "warning"


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
    """What a client addresses: `192.0.2.10:80/tcp`, `[2001:db8::10]:80/tcp`; port 0 is every port: `192.0.2.10:any/tcp`."""

    vip: Address
    port: int
    protocol: Protocol

    def __str__(self) -> str:
        vip = f"[{self.vip}]" if self.vip.version == 6 else str(self.vip)
        return f"{vip}:{self.port or 'any'}/{self.protocol}"

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
    """What becomes of a known flow whose backend is down or disabled; RESET answers TCP with RST and moves the rest."""

    KEEP = "keep"
    MOVE = "move"
    RESET = "reset"


class Reject(Enum):
    """What a client gets that asks a VIP for a port that no service has."""

    DROP = "drop"
    UNREACHABLE = "unreachable"  # RST for TCP, port unreachable for UDP


class Scheduler(Enum):
    """How slots are given to backends."""

    MAGLEV = "maglev"
    RENDEZVOUS = "rendezvous"


class TunnelKind(Enum):
    """Encapsulations; the values are those of `enum tunnel_kind`."""

    IPIP = 1
    GRE = 2
    FOU = 3
    GUE = 4


@dataclass(frozen=True, slots=True)
class Tunnel:
    """How packets get to backends that are no L2 neighbours. `port` is FOU's or GUE's; `mtu` overrides the path's, 0 does not."""

    kind: TunnelKind
    port: int = 0
    checksum: bool = True  # of the outer UDP header
    mtu: int = 0


CheckType = Literal["http", "https", "tcp", "syn", "dns", "udp", "icmp"]


@dataclass(frozen=True, slots=True)
class Rules:
    """When results make up and down: `fall` failures among the last `window` results, `rise` passes in a row."""

    window: int = 5
    fall: int = 2
    rise: int = 5


@dataclass(frozen=True, slots=True)
class Check:
    """What is asked, of the VIP on a backend, how often, and what is a good answer. Durations in seconds.

    What a type has no use for keeps its default, so that checks which ask the same are equal. `rules` are not part of the
    question: `asked()` leaves them out, and one probe serves all services whose checks ask the same of the same backend and VIP.
    """

    type: CheckType
    port: int  # 0 for icmp
    host: str = ""  # http: Host header; https: and SNI; the VIP where nothing is said
    path: str = "/"
    method: str = "GET"  # http, https: GET or HEAD; dns: "udp" or "tcp"
    expect: frozenset[int] = frozenset({200})  # HTTP status codes, empty for any
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""  # a regular expression that the first 64 KiB of the body must hold; "": any
    verify: bool = False  # https: certificate chain and name
    name: str = "localhost"  # dns: the question
    record: str = "A"  # dns: its type
    rcode: str = ""  # dns: "NOERROR", "NXDOMAIN" ...; "": any answer to the question
    payload: bytes = b""  # udp
    answer: str = ""  # udp: a regular expression over the answer as Latin-1; "": any answer
    interval: float = 2.0
    timeout: float = 2.0
    rules: Rules = Rules()

    def asked(self) -> Check:
        """The question alone: the same check with default rules."""
        return self if self.rules == _NO_RULES else replace(self, rules=_NO_RULES)

    def __str__(self) -> str:
        if self.type in ("http", "https"):
            return f"{self.type} {self.method} {self.path} port {self.port}"
        if self.type == "dns":
            return f"dns {self.name} {self.record} over {self.method} port {self.port}"
        return f"{self.type} port {self.port}" if self.port else self.type


_NO_RULES = Rules()


@dataclass(frozen=True, slots=True)
class Damping:
    """A backend that goes down too often is kept out for a while, after the manner of RFC 2439.

    Each fall adds `penalty`, which halves every `half_life` seconds; above `suppress` the backend gets no new flows, whatever its
    checks say, until it is below `reuse`.
    """

    penalty: float = 1000.0
    half_life: float = 60.0
    suppress: float = 2500.0
    reuse: float = 1000.0


@dataclass(frozen=True, slots=True)
class Override:
    """What an operator said of a backend at a shell, over the configuration: for one service or (None) for all.

    `state` and `weight` are None where nothing was said. `who` is a name for people, `at` a Unix time.
    """

    backend: Address
    service: ServiceKey | None
    state: AdminState | None
    weight: int | None
    who: str
    at: float


@dataclass(frozen=True, slots=True)
class Backend:
    """A real server of one service. A drained backend has weight 0 or state DRAIN: no new flows, old ones stay."""

    address: Address
    weight: int = 1
    state: AdminState = AdminState.ACTIVE
    backup: bool = False  # gets flows only while the others are below `need`
    override: Override | None = None  # why weight and state are not those of the file; never set by `config`
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
    ttl: Ttl | None = None  # None: ONE to L2 neighbours, DECREMENT into tunnels
    on_down: OnDown = OnDown.KEEP
    tunnel: Tunnel | None = None
    scheduler: Scheduler = Scheduler.MAGLEV
    table_size: int | None = None  # slots; None: by the number of backends
    track: bool = True  # False: no flow entries
    reject: Reject = Reject.DROP  # of the whole VIP: UNREACHABLE if any of its services says so
    hold: float = 5.0  # seconds that it must have been up before its VIP is announced; the longest of a VIP's services counts
    panic: float = 0.0  # with a smaller share (0 to 1) of healthy backends all count as up; 0: never
    damping: Damping | None = None
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
class Timeouts:
    """Seconds that a flow entry of each state may be silent."""

    embryonic: float = 10.0
    confirmed: float = 3600.0
    closing: float = 30.0
    udp: float = 120.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What the tables hold at most; they are made that large at the first start. The flow table gets twice as many words."""

    services: int = 4096
    destinations: int = 131072
    slots: int = 1 << 25
    flows: int = 1 << 22


@dataclass(frozen=True, slots=True)
class Vlan:
    """A subnet with its VLAN id; the gateway stands in VC5's host bits. Over untagged interfaces the id is a label only."""

    id: int
    subnet: Prefix
    gateway: Address | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """A whole, valid configuration."""

    services: tuple[Service, ...]  # sorted by key
    interfaces: tuple[str, ...] = ()
    address: IPv4Address | None = None  # BGP router id, probe source where the egress has none
    address6: IPv6Address | None = None
    peers: tuple[PeerConfig, ...] = ()
    listen: Listen | None = None  # for peers that dial us; None: not at all
    aggregates: tuple[Aggregate, ...] = ()  # sorted by prefix
    drain_time: float = 10.0  # seconds for which routes carry RFC 8326's community before `fairlead drain self` takes them back
    stop_time: float = 1.0  # the same when the daemon is stopped
    probe: ProbeConfig = ProbeConfig()
    cluster: Cluster = Cluster()
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    vlans: tuple[Vlan, ...] = ()
    api: Api = field(default_factory=Api)
    logging: Logging = field(default_factory=Logging)
    compat: str = ""  # "vc5": VC5's metrics, too
    blocked: tuple[Prefix, ...] = ()  # sources that may send nothing to any VIP; sorted
    count_prefixes: bool = False  # packets for VIPs by where they come from
    attach_delay: float = 0.0  # seconds between two interfaces, so that a bond keeps members that are up
    path: str = ""
    warnings: tuple[Problem, ...] = field(default=(), compare=False)

    def vips(self) -> tuple[Address, ...]:
        """Every VIP once, in the order of the services."""
        return tuple(dict.fromkeys(s.key.vip for s in self.services))
