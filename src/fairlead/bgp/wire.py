"""BGP messages to bytes and back: RFC 4271 section 4; long ones by RFC 8654, long OPENs by RFC 9072.

Decoding is two steps that share no state: `messages` cuts whole messages off the front of a buffer (so that any chunking of the
stream gives the same messages), `_decode` turns the body of one into a value. Whatever the bytes are, the only exception is
ProtocolError, and it carries the NOTIFICATION to answer with; work and memory are bounded by the length of a message.

An UPDATE is cut into its three parts and no further; `received` looks into them. All integers are big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address

from fairlead.bgp.capabilities import (
    FAMILIES,
    VALUE_BYTES,
    Capability,
    CapabilityCode,
    Family,
    families,
    four_octet_as,
    has,
    offer,
)
from fairlead.bgp.notifications import Code
from fairlead.errors import ProtocolError

VERSION = 4
MARKER = b"\xff" * 16
HEADER_BYTES = 19
LONGEST_MESSAGE = 4096
LONGEST_EXTENDED = 65535  # of an UPDATE, NOTIFICATION or ROUTE-REFRESH where both sides can, RFC 8654 section 4
AS_TRANS = 23456  # stands for an AS number that does not fit in two octets, RFC 6793 section 9


class Kind(IntEnum):
    """Message types, RFC 4271 section 4.1 and RFC 2918 section 3."""

    OPEN = 1
    UPDATE = 2
    NOTIFICATION = 3
    KEEPALIVE = 4
    ROUTE_REFRESH = 5


# Length of the whole message in bytes, least and most, RFC 4271 section 6.1.
_LENGTHS = {
    Kind.OPEN: (29, LONGEST_MESSAGE),
    Kind.UPDATE: (23, LONGEST_EXTENDED),
    Kind.NOTIFICATION: (21, LONGEST_EXTENDED),
    Kind.KEEPALIVE: (19, 19),
    Kind.ROUTE_REFRESH: (23, 23),
}


@dataclass(frozen=True, slots=True)
class Open:
    """OPEN, RFC 4271 section 4.2. `my_as` is the two-octet field, `as_number` the one that counts; `hold_time` in seconds."""

    my_as: int
    hold_time: int
    identifier: IPv4Address
    capabilities: tuple[Capability, ...] = ()

    @property
    def four_octet(self) -> bool:
        """Whether the speaker knows AS numbers of four octets."""
        return has(self.capabilities, CapabilityCode.FOUR_OCTET_AS)

    @property
    def as_number(self) -> int:
        """The speaker's AS number, by its capability where it has one."""
        number = four_octet_as(self.capabilities)
        return self.my_as if number is None else number

    @property
    def families(self) -> frozenset[Family]:
        """What the speaker exchanges."""
        return families(self.capabilities)


@dataclass(frozen=True, slots=True)
class Update:
    """UPDATE, RFC 4271 section 4.3: the three variable parts as bytes."""

    withdrawn: bytes = b""
    attributes: bytes = b""
    nlri: bytes = b""


@dataclass(frozen=True, slots=True)
class Notification:
    """NOTIFICATION, RFC 4271 section 4.5; `notifications.in_words` says what it means."""

    code: int
    subcode: int = 0
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Keepalive:
    """KEEPALIVE, RFC 4271 section 4.4: just the header."""


@dataclass(frozen=True, slots=True)
class RouteRefresh:
    """ROUTE-REFRESH, RFC 2918 section 3: please send this family's routes once more. `subtype` is RFC 7313's, 0 to request."""

    afi: int
    safi: int
    subtype: int = 0

    @property
    def family(self) -> Family | None:
        """The family asked for; None for one that Fairlead does not announce, or for a marker that is no request."""
        return FAMILIES.get((self.afi, self.safi)) if self.subtype == 0 else None


# Subtypes that enclose what answers a request, RFC 7313 section 3.2: the beginning and the end of a route refresh.
REQUEST, BEGIN_REFRESH, END_REFRESH = 0, 1, 2

Message = Open | Update | Notification | Keepalive | RouteRefresh


