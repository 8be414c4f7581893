"""Packets as one-liners: `tcp4("192.0.2.10", 80, "S")`. Built with scapy, which computes lengths and checksums on its own."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from tests.bpf.plane import OWN_MAC

CLIENT4, CLIENT6 = "198.18.1.2", "2001:db8:1::2"
ROUTER_MAC = "02:00:00:00:00:01"


def mac_text(mac: bytes) -> str:
    """02:00:..., as scapy wants it."""
    return mac.hex(":")


def ether(dst: bytes = OWN_MAC) -> Ether:
    """A frame from the router."""
    return Ether(dst=mac_text(dst), src=ROUTER_MAC)


def tcp4(
    dst: str, port: int, flags: str = "S", *, sport: int = 40000, src: str = CLIENT4, ttl: int = 60, data: bytes = b""
) -> Packet:
    return ether() / IP(src=src, dst=dst, ttl=ttl, id=7) / TCP(sport=sport, dport=port, flags=flags, seq=1, ack=2) / Raw(data)


def udp4(dst: str, port: int, *, sport: int = 40000, src: str = CLIENT4, ttl: int = 60, data: bytes = b"hello") -> Packet:
    return ether() / IP(src=src, dst=dst, ttl=ttl, id=7) / UDP(sport=sport, dport=port) / Raw(data)


def tcp6(
    dst: str, port: int, flags: str = "S", *, sport: int = 40000, src: str = CLIENT6, hlim: int = 60, data: bytes = b""
) -> Packet:
    return ether() / IPv6(src=src, dst=dst, hlim=hlim) / TCP(sport=sport, dport=port, flags=flags, seq=1, ack=2) / Raw(data)


def udp6(dst: str, port: int, *, sport: int = 40000, src: str = CLIENT6, hlim: int = 60, data: bytes = b"hello") -> Packet:
    return ether() / IPv6(src=src, dst=dst, hlim=hlim) / UDP(sport=sport, dport=port) / Raw(data)


def ping4(dst: str, *, src: str = CLIENT4, data: bytes = b"ping!") -> Packet:
    return ether() / IP(src=src, dst=dst, ttl=60, id=7) / ICMP(type=8, id=1, seq=2) / Raw(data)


def ping6(dst: str, *, src: str = CLIENT6, data: bytes = b"ping!") -> Packet:
    return ether() / IPv6(src=src, dst=dst, hlim=60) / ICMPv6EchoRequest(id=1, seq=2, data=data)


def forwarded(packet: Packet, to: bytes, ttl: int = 1) -> bytes:
    """The bytes that `packet` must have become when it leaves for the backend with MAC `to`."""
    out = packet.copy()
    out[Ether].src, out[Ether].dst = mac_text(OWN_MAC), mac_text(to)
    if IPv6 in out:
        out[IPv6].hlim = ttl
    else:
        out[IP].ttl = ttl
        del out[IP].chksum
    return bytes(out)
