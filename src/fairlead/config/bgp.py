"""BGP: the peers of the top level, of groups and single ones, where the speaker listens, aggregates, and how it leaves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from fairlead.config import scalars
from fairlead.config.addresses import prefix
from fairlead.config.bgp_terms import HOLD, NamedPrefixes, Terms, here_or_elsewhere, read_terms
from fairlead.config.nodes import Reader, Value, entries, items, list_of, section
from fairlead.config.report import shown
from fairlead.config.scalars import words
from fairlead.config.vocabulary import AGGREGATE, BGP, GROUP, LISTEN, PEER
from fairlead.model import Address, Aggregate, GracefulRestart, Listen, PeerConfig, Position, Prefix

_PEERS = "a list of addresses"
_PORT = 179  # RFC 4271 section 3
_LONGEST_LEAVE = 3600.0  # seconds
_LONGEST_STOP = 60.0  # seconds: a service manager kills who takes longer (systemd: after 90)


@dataclass(frozen=True, slots=True)
class Router:
    """What the rest of the file has for BGP: the balancer's own addresses and the named prefix lists."""

    address: IPv4Address | None
    address6: IPv6Address | None
    prefixes: NamedPrefixes


@dataclass(frozen=True, slots=True)
class Speaking:
    """The whole section; peers are sorted by address."""

    peers: tuple[PeerConfig, ...] = ()
    listen: Listen | None = None
    aggregates: tuple[Aggregate, ...] = ()
    drain_time: float | None = None
    stop_time: float | None = None


def read_prefixes(value: Value | None) -> dict[str, tuple[Prefix, ...] | None]:
    """The top-level `prefixes`."""
    found = entries(value, "a mapping of names to lists of prefixes") if value else None
    if found and "any" in found:
        found["any"].key.error("`any` cannot be a name of prefixes", "it stands for every prefix")
    read: Reader[tuple[Prefix, ...]] = list_of(prefix, "a list of prefixes")
    return {name: read(entry.value) for name, entry in (found or {}).items()}


def read_bgp(value: Value, router: Router) -> Speaking:
    """The section, every peer in it once."""
    said = section(value, BGP)
    if said is None:
        return Speaking()
    terms = read_terms(said, router.prefixes)
    peers = _read_peers(said.get("peers"), terms, router)
    groups = said.get("groups")
    for item in (items(groups, "a list of groups") if groups else None) or []:
        group = section(item.named("a group"), GROUP)
        if group is not None:
            group.take("name", scalars.prose)
            peers += _read_peers(group.get("peers"), terms.below(read_terms(group, router.prefixes)), router)
    if said.get("peers") is None and groups is None:
        value.warn("`bgp` has no peers, so nothing is announced", "list routers under `peers`")
    listen = said.take("listen", _listen)
    _passive_ones(peers, listen, value)
    return Speaking(
        peers=_each_once(peers, value),
        listen=listen,
        aggregates=said.take("aggregates", _aggregates) or (),
        drain_time=said.take("drain_time", scalars.duration(0, _LONGEST_LEAVE)),
        stop_time=said.take("stop_time", scalars.duration(0, _LONGEST_STOP)),
    )


def _each_once(peers: list[PeerConfig], value: Value) -> tuple[PeerConfig, ...]:
    found: dict[str, PeerConfig] = {}
    for peer in peers:
        first = found.setdefault(str(peer), peer)
        if first is not peer and peer.position is not None:
            value.report.error(peer.position, f"peer {peer} is listed twice, first at {first.position}", "keep one")
    return tuple(sorted(found.values(), key=lambda p: (p.address.version, int(p.address), p.interface)))


# -------------------------------------------------------------------------------------------------------------------------- peers


def _read_peers(value: Value | None, terms: Terms, router: Router) -> list[PeerConfig]:
    found = items(value, _PEERS) if value else None
    return [peer for item in found or [] if (peer := _read_peer(item.named("a peer"), terms, router))]


def _read_peer(value: Value, terms: Terms, router: Router) -> PeerConfig | None:
    given: Value | None = value
    if value.is_mapping:
        said = section(value, PEER)
        if said is None:
            return None
        terms = terms.below(read_terms(said, router.prefixes))
        given = said.get("address")
        if given is None:
            value.error("a peer needs an `address`")
    found = _peer_address(given) if given else None
    if terms.as_number is None:
        value.error("this peer has no `as_number`", "give Fairlead's own AS number here, in the group or under `bgp`")
    if given is None or found is None or not terms.as_number:
        return None
    address, interface = found
    if terms.source_ip is not None and terms.source_ip.version != address.version:
        hint = f"an IPv{address.version} peer needs an IPv{address.version} source: give it in a group or to the peer"
        given.error(f"peer {address} cannot be reached from `source_ip` {terms.source_ip}", hint)
    return _peer(address, interface, terms, terms.as_number, router, given.at)