def our_open(as_number: int, hold_time: int, identifier: IPv4Address, offered: Sequence[Capability] | None = None) -> Open:
    """The OPEN that Fairlead sends: what is offered (None: what always is), and the AS number in four octets."""
    four_octet = Capability(CapabilityCode.FOUR_OCTET_AS, as_number.to_bytes(4, "big"))
    my_as = as_number if as_number < 1 << 16 else AS_TRANS
    return Open(my_as, hold_time, identifier, (*(offer() if offered is None else offered), four_octet))


# --------------------------------------------------------------------------------------------------------------------- to bytes


def encode(message: Message, longest: int = LONGEST_MESSAGE) -> bytes:
    """The whole message with its header. ValueError if it is longer than `longest` bytes, which no caller should attempt."""
    kind, body = _body(message)
    length = HEADER_BYTES + len(body)
    if length > longest:
        raise ValueError(f"a BGP message of {length} bytes")
    return MARKER + struct.pack(">HB", length, kind) + body


def _body(message: Message) -> tuple[Kind, bytes]:
    match message:
        case Open():
            return Kind.OPEN, _open_body(message)
        case Update(withdrawn, attributes, nlri):
            parts = struct.pack(">H", len(withdrawn)), withdrawn, struct.pack(">H", len(attributes)), attributes, nlri
            return Kind.UPDATE, b"".join(parts)
        case Notification(code, subcode, data):
            return Kind.NOTIFICATION, bytes([code, subcode]) + data[: LONGEST_MESSAGE - HEADER_BYTES - 2]
        case RouteRefresh(afi, safi, subtype):
            return Kind.ROUTE_REFRESH, struct.pack(">HBB", afi, subtype, safi)
        case Keepalive():
            return Kind.KEEPALIVE, b""


def _open_body(message: Open) -> bytes:
    """All capabilities in one optional parameter, as RFC 5492 section 4 asks for."""
    packed = b"".join(bytes([c.code, len(c.value)]) + c.value for c in message.capabilities)
    parameters = bytes([_CAPABILITIES, len(packed)]) + packed if packed else b""
    fixed = struct.pack(">BHH4sB", VERSION, message.my_as, message.hold_time, message.identifier.packed, len(parameters))
    return fixed + parameters


_CAPABILITIES = 2  # optional parameter type, RFC 5492 section 4


# ------------------------------------------------------------------------------------------------------------------- from bytes


def messages(buffer: bytearray, longest: Callable[[], int] = lambda: LONGEST_MESSAGE) -> Iterator[Message]:
    """Take each whole message off the front of the buffer; what is left is the beginning of the next.

    `longest` is asked for each message: an OPEN may allow longer ones after it. ProtocolError at the first message that is wrong:
    the ones before it have been handed out, the rest of the stream is lost.
    """
    while len(buffer) >= HEADER_BYTES:
        length, kind = _header(buffer, longest())
        if len(buffer) < length:
            return
        body = bytes(buffer[HEADER_BYTES:length])
        del buffer[:length]
        yield _decode(kind, body)


def _header(buffer: bytearray, longest: int) -> tuple[int, Kind]:
    """Length of the whole message and its type, checked as RFC 4271 section 6.1 says."""
    length, number = struct.unpack_from(">16xHB", buffer)
    if not buffer.startswith(MARKER):
        raise ProtocolError("the marker is not all ones: the stream is out of step", Code.HEADER, 1)
    if not HEADER_BYTES <= length <= longest:
        raise ProtocolError(f"a message of {length} bytes", Code.HEADER, 2, bytes(buffer[16:18]))
    if number not in _LENGTHS:
        raise ProtocolError(f"a message of type {number}", Code.HEADER, 3, bytes(buffer[18:19]))
    kind = Kind(number)
    least, most = _LENGTHS[kind]
    if not least <= length <= most:
        raise _wrong_length(kind, length, buffer)
    return length, kind


