"""What may be said of BGP peers at each level - the top of `bgp`, a group, a single peer - and how the levels become one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Literal

from fairlead.config import communities, scalars
from fairlead.config.addresses import ANY, address4, address6, host_address, parse_address, prefix
from fairlead.config.nodes import Reader, Section, Value, items, list_of, section
from fairlead.config.report import meant, shown
from fairlead.config.scalars import words
from fairlead.config.settings import PRIORITIES
from fairlead.config.vocabulary import GRACEFUL_RESTART, RULE
from fairlead.model import Address, AttributeRule, Community, GracefulRestart, LargeCommunity, Prefix

_U32 = (1 << 32) - 1
_AS_TRANS = 23456  # RFC 6793 section 9: stands for "four octets", never for a network
HOLD = 10  # VC5's default, and what it takes for a value below 3
_LONGEST_RESTART = 4095  # seconds; RFC 4724 section 3 has 12 bits for it
_MOST_PREPENDS = 64
_MOST_HOPS = 254  # RFC 5082: 255 less the hops must be left of the TTL

NamedPrefixes = Mapping[str, tuple[Prefix, ...] | None]


@dataclass(frozen=True, slots=True)
class Terms:
    """What may be said of peers at each level; None is not said."""

    as_number: int | None = None
    peer_as: int | None = None
    port: int | None = None
    hold_time: int | None = None
    source_ip: Address | None = None
    passive: bool | None = None
    multihop: int | None = None
    ttl_security: int | None = None
    password_file: str | None = None
    graceful_restart: GracefulRestart | Literal[False] | None = None
    extended_next_hop: bool | None = None
    local_pref: int | None = None
    med: int | None = None
    prepend: int | None = None
    communities: tuple[Community, ...] | None = None
    large_communities: tuple[LargeCommunity, ...] | None = None
    ext_communities: tuple[int, ...] | None = None
    next_hop_4: IPv4Address | None = None
    next_hop_6: IPv6Address | None = None
    accept: tuple[Prefix, ...] | None = None
    reject: tuple[Prefix, ...] | None = None
    max_prefixes: int | None = None
    rules: tuple[AttributeRule, ...] | None = None

    def below(self, lower: Terms) -> Terms:
        """Both levels as one: what the lower one says wins. Of `multihop` and `ttl_security` either ends both."""
        upper = self
        if lower.multihop is not None or lower.ttl_security is not None:
            upper = replace(self, multihop=None, ttl_security=None)
        return Terms(*(getattr(upper if getattr(lower, f.name) is None else lower, f.name) for f in fields(self)))


def read_terms(said: Section, named: NamedPrefixes) -> Terms:
    """Those of one level."""
    filters = list_of(_filter(named), "a list of prefixes, names of prefixes, or `any`")
    as_number, peer_as, source = said.get("as_number"), said.get("peer_as"), said.get("source_ip")
    accept, reject = said.take("accept", filters), said.take("reject", filters)
    multihop, ttl_security = said.get("multihop"), said.get("ttl_security")
    if multihop and ttl_security:
        ttl_security.error(
            "`ttl_security` excludes `multihop`", "it counts hops itself: with `ttl_security: 2` up to 2 are right"
        )
    return Terms(
        as_number=_as_number(as_number) if as_number else None,
        peer_as=_as_number(peer_as) or None if peer_as else None,
        port=said.take("port", scalars.integer(1, 65535)),
        hold_time=said.take("hold_time", _hold_time),
        source_ip=_source(source) if source else None,
        passive=said.take("passive", scalars.boolean),
        multihop=scalars.integer(1, 255)(multihop) if multihop else None,
        ttl_security=scalars.integer(1, _MOST_HOPS)(ttl_security) if ttl_security else None,
        password_file=said.take("password_file", scalars.file_name),
        graceful_restart=said.take("graceful_restart", _graceful_restart),
        extended_next_hop=said.take("extended_next_hop", scalars.boolean),
        next_hop_4=said.take("next_hop_4", address4),
        next_hop_6=said.take("next_hop_6", address6),
        accept=None if accept is None else _flat(accept),
        reject=None if reject is None else _flat(reject),
        max_prefixes=said.take("max_prefixes", scalars.integer(1, _U32)),
        rules=said.take("rules", _rules(named)),
        **_attributes(said),
    )


def _attributes(said: Section) -> dict[str, Any]:
    """What is said of routes; rules may say it, too."""
    return {
        "local_pref": said.take("local_pref", scalars.integer(0, _U32)),
        "med": said.take("med", scalars.integer(0, _U32)),
        "prepend": said.take("prepend", scalars.integer(0, _MOST_PREPENDS)),
        "communities": said.take("communities", list_of(communities.standard, "a list of communities such as 65000:100")),
        "large_communities": said.take("large_communities", list_of(communities.large, "a list such as [65000:1:2]")),
        "ext_communities": said.take("ext_communities", list_of(communities.extended, "a list such as [rt:65000:100]")),
    }


def _rules(named: NamedPrefixes) -> Reader[tuple[AttributeRule, ...]]:
    def read(value: Value) -> tuple[AttributeRule, ...] | None:
        found = items(value, "a list of rules")
        return None if found is None else tuple(r for item in found if (r := _rule(item.named("a rule"), named)) is not None)

    return read


def _rule(value: Value, named: NamedPrefixes) -> AttributeRule | None:
    said = section(value, RULE, "such as `{priorities: [critical], communities: [65000:1]}`")
    if said is None:
        return None
    prefixes = said.take("prefixes", list_of(_filter(named), "a list of prefixes, names of prefixes, or `any`"))
    names = said.take("services", list_of(scalars.name, "a list of names of services"))
    levels = said.take("priorities", list_of(scalars.choice({p: p for p in PRIORITIES}), "a list of priorities"))
    attributes = _attributes(said)
    if all(found is None for found in attributes.values()):
        value.warn("this rule says nothing of the routes it matches", "add `communities`, `med`, `prepend` or `local_pref`")
    return AttributeRule(
        prefixes=_flat(prefixes or ()), names=frozenset(names or ()), priorities=frozenset(levels or ()), **attributes
    )


def _filter(named: NamedPrefixes) -> Reader[tuple[Prefix, ...]]:
    """An item of `accept`, `reject` or a rule: `any`, a name of prefixes, or a prefix."""

    def read(value: Value) -> tuple[Prefix, ...] | None:
        text = words(value, "a prefix or a name of prefixes")
        if text is None:
            return None
        if text == "any":
            return ANY
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


def _source(value: Value) -> Address | None:
    text = words(value, "an IP address")
    return None if text is None else here_or_elsewhere(value, text, "`source_ip`")


def here_or_elsewhere(value: Value, text: str, what: str) -> Address | None:
    """A unicast address that may be one of this host's, loopback included."""
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
    """0 switches the timer off (RFC 4271 section 4.2); 1 and 2 are what VC5 takes for 10."""
    found = scalars.integer(0, 65535)(value)
    if found == 0:
        value.warn("a hold time of 0 s: a peer that falls silent is never found out", f"VC5 takes it for {HOLD}; write 3 or more")
    elif found is not None and found < 3:
        value.warn(f"a hold time of {found} s is not possible, {HOLD} s is used", "as VC5 does; write 3 or more, or 0 for none")
        return HOLD
    return found


def _graceful_restart(value: Value) -> GracefulRestart | Literal[False] | None:
    """A mapping, `true` for the defaults, or `false` for none."""
    if not value.is_mapping:
        if value.scalar not in ("true", "false"):
            value.must_be("`true`, `false` or a mapping", "such as `{time: 120}`")
            return None
        return GracefulRestart() if value.scalar == "true" else False
    said = section(value, GRACEFUL_RESTART)
    if said is None:
        return None
    time, notification = said.take("time", scalars.duration(1, _LONGEST_RESTART)), said.take("notification", scalars.boolean)
    usual = GracefulRestart()
    return GracefulRestart(
        usual.time if time is None else round(time), usual.notification if notification is None else notification
    )
