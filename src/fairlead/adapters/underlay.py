"""What the network says of our tunnels: ICMP errors about outer packets, which come to our own address, counted per tunnel.

Raw sockets see copies; the kernel goes on as before. A filter in the kernel lets errors through only (ICMP_FILTER, raw(7);
ICMP6_FILTER, RFC 3542 section 3.2). The quoted outer header (RFC 792, RFC 4443 section 3) names the backend and how the packet
was encapsulated. Anybody may forge such errors: they are counted and said, and nothing else follows from them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from fairlead.events import Event, TunnelTroubled
from fairlead.model import Address, Tunnel, TunnelKind, TunnelStatus

SAY_EVERY = 1.0  # seconds between two events about one tunnel, however fast what is said changes
BATCH = 64  # messages read before the rest of the loop has its turn
_QUOTED = 512  # bytes that are read: outer headers are at the front

_ICMP_FILTER, _SOL_RAW = 1, 255  # linux/icmp.h
_ICMP6_FILTER = 1  # linux/icmpv6.h
_ERRORS = {4: (3, 4, 11, 12), 6: (1, 2, 3, 4)}  # ICMP types
_IPIP, _IPV6, _GRE, _UDP = 4, 41, 47, 17
_KINDS = {_IPIP: TunnelKind.IPIP, _IPV6: TunnelKind.IPIP, _GRE: TunnelKind.GRE}
_HEADER_6 = 40
_WORDS_4 = {
    (3, 0): "network unreachable",
    (3, 1): "host unreachable",
    (3, 2): "it does not take this protocol",
    (3, 3): "nobody listens on the tunnel's port",
    (3, 13): "filtered on the way",
    (11, 0): "TTL expired on the way",
}
_WORDS_6 = {
    (1, 0): "no route to it",
    (1, 1): "filtered on the way",
    (1, 3): "address unreachable",
    (1, 4): "nobody listens on the tunnel's port",
    (3, 0): "hop limit expired on the way",
    (4, 1): "it does not take this protocol",
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """One ICMP error about an outer packet: `protocol` is the outer header's, `port` UDP's destination, 0 without."""

    backend: Address
    protocol: int
    port: int
    says: str


def parse(version: int, data: bytes, sender: str) -> Trouble | None:
    """What an ICMP message says, as a raw socket of this IP version gives it; None if it is cut short or no error."""
    try:
        return _parse_4(data, sender) if version == 4 else _parse_6(data, sender)
    except (struct.error, IndexError):
        return None


def _parse_4(data: bytes, sender: str) -> Trouble | None:
    message = data[(data[0] & 15) * 4 :]  # a raw IPv4 socket gives the IP header too
    kind, code, _, _, mtu = struct.unpack_from("!BBHHH", message)
    quoted = message[8:]
    if kind not in _ERRORS[4] or len(quoted) < 20 or quoted[0] >> 4 != 4:
        return None
    says = f"a router takes {mtu} bytes at most" if (kind, code) == (3, 4) else _WORDS_4.get((kind, code), f"ICMP {kind}/{code}")
    protocol, rest = quoted[9], quoted[(quoted[0] & 15) * 4 :]
    return Trouble(IPv4Address(quoted[16:20]), protocol, _port(protocol, rest), f"{says} (says {sender})")


def _parse_6(data: bytes, sender: str) -> Trouble | None:
    kind, code, _, mtu = struct.unpack_from("!BBHI", data)
    quoted = data[8:]
    if kind not in _ERRORS[6] or len(quoted) < _HEADER_6 or quoted[0] >> 4 != 6:
        return None
    says = f"a router takes {mtu} bytes at most" if kind == 2 else _WORDS_6.get((kind, code), f"ICMPv6 {kind}/{code}")
    return Trouble(IPv6Address(quoted[24:40]), quoted[6], _port(quoted[6], quoted[_HEADER_6:]), f"{says} (says {sender})")


def _port(protocol: int, rest: bytes) -> int:
    return int(struct.unpack_from("!H", rest, 2)[0]) if protocol == _UDP else 0


@dataclass(slots=True)
class _Count:
    errors: int = 0
    says: str = ""
    at: float = 0.0
    said: str = ""
    said_at: float = 0.0


Key = tuple[Address, TunnelKind, int]  # the port is 0 where the encapsulation has none


class Underlay:
    """Counts what comes about the tunnels of `watch`; belongs to the event loop. `clock` gives Unix time."""

    def __init__(self, log: Callable[[Event], None], clock: Callable[[], float] = time.time) -> None:
        self._log = log
        self._clock = clock
        self._sockets: list[socket.socket] = []
        self._counts: dict[Key, _Count] = {}

    def watch(self, tunnels: Iterable[tuple[Address, Tunnel]]) -> list[str]:
        """The tunnels there are now; those that stay keep their counts. Returns why it cannot listen, if it cannot.

        Listens only while there are any.
        """
        keys = {(address, tunnel.kind, _udp_port(tunnel)) for address, tunnel in tunnels}
        self._counts = {key: self._counts.get(key) or _Count() for key in keys}
        if not keys:
            self.close()
        elif not self._sockets:
            try:
                self._open()
            except OSError as e:
                return [f"ICMP errors about tunnels are not counted: {e.strerror} (raw sockets need CAP_NET_RAW)"]
        return []

    def status(self) -> tuple[TunnelStatus, ...]:
        """The tunnels that an error came about."""
        rows = [
            TunnelStatus(str(address), kind.name.lower(), port, count.errors, count.says, count.at)
            for (address, kind, port), count in self._counts.items()
            if count.errors
        ]
        return tuple(sorted(rows, key=lambda row: (row.backend, row.kind, row.port)))

    def take(self, version: int, data: bytes, sender: str) -> None:
        """One message from a raw socket."""
        trouble = parse(version, data, sender)
        if trouble is None:
            return
        for key in self._about(trouble):
            self._count(key, trouble)

    def close(self) -> None:
        """Listen no more."""
        for each in self._sockets:
            asyncio.get_running_loop().remove_reader(each)
            each.close()
        self._sockets.clear()

    def _about(self, trouble: Trouble) -> list[Key]:
        if trouble.protocol == _UDP:
            keys = [(trouble.backend, kind, trouble.port) for kind in (TunnelKind.FOU, TunnelKind.GUE)]
        else:
            kind = _KINDS.get(trouble.protocol)
            keys = [(trouble.backend, kind, 0)] if kind else []
        return [key for key in keys if key in self._counts]

    def _count(self, key: Key, trouble: Trouble) -> None:
        count, now = self._counts[key], self._clock()
        count.errors += 1
        count.says, count.at = trouble.says, now
        if count.says != count.said and now - count.said_at >= SAY_EVERY:
            count.said, count.said_at = count.says, now
            self._log(TunnelTroubled(key[0], key[1].name.lower(), trouble.says))

    def _open(self) -> None:
        for version in (4, 6):
            with contextlib.suppress(OSError) if version == 6 else contextlib.nullcontext():  # a kernel without IPv6
                each = _listening(version)
                self._sockets.append(each)
                asyncio.get_running_loop().add_reader(each, self._readable, version, each)

    def _readable(self, version: int, each: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError, InterruptedError):
            for _ in range(BATCH):
                try:
                    data, sender = each.recvfrom(_QUOTED)
                except ConnectionError:
                    continue
                self.take(version, data, str(ip_address(sender[0].partition("%")[0])))


def _udp_port(tunnel: Tunnel) -> int:
    return tunnel.port if tunnel.kind in (TunnelKind.FOU, TunnelKind.GUE) else 0


def _listening(version: int) -> socket.socket:
    """A raw socket that gets ICMP errors only."""
    if version == 4:
        made = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        made.setsockopt(_SOL_RAW, _ICMP_FILTER, _blocked(4, words=1))
    else:
        made = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        made.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, _blocked(6, words=8))
    made.setblocking(False)
    return made


def _blocked(version: int, *, words: int) -> bytes:
    """All ones but for the types that we want: a set bit keeps a type out."""
    first = 0xFFFFFFFF & ~sum(1 << kind for kind in _ERRORS[version])
    return struct.pack(f"={words}I", first, *[0xFFFFFFFF] * (words - 1))
