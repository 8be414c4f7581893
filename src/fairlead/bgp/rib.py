"""The Adj-RIB-Out of one peer (RFC 4271 section 3.2): what it should have, what it was sent, and the messages in between.

Level-triggered: `want` is computed from the routes, the peer's policy and the terms of the session; `updates` sends the
difference to `have` and takes note. So a filter or an attribute that changes is a few UPDATEs, never a reset, and a route that
comes and goes while the peer is slow costs nothing. A new session begins with an empty `have`, a route refresh forgets what was
said about the routes of its family.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address

from fairlead.bgp import attributes as attribute
from fairlead.bgp.attributes import Attributes
from fairlead.bgp.capabilities import Family
from fairlead.bgp.policy import Chosen, choose, describe, permits
from fairlead.bgp.terms import Terms
from fairlead.bgp.wire import BEGIN_REFRESH, END_REFRESH, HEADER_BYTES, RouteRefresh, Update
from fairlead.model import PeerConfig, Prefix, Route

# MP_UNREACH_NLRI without its prefixes: attribute header with a length of two octets, family.
_UNREACH_BYTES = 7

# The header of an UPDATE and both its length fields.
_UPDATE_BYTES = HEADER_BYTES + 4


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
        self._asked: set[Family] = set()  # a refresh was asked for
        self._settled = True
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

    def settle(self, *, settled: bool = True) -> None:
        """Whether the routes are all that there will be at first: only then End-of-RIB is said (RFC 4724 section 4.1)."""
        self._stale |= settled != self._settled
        self._settled = settled

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
        self._asked.clear()
        self._stale = True

    def refresh(self, family: Family) -> None:
        """Send all routes of a family again (RFC 2918 section 4). Asked ten times between two outputs, it is done once."""
        self._have.update({prefix: None for prefix in self._have if prefix.version == family.version})
        self._asked.add(family)
        self._stale = True

    def announced(self) -> tuple[Prefix, ...]:
        """What the peer was sent, in order."""
        return tuple(sorted(self._have, key=_order))

    def details(self) -> tuple[str, ...]:
        """The same with what was said about each."""
        return tuple(f"{prefix} {self._have[prefix] or ''}".strip() for prefix in self.announced())

    def withheld(self) -> tuple[tuple[Prefix, str], ...]:
        """What is wanted but not sent to this peer, and why; empty without a session."""
        self._plan()
        return tuple(sorted(self._withheld.items(), key=lambda item: _order(item[0])))

    def updates(self) -> Iterator[Update | RouteRefresh]:
        """What brings the peer from what it has to what it should have: withdrawals first, End-of-RIB last if due.

        The answer to a refresh stands between two marks where the peer knows them (RFC 7313 section 4.1), though never before
        End-of-RIB: until then the peer takes nothing for stale anyway.
        """
        terms = self._terms
        if terms is None or not self._stale:
            return
        self._plan()
        self._stale = False
        gone = [prefix for prefix in self._have if prefix not in self._want]
        fresh = {prefix: said for prefix, said in self._want.items() if self._have.get(prefix) != said}
        self._have = dict(self._want)
        marked = [family for family in _ordered(self._asked & self._ended) if terms.enhanced_refresh]
        self._asked.clear()
        yield from (RouteRefresh(*family.value, BEGIN_REFRESH) for family in marked)
        yield from _withdrawals(gone, terms.longest)
        yield from _announcements(fresh, terms)
        yield from (RouteRefresh(*family.value, END_REFRESH) for family in marked)
        for family in _ordered(terms.families - self._ended if self._settled else set()):
            self._ended.add(family)
            yield _withdrawal(family, b"")

    def _plan(self) -> None:
        """Compute `want`, and a reason for each route that is not in it."""
        if not self._stale:
            return
        self._want, self._withheld = {}, {}
        terms, policy = self._terms, self._policy
        if terms is None:
            return
        known: dict[tuple[Family, Chosen], Attributes | str] = {}
        for route in self._routes:
            if not permits(policy, route.prefix):
                self._withheld[route.prefix] = "rejected by the filter of this peer"
                continue
            kind = (_family(route.prefix), choose(policy, route))
            if (about := known.get(kind)) is None:
                about = known[kind] = describe(*kind, policy, terms)
            if isinstance(about, str):
                self._withheld[route.prefix] = about
            else:
                self._want[route.prefix] = about


def _family(prefix: Prefix) -> Family:
    return Family.IPV4 if prefix.version == 4 else Family.IPV6


def _ordered(families: Iterable[Family]) -> list[Family]:
    return sorted(families, key=lambda family: family.version)


def _order(prefix: Prefix) -> tuple[int, int, int]:
    return (prefix.version, int(prefix.network_address), prefix.prefixlen)


# --------------------------------------------------------------------------------------------------------------------- packing


def _withdrawals(prefixes: Iterable[Prefix], longest: int) -> Iterator[Update]:
    for family, members in _by_family(prefixes):
        room = longest - _UPDATE_BYTES - (0 if family is Family.IPV4 else _UNREACH_BYTES)
        for nlri in _chunks(members, room):
            yield _withdrawal(family, nlri)


def _withdrawal(family: Family, nlri: bytes) -> Update:
    """Take back these prefixes; without any it is End-of-RIB (RFC 4724 section 2)."""
    if family is Family.IPV4:
        return Update(withdrawn=nlri)
    return Update(attributes=attribute.pack_unreachable(family, nlri))


def _announcements(fresh: Mapping[Prefix, Attributes], terms: Terms) -> Iterator[Update]:
    """Prefixes that share all attributes share UPDATEs."""
    groups: dict[tuple[Family, Attributes], list[Prefix]] = {}
    for prefix in sorted(fresh, key=_order):
        groups.setdefault((_family(prefix), fresh[prefix]), []).append(prefix)
    for (family, said), members in groups.items():
        packed = attribute.pack(said, four_octet=terms.four_octet, family=family)
        room = terms.longest - _UPDATE_BYTES - len(packed)
        if isinstance(said.next_hop, IPv4Address):
            for nlri in _chunks(members, room):
                yield Update(attributes=packed, nlri=nlri)
        else:
            for nlri in _chunks(members, room - 1):  # MP_REACH_NLRI's length takes two octets then
                yield Update(attributes=attribute.pack(said, four_octet=terms.four_octet, family=family, nlri=nlri))


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
