"""BGP messages to bytes and back: RFC 4271 section 4, capabilities by RFC 5492.

Decoding is two steps that share no state: `messages` cuts whole messages off the front of a buffer (so that any chunking of the
stream gives the same messages), `_decode` turns the body of one into a value. Whatever the bytes are, the only exception is
ProtocolError, and it carries the NOTIFICATION to answer with; work and memory are bounded by the 4,096 bytes of a message.

An UPDATE is cut into its three parts and no further: Fairlead announces and never learns, so a peer's full table costs one look
at two length fields a message, and a malformed attribute of a route that is ignored anyway cannot cost the session (RFC 7606
section 2). All integers are big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, IntEnum
from ipaddress import IPv4Address

from fairlead.bgp.notifications import Code
from fairlead.errors import ProtocolError

VERSION = 4
MARKER = b"\xff" * 16
HEADER_BYTES = 19
LONGEST_MESSAGE = 4096
AS_TRANS = 23456  # stands for an AS number that does not fit in two octets, RFC 6793 section 9


class Kind(IntEnum):
    """Message types, RFC 4271 section 4.1 and RFC 2918 section 3."""

    OPEN = 1
    UPDATE = 2
    NOTIFICATION = 3
    KEEPALIVE = 4
    ROUTE_REFRESH = 5


# Length of the whole message in bytes, least and most, RFC 4271 section 6.1. Optional parameters of an OPEN end at 255 bytes.
_LENGTHS = {
    Kind.OPEN: (29, 29 + 255),
    Kind.UPDATE: (23, LONGEST_MESSAGE),
    Kind.NOTIFICATION: (21, LONGEST_MESSAGE),
    Kind.KEEPALIVE: (19, 19),
    Kind.ROUTE_REFRESH: (23, 23),
}


class Family(Enum):
    """Address family and subsequent family, RFC 4760 section 3: unicast of either IP version."""

    IPV4 = (1, 1)
    IPV6 = (2, 1)

    @property
    def version(self) -> int:
        """4 or 6, as `ipaddress` has it."""
        return 4 if self is Family.IPV4 else 6


class CapabilityCode(IntEnum):
    """The capabilities that Fairlead offers, by their IANA numbers."""

    MULTIPROTOCOL = 1  # RFC 4760 section 8
    ROUTE_REFRESH = 2  # RFC 2918 section 2
    FOUR_OCTET_AS = 65  # RFC 6793 section 3


@dataclass(frozen=True, slots=True)
class Capability:
    """One capability as it is on the wire; codes that nobody knows are kept."""

    code: int
    value: bytes = b""


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
        return any(c.code == CapabilityCode.FOUR_OCTET_AS for c in self.capabilities)

    @property
    def as_number(self) -> int:
        """The speaker's AS number, by its capability where it has one."""
        for capability in self.capabilities:
            if capability.code == CapabilityCode.FOUR_OCTET_AS:
                return int.from_bytes(capability.value, "big")
        return self.my_as

    @property
    def families(self) -> frozenset[Family]:
        """What the speaker exchanges; without a multiprotocol capability that is IPv4 unicast alone (RFC 4760 section 8)."""
        named = [struct.unpack(">HxB", c.value) for c in self.capabilities if c.code == CapabilityCode.MULTIPROTOCOL]
        return frozenset(f for f in Family if f.value in named) if named else frozenset({Family.IPV4})


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
        known = {f.value: f for f in Family}
        return known.get((self.afi, self.safi)) if self.subtype == 0 else None


Message = Open | Update | Notification | Keepalive | RouteRefresh


def our_open(as_number: int, hold_time: int, identifier: IPv4Address) -> Open:
    """The OPEN that Fairlead sends: both families, route refresh, and the AS number in four octets."""
    families = [Capability(CapabilityCode.MULTIPROTOCOL, struct.pack(">HxB", *family.value)) for family in Family]
    refresh = Capability(CapabilityCode.ROUTE_REFRESH)
    four_octet = Capability(CapabilityCode.FOUR_OCTET_AS, as_number.to_bytes(4, "big"))
    my_as = as_number if as_number < 1 << 16 else AS_TRANS
    return Open(my_as, hold_time, identifier, (*families, refresh, four_octet))


