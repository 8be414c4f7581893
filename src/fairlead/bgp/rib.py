"""The Adj-RIB-Out of one peer (RFC 4271 section 3.2): what it should have, what it was sent, and the UPDATEs in between.

Level-triggered: `want` is computed from the routes, the peer's policy and the terms of the session; `updates` sends the
difference to `have` and takes note. So a filter or an attribute that changes is a few UPDATEs, never a reset, and a route that
comes and goes while the peer is slow costs nothing. A new session begins with an empty `have`, a route refresh forgets what was
said about the routes of its family.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from fairlead.bgp import attributes as attribute
from fairlead.bgp.attributes import Attributes
from fairlead.bgp.wire import HEADER_BYTES, LONGEST_MESSAGE, Family, Update
from fairlead.model import Address, PeerConfig, Prefix, Route

# What an UPDATE has left for its three parts, both length fields taken off.
_ROOM = LONGEST_MESSAGE - HEADER_BYTES - 4

# Attributes longer than this leave too little room for prefixes to be worth an UPDATE.
_LONGEST_ATTRIBUTES = 3072

# MP_UNREACH_NLRI without its prefixes: attribute header with a length of two octets, family.
_UNREACH_BYTES = 7


@dataclass(frozen=True, slots=True)
class Terms:
    """What a session stands on once both OPENs are known. `hold_time` in seconds, 0 for no timer; `local` is our end."""

    local_as: int
    remote_as: int
    hold_time: int
    families: frozenset[Family]
    four_octet: bool
    local: Address
    router_id: IPv4Address

    @property
    def internal(self) -> bool:
        """iBGP: both ends are in one AS."""
        return self.local_as == self.remote_as


class AdjRibOut:
    """What one peer is told. `begin` opens it for a session, `end` closes it; routes and policy may change at any time."""

    def __init__(self, policy: PeerConfig) -> None:
        self._policy = policy
        self._routes: tuple[Route, ...] = ()
        self._terms: Terms | None = None
        self._want: dict[Prefix, Attributes] = {}
        self._have: dict[Prefix, Attributes | None] = {}  # None: sent, but to be sent again
        self._withheld: dict[Prefix, str] = {}
        self._ended: set[Family] = set()  # End-of-RIB was sent
        self._stale = True

    def set_routes(self, routes: Iterable[Route]) -> None:
        """The routes that should be announced, all of them."""
        wanted = tuple(routes)
        self._stale |= wanted != self._routes
        self._routes = wanted

    def set_policy(self, policy: PeerConfig) -> None:
        """Filters and attributes from now on."""
        self._stale |= policy != self._policy
        self._policy = policy

    def begin(self, terms: Terms) -> None:
        """A session is established: the peer has nothing yet."""
        self.end()
        self._terms = terms

    def resume(self, terms: Terms, had: Iterable[Prefix]) -> None:
        """A session goes on that another process began: the peer has these prefixes, and is told again what there is to say."""
        self.begin(terms)
        self._have = dict.fromkeys(had)

    def end(self) -> None:
        """The session is gone, and with it all the peer had (RFC 4271 section 8.2.2 on leaving Established)."""
        self._terms = None
        self._have.clear()
        self._ended.clear()
        self._stale = True

    def refresh(self, family: Family) -> None:
        """Send all routes of a family again (RFC 2918 section 4). Asked ten times between two outputs, it is done once."""
        self._have.update({prefix: None for prefix in self._have if prefix.version == family.version})
        self._stale = True

    def announced(self) -> tuple[Prefix, ...]:
        """What the peer was sent, in order."""
        return tuple(sorted(self._have, key=_order))

    def withheld(self) -> tuple[tuple[Prefix, str], ...]:
        """What is wanted but not sent to this peer, and why; empty without a session."""
        self._plan()
        return tuple(sorted(self._withheld.items(), key=lambda item: _order(item[0])))

    def updates(self) -> Iterator[Update]:
        """The UPDATEs that bring the peer from what it has to what it should have: withdrawals first, End-of-RIB last if due."""
        if self._terms is None or not self._stale:
            return
        self._plan()
        self._stale = False
        gone = [prefix for prefix in self._have if prefix not in self._want]
        fresh = {prefix: said for prefix, said in self._want.items() if self._have.get(prefix) != said}
        self._have = dict(self._want)
        yield from _withdrawals(gone)
        yield from _announcements(fresh, self._terms.four_octet)
        for family in sorted(self._terms.families - self._ended, key=lambda f: f.version):
            self._ended.add(family)
            yield _withdrawal(family, b"")

    def _plan(self) -> None:
        """Compute `want`, and a reason for each route that is not in it."""
        if not self._stale:
            return
        self._want, self._withheld = {}, {}
        if self._terms is None:
            return
        said = {family: self._attributes(family) for family in Family}
        for route in self._routes:
            about = said[_family(route.prefix)]
            if not permits(self._policy, route.prefix):
                self._withheld[route.prefix] = "rejected by the filter of this peer"
            elif isinstance(about, str):
                self._withheld[route.prefix] = about
            else:
                self._want[route.prefix] = about

    def _attributes(self, family: Family) -> Attributes | str:
        """What to say about a route of this family, or why nothing can be said."""
        terms, policy = self._terms, self._policy
        assert terms is not None
        if family not in terms.families:
            return f"the peer does not take IPv{family.version} unicast"
        next_hop = next_hop_for(family, policy, terms)
        if next_hop is None:
            return f"no IPv6 next hop is known: the session's own address is {terms.local}, and next_hop_6 is not set"
        local_pref = 100 if policy.local_pref is None else policy.local_pref
        said = Attributes(
            next_hop=next_hop,
            as_path=() if terms.internal else (terms.local_as,),
            med=policy.med,
            local_pref=local_pref if terms.internal else None,  # RFC 4271 section 5.1.5: never to an external peer
            communities=policy.communities,
        )
        too_long = len(attribute.pack(said, four_octet=terms.four_octet)) > _LONGEST_ATTRIBUTES
        return "its communities do not fit into an UPDATE" if too_long else said


def permits(policy: PeerConfig, prefix: Prefix) -> bool:
    """The peer's filter: what `accept` covers passes, then what `reject` covers does not, then all passes."""
    if any(_covers(accepted, prefix) for accepted in policy.accept):
        return True
    return not any(_covers(rejected, prefix) for rejected in policy.reject)


