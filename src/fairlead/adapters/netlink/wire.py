"""rtnetlink by hand, for what is asked a thousand times or comes in floods (netlink(7), rtnetlink(7)): no state in here.

A general library needs 0.2 ms for a question and 40 us for an event. The kernel answers within `send`, so a batch of questions is
one `send` and a few `recv`, neither of which waits: 3 us a question, and the loop may do it by itself. Integers are in host byte
order, addresses in network order.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface

from fairlead.adapters.netlink.messages import NTF_EXT_MANAGED, Neighbour, NeighbourKey, RouteAnswer, neighbour, no_route
from fairlead.model import Address

NEW_LINK, DEL_LINK, GET_LINK, NEW_ADDR, DEL_ADDR, GET_ADDR = 16, 17, 18, 20, 21, 22  # linux/rtnetlink.h
NEW_ROUTE, DEL_ROUTE, GET_ROUTE, NEW_NEIGH, DEL_NEIGH, GET_NEIGH = 24, 25, 26, 28, 29, 30
CLONED = 0x200  # RTM_F_CLONED: a cached exception
AT_ONCE = 64  # questions in one `send`: their answers fit the smallest receive buffer

_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP, _REPLACE_OR_CREATE, _INTERRUPTED = 0x01, 0x04, 0x300, 0x500, 0x10
_HEADER, _ATTRIBUTE, _LINK = struct.Struct("=IHHII"), struct.Struct("=HH"), struct.Struct("=BxHiII")
_ROUTE, _NEIGH, _ADDR = struct.Struct("=BBBBBBBBI"), struct.Struct("=BxxxiHBB"), struct.Struct("=BBBBI")
_DESTINATION, _OIF, _GATEWAY, _SOURCE, _METRICS, _VIA, _METRIC_MTU = 1, 4, 5, 7, 8, 18, 2
_NEIGH_ADDRESS, _NEIGH_MAC, _NEIGH_PROTOCOL, _NEIGH_FLAGS = 1, 2, 12, 15
_FAMILIES = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}
_LENGTHS = {_FAMILIES[4]: 4, _FAMILIES[6]: 16}
_BUFFER_FORCE = 33  # SO_RCVBUFFORCE: beyond net.core.rmem_max, which is a quarter of a megabyte by default
_READ = 1 << 16
_DUMP_BODY = {GET_LINK: _LINK.size, GET_ADDR: _ADDR.size, GET_NEIGH: _NEIGH.size}


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `data` is all of it, header too; `body` begins behind the header."""

    kind: int
    flags: int
    data: memoryview

    @property
    def body(self) -> memoryview:
        """What follows the header."""
        return self.data[_HEADER.size :]

    def error(self) -> int:
        """The errno of an error message; 0 is an acknowledgement."""
        return -int(struct.unpack_from("=i", self.data, _HEADER.size)[0])


def messages(data: bytes) -> Iterator[Message]:
    """What a datagram holds."""
    view, at = memoryview(data), 0
    while at + _HEADER.size <= len(view):
        length, kind, flags, _, _ = _HEADER.unpack_from(view, at)
        if length < _HEADER.size:
            return
        yield Message(kind, flags, view[at : at + length])
        at += (length + 3) & ~3


