"""Each key of the configuration, from the file to the bytes that a peer gets: text -> config -> session -> messages.

The peer is this test; sockets are in test_dialling.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest

from fairlead import config
from fairlead.bgp import Session, State, wire
from fairlead.bgp.capabilities import Capability, CapabilityCode, offer, restart_of
from fairlead.bgp.wire import Keepalive, Notification, Open, RouteRefresh, Update, our_open
from fairlead.model import Address, PeerConfig, Route

OWN = ip_address("10.0.0.5")
V4, OTHER, V6 = "192.0.2.10/32", "192.0.2.200/32", "2001:db8::10/128"
ROUTES = (
    Route(ip_network(V4), "", frozenset(["web", "api"]), "critical"),
    Route(ip_network(OTHER), "", frozenset(["batch"]), "low"),
    Route(ip_network(V6), "", frozenset(["web6"]), ""),
)
ORIGIN, PATH, NEXT_HOP, MED, LOCAL_PREF, COMMUNITIES, MP_REACH, EXTENDED, LARGE = 1, 2, 3, 4, 5, 8, 14, 16, 32


def configured(text: str, as_number: int = 65001, peer: str = "10.0.0.1") -> PeerConfig:
    """The one peer of a file that has this in `bgp`."""
    file = f"""
address: {OWN}
address6: 2001:db8::5
prefixes: {{upper: [192.0.2.128/25]}}
services: [{{virtual: 192.0.2.10, name: web, servers: [10.1.0.11], policy: {{http: }}}}]
bgp: {{as_number: {as_number}, {text}{", " if text else ""}peers: ["{peer}"]}}
"""
    (found,) = config.parse(file, "x").peers
    return found


def attributes(data: bytes) -> dict[int, bytes]:
    """Path attributes by type, RFC 4271 section 4.3."""
    found, at = {}, 0
    while at < len(data):
        long = data[at] & 0x10
        start = at + (4 if long else 3)
        size = int.from_bytes(data[at + 2 : start], "big")
        found[data[at + 1]] = data[start : start + size]
        at = start + size
    return found


def prefixes(data: bytes, version: int) -> list[str]:
    found, at = [], 0
    while at < len(data):
        size = (data[at] + 7) // 8
        found.append(str(ip_network((data[at + 1 : at + 1 + size].ljust(4 if version == 4 else 16, b"\0"), data[at]))))
        at += 1 + size
    return found


@dataclass
class Peer:
    """The router: it answers our OPEN with its own and keeps what it is told."""

    config: PeerConfig
    as_number: int = 65000
    hold_time: int = 90
    local: Address = OWN
    capabilities: tuple[Capability, ...] = field(default_factory=offer)
    routes: tuple[Route, ...] = ROUTES
    restarted: bool = False
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.session = Session(self.config, IPv4Address(OWN), lambda: 1.0, self.now, restarted=self.restarted)
        self.session.announce(self.routes)
        self.session.tick(self.now)
        self.session.connected(self.now, self.local)
        (self.open,) = self.hear()
        assert isinstance(self.open, Open)
        theirs = our_open(self.as_number, self.hold_time, IPv4Address("10.0.0.1"), self.capabilities)
        self.heard = self.say(theirs, Keepalive())

    def say(self, *messages: wire.Message) -> list[wire.Message]:
        self.session.receive(b"".join(wire.encode(m) for m in messages), self.now)
        return self.hear()

    def hear(self) -> list[wire.Message]:
        """What came since, and what came with the end of a connection."""
        events = self.session.take_events()
        data = self.session.take_output() + b"".join(getattr(event, "parting", b"") for event in events)
        return list(wire.messages(bytearray(data)))

    def told(self) -> Mapping[str, Mapping[int, bytes]]:
        """Prefix -> its attributes."""
        found = {}
        for update in self.heard:
            if isinstance(update, Update):
                said = attributes(update.attributes)
                found |= dict.fromkeys(prefixes(update.nlri, 4), said)
                if MP_REACH in said:
                    afi, _, size = struct.unpack_from(">HBB", said[MP_REACH])
                    found |= dict.fromkeys(prefixes(said[MP_REACH][5 + size :], 4 if afi == 1 else 6), said)
        return found


def told(text: str, **terms: object) -> Mapping[str, Mapping[int, bytes]]:
    return Peer(configured(text), **terms).told()


def number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def path(data: bytes) -> list[int]:
    return [n for (n,) in struct.iter_unpack(">I", data[2:])] if data else []


def notification(text: str, **terms: object) -> Notification:
    (found,) = [m for m in Peer(configured(text), **terms).heard if isinstance(m, Notification)]
    return found


def test_as_number():
    """Our AS is what our OPEN says, in four octets, and what stands in the path of an external peer."""
    peer = Peer(configured("", as_number=4200000001))

    assert (peer.open.as_number, peer.open.my_as) == (4200000001, 23456)
    assert path(peer.told()[V4][PATH]) == [4200000001]


def test_peer_as():
    """The wrong AS is refused with Bad Peer AS; the right one, and any without the key, is not. Our own makes it iBGP."""
    refused = notification("peer_as: 65009")

    assert (refused.code, refused.subcode) == (2, 2)
    assert V4 in told("peer_as: 65000")
    assert V4 in told("")
    assert path(told("peer_as: 65001", as_number=65001)[V4][PATH]) == []


@pytest.mark.parametrize(("ours", "theirs", "agreed"), [(10, 90, 10), (90, 30, 30), (0, 90, 0), (3, 0, 0), (1, 90, 10)])
def test_hold_time(ours, theirs, agreed):
    """Proposed as configured, the lesser counts; 0 switches the timers off."""
    peer = Peer(configured(f"hold_time: {ours}"), hold_time=theirs)

    assert peer.open.hold_time == (10 if ours == 1 else ours)
    assert peer.session.status(0.0).hold_time == agreed
    assert (peer.session.deadline() is None) == (agreed == 0)


def test_graceful_restart():
    """On with 120 s unless said otherwise; `notification` is the N bit; after a restart the R bit and the families' F bits."""
    usual, own, none = (
        restart_of(Peer(configured(text)).open.capabilities)
        for text in ("", "graceful_restart: {time: 30, notification: true}", "graceful_restart: false")
    )
    assert usual and own
    assert (usual.time, usual.notification, usual.restarting) == (120, False, False)
    assert (own.time, own.notification) == (30, True)
    assert none is None
    again = restart_of(Peer(configured(""), restarted=True).open.capabilities)
    assert again
    assert again.restarting
    assert all(forwards for _, forwards in again.families)


