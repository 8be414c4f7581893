"""What is known and shown: one object behind `status`, `status --json` and the API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead.model.speaking import SinkStatus, WorkStatus


@dataclass(frozen=True, slots=True)
class InterfaceStatus:
    """`mode` is "native" or "generic"; `bond` the name of the bond that it belongs to; not `active`: it forwards nothing now."""

    name: str
    mode: str
    bond: str = ""
    active: bool = True


@dataclass(frozen=True, slots=True)
class VipStatus:
    """`state` is "up" or "down"; `reason` says why it is not announced, "" when it is.

    Counters: sums over its services, those included that it had before; `flows` is of now. `since`: as of a service.
    """

    address: str
    state: str
    announced: bool
    reason: str
    packets: int = 0
    bytes: int = 0
    flows: int = 0
    new_flows: int = 0
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class CheckStatus:
    """One check of one backend: its last result in words, `at` a Unix time (0: none yet), `took` seconds."""

    check: str  # "http GET /healthz port 80"
    up: bool
    says: str
    at: float = 0.0
    took: float = 0.0
    failures: int = 0  # in a row, up to now
    failing_since: float = 0.0  # Unix time of the first of them, 0 without


@dataclass(frozen=True, slots=True)
class OverrideStatus:
    """What an operator said over the configuration. `service` "" is all services of the backend; `at` a Unix time."""

    backend: str
    service: str  # "192.0.2.10:80/tcp"
    says: str  # "drain", "disabled", "weight 10"
    who: str
    at: float
    effective: bool  # the configuration has such a backend


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """`state` is "up", "down", "drain" or "disabled"; `since` a Unix time; counters as the data plane has them.

    `cause` is the kind of thing that `reason` says: "checks", "unchecked", "path", "configuration", "operator", "damping",
    "backup", "panic", or "" for a backend that is up by itself.
    """

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
    backup: bool = False
    penalty: float = 0.0  # of damping, at this moment; 0 where it is off
    override: str = ""  # "drain by root since 2026-11-23 12:04:31": what was said at a shell
    checks: tuple[CheckStatus, ...] = ()
    cause: str = ""


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """`state` is "up" or "down", `since` the Unix time of its last change, or of the daemon's first look.

    Counters: sums over its backends, those included that it had before; `flows` is of now.
    """

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
    packets: int = 0
    bytes: int = 0
    flows: int = 0
    new_flows: int = 0
    panic: bool = False  # too few healthy backends: all count as up
    backups: bool = False  # too few of the others: the backups get flows
    applied: str = "done"  # "done", "pending: ...", "failed, next try in 4 s: ..."
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class PeerCounters:
    """What went over all sessions with a peer since the daemon started; `established`: how often a session came up."""

    messages_in: int = 0
    messages_out: int = 0
    updates_in: int = 0
    updates_out: int = 0
    prefixes_in: int = 0  # received in all sessions, repeats included
    malformed_in: int = 0  # UPDATEs that were taken as a withdrawal or lost an attribute, RFC 7606
    established: int = 0


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """One BGP session: `state` in the words of RFC 4271 section 8.2.2, `since` a Unix time; `withheld`: routes with reasons."""

    address: str
    state: str
    since: float
    remote_as: int
    routes: tuple[str, ...]
    last_error: str
    withheld: tuple[str, ...] = ()  # "2001:db8::10/128: no IPv6 next hop is known ..."
    local_as: int = 0
    local: str = ""  # our end of the connection
    remote_id: str = ""
    why: str = ""  # why it is not up; empty if it is
    last_error_at: float = 0.0  # Unix time, 0 for never
    ours: tuple[str, ...] = ()  # capabilities that we offer, in words
    theirs: tuple[str, ...] = ()
    hold_time: int = 0  # seconds, as negotiated while there is a session; 0 for none
    keepalive: float = 0.0  # seconds
    details: tuple[str, ...] = ()  # each route with its attributes: "192.0.2.10/32 via 10.1.0.2 path 64512 med 5"
    counters: PeerCounters = PeerCounters()


@dataclass(frozen=True, slots=True)
class VerdictStatus:
    """Packets that ended in one verdict, and their octets; `action` is what became of them: "pass", "tx", "redirect", "drop"."""

    packets: int
    bytes: int
    action: str = ""


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """Use of one limit of the configuration, in its own units; `key`: what to raise."""

    name: str
    used: int
    limit: int
    key: str


@dataclass(frozen=True, slots=True)
class TableStatus:
    """One table: `used` of `rows`, None where nobody counts; `bytes` of kernel memory; `limit`: the key that makes it larger."""

    name: str
    used: int | None
    rows: int
    bytes: int
    limit: str = ""


@dataclass(frozen=True, slots=True)
class TunnelStatus:
    """What the network between us and a backend says of our tunnel to it: ICMP errors, the last in words, its Unix time."""

    backend: str
    kind: str  # "ipip", "gre", "fou", "gue"
    port: int  # of UDP, 0 without
    errors: int
    last_error: str
    last_at: float


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
    verdicts: Mapping[str, VerdictStatus]
    tables: tuple[TableStatus, ...]
    tables_hash: str
    repairs: int
    warnings: tuple[str, ...]
    tunnels: tuple[TunnelStatus, ...] = ()  # those that an error came about
    overrides: tuple[OverrideStatus, ...] = ()
    limits: tuple[LimitStatus, ...] = ()
    memory: int = 0  # octets of all tables
    drained: str = ""  # "by root since 2026-11-23 12:04:31": `fairlead drain self`; "" otherwise
    leaving: bool = False  # drained, and routes are still announced, with the graceful shutdown community
    at: float = 0.0  # Unix time of this look
    work: WorkStatus = field(default_factory=WorkStatus)
    sinks: tuple[SinkStatus, ...] = ()
    blocks: int = 0  # prefixes that are blocked; what they dropped is the verdict `blocked`
    failures: tuple[str, ...] = ()  # those of the warnings that are about what could not be done, and is tried again
    problems: tuple[str, ...] = ()  # sentences: what is degraded, since when, what to do about it; the worst first


@dataclass(frozen=True, slots=True)
class BgpStatus:
    """What `fairlead bgp` shows: us, and every neighbour. `listen` is where, "" for nowhere."""

    router_id: str
    listen: str
    drained: str
    leaving: bool
    peers: tuple[PeerStatus, ...]
