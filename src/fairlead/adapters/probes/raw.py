"""One raw socket for all probes of a kind and address family: packets made here, each with its own mark, answers handed out.

A raw socket for each probe would not do: every one of them gets a copy of every packet. The kernel filters what is not for us
(classic BPF), so that traffic of the machine itself costs nothing here.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Hashable, Sequence
from typing import Protocol

from fairlead.adapters.probes.attempt import SO_MARK, Ask
from fairlead.adapters.probes.engine import READABLE, Engine

BATCH = 32  # packets in one turn of the loop
_SO_ATTACH_FILTER = 26
_IPV6_PKTINFO = 50  # linux/in6.h
_IP_PKTINFO = 8  # linux/in.h
_BUFFER = 1 << 20  # bytes: room for the answers of a loop that is held up

Filter = Sequence[tuple[int, int, int, int]]  # struct sock_filter: code, jt, jf, k


class Waiting(Protocol):
    """Who waits for an answer."""

    def answered(self, packet: bytes) -> None:
        """The packet behind the IP header."""


class Raw:
    """Marked packets of one protocol; `waiting` says, by what `key_of` finds in a packet, who waits for it."""

    def __init__(self, engine: Engine, family: int, protocol: int, code: Filter) -> None:
        self.waiting: dict[Hashable, Waiting] = {}
        self._engine = engine
        self._v4 = family == socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
        try:
            _attach(self.socket, code)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        except OSError:
            self.socket.close()
            raise
        engine.watch(self.socket.fileno(), self, READABLE)

    def send(self, ask: Ask, source: str, packet: bytes) -> None:
        """Towards the VIP, with the mark of the target, from `source`."""
        address = socket.inet_pton(ask.family, source)
        if self._v4:
            where = (socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("=i4s4x", 0, address))
        else:
            where = (socket.IPPROTO_IPV6, _IPV6_PKTINFO, address + bytes(4))
        marked = [(socket.SOL_SOCKET, SO_MARK, ask.mark)] if ask.target.mark else []
        self.socket.sendmsg([packet], [where, *marked], 0, (ask.to[0], 0))

    def ready(self, _: int) -> None:
        """From the engine, level-triggered: what is left comes again."""
        for _ in range(BATCH):
            try:
                data, sender = self.socket.recvfrom(1 << 16)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error of some earlier packet, or a queue that ran over
                continue
            packet = data[(data[0] & 15) * 4 :] if self._v4 and data else data
            waits = self.waiting.get(self.key_of(sender[0], packet))
            if waits is not None:
                waits.answered(packet)

    def key_of(self, sender: str, packet: bytes) -> Hashable:
        """Under what this packet is waited for; None for nothing."""
        raise NotImplementedError

    def close(self) -> None:
        """Nobody waits any more."""
        self._engine.forget(self.socket.fileno())
        self.socket.close()


def _attach(to: socket.socket, code: Filter) -> None:
    program = b"".join(struct.pack("=HBBI", *step) for step in code)
    buffer = ctypes.create_string_buffer(program, len(program))
    to.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(code), ctypes.addressof(buffer)))


def source_of(ask: Ask) -> str:
    """The address that the probe goes out from: the target's, else what the kernel would choose for this mark."""
    if ask.source is not None:
        return ask.source[0]
    with ask.socket(socket.SOCK_DGRAM) as asked:
        asked.connect(ask.to if ask.to[1] else (ask.to[0], 9))
        return str(asked.getsockname()[0])


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) & ~1])) + (data[-1] << 8 if len(data) & 1 else 0)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