def test_extended_next_hop():
    """Only with the key, and if the peer offers it too, IPv4 routes get an IPv6 next hop; else they have `address`."""
    theirs, six = offer(extended_next_hop=True), IPv6Address("2001:db8::5")

    def said(text: str, capabilities: tuple[Capability, ...] = theirs) -> Mapping[int, bytes]:
        return Peer(configured(text, peer="2001:db8::1"), local=six, capabilities=capabilities).told()[V4]

    assert CapabilityCode.EXTENDED_NEXT_HOP not in {c.code for c in Peer(configured("")).open.capabilities}
    assert said("")[NEXT_HOP] == OWN.packed
    assert said("extended_next_hop: true")[MP_REACH].startswith(b"\0\1\1\x10" + six.packed)
    assert said("extended_next_hop: true", offer())[NEXT_HOP] == OWN.packed
    assert said("extended_next_hop: true, next_hop_4: 10.0.0.77")[NEXT_HOP] == ip_address("10.0.0.77").packed
    assert told("extended_next_hop: true", capabilities=theirs)[V4][NEXT_HOP] == OWN.packed, "over IPv4"


def test_next_hops():
    """The session's own address, the file's for the other family; or whatever the keys say."""
    usual, own = told(""), told("next_hop_4: 10.0.0.77, next_hop_6: 2001:db8::77")

    assert usual[V4][NEXT_HOP] == OWN.packed
    assert usual[V6][MP_REACH][4:20] == ip_address("2001:db8::5").packed
    assert own[V4][NEXT_HOP] == ip_address("10.0.0.77").packed
    assert own[V6][MP_REACH][4:20] == ip_address("2001:db8::77").packed


def test_local_pref():
    """100 or as configured inside the AS, never outside (RFC 4271 section 5.1.5)."""
    assert number(told("", as_number=65001)[V4][LOCAL_PREF]) == 100
    assert number(told("local_pref: 7", as_number=65001)[V4][LOCAL_PREF]) == 7
    assert LOCAL_PREF not in told("local_pref: 7")[V4]


def test_med():
    """Absent, or what is configured; 0 is a value."""
    assert MED not in told("")[V4]
    assert number(told("med: 0")[V4][MED]) == 0
    assert number(told("med: 4294967295")[V6][MED]) == 4294967295


def test_prepend():
    """So many more copies of our AS, to external peers only."""
    assert path(told("prepend: 3")[V4][PATH]) == [65001] * 4
    assert path(told("prepend: 3", as_number=65001)[V4][PATH]) == []


