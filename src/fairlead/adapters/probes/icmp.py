"""ICMP echo (RFC 792, RFC 4443): says that the VIP is on the backend's loopback, and of its services nothing."""

from __future__ import annotations

import secrets
import socket
import struct
from collections.abc import Hashable

from fairlead.adapters.probes.attempt import Ask, Attempt, Ended
from fairlead.adapters.probes.engine import Engine
from fairlead.adapters.probes.raw import Filter, Raw, checksum, source_of

_ASK = {int(socket.AF_INET): 8, int(socket.AF_INET6): 128}
_REPLY = {int(socket.AF_INET): 0, int(socket.AF_INET6): 129}
_DATA = b"fairlead"


def _filter(family: int, identifier: int) -> Filter:
    """Of ICMP only echo replies with our identifier. A raw IPv4 socket sees the IP header, an IPv6 one does not."""
    v4 = family == socket.AF_INET
    code = [(0xB1, 0, 0, 0)] if v4 else []  # ldxb 4*([0]&0xf)
    byte, half = (0x50, 0x48) if v4 else (0x30, 0x28)
    return [
        *code,
        (byte, 0, 0, 0),
        (0x15, 0, 3, _REPLY[family]),  # jeq
        (half, 0, 0, 4),
        (0x15, 0, 1, identifier),
        (0x06, 0, 0, 0xFFFF),
        (0x06, 0, 0, 0),
    ]


class Echoes(Raw):
    """All echo probes of one address family, under one identifier; what is waited for is VIP, sequence number and a secret."""

    def __init__(self, engine: Engine, family: int) -> None:
        protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
        self.identifier = secrets.randbits(16)
        super().__init__(engine, family, protocol, _filter(family, self.identifier))
        self._next = 0

    def key_of(self, sender: str, packet: bytes) -> Hashable:
        """Whom it comes from, and what we had written into it."""
        return sender, packet[8:]

    def number(self) -> int:
        """The next sequence number, 16 bits."""
        self._next = (self._next + 1) & 0xFFFF
        return self._next


class Icmp(Attempt):
    """One echo request."""

    __slots__ = ("_key", "_shared")

    def __init__(self, engine: Engine, ask: Ask, ended: Ended) -> None:
        super().__init__(engine, ask, ended)
        self._shared: Echoes | None = None
        self._key: Hashable = None

    def start(self) -> None:
        """Ask."""
        family = self.ask.family
        shared = self.engine.shared(Echoes, family, Echoes)
        source, data = source_of(self.ask), _DATA + secrets.token_bytes(8)
        self._key, self._shared = (self.ask.to[0], data), shared
        shared.waiting[self._key] = self
        head = struct.pack("!BBHHH", _ASK[family], 0, 0, shared.identifier, shared.number())
        check = checksum(_pseudo(self.ask, source, len(head + data)) + head + data)
        shared.send(self.ask, source, head[:2] + struct.pack("!H", check) + head[4:] + data)

    def answered(self, _: bytes) -> None:
        """From the shared socket."""
        if not self.over:
            self._carry_on(self.passed, "echo")

    def release(self) -> None:
        """Wait no more."""
        if self._shared is not None:
            self._shared.waiting.pop(self._key, None)
            self._shared = None


def _pseudo(ask: Ask, source: str, length: int) -> bytes:
    """What ICMPv6 checksums besides (RFC 8200 section 8.1); the kernel writes the same sum. ICMP has none."""
    if ask.family == socket.AF_INET:
        return b""
    addresses = socket.inet_pton(ask.family, source) + socket.inet_pton(ask.family, ask.to[0])
    return addresses + struct.pack("!I3xB", length, socket.IPPROTO_ICMPV6)