def _peer(address: Address, interface: str, terms: Terms, as_number: int, router: Router, at: Position) -> PeerConfig:
    """Where a session's own address is no next hop for others, `address` and `address6` are: of the other family, local ones.

    An IPv6 next hop of IPv4 VIPs (RFC 8950) goes before `address`, which they have all the same if the peer takes none.
    """
    elsewhere = not (address.is_loopback or address.is_link_local)
    own = {address.version} if elsewhere else set()
    if terms.extended_next_hop and address.version == 6:
        own |= {4}
    gives = terms.graceful_restart
    return PeerConfig(
        address=address,
        as_number=as_number,
        hold_time=HOLD if terms.hold_time is None else terms.hold_time,
        source=terms.source_ip,
        local_pref=terms.local_pref,
        med=terms.med,
        communities=terms.communities or (),
        next_hop_4=terms.next_hop_4 or (None if 4 in own else router.address),
        next_hop_6=terms.next_hop_6 or (None if 6 in own else router.address6),
        accept=terms.accept or (),
        reject=terms.reject or (),
        remote_as=terms.peer_as,
        port=terms.port or _PORT,
        interface=interface,
        passive=bool(terms.passive),
        multihop=terms.multihop,
        ttl_security=terms.ttl_security,
        password_file=terms.password_file or "",
        graceful_restart=GracefulRestart() if gives is None else gives or None,
        extended_next_hop=bool(terms.extended_next_hop),
        prepend=terms.prepend or 0,
        large_communities=terms.large_communities or (),
        ext_communities=terms.ext_communities or (),
        max_prefixes=terms.max_prefixes,
        rules=terms.rules or (),
        position=at,
    )


def _peer_address(value: Value) -> tuple[Address, str] | None:
    """A peer and, if its address is link-local, the interface. It may be on this host (a BIRD beside the balancer); VC5 wanted
    IPv6 addresses in brackets.
    """
    text = words(value, "an IP address", "an IPv6 address needs no brackets here" if value.is_list else "")
    if text is None:
        return None
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if re.match("(?i)fe[89ab][0-9a-f]:", bare):
        return _link_local(value, bare)
    found = here_or_elsewhere(value, bare, "a BGP peer")
    return None if found is None else (found, "")


def _link_local(value: Value, text: str) -> tuple[Address, str] | None:
    bare, _, interface = text.partition("%")
    try:
        found = IPv6Address(bare)
    except ValueError:
        value.error(f"{shown(text)} is not an IP address")
        return None
    if not re.fullmatch(r"[!-.0-9;-~]{1,15}", interface):
        value.error(f"a link-local peer needs its interface: {shown(text)}", f"write {found}%eth0, with the name of yours")
        return None
    return found, interface


# ------------------------------------------------------------------------------------------------------------ listen, aggregates


def _passive_ones(peers: list[PeerConfig], listen: Listen | None, value: Value) -> None:
    for peer in peers:
        if peer.passive and listen is None and peer.position is not None:
            hint = "add `listen: true` to `bgp`, or leave out `passive`"
            value.report.error(
                peer.position, f"peer {peer} is `passive`, and Fairlead listens nowhere: no session could begin", hint
            )


def _listen(value: Value) -> Listen | None:
    """`true` for every address, `false`, addresses, or a mapping of both keys."""
    if value.scalar in ("true", "false"):
        return Listen() if value.scalar == "true" else None
    addresses: Reader[tuple[Address, ...]] = list_of(_own_address, "`true`, `false`, or the addresses to listen on")
    if not value.is_mapping:
        return Listen(addresses(value) or ())
    said = section(value, LISTEN)
    if said is None:
        return None
    return Listen(said.take("addresses", addresses) or (), said.take("port", scalars.integer(1, 65535)) or _PORT)


def _own_address(value: Value) -> Address | None:
    text = words(value, "an IP address of this machine")
    return None if text is None else here_or_elsewhere(value, text, "an address of this machine")


def _aggregates(value: Value) -> tuple[Aggregate, ...] | None:
    found = items(value, "a list of prefixes")
    if found is None:
        return None
    read: dict[Prefix, Aggregate] = {}
    for item in found:
        one = _aggregate(item.named("an aggregate"))
        if one is not None and one.prefix in read:
            item.error(f"{one.prefix} is listed twice", "keep one")
        elif one is not None:
            read[one.prefix] = one
    return tuple(sorted(read.values(), key=lambda a: (a.prefix.version, int(a.prefix.network_address), a.prefix.prefixlen)))


def _aggregate(value: Value) -> Aggregate | None:
    if not value.is_mapping:
        found = prefix(value)
        return None if found is None else _covering(value, Aggregate(found))
    said = section(value, AGGREGATE)
    if said is None:
        return None
    at = said.get("prefix")
    if at is None:
        value.error("an aggregate needs a `prefix`")
        return None
    found = prefix(at)
    return None if found is None else _covering(at, Aggregate(found, bool(said.take("only", scalars.boolean))))


def _covering(value: Value, found: Aggregate) -> Aggregate | None:
    if found.prefix.prefixlen == found.prefix.max_prefixlen:
        value.error(f"{found.prefix} covers a single address, which is announced as it is", "write a shorter prefix")
        return None
    return found
