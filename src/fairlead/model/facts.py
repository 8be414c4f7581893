"""What is known of the machine and of the backends at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from fairlead.model.configuration import Check, Tunnel
from fairlead.model.places import Address


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface that packets may arrive on, as the kernel describes it.

    `foreign_xdp` is the id of an XDP program that is not ours, 0 for none. Of a bond the members are links, and the bond is not:
    `bond` is its ifindex, 0 for none; a member that is not `active` forwards nothing.
    """

    ifindex: int
    name: str
    mac: bytes  # 6 bytes
    up: bool
    mtu: int
    foreign_xdp: int = 0
    bond: int = 0
    active: bool = True


@dataclass(frozen=True, slots=True)
class Path:
    """How a frame gets to a backend, or to the gateway on the way to it.

    `ifindex` is the physical egress (of a bond an active member, `bond` being its ifindex), `vlan` the 802.1Q id that frames
    leave with, 0 for none; `mtu` the largest IP packet in bytes. `source` is the address the kernel would send from: of probes
    and of a tunnel's outer header. With a `gateway` only tunnelled packets get there: the MAC is the gateway's.
    """

    ifindex: int
    mac_destination: bytes
    mac_source: bytes
    mtu: int
    source: Address | None = None
    gateway: Address | None = None
    vlan: int = 0
    bond: int = 0


@dataclass(frozen=True, slots=True)
class NoPath:
    """Why a backend cannot be reached: "no route", "no neighbour on eth0", "behind a gateway, which needs a tunnel".

    `silent`: all that is missing is the neighbour's answer. `last` is the path with the MAC that it had before: good enough for
    known flows and for probes, for a neighbour that has not been asked yet is no reason to lose what it would answer.
    """

    reason: str
    silent: bool = False
    last: Path | None = None


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What one run of one check brought. `at` is a Unix time, `took` seconds; `says` is for an operator: "503 after 12 ms".

    It does not name check, backend and VIP: who shows it does.
    """

    passed: bool
    says: str
    took: float
    at: float


@dataclass(frozen=True, slots=True)
class Health:
    """The standing of one backend in one service as its checks see it. `since` is the Unix time of the last change of `up`.

    `reason` is whole: "http GET /healthz on 10.1.0.12 for 192.0.2.10:80: 503 after 12 ms, 3 failures in a row since 12:04:31".
    """

    up: bool
    since: float
    reason: str
    reported: bool = False  # every check has been decided at least once since the daemon started
    decided: bool = True  # by results, of this run or of an earlier one; False: it stands so just because it is new


class ProbeKey(NamedTuple):
    """One question to one backend, whichever services want to know: `check` is without rules (`Check.asked`).

    The tunnel belongs to it because it is another way to the backend.
    """

    vip: Address
    backend: Address
    tunnel: Tunnel | None
    check: Check

    def __hash__(self) -> int:
        """Over what tells most apart: hashing all of a check costs more than the rest of what a result costs."""
        return hash((int(self.vip), int(self.backend), self.check.port))


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """How to ask: connect to vip:check.port with `mark`, from `source`.

    `mark` names the destination of one of the services that want to know; all of them take the same next hop.
    """

    vip: Address
    backend: Address
    check: Check
    mark: int
    source: Address | None


@dataclass(frozen=True, slots=True)
class Kept:
    """Totals that outlive the daemon: (packets, bytes, new flows) by row key of a service; and the destination ids that are in
    them already, with the `since` of the registry that tells an id's owners apart.
    """

    sums: Mapping[bytes, tuple[int, int, int]] = field(default_factory=dict)
    counted: Mapping[int, int] = field(default_factory=dict)