def next_hop_for(family: Family, policy: PeerConfig, terms: Terms) -> Address | None:
    """Configured, else our end of the session if it is of the family, else the router id for IPv4; None where nothing fits.

    A link-local address is no next hop on its own (RFC 2545 section 3).
    """
    if family is Family.IPV4:
        return policy.next_hop_4 or (terms.local if isinstance(terms.local, IPv4Address) else terms.router_id)
    own = isinstance(terms.local, IPv6Address) and not terms.local.is_link_local
    return policy.next_hop_6 or (terms.local if own else None)


def _covers(outer: Prefix, inner: Prefix) -> bool:
    return outer.prefixlen <= inner.prefixlen and inner.network_address in outer  # never across IP versions


def _family(prefix: Prefix) -> Family:
    return Family.IPV4 if prefix.version == 4 else Family.IPV6


def _order(prefix: Prefix) -> tuple[int, int, int]:
    return (prefix.version, int(prefix.network_address), prefix.prefixlen)


# --------------------------------------------------------------------------------------------------------------------- packing


def _withdrawals(prefixes: Iterable[Prefix]) -> Iterator[Update]:
    for family, members in _by_family(prefixes):
        room = _ROOM - (0 if family is Family.IPV4 else _UNREACH_BYTES)
        for nlri in _chunks(members, room):
            yield _withdrawal(family, nlri)


def _withdrawal(family: Family, nlri: bytes) -> Update:
    """Take back these prefixes; without any it is End-of-RIB (RFC 4724 section 2)."""
    if family is Family.IPV4:
        return Update(withdrawn=nlri)
    return Update(attributes=attribute.pack_unreachable(family, nlri))


def _announcements(fresh: Mapping[Prefix, Attributes], four_octet: bool) -> Iterator[Update]:
    """Prefixes that share all attributes share UPDATEs."""
    groups: dict[Attributes, list[Prefix]] = {}
    for prefix in sorted(fresh, key=_order):
        groups.setdefault(fresh[prefix], []).append(prefix)
    for said, members in groups.items():
        packed = attribute.pack(said, four_octet=four_octet)
        if isinstance(said.next_hop, IPv4Address):
            for nlri in _chunks(members, _ROOM - len(packed)):
                yield Update(attributes=packed, nlri=nlri)
        else:
            for nlri in _chunks(members, _ROOM - len(packed) - 1):  # MP_REACH_NLRI's length takes two octets then
                yield Update(attributes=attribute.pack(said, four_octet=four_octet, nlri=nlri))


def _by_family(prefixes: Iterable[Prefix]) -> Iterator[tuple[Family, list[Prefix]]]:
    ordered = sorted(prefixes, key=_order)
    for family in Family:
        yield family, [prefix for prefix in ordered if prefix.version == family.version]


def _chunks(prefixes: Iterable[Prefix], room: int) -> Iterator[bytes]:
    """The prefixes packed, in as few pieces of at most `room` bytes as their order allows; nothing for no prefix."""
    chunk = bytearray()
    for prefix in prefixes:
        packed = attribute.pack_prefix(prefix)
        if len(chunk) + len(packed) > room:
            yield bytes(chunk)
            chunk.clear()
        chunk += packed
    if chunk:
        yield bytes(chunk)
