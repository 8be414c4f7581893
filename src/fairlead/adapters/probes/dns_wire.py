"""A question in DNS's wire format (RFC 1035 section 4), and whether a message is a whole answer to it."""

from __future__ import annotations

import struct

TYPES = {
    "A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "HINFO": 13, "MX": 15, "TXT": 16, "AAAA": 28, "LOC": 29, "SRV": 33,
    "NAPTR": 35, "DNAME": 39, "DS": 43, "SSHFP": 44, "RRSIG": 46, "NSEC": 47, "DNSKEY": 48, "TLSA": 52, "SVCB": 64, "HTTPS": 65,
    "SPF": 99, "ANY": 255, "CAA": 257,
}  # fmt: skip
RCODES = {
    0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 6: "YXDOMAIN", 7: "YXRRSET",
    8: "NXRRSET", 9: "NOTAUTH", 10: "NOTZONE",
}  # fmt: skip
_QUERY, _RESPONSE, _WANTED, _TRUNCATED, _IN = 0x0100, 0x8000, 0xF800, 0x0200, 1  # flags: recursion desired; QR and opcode
_HEAD = struct.Struct("!6H")


class Malformed(Exception):
    """Not a DNS message, or not about our question; the text says what is wrong."""


def question(name: str, record: str) -> bytes:
    """A query with id 0. Malformed if the name or the type cannot be asked; names outside ASCII go as IDNA (RFC 3490)."""
    number = TYPES.get(record.upper()) or _generic_type(record)
    labels = [_label(label) for label in name.rstrip(".").split(".")] if name.rstrip(".") else []
    wire = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    if len(wire) > 255:
        raise Malformed(f"{name[:40]!r}... is too long for a name")
    return _HEAD.pack(0, _QUERY, 1, 0, 0, 0) + wire + struct.pack("!HH", number, _IN)


def _label(text: str) -> bytes:
    try:
        label = text.encode("ascii") if text.isascii() else text.encode("idna")
    except UnicodeError:
        label = b""
    if not 0 < len(label) < 64:
        raise Malformed(f"{text[:70]!r} is no label of a name")
    return label


def _generic_type(record: str) -> int:
    """`TYPE1234` (RFC 3597)."""
    digits = record.upper().removeprefix("TYPE")
    if digits == record.upper() or not digits.isdecimal() or not 0 < int(digits) < 1 << 16:
        raise Malformed(f"{record!r} is no record type")
    return int(digits)


def with_id(query: bytes, number: int) -> bytes:
    """The query with an id."""
    return struct.pack("!H", number) + query[2:]


def is_answer(message: bytes, number: int) -> bool:
    """Whether it claims to answer the query with this id: what does not is somebody else's, or an earlier one's."""
    return len(message) >= _HEAD.size and struct.unpack_from("!HH", message)[0] == number and bool(message[2] & 0x80)


def rcode(message: bytes, query: bytes) -> str:
    """The response code of a whole answer to `query`; Malformed if it is none. A truncated one (TC) may end early."""
    if len(message) < _HEAD.size:
        raise Malformed("the answer is too short for DNS")
    _, flags, questions, *counts = _HEAD.unpack_from(message)
    if flags & _WANTED != _RESPONSE:
        raise Malformed("the answer is not a DNS response")
    asked, at = query[_HEAD.size :], _HEAD.size
    if questions == 1 and message[at : at + len(asked)].lower() == asked.lower():
        at += len(asked)
    elif questions or not flags & 0xF:  # some servers leave the question out of errors
        raise Malformed("the answer is to another question")
    if not flags & _TRUNCATED:
        _walk(message, at, sum(counts))
    return RCODES.get(flags & 0xF, f"RCODE{flags & 0xF}")


def _walk(message: bytes, at: int, records: int) -> None:
    """Every record must be there as far as its lengths say."""
    for _ in range(records):
        at = _skip_name(message, at)
        if at + 10 > len(message):
            raise Malformed("the answer's records are cut short")
        at += 10 + struct.unpack_from("!H", message, at + 8)[0]
        if at > len(message):
            raise Malformed("the answer's records are cut short")


def _skip_name(message: bytes, at: int) -> int:
    """Past a name; a pointer ends it and is not followed."""
    while at < len(message):
        length = message[at]
        if length >= 0xC0:
            return at + 2
        if length > 63:
            raise Malformed("the answer holds a name that is none")
        at += 1 + length
        if not length:
            return at
    raise Malformed("the answer's records are cut short")
