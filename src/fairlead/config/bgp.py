"""BGP peers: the terms of the top level, of groups and of single peers, the lower level winning."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from ipaddress import IPv4Address, IPv6Address

from fairlead.config import scalars
from fairlead.config.addresses import ANY, address4, address6, host_address, parse_address, prefix
from fairlead.config.nodes import Reader, Section, Value, entries, items, list_of, section
from fairlead.config.report import meant, shown
from fairlead.config.scalars import words
from fairlead.config.vocabulary import BGP, GROUP, PEER
from fairlead.model import Address, PeerConfig, Position, Prefix

_U32 = (1 << 32) - 1
_AS_TRANS = 23456  # RFC 6793 section 9: stands for "four octets", never for a network
_HOLD = 10  # VC5's default, and what it takes for a value below 3
_PEERS = "a list of addresses"


@dataclass(frozen=True, slots=True)
class Terms:
    """What may be said of peers at each level; None is not said."""

    as_number: int | None = None
    hold_time: int | None = None
    source_ip: Address | None = None
    local_pref: int | None = None
    med: int | None = None
    communities: tuple[tuple[int, int], ...] | None = None
    next_hop_4: IPv4Address | None = None
    next_hop_6: IPv6Address | None = None
    accept: tuple[Prefix, ...] | None = None
    reject: tuple[Prefix, ...] | None = None

    def below(self, lower: Terms) -> Terms:
        """Both levels as one: what the lower one says wins."""
        return Terms(*(getattr(self if getattr(lower, f.name) is None else lower, f.name) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Router:
    """What the rest of the file has for BGP: the balancer's own addresses and the named prefix lists."""

    address: IPv4Address | None
    address6: IPv6Address | None
    prefixes: Mapping[str, tuple[Prefix, ...] | None]


def read_prefixes(value: Value | None) -> dict[str, tuple[Prefix, ...] | None]:
    """The top-level `prefixes`."""
    found = entries(value, "a mapping of names to lists of prefixes") if value else None
    if found and "any" in found:
        found["any"].key.error("`any` cannot be a name of prefixes", "it stands for every prefix")
    read: Reader[tuple[Prefix, ...]] = list_of(prefix, "a list of prefixes")
    return {name: read(entry.value) for name, entry in (found or {}).items()}


def read_bgp(value: Value, router: Router) -> tuple[PeerConfig, ...]:
    """Every peer once, sorted by address."""
    said = section(value, BGP)
    if said is None:
        return ()
    terms = _read_terms(said, router)
    peers = _read_peers(said, terms, router)
    groups = said.get("groups")
    for item in (items(groups, "a list of groups") if groups else None) or []:
        group = section(item.named("a group"), GROUP)
        if group is not None:
            group.take("name", scalars.prose)
            peers += _read_peers(group, terms.below(_read_terms(group, router)), router)
    if said.get("peers") is None and groups is None:
        value.warn("`bgp` has no peers, so nothing is announced", "list routers under `peers`")
    return _each_once(peers, value)


def _each_once(peers: list[PeerConfig], value: Value) -> tuple[PeerConfig, ...]:
    found: dict[Address, PeerConfig] = {}
    for peer in peers:
        first = found.setdefault(peer.address, peer)
        if first is not peer and peer.position is not None:
            value.report.error(peer.position, f"peer {peer.address} is listed twice, first at {first.position}", "keep one")
    return tuple(sorted(found.values(), key=lambda p: (p.address.version, int(p.address))))


def _read_terms(said: Section, router: Router) -> Terms:
    filters = list_of(_filter(router.prefixes), "a list of prefixes, names of prefixes, or `any`")
    as_number, source = said.get("as_number"), said.get("source_ip")
    accept, reject = said.take("accept", filters), said.take("reject", filters)
    return Terms(
        as_number=_as_number(as_number) if as_number else None,
        hold_time=said.take("hold_time", _hold_time),
        source_ip=_source(source) if source else None,
        local_pref=said.take("local_pref", scalars.integer(0, _U32)),
        med=said.take("med", scalars.integer(0, _U32)),
        communities=said.take("communities", list_of(_community, "a list of communities such as 65000:100")),
        next_hop_4=said.take("next_hop_4", address4),
        next_hop_6=said.take("next_hop_6", address6),
        accept=None if accept is None else _flat(accept),
        reject=None if reject is None else _flat(reject),
    )


def _read_peers(said: Section, terms: Terms, router: Router) -> list[PeerConfig]:
    value = said.get("peers")
    found = items(value, _PEERS) if value else None
    return [peer for item in found or [] if (peer := _read_peer(item.named("a peer"), terms, router))]


