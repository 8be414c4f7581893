"""What a peer is told about a route, by its configuration: filter, rules, attributes, next hop."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any, NamedTuple

from fairlead.bgp import attributes as attribute
from fairlead.bgp.attributes import Attributes
from fairlead.bgp.capabilities import Family
from fairlead.bgp.terms import Terms
from fairlead.model import Address, AttributeRule, Community, LargeCommunity, PeerConfig, Prefix, Route

GRACEFUL_SHUTDOWN: Community = (65535, 0)  # RFC 8326 section 3

# Attributes longer than this leave too little room for prefixes to be worth an UPDATE.
_LONGEST_ATTRIBUTES = 3072

# Copies of our AS number that fit into one segment of a path beyond the one that belongs there.
_LONGEST_PREPEND = 254


class Chosen(NamedTuple):
    """What rules and peer leave to be said about a route, apart from its family."""

    communities: tuple[Community, ...]
    large_communities: tuple[LargeCommunity, ...]
    ext_communities: tuple[int, ...]
    med: int | None
    prepend: int
    local_pref: int | None
    graceful_shutdown: bool


_NAMES = Chosen._fields[:-1]


def permits(policy: PeerConfig, prefix: Prefix) -> bool:
    """The peer's filter: what `accept` covers passes, then what `reject` covers does not, then all passes."""
    if any(covers(accepted, prefix) for accepted in policy.accept):
        return True
    return not any(covers(rejected, prefix) for rejected in policy.reject)


def choose(policy: PeerConfig, route: Route) -> Chosen:
    """Of each attribute the first matching rule that names it, else the peer's own."""
    rules = [rule for rule in policy.rules if _matches(rule, route)]
    values = {name: _first(rules, name, getattr(policy, name)) for name in _NAMES}
    return Chosen(**values, graceful_shutdown=route.graceful_shutdown)


def _first(rules: list[AttributeRule], name: str, default: Any) -> Any:
    return next((said for rule in rules if (said := getattr(rule, name)) is not None), default)


def _matches(rule: AttributeRule, route: Route) -> bool:
    return (
        (not rule.prefixes or any(covers(prefix, route.prefix) for prefix in rule.prefixes))
        and (not rule.names or bool(rule.names & route.names))
        and (not rule.priorities or route.priority in rule.priorities)
    )


def describe(family: Family, chosen: Chosen, policy: PeerConfig, terms: Terms) -> Attributes | str:
    """The attributes of a route of this family, or why it cannot be announced."""
    if family not in terms.families:
        return f"the peer does not take IPv{family.version} unicast"
    next_hop = next_hop_for(family, policy, terms)
    if next_hop is None:
        return f"no IPv6 next hop is known: the session's own address is {terms.local}, and next_hop_6 is not set"
    said = Attributes(
        next_hop=next_hop,
        as_path=() if terms.internal else (terms.local_as,) * (1 + min(chosen.prepend, _LONGEST_PREPEND)),
        med=chosen.med,
        local_pref=_local_pref(chosen) if terms.internal else None,  # RFC 4271 section 5.1.5: never to an external peer
        communities=_communities(chosen),
        ext_communities=chosen.ext_communities,
        large_communities=chosen.large_communities,
        link_local=_link_local(next_hop, terms),
    )
    too_long = len(attribute.pack(said, four_octet=terms.four_octet)) > _LONGEST_ATTRIBUTES
    return "its communities do not fit into an UPDATE" if too_long else said


def _local_pref(chosen: Chosen) -> int:
    """100 unless configured; nobody in the AS should choose a way that is about to end (RFC 8326 section 4.1)."""
    if chosen.graceful_shutdown:
        return 0
    return 100 if chosen.local_pref is None else chosen.local_pref


def _communities(chosen: Chosen) -> tuple[Community, ...]:
    if not chosen.graceful_shutdown or GRACEFUL_SHUTDOWN in chosen.communities:
        return chosen.communities
    return (*chosen.communities, GRACEFUL_SHUTDOWN)


def next_hop_for(family: Family, policy: PeerConfig, terms: Terms) -> Address | None:
    """Configured, else our end of the session if it fits, else the router id for IPv4; None where nothing fits.

    Where IPv6 next hops are agreed on for IPv4 routes (RFC 8950), a session over IPv6 uses its own. A link-local address is one
    only on a session between such addresses.
    """
    six = _ipv6_next_hop(policy, terms)
    if family is Family.IPV6:
        return six
    if policy.next_hop_4 is not None:
        return policy.next_hop_4
    if isinstance(terms.local, IPv4Address):
        return terms.local
    return six if terms.via_ipv6 and six is not None else terms.router_id


def _ipv6_next_hop(policy: PeerConfig, terms: Terms) -> IPv6Address | None:
    if policy.next_hop_6 is not None:
        return policy.next_hop_6
    return _unscoped(terms.local) if isinstance(terms.local, IPv6Address) else None


def _link_local(next_hop: Address, terms: Terms) -> IPv6Address | None:
    """Our link-local address beside a global next hop, on a session between such addresses."""
    local = terms.local
    if not isinstance(next_hop, IPv6Address) or not isinstance(local, IPv6Address) or not local.is_link_local:
        return None
    return None if next_hop.is_link_local else _unscoped(local)


def _unscoped(address: IPv6Address) -> IPv6Address:
    return IPv6Address(address.packed)


def covers(outer: Prefix, inner: Prefix) -> bool:
    """Whether all of the inner prefix is in the outer one; never across IP versions."""
    return outer.prefixlen <= inner.prefixlen and inner.network_address in outer
