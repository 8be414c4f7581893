"""DNS messages: what is asked, and that no answer whatever does more than be refused."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.adapters.probes.dns_wire import Malformed, is_answer, question, rcode, with_id

QUERY = question("www.example.org", "AAAA")


def test_a_question_is_as_rfc_1035_has_it() -> None:
    """Header, labels, type, class."""
    assert QUERY[:12] == bytes.fromhex("000001000001000000000000")
    assert QUERY[12:] == b"\x03www\x07example\x03org\0\0\x1c\0\x01"
    assert question(".", "NS")[12:] == b"\0\0\x02\0\x01"
    assert question("b\u00fccher.example", "A")[12:].startswith(b"\x0dxn--bcher-kva\x07example\0")
    assert question("a", "TYPE4711")[-4:-2] == struct.pack("!H", 4711)
    assert with_id(QUERY, 0x1234)[:2] == b"\x12\x34"


@pytest.mark.parametrize(("name", "record"), [("a" * 64, "A"), ("a..b", "A"), (".".join(["a" * 63] * 5), "A"), ("a", "QUUX")])
def test_what_cannot_be_asked(name: str, record: str) -> None:
    """Labels of 63 octets, names of 255, known types."""
    with pytest.raises(Malformed):
        question(name, record)


def response(flags: int = 0x8180, asked: bytes = QUERY[12:], records: bytes = b"", count: int = 0) -> bytes:
    return struct.pack("!6H", 0, flags, bool(asked), count, 0, 0) + asked + records


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (response(), "NOERROR"),
        (response(0x8183), "NXDOMAIN"),
        (response(0x818B), "RCODE11"),
        (response(0x8185, b""), "REFUSED"),
        (response(asked=QUERY[12:].upper()), "NOERROR"),
        (response(records=b"\xc0\x0c\0\x1c\0\x01\0\0\0\0\0\x02ab" * 3, count=3), "NOERROR"),
        (response(0x8380, records=b"\xc0", count=9), "NOERROR"),
    ],
)
def test_whole_answers(message: bytes, code: str) -> None:
    """Codes by name; the question's case is the server's affair; a truncated answer may end early."""
    assert rcode(message, QUERY) == code


@pytest.mark.parametrize(
    "message",
    [
        b"",
        QUERY,
        response(0x9180),
        response(asked=b""),
        response(asked=b"\x03www\0\0\x1c\0\x01"),
        response(count=1),
        response(records=b"\x40a", count=1),
        response(records=b"\xc0\x0c\0\x1c\0\x01\0\0\0\0\0\x03ab", count=1),
    ],
)
def test_what_is_no_answer(message: bytes) -> None:
    """Too short, no response, another opcode, no question, another question, records that are not there."""
    with pytest.raises(Malformed):
        rcode(message, QUERY)


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=80).map(lambda tail: response(records=tail, count=len(tail) % 7))))
def test_garbage_is_refused_or_read(message: bytes) -> None:
    """Nothing that comes can do more than raise Malformed."""
    is_answer(message, 0)
    with contextlib.suppress(Malformed):
        assert rcode(message, QUERY)