def _read_peer(value: Value, terms: Terms, router: Router) -> PeerConfig | None:
    given: Value | None = value
    if value.is_mapping:
        said = section(value, PEER)
        if said is None:
            return None
        terms = terms.below(_read_terms(said, router))
        given = said.get("address")
        if given is None:
            value.error("a peer needs an `address`")
    address = _peer_address(given) if given else None
    if terms.as_number is None:
        value.error("this peer has no `as_number`", "give Fairlead's own AS number here, in the group or under `bgp`")
    if given is None or address is None or not terms.as_number:
        return None
    if terms.source_ip is not None and terms.source_ip.version != address.version:
        hint = f"an IPv{address.version} peer needs an IPv{address.version} source: give it in a group or to the peer"
        given.error(f"peer {address} cannot be reached from `source_ip` {terms.source_ip}", hint)
    return _peer(address, terms, terms.as_number, router, given.at)


def _peer(address: Address, terms: Terms, as_number: int, router: Router, at: Position) -> PeerConfig:
    """Where a session's own address is of the other family, `address` and `address6` are the next hops."""
    six = address.version == 6
    return PeerConfig(
        address=address,
        as_number=as_number,
        hold_time=terms.hold_time or _HOLD,
        source=terms.source_ip,
        local_pref=terms.local_pref,
        med=terms.med,
        communities=terms.communities or (),
        next_hop_4=terms.next_hop_4 or (router.address if six else None),
        next_hop_6=terms.next_hop_6 or (None if six else router.address6),
        accept=terms.accept or (),
        reject=terms.reject or (),
        position=at,
    )


def _peer_address(value: Value) -> Address | None:
    """A peer may be on this host (a BIRD beside the balancer), and VC5 wanted IPv6 ones in brackets."""
    text = words(value, "an IP address", "an IPv6 address needs no brackets here" if value.is_list else "")
    if text is None:
        return None
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if bare.partition("%")[0].lower().startswith("fe80:"):
        value.error(f"a link-local peer is not supported yet: {shown(text)}", "use the router's global address")
        return None
    return _here_or_elsewhere(value, bare, "a BGP peer")


def _source(value: Value) -> Address | None:
    text = words(value, "an IP address")
    return None if text is None else _here_or_elsewhere(value, text, "`source_ip`")


def _here_or_elsewhere(value: Value, text: str, what: str) -> Address | None:
    found = parse_address(value, text)
    if found is None or found.is_loopback:
        return found
    return host_address(value, text, what)


def _as_number(value: Value) -> int:
    """The AS number; 0, which is none, for one that has been reported: peers need not complain once more."""
    if dotted := re.fullmatch(r"([0-9]{1,5})\.([0-9]{1,5})", value.scalar or ""):
        value.must_be("a plain AS number", f"write {int(dotted[1]) * 65536 + int(dotted[2])}")
        return 0
    found = scalars.integer(1, _U32)(value)
    if found == _AS_TRANS:
        value.error(f"AS {_AS_TRANS} is reserved for AS_TRANS (RFC 6793)", "use your network's AS number or a private one")
        return 0
    return found or 0


def _hold_time(value: Value) -> int | None:
    found = scalars.integer(0, 65535)(value)
    if found is not None and found < 3:
        value.warn(f"a hold time of {found} s is not possible, {_HOLD} s is used", "as VC5 does; write 3 or more")
        return _HOLD
    return found


def _community(value: Value) -> tuple[int, int] | None:
    text = words(value, "a community such as 65000:100")
    if text is None:
        return None
    match = re.fullmatch(r"(0|[1-9][0-9]{0,4}):(0|[1-9][0-9]{0,4})", text)
    if not match or max(int(match[1]), int(match[2])) > 65535:
        hint = "large and extended communities are not supported yet" if text.count(":") == 2 else ""
        value.error(f"{shown(text)} is not a community", hint or "two numbers from 0 to 65535, such as 65000:100")
        return None
    return int(match[1]), int(match[2])


def _filter(named: Mapping[str, tuple[Prefix, ...] | None]) -> Reader[tuple[Prefix, ...]]:
    def read(value: Value) -> tuple[Prefix, ...] | None:
        text = words(value, "a prefix, a name of prefixes, or `any`")
        if text is None or text == "any":
            return None if text is None else ANY
        if text in named:
            return named[text]
        if "/" in text or ":" in text or re.fullmatch(r"[0-9.]+", text):
            one = prefix(value)
            return None if one is None else (one,)
        value.error(f"there is no {shown(text)} under the top-level `prefixes`", meant(text, [*named, "any"]))
        return None

    return read


def _flat(lists: tuple[tuple[Prefix, ...], ...]) -> tuple[Prefix, ...]:
    return tuple(dict.fromkeys(p for each in lists for p in each))
