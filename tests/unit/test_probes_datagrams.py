"""Checks over UDP, and of DNS over both: good answers, bad ones, floods and silence."""

from __future__ import annotations

import asyncio
import os
import struct
from dataclasses import replace
from typing import Any

import pytest

from fairlead.adapters.probes import probe
from fairlead.model import Check, ProbeResult
from tests.unit.probing import LOOPBACKS, inside, run, space, target

__all__ = ["space"]
pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="makes a network namespace")]


class Says(asyncio.DatagramProtocol):
    """Answers every datagram by what a function makes of it, maybe several times."""

    def __init__(self, answers: Any) -> None:
        self._answers = answers

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        for answer in self._answers(data):
            self._transport.sendto(answer, addr)


def said(space: str, answers: Any, check: Check, vip: str = "127.0.0.1") -> ProbeResult:
    async def story() -> ProbeResult:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: Says(answers), (vip, 0))
        result = await probe(target(replace(check, port=transport.get_extra_info("sockname")[1]), vip))
        transport.close()
        return result

    result = inside(space, story)
    assert isinstance(result, ProbeResult)
    return result


@pytest.mark.parametrize("vip", LOOPBACKS)
def test_udp(space: str, vip: str) -> None:
    """The payload arrives as it is, and the answer is searched as Latin-1."""
    check = Check("udp", 0, payload=b"\0ping\xff", answer="^\xff\\w+\0$", timeout=0.5)
    result = said(space, lambda data: [data[::-1]], check, vip)
    assert (result.passed, result.says.startswith("answered after ")) == (True, True), result.says


@pytest.mark.parametrize("vip", LOOPBACKS)
@pytest.mark.parametrize(("kind", "method"), [("udp", "GET"), ("dns", "udp")])
def test_udp_ports_that_are_closed(space: str, vip: str, kind: Any, method: str) -> None:
    """Port unreachable is heard."""
    result = run(space, Check(kind, 1, method=method, timeout=0.5), vip)
    assert (result.passed, result.says.startswith("port unreachable after ")) == (False, True), result.says


def test_udp_answers_that_do_not_match(space: str) -> None:
    """They are passed over until the right one comes, or time is up; a flood of them is bounded."""
    check = Check("udp", 0, payload=b"x", answer="good", timeout=0.3)
    assert said(space, lambda _: [b"bad", b"good"], check).passed
    assert said(space, lambda _: [b"bad"] * 500, check).says == "answers, but not as expected, within 0.3 s"
    assert said(space, lambda _: [], check).says == "no answer within 0.3 s"


# ---------------------------------------------------------------------------------------------------------------------------- DNS


def answer(query: bytes, code: int = 0, records: bytes = b"", count: int = 0) -> bytes:
    return query[:2] + struct.pack("!5H", 0x8180 | code, 1, count, 0, 0) + query[12:] + records


A_RECORD = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\0\x01"


@pytest.mark.parametrize(
    ("answers", "rcode", "passed", "says"),
    [
        (lambda q: [answer(q, 0, A_RECORD, 1)], "", True, "NOERROR after"),
        (lambda q: [answer(q, 3)], "", True, "NXDOMAIN after"),
        (lambda q: [answer(q, 3)], "NXDOMAIN", True, "NXDOMAIN after"),
        (lambda q: [answer(q, 2)], "NOERROR", False, "SERVFAIL after"),
        (lambda q: [b"\0\0" + answer(q)[2:], answer(q)], "NOERROR", True, "NOERROR after"),
        (lambda q: [answer(q, 0, A_RECORD[:-2], 1)], "", False, "the answer's records are cut short after"),
        (lambda q: [answer(q[:12] + b"\x05wrong\0\0\x01\0\x01")], "", False, "the answer is to another question after"),
        (lambda q: [q], "", False, "answers, but not to what was asked, within"),
        (lambda _: [b"junk"], "", False, "answers, but not to what was asked, within"),
    ],
)
def test_dns_over_udp(space: str, answers: Any, rcode: str, passed: bool, says: str) -> None:
    """Any whole answer to the question passes unless a code is expected."""
    result = said(space, answers, Check("dns", 0, method="udp", rcode=rcode, timeout=0.3))
    assert (result.passed, result.says.startswith(says)) == (passed, True), result.says


@pytest.mark.parametrize("vip", LOOPBACKS)
def test_dns_over_tcp(space: str, vip: str) -> None:
    """An answer in two pieces is one answer; another id is none."""

    async def story() -> list[str]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            query = await reader.readexactly(length)
            whole = answer(query) if b"good" in query else b"\0\0" + answer(query)[2:] if b"bad" in query else b""
            message = struct.pack("!H", len(whole)) + whole if whole else b""
            writer.write(message[:5])
            await writer.drain()
            await asyncio.sleep(0.02)
            writer.write(message[5:])
            writer.close()

        server = await asyncio.start_server(serve, vip, 0)
        port = server.sockets[0].getsockname()[1]
        said = [
            await probe(target(Check("dns", port, method="tcp", name=name, timeout=0.5), vip)) for name in ("good", "bad", "x")
        ]
        server.close()
        return [r.says.rpartition(" after ")[0] for r in said]

    assert inside(space, story) == ["NOERROR", "the answer is not to what was asked", "closed without a whole answer"]
