"""The reference model: what becomes of a packet, in plain Python, from the RFCs and docs/reference, not from the C.

Nothing here imports src/fairlead. Time stands still: what depends on a clock (timeouts, confirmation) is held by test_flows.py.
Verdicts are the names of `enum verdict` in lower case.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tests.bpf import model_wire as wire
from tests.bpf.model_wire import ETH_IPV4, ETH_IPV6, ETH_VLAN, ICMP, ICMP6, REPLY_TTL, TCP, UDP, Tunnel, number, octets

FIN, SYN, RST = 0x01, 0x02, 0x04
EXTENSIONS = {0: 8, 43: 8, 60: 8, 51: 4, 44: 0}  # type -> unit of its length field
EXTENSIONS_FOLLOWED, L4_FURTHEST = 8, 512
MAY_FOLLOW = {"active", "drain", "keep"}
ERRORS4, ERRORS6 = {3, 11, 12}, {1, 2, 3, 4}


@dataclass(frozen=True)
class Hop:
    """How a backend is reached."""

    mac: bytes
    own_mac: bytes
    interface: int
    mtu: int = 1500
    vlan: int = 0
    bond: int = 0
    tunnel: Tunnel | None = None


@dataclass(frozen=True)
class Backend:
    """One backend. `state`: active, drain, keep, move, reset (down, by on-down), gone; `ttl`: one, decrement, keep."""

    id: int
    hop: Hop | None
    state: str = "active"
    ttl: str = "one"


@dataclass(frozen=True)
class Service:
    """`port` 0: every port. `slots`: backend ids."""

    vip: bytes
    port: int
    protocol: int
    slots: tuple[int, ...]
    backends: tuple[Backend, ...] = ()
    sticky: bool = False
    track: bool = True


@dataclass(frozen=True)
class Interface:
    """An interface that the balancer serves; `active` is false for a bond member that must not forward."""

    mac: bytes
    bond: int = 0
    active: bool = True


@dataclass(frozen=True)
class World:
    """All that a packet's fate depends on besides what was seen before. `vips`: address -> whether unknown ports are answered.

    `blocked`: sources that are kept out, as (network, length in bits).
    """

    interfaces: dict[int, Interface]
    vips: dict[bytes, bool]
    services: tuple[Service, ...]
    ports: frozenset[int] = frozenset()
    flow_key: tuple[int, ...] = wire.documented_key(b"fairlead-flow")
    slot_key: tuple[int, ...] = wire.documented_key(b"fairlead-slot")
    blocked: frozenset[tuple[bytes, int]] = frozenset()

    def blocks(self, source: bytes) -> bool:
        """Whether this source is in a blocked prefix."""
        width = 8 * len(source)
        return any(
            len(network) == len(source) and (number(source) ^ number(network)) >> (width - length) == 0
            for network, length in self.blocked
        )


@dataclass(frozen=True)
class Outcome:
    """`length` is what the verdict is charged with: the IP length that the header states, else all behind the Ethernet header."""

    verdict: str
    frame: bytes
    length: int = 0


@dataclass
class Packet:
    """An IP packet within its frame."""

    frame: bytes
    l2: int
    tci: bytes | None
    source: bytes = b""
    destination: bytes = b""
    length: int = 0
    protocol: int = 0
    l4: int = 0  # offset in the frame
    ports: bytes = bytes(4)
    flags: int = 0
    plain: bool = True  # neither options nor extension headers nor a fragment
    fragment: tuple[bytes, int] | None = None  # (id, protocol that all fragments name)
    later: bool = False

    @property
    def v6(self) -> bool:
        return len(self.source) == 16

    @property
    def end(self) -> int:
        """Where the IP packet ends in the frame; what follows is padding."""
        return self.l2 + self.length

    @property
    def ip(self) -> bytes:
        return self.frame[self.l2 : self.end]

    @property
    def flow(self) -> tuple[bytes, ...]:
        return self.source, self.destination, self.ports, bytes([self.protocol])


class Refused(Exception):
    """The packet goes no further: its verdict."""


class Answered(Exception):
    """The packet is answered: verdict and frame."""


@dataclass
class Flow:
    backend: int
    closing: bool = False


@dataclass
class Model:
    """Feed it frames; it remembers flows, fragments and counts."""

    world: World
    flows: dict[tuple[bytes, ...], Flow] = field(default_factory=dict)
    fragments: dict[tuple[bytes, ...], int] = field(default_factory=dict)
    counts: dict[int, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.adopt(self.world)

    def adopt(self, world: World) -> None:
        """The configuration or health has changed; what was seen is still known, and the keys stay."""
        self.world = replace(world, flow_key=self.world.flow_key, slot_key=self.world.slot_key)
        self.service = {(s.vip, s.port, s.protocol): s for s in world.services}
        self.owner = {b.id: (s, b) for s in world.services for b in s.backends}

    def forget(self) -> None:
        """No flows, no counts. Fragments are not forgotten: nobody can empty that table but time."""
        self.flows.clear()
        self.counts.clear()

    def receive(self, frame: bytes, interface: int) -> Outcome:
        """What becomes of a frame that arrives on an interface."""
        packet = None
        try:
            kind, packet = self._accept(frame, interface)
            self._parse(packet, 6 if kind == ETH_IPV6 else 4)
            verdict, out = self._judge(packet, interface)
        except Refused as end:
            verdict, out = str(end), frame
        except Answered as end:
            verdict, out = end.args
        return Outcome(verdict, out, packet.length if packet else len(frame) - 14)

    def _accept(self, frame: bytes, interface: int) -> tuple[bytes, Packet]:
        if len(frame) < 18:
            raise Refused("pass_not_ip")
        row = self.world.interfaces.get(interface)
        if row is None:
            raise Refused("pass_no_interface")
        if not row.active:
            raise Refused("pass_inactive")
        if frame[:6] != row.mac:
            raise Refused("pass_not_mine")
        tagged = frame[12:14] == ETH_VLAN
        kind = frame[16:18] if tagged else frame[12:14]
        if kind not in {ETH_IPV4, ETH_IPV6}:
            raise Refused("pass_not_ip")
        return kind, Packet(frame, 18 if tagged else 14, frame[14:16] if tagged else None)

    # ---- headers ----

    def _parse(self, p: Packet, version: int) -> None:
        """Fill in the packet; Refused for what is not for a VIP, or is not right."""
        header = p.frame[p.l2 : p.l2 + (40 if version == 6 else 20)]
        if len(header) < (40 if version == 6 else 20) or header[0] >> 4 != version:
            p.length = len(p.frame) - 14
            raise Refused("pass_not_ip")
        if version == 6:
            p.source, p.destination = header[8:24], header[24:40]
            p.length, p.protocol = number(header[4:6]) + 40, header[6]
        else:
            p.source, p.destination = header[12:16], header[16:20]
            p.length, p.protocol = number(header[2:4]), header[9]
        if p.destination not in self.world.vips:
            raise Refused("pass_not_a_vip")
        if self.world.blocks(p.source):
            raise Refused("drop_blocked")
        (self._extensions if version == 6 else self._options)(p, header)
        if p.end < p.l4 or p.end > len(p.frame):
            raise Refused("drop_malformed")
        if not p.later and p.protocol in {TCP, UDP}:
            self._transport(p)

    @staticmethod
    def _options(p: Packet, header: bytes) -> None:
        words, place = header[0] & 15, number(header[6:8])
        if words < 5:
            raise Refused("drop_malformed")
        p.l4 = p.l2 + words * 4
        p.later = bool(place & 0x1FFF)
        if place & 0x3FFF:  # more fragments, or not the first
            p.fragment = header[4:6], p.protocol
        p.plain = words == 5 and p.fragment is None

    @staticmethod
    def _extensions(p: Packet, _: bytes) -> None:
        p.l4 = p.l2 + 40
        followed = 0
        while not p.later and p.protocol not in {TCP, UDP, ICMP6}:
            if p.l4 > L4_FURTHEST:
                raise Refused("drop_extension_header")
            head = p.frame[p.l4 : p.l4 + 8]
            if p.protocol == 59 or (len(head) == 8 and p.protocol not in EXTENSIONS):
                raise Refused("drop_unsupported_protocol")
            if len(head) < 8:
                raise Refused("drop_malformed")
            if followed == EXTENSIONS_FOLLOWED:
                raise Refused("drop_extension_header")
            p.plain = False
            unit = EXTENSIONS[p.protocol]
            if p.protocol == 44:
                place = number(head[2:4])
                p.later = place >= 8
                p.fragment = (head[4:8], head[0]) if place & 0xFFF9 else None  # neither offset nor more: atomic, RFC 6946
            # RFC 8200 section 4; RFC 4302 counts an authentication header in words less two.
            p.l4 += 8 if not unit else (head[1] + (1 if unit == 8 else 2)) * unit
            p.protocol = head[0]
            followed += 1

    @staticmethod
    def _transport(p: Packet) -> None:
        if p.l4 > L4_FURTHEST:
            raise Refused("drop_extension_header")
        if p.end - p.l4 < (20 if p.protocol == TCP else 8):
            raise Refused("drop_malformed")
        p.ports = p.frame[p.l4 : p.l4 + 4]
        p.flags = p.frame[p.l4 + 13] if p.protocol == TCP else 0

    # ---- decisions ----

    def _judge(self, p: Packet, interface: int) -> tuple[str, bytes]:
        if p.later:
            return self._forward(p, self._follow(p), interface, 0)
        if p.protocol in {TCP, UDP}:
            return self._forward(p, self._decide(p), interface, self._entropy(p))
        if p.protocol == (ICMP6 if p.v6 else ICMP):
            return self._icmp(p, interface)
        raise Refused("drop_unsupported_protocol")

    def _entropy(self, p: Packet) -> int:
        return wire.tuple_hash(self.world.flow_key, p.source, p.destination, p.ports, p.protocol) >> 48 & 0x3FFF

    def _follow(self, p: Packet) -> Backend:
        """A later fragment goes where the first one went, if that backend still is one of the VIP's."""
        known = self.owner.get(self.fragments.get(self._fragment_key(p), 0))
        if known is None or known[0].vip != p.destination:
            raise Refused("drop_fragment")
        return known[1]

    @staticmethod
    def _fragment_key(p: Packet) -> tuple[bytes, ...]:
        assert p.fragment
        return p.source, p.destination, p.fragment[0], bytes([p.fragment[1]])

    def _serves(self, service: Service, p: Packet) -> bool:
        port_fits = service.port in {0, number(p.ports[2:])}
        return service.vip == p.destination and service.protocol == p.protocol and port_fits

    def _decide(self, p: Packet, *, look_only: bool = False) -> Backend:
        flow = self.flows.get(p.flow)
        service, backend = self.owner.get(flow.backend, (None, None)) if flow else (None, None)
        if flow and service and backend and self._serves(service, p):
            if look_only:
                return backend
            if self._stays(p, flow, backend):
                return backend
            if backend.state == "reset" and p.protocol == TCP and not p.flags & (SYN | RST):
                flow.closing = flow.closing or single_host(p.source)  # its client has been told
                raise self._reset(p)
        return self._choose(p, look_only)

    @staticmethod
    def _stays(p: Packet, flow: Flow, backend: Backend) -> bool:
        """Whether a packet of a known flow goes on to its backend; a FIN or RST is noted, a SYN may be a new connection."""
        if backend.state not in MAY_FOLLOW:
            return False
        if p.flags & (FIN | RST):
            flow.closing = True
        elif p.flags & SYN:
            return not flow.closing and backend.state == "active"
        return True

    def _choose(self, p: Packet, look_only: bool) -> Backend:
        port = number(p.ports[2:])
        service = self.service.get((p.destination, port, p.protocol)) or self.service.get((p.destination, 0, p.protocol))
        if service is None:
            raise self._unknown_port(p) if self.world.vips[p.destination] and not look_only else Refused("drop_no_service")
        if not service.slots:
            raise Refused("drop_no_backend")
        ports = bytes(4) if service.sticky else p.ports
        h = wire.tuple_hash(self.world.slot_key, p.source, p.destination, ports, p.protocol)
        service, backend = self.owner[service.slots[(h >> 32) * len(service.slots) >> 32]]
        if service.track and not look_only:
            self.flows[p.flow] = Flow(backend.id)
            self._count(backend, 0, 0, 1)
        return backend

    def _count(self, backend: Backend, packets: int, length: int, flows: int) -> None:
        cell = self.counts.setdefault(backend.id, [0, 0, 0])
        for at, more in enumerate((packets, length, flows)):
            cell[at] += more

    # ---- ICMP ----

    def _icmp(self, p: Packet, interface: int) -> tuple[str, bytes]:
        if p.fragment:
            raise Refused("drop_unsupported_icmp")
        if p.l4 > L4_FURTHEST:
            raise Refused("drop_extension_header")
        if p.end - p.l4 < 8:
            raise Refused("drop_malformed")
        kind, code = p.frame[p.l4], p.frame[p.l4 + 1]
        if kind == (128 if p.v6 else 8):
            if code or not single_host(p.source):
                raise Refused("drop_unsupported_icmp")
            raise self._echo(p)
        if kind not in (ERRORS6 if p.v6 else ERRORS4):
            raise Refused("drop_unsupported_icmp")
        flow = self._inner_flow(p)
        backend = self._decide(flow, look_only=True)
        return self._forward(p, backend, interface, self._entropy(flow), relayed=True)

    def _inner_flow(self, p: Packet) -> Packet:
        """The flow that an error is about, the way its client sends it: the inner packet is a backend's reply."""
        inside = p.frame[p.l4 + 8 : p.end]
        flow = replace(p, fragment=None, flags=0)
        if len(inside) < (44 if p.v6 else 24) or inside[0] >> 4 != (6 if p.v6 else 4):
            raise Refused("drop_unsupported_icmp")
        if p.v6:
            at, flow.protocol, flow.source, flow.destination = 40, inside[6], inside[24:40], inside[8:24]
            if flow.protocol == 44:  # the ports stand in the first fragment, behind its header
                if len(inside) < 52 or number(inside[42:44]) >= 8:
                    raise Refused("drop_unsupported_icmp")
                at, flow.protocol = 48, inside[40]
        else:
            at, flow.protocol, flow.source, flow.destination = (inside[0] & 15) * 4, inside[9], inside[16:20], inside[12:16]
            if at < 20 or len(inside) < at + 4 or number(inside[6:8]) & 0x1FFF:
                raise Refused("drop_unsupported_icmp")
        if flow.destination != p.destination or flow.protocol not in {TCP, UDP}:
            raise Refused("drop_unsupported_icmp")
        flow.ports = inside[at + 2 : at + 4] + inside[at : at + 2]
        return flow

    # ---- what leaves ----

    def _forward(self, p: Packet, backend: Backend, interface: int, entropy: int, *, relayed: bool = False) -> tuple[str, bytes]:
        hop = backend.hop
        if hop is None:
            raise Refused("drop_no_next_hop")
        stays = hop.interface == interface or (hop.bond and hop.bond == self.world.interfaces[interface].bond)
        overhead = hop.tunnel.overhead if hop.tunnel else 0
        if (overhead or not stays) and p.length + overhead > hop.mtu:
            raise self._too_big(p, hop.mtu - overhead, relayed)
        if p.fragment and not p.later:
            self.fragments[self._fragment_key(p)] = backend.id
        inner = self._with_ttl(p, backend.ttl)
        outer = wire.outer_header(hop.tunnel, inner, self._inner_sum(p, inner, relayed), entropy) if hop.tunnel else b""
        kind = ETH_IPV6 if (len(hop.tunnel.source) == 16 if hop.tunnel else p.v6) else ETH_IPV4
        frame = hop.mac + hop.own_mac + self._tag(p, hop) + kind + outer + inner + p.frame[p.end :]
        what = "icmp_relayed" if relayed else "encapsulated" if hop.tunnel else "forwarded"
        if not stays and hop.interface not in self.world.ports:
            return "drop_no_redirect", frame
        self._count(backend, 1, p.length, 0)
        return f"tx_{what}" if stays else f"redirect_{what}", frame

    @staticmethod
    def _tag(p: Packet, hop: Hop) -> bytes:
        """802.1Q with the egress's id; the frame's own PCP and DEI stay."""
        return ETH_VLAN + octets(number(p.tci or b"") & 0xF000 | hop.vlan) if hop.vlan else b""

    @staticmethod
    def _with_ttl(p: Packet, rule: str) -> bytes:
        at = 7 if p.v6 else 8
        ttl = p.ip[at]
        after = {"one": min(ttl, 1), "decrement": max(ttl - 1, 0), "keep": ttl}[rule]
        if not after:
            raise Refused("drop_ttl_expired")
        return _rewritten(p.ip, {at: after}, None if p.v6 else 10)

    @staticmethod
    def _inner_sum(p: Packet, inner: bytes, relayed: bool) -> int:
        """Documented: a TCP or UDP checksum that is there is taken to be right, as is the header's; a wrong one stays wrong."""
        if relayed or not p.plain or (p.protocol == UDP and p.frame[p.l4 + 6 : p.l4 + 8] == b"\0\0"):
            return wire.ones_sum(inner)
        header = inner[:40] if p.v6 else b""
        pseudo = wire.pseudo_header(p.source, p.destination, p.length - (40 if p.v6 else 20), p.protocol)
        return wire.ones_sum(header + octets(0xFFFF - wire.ones_sum(pseudo)))

    # ---- answers ----

    @staticmethod
    def _back(p: Packet, packet: bytes) -> bytes:
        """The frame of an answer: MACs exchanged, the tag as it was."""
        return p.frame[6:12] + p.frame[:6] + p.frame[12 : p.l2] + packet

    def _too_big(self, p: Packet, mtu: int, relayed: bool) -> Exception:
        """RFC 1191, RFC 8201; never about a later fragment or an ICMP error (RFC 1122 section 3.2.2, RFC 4443 section 2.4)."""
        may_fragment = not p.v6 and not p.frame[p.l2 + 6] & 0x40
        if relayed or may_fragment or p.later or not single_host(p.source):
            return Refused("drop_too_big")
        if p.v6:
            return Answered("tx_too_big", self._error(p, ICMP6, b"\2\0\0\0" + octets(mtu, 4)))
        return Answered("tx_too_big", self._error(p, ICMP, b"\3\4\0\0" + octets(mtu, 4)))

    def _unknown_port(self, p: Packet) -> Exception:
        if p.protocol == TCP:
            return Refused("drop_no_service") if p.flags & RST else self._reset(p)
        if not single_host(p.source):
            return Refused("drop_no_service")
        if p.v6:
            return Answered("tx_unreachable", self._error(p, ICMP6, b"\1\4" + bytes(6)))
        return Answered("tx_unreachable", self._error(p, ICMP, b"\3\3" + bytes(6)))

    def _error(self, p: Packet, protocol: int, head: bytes) -> bytes:
        """With as much of the packet as fits 1,280 bytes (RFC 4443 section 2.4 c) or 576 (RFC 1812 section 4.3.2.3)."""
        room = 1280 - 40 - len(head) if p.v6 else 576 - 20 - len(head)
        return self._back(p, wire.answer(p.destination, p.source, protocol, head + p.ip[:room], 2))

    def _reset(self, p: Packet) -> Exception:
        if not single_host(p.source):
            return Refused("drop_no_service")
        segment = p.frame[p.l4 : p.end]
        if not 20 <= (segment[12] >> 4) * 4 <= len(segment):
            return Refused("drop_malformed")
        return Answered("tx_reset", self._back(p, wire.answer(p.destination, p.source, TCP, wire.reset_segment(segment), 16)))

    def _echo(self, p: Packet) -> Exception:
        """RFC 792, RFC 4443: the same packet the other way round, TTL 64."""
        size = len(p.source)
        at = 8 if p.v6 else 12
        ip = p.ip[:at] + p.destination + p.source + p.ip[at + 2 * size :]
        ip = _rewritten(ip, {7 if p.v6 else 8: REPLY_TTL}, None if p.v6 else 10)
        ip = _rewritten(ip, {p.l4 - p.l2: 129 if p.v6 else 0}, p.l4 - p.l2 + 2)
        return Answered("tx_echo_reply", self._back(p, ip + p.frame[p.end :]))


def single_host(source: bytes) -> bool:
    """Whether an answer may go there (RFC 1122 section 3.2.2, RFC 4443 section 2.4 e): not to nobody, itself, or many."""
    if len(source) == 16:
        return source[0] != 0xFF and source not in {bytes(16), bytes(15) + b"\1"}
    return 0 < source[0] < 224 and source[0] != 127


def _rewritten(data: bytes, changes: dict[int, int], check_at: int | None) -> bytes:
    """`data` with bytes changed, and the checksum at `check_at` updated for the words that they stand in."""
    out = bytearray(data)
    for at, value in changes.items():
        word = slice(at & ~1, (at & ~1) + 2)
        was = number(data[word])
        out[at] = value
        if check_at is not None:
            out[check_at : check_at + 2] = octets(
                wire.updated(number(bytes(out[check_at : check_at + 2])), was, number(bytes(out[word])))
            )
    return bytes(out)
