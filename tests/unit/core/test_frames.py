"""Frames that are made for `fairlead explain`, and frames told in a line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Dot1Q, Ether

from fairlead.core import frames
from fairlead.errors import UsageError

pytestmark = pytest.mark.live

MAC = bytes.fromhex("02000000001b")


def made(source: str, destination: str, **how: object) -> Ether:
    return Ether(frames.made(frames.asked(source, destination, **how), MAC))  # type: ignore[arg-type]


def rebuilt(frame: Ether) -> bytes:
    """The same with every checksum and length worked out anew, by others."""
    copy = frame.copy()
    for layer in (IP, TCP, UDP, ICMP, ICMPv6EchoRequest):
        if layer in copy:
            for field in ("chksum", "cksum", "len"):
                if field in copy[layer].fields:
                    del copy[layer].fields[field]
    if IPv6 in copy:
        del copy[IPv6].fields["plen"]
    return bytes(copy)


@pytest.mark.parametrize("size", [0, 60, 101, 1500])
@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("198.51.100.7:40000", "192.0.2.10:443/tcp"),
        ("198.51.100.7:40000", "192.0.2.10:53/udp"),
        ("198.51.100.7", "192.0.2.10/icmp"),
        ("[2001:db8::7]:40000", "[2001:db8:1::10]:443/tcp"),
        ("[2001:db8::7]:40000", "[2001:db8:1::10]:53/udp"),
        ("2001:db8::7", "2001:db8:1::10/icmp"),
        ("[2001:db8::7]", "[2001:db8:1::10]/icmp"),
    ],
)
def test_made_frames_are_right(source: str, destination: str, size: int) -> None:
    """Lengths and checksums are those that scapy works out, addresses and ports those that were asked for."""
    frame = made(source, destination, size=size)
    ip = frame.payload

    assert rebuilt(frame) == bytes(frame)
    assert (frame.dst, frame.src) == (MAC.hex(":"), frames.ROUTER.hex(":"))
    assert {ip.src, ip.dst} == {"198.51.100.7", "192.0.2.10"} or {ip.src, ip.dst} == {"2001:db8::7", "2001:db8:1::10"}
    assert not size or len(ip) == size
    if TCP in frame:
        assert (frame[TCP].sport, frame[TCP].dport, str(frame[TCP].flags)) == (40000, 443, "S")


def test_flags_and_tag() -> None:
    """TCP's flags by name, in any spelling; a tag where one is wanted."""
    assert str(made("198.51.100.7:1", "192.0.2.10:2/tcp", flags="ack+psh")[TCP].flags) == "PA"
    assert str(made("198.51.100.7:1", "192.0.2.10:2/tcp", flags="SYN, ACK")[TCP].flags) == "SA"
    assert int(made("198.51.100.7:1", "192.0.2.10:2/tcp", flags="none")[TCP].flags) == 0
    assert made("198.51.100.7:1", "192.0.2.10:2/tcp", vlan=10)[Dot1Q].vlan == 10


@pytest.mark.parametrize(
    ("source", "destination", "how", "says"),
    [
        ("198.51.100.7:40000", "192.0.2.10:443", {}, "say the protocol"),
        ("198.51.100.7:40000", "192.0.2.10:443/sctp", {}, "say the protocol"),
        ("198.51.100.7", "192.0.2.10:443/tcp", {}, "a port is missing"),
        ("198.51.100.7:40000", "192.0.2.10/tcp", {}, "a port is missing"),
        ("198.51.100.7:99999", "192.0.2.10:1/tcp", {}, "from 1 to 65535"),
        ("198.51.100.7:0", "192.0.2.10:1/tcp", {}, "from 1 to 65535"),
        ("client:40000", "192.0.2.10:1/tcp", {}, "no address"),
        ("", "192.0.2.10:1/tcp", {}, "no address"),
        ("2001:db8::7:40000x", "192.0.2.10:1/tcp", {}, "no address"),
        ("[2001:db8::7]:1", "192.0.2.10:1/tcp", {}, "not of one family"),
        ("198.51.100.7:1/tcp", "192.0.2.10:1/tcp", {}, "behind the VIP"),
        ("198.51.100.7:1", "192.0.2.10:1/tcp", {"flags": "sin"}, "sin is no flag"),
        ("198.51.100.7:1", "192.0.2.10:1/tcp", {"size": 39}, "40 at least"),
        ("[2001:db8::7]:1", "[2001:db8::8]:1/udp", {"size": 47}, "48 at least"),
    ],
)
def test_what_is_no_packet_is_refused(source: str, destination: str, how: dict[str, object], says: str) -> None:
    """Whatever cannot be asked is refused in a sentence."""
    with pytest.raises(UsageError, match=says):
        made(source, destination, **how)


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (
            Ether() / IP(src="198.51.100.7", dst="192.0.2.10") / TCP(sport=1, dport=2, flags="SA"),
            "198.51.100.7:1 > 192.0.2.10:2/tcp, SYN+ACK, 40 bytes",
        ),
        (Ether() / Dot1Q(vlan=7) / IPv6(src="::1", dst="::2") / UDP(sport=1, dport=2), "[::1]:1 > [::2]:2/udp, 48 bytes, VLAN 7"),
        (
            Ether() / IP(src="198.51.100.7", dst="192.0.2.10", frag=5, proto=17) / (b"x" * 16),
            "198.51.100.7 > 192.0.2.10/udp, 36 bytes, a fragment",
        ),
        (Ether() / IP(src="198.51.100.7", dst="192.0.2.10") / ICMP(), "198.51.100.7 > 192.0.2.10/icmp, type 8 code 0, 28 bytes"),
        (Ether() / IP(src="198.51.100.7", dst="192.0.2.10", proto=47), "198.51.100.7 > 192.0.2.10/protocol 47, 20 bytes"),
        (Ether(type=0x0806) / (b"x" * 28), "a frame of 42 bytes, EtherType 0x0806"),
    ],
)
def test_frames_in_a_line(frame: Ether, text: str) -> None:
    """Addresses, ports, flags, size, tag: what an operator would look for."""
    assert frames.seen(bytes(frame)).text == text


@given(st.binary(max_size=120), st.sampled_from([b"", b"\x08\x00", b"\x86\xdd", b"\x81\x00\0\7\x08\x00"]))
def test_any_bytes_are_told(data: bytes, kind: bytes) -> None:
    """Nothing in a frame, cut short or damaged, makes it untellable."""
    assert frames.seen((MAC + frames.ROUTER)[: 12 if kind else 0] + kind + data).text