# --------------------------------------------------------------------------------------------------------------------- to bytes


def encode(message: Message) -> bytes:
    """The whole message with its header. ValueError if it is longer than 4,096 bytes, which no caller should attempt."""
    kind, body = _body(message)
    length = HEADER_BYTES + len(body)
    if length > LONGEST_MESSAGE:
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


def messages(buffer: bytearray) -> Iterator[Message]:
    """Take each whole message off the front of the buffer; what is left is the beginning of the next.

    ProtocolError at the first message that is wrong: the ones before it have been handed out, the rest of the stream is lost.
    """
    while len(buffer) >= HEADER_BYTES:
        length, kind = _header(bytes(buffer[:HEADER_BYTES]))
        if len(buffer) < length:
            return
        body = bytes(buffer[HEADER_BYTES:length])
        del buffer[:length]
        yield _decode(kind, body)


def _header(header: bytes) -> tuple[int, Kind]:
    """Length of the whole message and its type, checked as RFC 4271 section 6.1 says."""
    length, number = struct.unpack(">16xHB", header)
    if header[:16] != MARKER:
        raise ProtocolError("the marker is not all ones: the stream is out of step", Code.HEADER, 1)
    if not HEADER_BYTES <= length <= LONGEST_MESSAGE:
        raise ProtocolError(f"a message of {length} bytes", Code.HEADER, 2, header[16:18])
    if number not in _LENGTHS:
        raise ProtocolError(f"a message of type {number}", Code.HEADER, 3, header[18:19])
    kind = Kind(number)
    least, most = _LENGTHS[kind]
    if not least <= length <= most:
        raise ProtocolError(f"a message of type {kind.name} of {length} bytes", Code.HEADER, 2, header[16:18])
    return length, kind


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
    if length != len(body) - 10:
        raise ProtocolError("the length of the optional parameters does not fit the message", Code.OPEN, 0)
    message = Open(my_as, hold_time, IPv4Address(identifier), tuple(_capabilities(body[10:])))
    if message.as_number == 0:  # RFC 7607 section 2
        raise ProtocolError("AS number 0", Code.OPEN, 2)
    if hold_time in (1, 2):
        raise ProtocolError(f"hold time {hold_time} s", Code.OPEN, 6)
    if not any(identifier):  # any other value is fine since RFC 6286 section 2.1
        raise ProtocolError("BGP identifier 0.0.0.0", Code.OPEN, 3)
    return message


# What a capability's value must be long where Fairlead reads it.
_VALUE_BYTES: dict[int, int] = {CapabilityCode.MULTIPROTOCOL: 4, CapabilityCode.FOUR_OCTET_AS: 4}


def _capabilities(parameters: bytes) -> Iterator[Capability]:
    """Those of all optional parameters, in order; one parameter may hold many of them (RFC 5492 section 4)."""
    for kind, value in _triples(parameters):
        if kind != _CAPABILITIES:
            raise ProtocolError(f"optional parameter {kind}", Code.OPEN, 4)
        for code, contents in _triples(value):
            if len(contents) != _VALUE_BYTES.get(code, len(contents)):
                raise ProtocolError(f"capability {code} of {len(contents)} bytes", Code.OPEN, 0)
            yield Capability(code, contents)


def _triples(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type, length and value of one octet, one octet and length octets; they must fill the data exactly."""
    at = 0
    while at < len(data):
        end = at + 2 + data[at + 1] if at + 1 < len(data) else len(data) + 1
        if end > len(data):
            raise ProtocolError("an optional parameter or capability ends outside of the message", Code.OPEN, 0)
        yield data[at], data[at + 2 : end]
        at = end


def _decode_update(body: bytes) -> Update:
    """The two lengths must fit into the message, RFC 4271 section 6.3; what they enclose is nobody's business here."""
    withdrawn = int.from_bytes(body[:2], "big")
    start = 2 + withdrawn + 2
    attributes = int.from_bytes(body[start - 2 : start], "big")
    if start + attributes > len(body):
        raise ProtocolError("the lengths in an UPDATE do not fit the message", Code.UPDATE, 1)
    return Update(body[2 : start - 2], body[start : start + attributes], body[start + attributes :])