def _wrong_length(kind: Kind, length: int, buffer: bytearray) -> ProtocolError:
    """A ROUTE-REFRESH that encloses an answer has an error of its own, with the message as its data (RFC 7313 section 5)."""
    text = f"a message of type {kind.name} of {length} bytes"
    if kind is Kind.ROUTE_REFRESH and length > HEADER_BYTES + 2 and len(buffer) >= length and buffer[21] in {1, 2}:
        return ProtocolError(text, Code.REFRESH, 1, bytes(buffer[:length]))
    return ProtocolError(text, Code.HEADER, 2, bytes(buffer[16:18]))


def _decode(kind: Kind, body: bytes) -> Message:
    match kind:
        case Kind.OPEN:
            return _decode_open(body)
        case Kind.UPDATE:
            return _decode_update(body)
        case Kind.NOTIFICATION:
            return Notification(body[0], body[1], body[2:])
        case Kind.KEEPALIVE:
            return Keepalive()
        case Kind.ROUTE_REFRESH:
            afi, subtype, safi = struct.unpack(">HBB", body)
            return RouteRefresh(afi, safi, subtype)


def _decode_open(body: bytes) -> Open:
    """RFC 4271 section 6.2, in its order. Which AS number the peer should have is not asked here."""
    version, my_as, hold_time, identifier, length = struct.unpack_from(">BHH4sB", body)
    if version != VERSION:
        raise ProtocolError(f"BGP version {version}", Code.OPEN, 1, struct.pack(">H", VERSION))
    parameters = body[10:]
    wide = length == _WIDE and parameters[:1] == bytes([_WIDE])  # RFC 9072 section 2
    if wide:
        length, parameters = int.from_bytes(parameters[1:3], "big"), parameters[3:]
    if length != len(parameters):
        raise ProtocolError("the length of the optional parameters does not fit the message", Code.OPEN, 0)
    message = Open(my_as, hold_time, IPv4Address(identifier), tuple(_capabilities(parameters, 2 if wide else 1)))
    if message.as_number == 0:  # RFC 7607 section 2
        raise ProtocolError("AS number 0", Code.OPEN, 2)
    if hold_time in (1, 2):
        raise ProtocolError(f"hold time {hold_time} s", Code.OPEN, 6)
    if not any(identifier):  # any other value is fine since RFC 6286 section 2.1
        raise ProtocolError("BGP identifier 0.0.0.0", Code.OPEN, 3)
    return message


_WIDE = 255  # both as the length and as the first type it means that lengths of parameters take two octets


def _capabilities(parameters: bytes, width: int) -> Iterator[Capability]:
    """Those of all optional parameters, in order; one parameter may hold many of them (RFC 5492 section 4)."""
    for kind, value in _triples(parameters, width):
        if kind != _CAPABILITIES:
            raise ProtocolError(f"optional parameter {kind}", Code.OPEN, 4)
        for code, contents in _triples(value, 1):
            if len(contents) != VALUE_BYTES.get(code, len(contents)):
                raise ProtocolError(f"capability {code} of {len(contents)} bytes", Code.OPEN, 0)
            yield Capability(code, contents)


def _triples(data: bytes, width: int) -> Iterator[tuple[int, bytes]]:
    """Type of one octet, length of `width` octets, value; they must fill the data exactly."""
    at = 0
    while at < len(data):
        start = at + 1 + width
        end = start + int.from_bytes(data[at + 1 : start], "big")
        if max(start, end) > len(data):
            raise ProtocolError("an optional parameter or capability ends outside of the message", Code.OPEN, 0)
        yield data[at], data[start:end]
        at = end


def _decode_update(body: bytes) -> Update:
    """The two lengths must fit into the message, RFC 4271 section 6.3; what they enclose is nobody's business here."""
    withdrawn = int.from_bytes(body[:2], "big")
    start = 2 + withdrawn + 2
    attributes = int.from_bytes(body[start - 2 : start], "big")
    if start + attributes > len(body):
        raise ProtocolError("the lengths in an UPDATE do not fit the message", Code.UPDATE, 1)
    return Update(body[2 : start - 2], body[start : start + attributes], body[start + attributes :])
