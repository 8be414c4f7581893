"""BGP peers, tunnels, interfaces: the network around."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fairlead.metrics.family import Group, counter, gauge
from fairlead.model import InterfaceStatus, PeerStatus, Status


def _peers(status: Status) -> Iterator[tuple[tuple[str], PeerStatus]]:
    return (((peer.address,), peer) for peer in status.peers)


def _peer_words(status: Status) -> Iterator[tuple[tuple[object, ...], int]]:
    return (((p.address, p.state, p.local_as, p.remote_as), 1) for p in status.peers)


def _tunnels(status: Status) -> Iterator[tuple[tuple[object, ...], int]]:
    return (((t.backend, t.kind, t.port or ""), t.errors) for t in status.tunnels)


def _interfaces(status: Status) -> Iterator[tuple[tuple[str, str, str], InterfaceStatus]]:
    return (((i.name, i.mode, i.bond), i) for i in status.interfaces)


def _away(status: Status) -> Iterator[tuple[tuple[Any, ...], Status]]:
    yield (), status


PEERS = Group(
    ("peer",),
    _peers,
    (
        gauge("fairlead_bgp_peer_up", "1 if the session is established.", lambda p: p.state == "Established"),
        gauge("fairlead_bgp_peer_since_seconds", "Unix time since when the session has been in its state.", lambda p: p.since),
        gauge("fairlead_bgp_peer_routes", "Routes that the peer was told.", lambda p: len(p.routes)),
        gauge("fairlead_bgp_peer_withheld_routes", "Routes that it cannot be told.", lambda p: len(p.withheld)),
        gauge("fairlead_bgp_peer_hold_time_seconds", "Hold time as negotiated; 0 without a session.", lambda p: p.hold_time),
        counter("fairlead_bgp_peer_established_total", "How often a session came up.", lambda p: p.counters.established),
        counter("fairlead_bgp_peer_messages_received_total", "BGP messages.", lambda p: p.counters.messages_in),
        counter("fairlead_bgp_peer_messages_sent_total", "BGP messages.", lambda p: p.counters.messages_out),
        counter("fairlead_bgp_peer_updates_received_total", "UPDATE messages.", lambda p: p.counters.updates_in),
        counter("fairlead_bgp_peer_updates_sent_total", "UPDATE messages.", lambda p: p.counters.updates_out),
        counter("fairlead_bgp_peer_prefixes_received_total", "Prefixes, repeats included.", lambda p: p.counters.prefixes_in),
        counter(
            "fairlead_bgp_peer_malformed_updates_total",
            "UPDATE messages that were taken as a withdrawal or lost an attribute (RFC 7606).",
            lambda p: p.counters.malformed_in,
        ),
    ),
)
PEER_WORDS = Group(
    ("peer", "state", "local_as", "remote_as"),
    _peer_words,
    (gauge("fairlead_bgp_peer_info", "State and AS numbers of the session.", int),),
)
AWAY = Group(
    (),
    _away,
    (
        gauge("fairlead_drained", "1 while this balancer is sent away from its routers.", lambda s: bool(s.drained)),
        gauge("fairlead_leaving", "1 while it is, and its routes are still announced.", lambda s: s.leaving),
    ),
)
TUNNELS = Group(
    ("backend", "kind", "port"),
    _tunnels,
    (counter("fairlead_tunnel_errors_total", "ICMP errors about the tunnel to a backend.", int),),
)
INTERFACES = Group(
    ("interface", "mode", "bond"),
    _interfaces,
    (gauge("fairlead_interface_active", "1 if packets are forwarded; 0 on a member of a bond that rests.", lambda i: i.active),),
)
GROUPS = (PEERS, PEER_WORDS, AWAY, TUNNELS, INTERFACES)
