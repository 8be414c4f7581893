"""What the operator asks of BGP: neighbours, what is said to them about which route, where the speaker listens."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from fairlead.model.places import Address, Position, Prefix

Community = tuple[int, int]  # RFC 1997: AS number and value, 16 bits each
LargeCommunity = tuple[int, int, int]  # RFC 8092: 32 bits each


@dataclass(frozen=True, slots=True)
class GracefulRestart:
    """RFC 4724 as the restarting speaker: for how many seconds the peer keeps our routes; `notification` is RFC 8538's N bit."""

    time: int = 120  # seconds, 0 to 4095
    notification: bool = False


@dataclass(frozen=True, slots=True)
class AttributeRule:
    """What is said about some routes. An empty match means any, several kinds of match must all hold.

    None leaves an attribute to the next rule that matches, and at last to the peer's own setting: of each attribute the first
    rule that names it wins.
    """

    prefixes: tuple[Prefix, ...] = ()  # the route lies within one of them
    names: frozenset[str] = frozenset()  # a service of the VIP has one of these names
    priorities: frozenset[str] = frozenset()  # the priority of the VIP's most important service is one of these
    communities: tuple[Community, ...] | None = None
    large_communities: tuple[LargeCommunity, ...] | None = None
    ext_communities: tuple[int, ...] | None = None
    med: int | None = None
    prepend: int | None = None
    local_pref: int | None = None


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """One BGP neighbour. `accept` and `reject` filter what is announced: accept wins, then reject, then accepted."""

    address: Address
    as_number: int  # ours towards this peer
    hold_time: int = 10  # seconds, 0 or at least 3
    source: Address | None = None
    local_pref: int | None = None  # iBGP only, 100 where unset
    med: int | None = None
    communities: tuple[Community, ...] = ()
    next_hop_4: IPv4Address | None = None
    next_hop_6: IPv6Address | None = None
    accept: tuple[Prefix, ...] = ()
    reject: tuple[Prefix, ...] = ()
    remote_as: int | None = None  # what its OPEN must say; None: whatever it says
    port: int = 179  # that is dialled
    interface: str = ""  # of a link-local address
    passive: bool = False  # never dialled, only listened for
    multihop: int | None = None  # IP TTL or hop limit of our packets; None: the kernel's default
    ttl_security: int | None = None  # RFC 5082: how many hops away the peer is at most, 1 for a neighbour
    password_file: str = ""
    password: bytes | None = field(default=None, repr=False)  # RFC 2385; read from `password_file`, never by `config`
    graceful_restart: GracefulRestart | None = GracefulRestart()
    extended_next_hop: bool = False  # RFC 8950: IPv4 routes with IPv6 next hops
    prepend: int = 0  # times our AS number stands in the path beyond the one that belongs there; eBGP only
    large_communities: tuple[LargeCommunity, ...] = ()
    ext_communities: tuple[int, ...] = ()  # RFC 4360: eight octets each, as one big-endian number
    max_prefixes: int | None = None  # more from this peer end the session; None: any number (they are counted, never kept)
    rules: tuple[AttributeRule, ...] = ()
    position: Position | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.address}%{self.interface}" if self.interface else str(self.address)


@dataclass(frozen=True, slots=True)
class Listen:
    """Where peers may dial us; no address means all of them."""

    addresses: tuple[Address, ...] = ()
    port: int = 179


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A prefix that is announced while any announced VIP lies in it; `only`: the VIPs themselves are not, then."""

    prefix: Prefix
    only: bool = False


@dataclass(frozen=True, slots=True)
class Drained:
    """An operator sent this balancer away from its routers. `who` is a name for people, `at` a Unix time."""

    who: str
    at: float
