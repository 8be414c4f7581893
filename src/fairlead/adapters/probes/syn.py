"""SYN: half a handshake (RFC 9293 section 3.5). SYN and ACK from the port is the answer, and a reset of our own ends it.

The machine's kernel knows of no such connection and resets it as well, without the mark, so that its reset would go by the main
route to whatever backend that leads to: the probe program drops unmarked resets from these ports (bpf/probe.bpf.c). Ours goes
where the SYN went. It is sent after silence too: the SYN may have come through and the answer not.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import socket
import struct
from collections.abc import Hashable

from fairlead.adapters.probes.attempt import Ask, Attempt, Ended
from fairlead.adapters.probes.engine import Engine
from fairlead.adapters.probes.raw import Raw, checksum, source_of
from fairlead.adapters.probes.words import Failed

PORT_FIRST = 61000  # PROBE_PORT_FIRST of abi.h: above the ports that Linux gives to connections unless told otherwise
PORTS = 4096  # PROBE_PORTS
_SYN, _RST, _ACK = 0x02, 0x04, 0x10
_MSS = struct.pack("!BBH", 2, 4, 1400)


def _filter(l4: int | None) -> list[tuple[int, int, int, int]]:
    """Of TCP only SYN+ACK and RST to our ports. A raw IPv4 socket sees the IP header, an IPv6 one (`l4` 0) does not."""
    load_port, load_flags = ((0x48, 0, 0, 2), (0x50, 0, 0, 13)) if l4 is None else ((0x28, 0, 0, 2), (0x30, 0, 0, 13))
    find = [(0xB1, 0, 0, 0)] if l4 is None else []  # ldxb 4*([0]&0xf)
    return [
        *find,
        load_port,
        (0x35, 0, 4, PORT_FIRST),  # jge
        (0x25, 3, 0, PORT_FIRST + PORTS - 1),  # jgt
        load_flags,
        (0x45, 0, 1, _RST | _SYN),  # jset
        (0x06, 0, 0, 0xFFFF),
        (0x06, 0, 0, 0),
    ]


class Syns(Raw):
    """All half-open probes of one address family. Waiting is by VIP, port and our port: a port is used again when it is free."""

    def __init__(self, engine: Engine, family: int) -> None:
        super().__init__(engine, family, socket.IPPROTO_TCP, _filter(None if family == socket.AF_INET else 0))
        self._next = secrets.randbelow(PORTS)

    def key_of(self, sender: str, packet: bytes) -> Hashable:
        """The VIP, its port, ours."""
        return (sender, *struct.unpack_from("!HH", packet)) if len(packet) >= 20 else None

    def wait(self, ask: Ask, who: Syn) -> int:
        """Take a port for this probe; Failed if all are taken."""
        for _ in range(PORTS):
            self._next = (self._next + 1) % PORTS
            key = (*ask.to, PORT_FIRST + self._next)
            if key not in self.waiting:
                self.waiting[key] = who
                return PORT_FIRST + self._next
        raise Failed("too many half-open probes of this VIP at once")


class Syn(Attempt):
    """Sends the SYN; the connection is never made."""

    __slots__ = ("_port", "_sequence", "_shared", "_source")

    def __init__(self, engine: Engine, ask: Ask, ended: Ended) -> None:
        super().__init__(engine, ask, ended)
        self._shared: Syns | None = None
        self._port, self._sequence, self._source = 0, secrets.randbits(32), ""

    def start(self) -> None:
        """Ask."""
        shared = self.engine.shared(Syns, self.ask.family, Syns)
        self._source = source_of(self.ask)
        self._port, self._shared = shared.wait(self.ask, self), shared
        self._send(self._sequence, _SYN, _MSS)

    def answered(self, packet: bytes) -> None:
        """From the shared socket."""
        if not self.over:
            self._carry_on(self._judge, packet)

    def _judge(self, packet: bytes) -> None:
        acknowledged, flags = struct.unpack_from("!I", packet, 8)[0], packet[13]
        if not flags & _ACK or acknowledged != (self._sequence + 1) & 0xFFFFFFFF:
            return  # somebody else's, or an old one
        if flags & _RST:
            self._leave()  # there is nothing to reset
            raise OSError(errno.ECONNREFUSED, "")
        self.passed("SYN answered")

    def release(self) -> None:
        """Reset what there may be, and give the port back."""
        if self._shared is not None:
            with contextlib.suppress(OSError):
                self._send((self._sequence + 1) & 0xFFFFFFFF, _RST, b"")
            self._leave()

    def _leave(self) -> None:
        if self._shared is not None:
            self._shared.waiting.pop((*self.ask.to, self._port), None)
            self._shared = None

    def _send(self, sequence: int, flags: int, options: bytes) -> None:
        assert self._shared is not None
        to = socket.inet_pton(self.ask.family, self.ask.to[0])
        source = socket.inet_pton(self.ask.family, self._source)
        offset = (20 + len(options)) << 2
        head = struct.pack("!HHIIBBHHH", self._port, self.ask.to[1], sequence, 0, offset, flags, 64240 if options else 0, 0, 0)
        packet = head + options
        check = checksum(source + to + struct.pack("!HH", socket.IPPROTO_TCP, len(packet)) + packet)
        self._shared.send(self.ask, self._source, packet[:16] + struct.pack("!H", check) + packet[18:])
