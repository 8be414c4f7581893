"""The BGP section of a Config in its normal form: every peer on its own, each key that differs from its default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fairlead.config import communities
from fairlead.model import AttributeRule, Config, GracefulRestart, Listen, PeerConfig

Plain = str | int | float | bool | Sequence["Plain"] | Mapping[str, "Plain"] | Mapping[int, "Plain"]


def bgp(config: Config) -> dict[str, Plain]:
    """The section; empty where there is nothing to say."""
    out: dict[str, Plain] = {}
    if config.listen is not None:
        out["listen"] = _listen(config.listen)
    usual = Config(())
    for name in ("drain_time", "stop_time"):
        if getattr(config, name) != getattr(usual, name):
            out[name] = plain_seconds(getattr(config, name))
    if config.aggregates:
        out["aggregates"] = [{"prefix": str(a.prefix), "only": a.only} for a in config.aggregates]
    if out or config.peers:
        out["peers"] = [_peer(p) for p in config.peers]
    return out


def _listen(listen: Listen) -> Plain:
    out: dict[str, Plain] = {"addresses": [str(a) for a in listen.addresses], "port": listen.port}
    return out


def _peer(peer: PeerConfig) -> Plain:
    out: dict[str, Plain] = {"address": str(peer), "as_number": peer.as_number}
    if peer.remote_as is not None:
        out["peer_as"] = peer.remote_as
    out |= {"port": peer.port, "hold_time": peer.hold_time, "passive": peer.passive}
    for key, address in (("source_ip", peer.source), ("next_hop_4", peer.next_hop_4), ("next_hop_6", peer.next_hop_6)):
        if address is not None:
            out[key] = str(address)
    if peer.password_file:
        out["password_file"] = peer.password_file
    numbers = {"multihop": peer.multihop, "ttl_security": peer.ttl_security, "max_prefixes": peer.max_prefixes}
    out |= {key: number for key, number in numbers.items() if number is not None}
    out |= {"graceful_restart": _graceful_restart(peer.graceful_restart), "extended_next_hop": peer.extended_next_hop}
    out |= _attributes(peer)
    filters = {"accept": peer.accept, "reject": peer.reject}
    out |= {key: [str(p) for p in prefixes] for key, prefixes in filters.items() if prefixes}
    return out | ({"rules": [_rule(rule) for rule in peer.rules]} if peer.rules else {})


def _graceful_restart(said: GracefulRestart | None) -> Plain:
    if said is None:
        return False
    return {"time": said.time, "notification": said.notification}


def _attributes(said: PeerConfig | AttributeRule) -> dict[str, Plain]:
    """What is said of routes, where something is; an empty list is something in a rule."""
    numbers = {"local_pref": said.local_pref, "med": said.med, "prepend": said.prepend}
    out: dict[str, Plain] = {key: number for key, number in numbers.items() if number is not None}
    bare = isinstance(said, PeerConfig)
    if said.communities is not None and (said.communities or not bare):
        out["communities"] = [communities.standard_text(c) for c in said.communities]
    if said.large_communities is not None and (said.large_communities or not bare):
        out["large_communities"] = [communities.large_text(c) for c in said.large_communities]
    if said.ext_communities is not None and (said.ext_communities or not bare):
        out["ext_communities"] = [communities.extended_text(c) for c in said.ext_communities]
    return out


def _rule(rule: AttributeRule) -> Plain:
    lists = {
        "prefixes": [str(p) for p in rule.prefixes],
        "services": sorted(rule.names),
        "priorities": sorted(rule.priorities),
    }
    out: dict[str, Plain] = {key: list(texts) for key, texts in lists.items() if texts}
    return out | _attributes(rule)


def plain_seconds(seconds: float) -> int | float:
    """Without a fraction where there is none."""
    return int(seconds) if seconds == int(seconds) else seconds
