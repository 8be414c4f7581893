"""What the packet tables share: rows, services in one line each, and the frames that must leave, built by scapy."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from tests.bpf.model import Backend, Hop, Interface, Model, Service, World
from tests.bpf.model_wire import Tunnel, documented_key, tuple_hash
from tests.bpf.packets import ROUTER_MAC, mac_text
from tests.bpf.rig import LO, Rig

V4, V6 = "192.0.2.10", "2001:db8::10"
OWN, BACKEND = bytes.fromhex("02000000001b"), bytes.fromhex("0200be000011")
FLOW_KEY = documented_key(b"fairlead-flow")
L2 = Hop(BACKEND, OWN, LO)
PROTOCOLS = {"tcp": 6, "udp": 17}

Frames = Packet | bytes | list[Packet | bytes]


@dataclass(frozen=True)
class Row:
    """Of several packets the last one is judged. `out`: the frame that leaves; None: dropped, or passed on as it was."""

    claim: str
    packets: Frames
    verdict: str
    out: Packet | bytes | None = None

    def __str__(self) -> str:
        return self.claim


def check(rig: Rig, world: World, row: Row) -> None:
    """Program and model both meet the row's verdict, and its bytes."""
    rig.forget()
    model = Model(world)
    frames = [bytes(p) for p in (row.packets if isinstance(row.packets, list) else [row.packets])]
    for frame in frames:
        expected = model.receive(frame, LO)
        got, action = rig.send(frame)
    kind = row.verdict.split("_")[0]
    assert (got.verdict, action) == (row.verdict, kind)
    assert expected.verdict == row.verdict, "the model says otherwise"
    if row.out is not None:
        assert got.frame.hex() == bytes(row.out).hex()
        assert expected.frame.hex() == bytes(row.out).hex(), "the model has other bytes"
    elif kind == "pass":
        assert got.frame == frames[-1], "what the kernel gets is untouched"
    else:
        assert kind == "drop", "a frame leaves: say which"


def packed(text: str) -> bytes:
    """An address in network byte order."""
    return ip_address(text).packed


def service(n: int, vip: str, port: int, protocol: str = "tcp", *, hop: Hop | None = L2, **more: object) -> Service:
    """A service with one backend, number `n`, in its slots. `more`: state and ttl are the backend's, the rest the service's."""
    backend = Backend(n, hop, **{name: more.pop(name) for name in ("state", "ttl") if name in more})  # type: ignore[arg-type]
    slots = more.pop("slots", (n,))
    return Service(packed(vip), port, PROTOCOLS[protocol], slots, (backend,), **more)  # type: ignore[arg-type]


def world(*services: Service, ports: tuple[int, ...] = (), reject: bool = False, bond: int = 0) -> World:
    """A world of these services on `lo`; their VIPs are V4 and V6."""
    return World({LO: Interface(OWN, bond)}, {packed(V4): reject, packed(V6): reject}, services, frozenset(ports))


def tagged(packet: Packet, vlan: int, prio: int = 0, dei: int = 0) -> Packet:
    """The same packet in a frame with an 802.1Q tag."""
    return Ether(dst=packet.dst, src=packet.src) / Dot1Q(vlan=vlan, prio=prio, dei=dei) / packet.payload


def inner(packet: Packet, ttl: int) -> Packet:
    """The IP packet with another TTL."""
    ip = packet[Ether].payload.copy()
    ip = ip.payload if isinstance(ip, Dot1Q) else ip
    if isinstance(ip, IPv6):
        ip.hlim = ttl
    else:
        ip.ttl = ttl
    return ip


def leaves(packet: Packet, ttl: int = 1, tag: Dot1Q | None = None, own: bytes = OWN) -> bytes:
    """The frame for the backend, with this tag or none."""
    frame = Ether(dst=mac_text(BACKEND), src=mac_text(own))
    return bytes(frame / tag / inner(packet, ttl) if tag else frame / inner(packet, ttl))


def entropy(packet: Packet) -> int:
    """Fourteen bits of the flow."""
    ip = packet[IPv6] if IPv6 in packet else packet[IP]
    l4 = packet[TCP] if TCP in packet else packet[UDP]
    ports = l4.sport.to_bytes(2, "big") + l4.dport.to_bytes(2, "big")
    return tuple_hash(FLOW_KEY, packed(ip.src), packed(ip.dst), ports, 6 if TCP in packet else 17) >> 48 & 0x3FFF


def answered(packet: Packet, reply: Packet) -> bytes:
    """The frame of an answer: MACs exchanged, the tag as it came."""
    frame = Ether(dst=ROUTER_MAC, src=mac_text(OWN))
    if Dot1Q in packet:
        was = packet[Dot1Q]
        frame /= Dot1Q(vlan=was.vlan, prio=was.prio, dei=was.dei)
    return bytes(frame / reply)


def quoted(packet: Packet) -> Raw:
    """As much of the IP packet as an ICMP error has room for: it is 1,280 bytes long at most, over IPv4 576."""
    return Raw(bytes(packet[IPv6])[: 1280 - 48] if IPv6 in packet else bytes(packet[IP])[: 576 - 28])


__all__ = [
    "L2",
    "V4",
    "V6",
    "Row",
    "Tunnel",
    "answered",
    "check",
    "entropy",
    "inner",
    "leaves",
    "quoted",
    "service",
    "tagged",
    "world",
]
