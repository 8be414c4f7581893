"""The sentences of an explanation. What each verdict means in full stands in docs/reference/verdicts.md."""

from __future__ import annotations

from fairlead.model.explaining import ExplainedFlow, ExplainedHop, ExplainedTunnel

_LIMITED = "answers of this kind are limited in number, which is left aside here"
VERDICTS = {
    "not_mine": "addressed to another MAC, so the kernel has it",
    "not_ip": "neither IPv4 nor IPv6 with a whole header, so the kernel has it",
    "not_a_vip": "its destination is no VIP, so the kernel has it",
    "no_interface": "Fairlead does not serve the interface, so the kernel has it",
    "inactive": "the interface is not the active member of its bond, so the kernel has it",
    "forwarded": "sent back out of the interface, or its bond, to the backend",
    "echo_reply": f"a ping, answered; {_LIMITED}",
    "encapsulated": "sent back out of the interface, or its bond, in a tunnel",
    "icmp_relayed": "an ICMP error, sent to the backend whose flow it is about",
    "too_big": f"does not fit, and the sender is told what would; {_LIMITED}",
    "reset": f"answered with RST; {_LIMITED}",
    "unreachable": f"answered with port unreachable; {_LIMITED}",
    "redirected": "sent out of another interface to the backend",
    "redirected_encapsulated": "sent out of another interface in a tunnel",
    "redirected_icmp_relayed": "an ICMP error, sent out of another interface to the backend whose flow it is about",
    "malformed": "dropped: lengths contradict each other, or a header is cut short",
    "no_service": "dropped: no service has this port of the VIP",
    "no_backend": "dropped: the service has no usable backend; `fairlead status` says why",
    "no_next_hop": "dropped: the backend's MAC is not known; is it up, on this segment?",
    "stale_slot": "dropped: the slot named a destination of another service; please report it",
    "ttl_expired": "dropped: its TTL or hop limit ends here",
    "fragment": "dropped: a later fragment whose first one was not seen within half a minute",
    "extension_header": "dropped: more extension headers than are followed",
    "unsupported_protocol": "dropped: neither TCP, UDP nor ICMP of its family",
    "unsupported_icmp": "dropped: neither a ping nor an error about a flow of the VIP",
    "rate_limited": "dropped: an answer too many",
    "dropped_too_big": "dropped: larger than the egress takes, and nobody may be told",
    "no_headroom": "dropped: there is no room for a tag or an outer header in front of the frame",
    "no_redirect": "dropped: Fairlead is not attached to the interface that it would leave by",
    "tail_call": "dropped: the programs are broken; restart the daemon, and please report it",
    "blocked": "dropped: its source is blocked, see `fairlead block`",
}


def seconds(value: float) -> str:
    """`0 s`, `2 s`, `1.5 s`, `3600 s`."""
    return f"{value:g} s"


def flow(found: ExplainedFlow, why_not: str) -> str:
    """The entry, and whether it is followed; the slot."""
    parts = []
    if found.state:
        age = f"{seconds(found.age or 0)} old of {seconds(found.timeout or 0)}"
        followed = "followed" if found.followed else f"not followed: {why_not}"
        parts.append(f"{found.state}, {age}, to {found.backend or 'nobody'}; {followed}")
    elif found.slot is not None:
        parts.append("none")
    else:
        parts.append("none, and the service has no slots")
    if found.slot is not None:
        parts.append(f"slot {found.slot:,} of {found.slots:,}")
    return "; ".join([*parts, found.then])


def fragment(*, known: bool) -> str:
    """Of a later fragment."""
    return "a later one, and its first one is known" if known else "a later one, and its first one is not known"


def hop(found: ExplainedHop) -> str:
    """`02:00:be:00:00:0b by eth1, VLAN 10, from 02:00:00:00:00:1b`."""
    vlan = f", VLAN {found.vlan}" if found.vlan else ""
    return f"{found.mac} by {found.interface}{vlan}, from {found.source_mac}"


def tunnel(found: ExplainedTunnel) -> str:
    """`gue from 10.1.0.1 to 10.2.0.11, port 6080`."""
    port = f", port {found.port}" if found.port else ""
    return f"{found.kind} from {found.source} to {found.destination}{port}"


def size(length: int, found: ExplainedHop) -> str:
    """Against the MTU."""
    outer = found.tunnel.overhead if found.tunnel else 0
    total = f"{length} bytes and {outer} of outer header" if outer else f"{length} bytes"
    return f"{total}, MTU {found.mtu}"
