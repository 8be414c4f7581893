"""Reading and staging the flow table: tests age an entry by writing the word it would have, instead of waiting for an hour."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

from fairlead.core import hashes
from fairlead.model import Op, Store
from tests.bpf.plane import Plane

STATES = ("empty", "embryonic", "established", "datagram", "closing", "refused once", "refused twice", "refused thrice")
WAYS = 8


@dataclass(frozen=True, slots=True)
class Word:
    """A flow word taken apart, as abi.h draws it."""

    tag: int
    destination: int
    seen: int
    state: str

    @classmethod
    def of(cls, number: int) -> Word:
        return cls(number >> 32, number >> 12 & 0xFFFFF, number >> 4 & 0xFF, STATES[number >> 1 & 7])

    def __int__(self) -> int:
        return self.tag << 32 | self.destination << 12 | self.seen << 4 | STATES.index(self.state) << 1


class FlowTable:
    """The flow table of a plane."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._mask = plane.kernel.geometry.buckets - 1

    def place(self, packet: Packet) -> tuple[int, int]:
        """(bucket, tag) of the packet's flow by the Python twin of the hash."""
        ip = packet[IPv6] if IPv6 in packet else packet[IP]
        l4 = packet[TCP] if TCP in packet else packet[UDP]
        protocol = 6 if TCP in packet else 17
        h = hashes.tuple_hash(self._plane.keys.flow, ip_address(ip.src), ip_address(ip.dst), (l4.sport, l4.dport), protocol)
        return hashes.flow_place(h, self._mask)

    def bucket(self, packet: Packet) -> list[int]:
        """The eight words of the packet's bucket."""
        at = self.place(packet)[0] * 64
        return list(memoryview(self._plane.kernel.view("flows"))[at : at + 64].cast("Q"))

    def find(self, packet: Packet) -> Word | None:
        """The packet's entry, None if it has none."""
        tag = self.place(packet)[1]
        found = [Word.of(w) for w in self.bucket(packet) if w and w >> 32 == tag]
        return found[0] if found else None

    def stage(self, packet: Packet, words: list[Word | None]) -> None:
        """Give the packet's bucket these words; the rest of it is empty."""
        data = b"".join((int(w) if w else 0).to_bytes(8, "little") for w in words).ljust(64, b"\0")
        self._plane.kernel.apply(Op("stage a bucket", (Store("flows", self.place(packet)[0] * 64, data),)))

    def clear(self, packet: Packet) -> None:
        """Empty the packet's bucket."""
        self.stage(packet, [])

    def now(self, state: str) -> int:
        """The tick that a word of this state would be stamped with."""
        fine, coarse = self._plane.kernel.ticks()
        return coarse if state == "established" else fine

    def timeout(self, state: str) -> int:
        """How many ticks an entry of this state may be silent."""
        return self._plane.kernel.view("settings")[STATES.index(state)]

    def age(self, packet: Packet, ticks: int = 1, **changes: object) -> Word:
        """Make the packet's entry `ticks` older, and change it otherwise as said."""
        word = self.find(packet)
        assert word is not None, "no entry to age"
        word = replace(word, **changes)  # type: ignore[arg-type]
        aged = replace(word, seen=(self.now(word.state) - ticks) & 0xFF)
        self.stage(packet, [aged])
        return aged