def test_communities():
    """Standard, large and extended ones, by number and by name, in their own attributes (RFC 1997, 8092, 4360)."""
    found = told(
        "communities: [65001:7, no-export], large_communities: [65001:1:2], ext_communities: [rt:65001:9, soo:10.0.0.5:3]"
    )
    for prefix in (V4, V6):
        said = found[prefix]
        assert said[COMMUNITIES] == struct.pack(">4H", 65001, 7, 0xFFFF, 0xFF01)
        assert said[LARGE] == struct.pack(">3I", 65001, 1, 2)
        assert said[EXTENDED] == bytes.fromhex("0002fde900000009" + "01030a0000050003")
    assert not {COMMUNITIES, LARGE, EXTENDED} & told("")[V4].keys()


def test_accept_and_reject():
    """`accept` wins, then `reject`, and what neither names is announced."""
    assert set(told("reject: [upper]")) == {V4, V6}
    assert set(told("reject: any, accept: [upper]")) == {OTHER}
    assert set(told("reject: any, accept: [192.0.2.0/24, 2001:db8::/32]")) == {V4, OTHER, V6}


def test_max_prefixes():
    """One route more than allowed ends the session with Cease, Maximum Number of Prefixes Reached (RFC 4486)."""
    three = Update(
        attributes=bytes.fromhex("400101004002060201" + "0000fde8" + "4003040a000001"),
        nlri=b"".join(b"\x20" + ip_address(f"198.51.100.{n}").packed for n in (1, 2, 3)),
    )
    for limit, ends in ((3, False), (2, True)):
        peer = Peer(configured(f"max_prefixes: {limit}"))
        ended = [(m.code, m.subcode) for m in peer.say(three) if isinstance(m, Notification)]
        assert ended == ([(6, 1)] if ends else [])
        assert (peer.session.state is State.ESTABLISHED) != ends


def test_rules():
    """By service name, priority and prefix; of each attribute the first that matches and gives it wins, then the peer's own."""
    found = told(
        """med: 1, communities: [65001:1], rules: [
          {services: [batch], communities: [no-export], prepend: 2},
          {priorities: [critical, high], med: 10},
          {prefixes: [192.0.2.0/24], med: 20, communities: []}]"""
    )
    assert {prefix: number(said[MED]) for prefix, said in found.items()} == {V4: 10, OTHER: 20, V6: 1}
    assert {prefix: said.get(COMMUNITIES, b"").hex() for prefix, said in found.items()} == {
        V4: "",
        OTHER: "ffffff01",
        V6: "fde90001",
    }
    assert {prefix: len(path(said[PATH])) for prefix, said in found.items()} == {V4: 1, OTHER: 3, V6: 1}
    inside = told("local_pref: 50, rules: [{services: [web], local_pref: 200}]", as_number=65001)
    assert {prefix: number(said[LOCAL_PREF]) for prefix, said in inside.items()} == {V4: 200, OTHER: 50, V6: 50}


def test_rules_change_in_the_session():
    """A configuration with other rules is a few UPDATEs for what differs, and nothing else."""
    peer = Peer(configured("communities: [65001:1]"))
    peer.session.configure(configured("communities: [65001:1], rules: [{services: [batch], med: 5}]"), peer.now)
    peer.heard = peer.hear()

    assert peer.session.state is State.ESTABLISHED
    assert {prefix: number(said[MED]) for prefix, said in peer.told().items()} == {OTHER: 5}


@pytest.mark.parametrize(
    "text",
    ["peer_as: 65000", "hold_time: 30", "graceful_restart: false", "extended_next_hop: true", "ttl_security: 1", "multihop: 2"],
)
def test_what_needs_a_new_session(text):
    """What an OPEN says, and what the connection is made of, ends the session with Other Configuration Change."""
    peer = Peer(configured(""))
    peer.session.configure(configured(text), peer.now)
    ended = [(m.code, m.subcode) for m in peer.hear() if isinstance(m, Notification)]

    assert ended == [(6, 6)]


def test_leaving():
    """Routes that are about to go carry 65535:0 beside their own communities, and inside the AS local preference 0 (RFC 8326)."""
    leaving = tuple(Route(r.prefix, r.why, r.names, r.priority, graceful_shutdown=True) for r in ROUTES)
    said = told("communities: [65001:1]", routes=leaving)[V4]

    assert said[COMMUNITIES] == struct.pack(">4H", 65001, 1, 65535, 0)
    assert number(told("local_pref: 200", as_number=65001, routes=leaving)[V6][LOCAL_PREF]) == 0


def test_refresh_tells_all_again():
    """A peer that asks is told everything once more, whatever it was."""
    peer = Peer(configured("med: 3"))
    peer.heard = peer.say(RouteRefresh(1, 1))

    assert set(peer.told()) == {V4, OTHER}