def attributes(view: memoryview) -> dict[int, memoryview]:
    """Type, without its flag bits, to value; of several the last."""
    found: dict[int, memoryview] = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(view):
        length, kind = _ATTRIBUTE.unpack_from(view, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind & 0x3FFF] = view[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return found


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _number(value: memoryview | None) -> int:
    return int.from_bytes(value, sys.byteorder) if value is not None else 0


# -------------------------------------------------------------------------------------------------------- questions and orders


def route_to(address: Address) -> bytes:
    """The question how the kernel would reach an address."""
    bits = address.max_prefixlen
    body = _ROUTE.pack(_FAMILIES[address.version], bits, 0, 0, 0, 0, 0, 0, 0) + _attribute(_DESTINATION, address.packed)
    return _request(GET_ROUTE, _REQUEST, body)


def keep_neighbour(key: NeighbourKey, mac: bytes, state: int, flags: int, extended: int, protocol: int) -> bytes:
    """The order to make or change a neighbour entry; `flags` are NTF_*, `extended` NTF_EXT_*, an empty `mac` is unknown."""
    body = _NEIGH.pack(_FAMILIES[key[1].version], key[0], state, flags, 0) + _attribute(_NEIGH_ADDRESS, key[1].packed)
    body += _attribute(_NEIGH_MAC, mac) if mac else b""
    body += _attribute(_NEIGH_PROTOCOL, bytes([protocol]))
    body += _attribute(_NEIGH_FLAGS, struct.pack("=I", extended)) if extended else b""
    return _request(NEW_NEIGH, _REQUEST | _ACK | _REPLACE_OR_CREATE, body)


def drop_neighbour(key: NeighbourKey) -> bytes:
    """The order to remove a neighbour entry."""
    body = _NEIGH.pack(_FAMILIES[key[1].version], key[0], 0, 0, 0) + _attribute(_NEIGH_ADDRESS, key[1].packed)
    return _request(DEL_NEIGH, _REQUEST | _ACK, body)


def _request(kind: int, flags: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 0, 0) + body


# --------------------------------------------------------------------------------------------------------------------- answers


def route_of(message: Message) -> RouteAnswer:
    """The answer to `route_to`."""
    if message.kind == _ERROR:
        return no_route(message.error())
    body = message.body
    found = attributes(body[_ROUTE.size :])
    gateway = found.get(_GATEWAY)
    if gateway is None and _VIA in found:  # an IPv4 route over an IPv6 neighbour (RFC 8950's kind): family, then address
        gateway = found[_VIA][2:]
    source, metrics = found.get(_SOURCE), found.get(_METRICS)
    return RouteAnswer(
        kind=_ROUTE.unpack_from(body)[7],
        ifindex=_number(found.get(_OIF)),
        gateway=ip_address(bytes(gateway)) if gateway is not None else None,
        source=ip_address(bytes(source)) if source is not None else None,
        mtu=_number(attributes(metrics).get(_METRIC_MTU)) if metrics is not None else 0,
    )


def prefix_of(message: Message) -> tuple[int, int, int] | None:
    """IP version, prefix length and network, as a number, of a route's event; None where the event is of no consequence."""
    family, length, _, _, _, _, _, _, flags = _ROUTE.unpack_from(message.body)
    if flags & CLONED or family not in _LENGTHS:
        return None
    where = attributes(message.body[_ROUTE.size :]).get(_DESTINATION)
    number = int.from_bytes(where, "big") if where is not None else 0
    bits = _LENGTHS[family] * 8
    return (4 if bits == 32 else 6), length, number >> (bits - length)


def neighbour_of(message: Message) -> tuple[NeighbourKey, Neighbour] | None:
    """Key and entry of a neighbour message; None where it has no IP address (dumps hold such)."""
    family, ifindex, state, _, _ = _NEIGH.unpack_from(message.body)
    found = attributes(message.body[_NEIGH.size :])
    where = found.get(_NEIGH_ADDRESS)
    if where is None or len(where) != _LENGTHS.get(family):
        return None
    managed = bool(_number(found.get(_NEIGH_FLAGS)) & NTF_EXT_MANAGED)
    entry = neighbour(bytes(found.get(_NEIGH_MAC, b"")), state, _number(found.get(_NEIGH_PROTOCOL)), managed=managed)
    return (ifindex, ip_address(bytes(where))), entry


def address_of(message: Message) -> tuple[int, IPv4Interface | IPv6Interface] | None:
    """Interface index and address, with its prefix, of an address message."""
    family, length, _, _, ifindex = _ADDR.unpack_from(message.body)
    found = attributes(message.body[_ADDR.size :])
    where = found.get(2, found.get(1))  # IFA_LOCAL; IFA_ADDRESS, which is the other end's on a point-to-point link
    if where is None or family not in _LENGTHS:
        return None
    return ifindex, ip_interface((bytes(where), length))


# --------------------------------------------------------------------------------------------------------------------- sockets


def opened(groups: int, buffer: int) -> socket.socket:
    """A socket of this network namespace that hears the groups of this bit mask, with a receive buffer of that many bytes."""
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        with contextlib.suppress(PermissionError):
            made.setsockopt(socket.SOL_SOCKET, _BUFFER_FORCE, buffer)
        made.bind((0, groups))
    except OSError:
        made.close()
        raise
    return made


def heard(events: socket.socket, most: int) -> Iterator[Message]:
    """What has come on a non-blocking socket, from at most so many datagrams. OSError with ENOBUFS: some were lost."""
    for _ in range(most):
        try:
            data = events.recv(_READ)
        except BlockingIOError:
            return
        yield from messages(data)


class Asker:
    """Asks and orders. Nothing here waits but for the kernel's own work; OSError where the socket itself fails."""

    def __init__(self, buffer: int) -> None:
        self._socket = opened(0, buffer)
        self._socket.settimeout(5)  # the kernel answers before `send` returns; this is for what cannot be

    def close(self) -> None:
        """No more questions."""
        self._socket.close()

    def ask(self, requests: Sequence[bytes]) -> list[Message]:
        """Up to AT_ONCE requests of this module, in order; each has one answer: what it asks for, or an error message."""
        if not requests:
            return []
        self._socket.send(b"".join(requests))
        found: list[Message] = []
        while len(found) < len(requests):
            found += messages(self._socket.recv(_READ))
        return found

    def dump(self, kind: int) -> list[Message]:
        """All links, addresses or neighbours (GET_*). Read again if they changed meanwhile, but not for ever."""
        for _ in range(4):
            found, interrupted = self._dump(kind)
            if not interrupted:
                break
        return found

    def _dump(self, kind: int) -> tuple[list[Message], bool]:
        self._socket.send(_request(kind, _REQUEST | _DUMP, bytes(_DUMP_BODY[kind])))
        found: list[Message] = []
        interrupted = False
        while True:
            for message in messages(self._socket.recv(_READ)):
                interrupted |= bool(message.flags & _INTERRUPTED)
                if message.kind == _ERROR:
                    raise OSError(message.error(), os.strerror(message.error()))
                if message.kind == _DONE:
                    return found, interrupted
                found.append(message)


def errors(answers: Iterable[Message]) -> list[int]:
    """The errno of each answer to an order, 0 where it was carried out."""
    return [message.error() if message.kind == _ERROR else 0 for message in answers]
