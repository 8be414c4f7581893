"""DNS over UDP and TCP (RFC 1035, 7766): any whole answer to the question passes, or only those with the expected code."""

from __future__ import annotations

import secrets
import struct

from fairlead.adapters.probes.attempt import Ask, Ended
from fairlead.adapters.probes.dns_wire import Malformed, is_answer, question, rcode, with_id
from fairlead.adapters.probes.engine import Engine
from fairlead.adapters.probes.tcp import Connection
from fairlead.adapters.probes.udp import Datagram
from fairlead.adapters.probes.words import Failed
from fairlead.model import Address, Check


def ask_for(check: Check, _: Address) -> bytes:
    """The query, with id 0; Failed if it cannot be asked."""
    try:
        return question(check.name, check.record)
    except Malformed as e:
        raise Failed(str(e)) from None


def judged(check: Check, message: bytes, query: bytes) -> str:
    """The answer's code, if the check takes it; else Failed."""
    try:
        code = rcode(message, query)
    except Malformed as e:
        raise Failed(str(e)) from None
    if check.rcode and code != check.rcode.upper():
        raise Failed(f"{code}")
    return code


class DnsUdp(Datagram):
    """Answers with another id are passed over: they may be forged, or late."""

    __slots__ = ("_id",)

    def __init__(self, engine: Engine, ask: Ask, ended: Ended) -> None:
        super().__init__(engine, ask, ended)
        self._id = secrets.randbits(16)

    def question(self) -> bytes:
        """The query."""
        return with_id(self.ask.question(ask_for), self._id)

    def received(self, data: bytes) -> None:
        """Judge."""
        self.heard("answers, but not to what was asked,")
        if is_answer(data, self._id):
            self.passed(judged(self.ask.check, data, self.question()))


class DnsTcp(Connection):
    """One message each way, both behind their length."""

    __slots__ = ("_data", "_id")

    def __init__(self, engine: Engine, ask: Ask, ended: Ended) -> None:
        super().__init__(engine, ask, ended)
        self._id = secrets.randbits(16)
        self._data = b""

    def connected(self) -> None:
        """Ask."""
        query = with_id(self.ask.question(ask_for), self._id)
        self.send(struct.pack("!H", len(query)) + query)

    def received(self, data: bytes) -> None:
        """Judge once the message is whole; its length of 16 bits bounds it."""
        self._data += data
        if len(self._data) < 2 or len(self._data) < 2 + struct.unpack_from("!H", self._data)[0]:
            return
        message = self._data[2 : 2 + struct.unpack_from("!H", self._data)[0]]
        if not is_answer(message, self._id):
            raise Failed("the answer is not to what was asked")
        self.passed(judged(self.ask.check, message, self.ask.question(ask_for)))

    def finished(self) -> None:
        """Closed too early."""
        raise Failed("closed without a whole answer")


def dns(engine: Engine, ask: Ask, ended: Ended) -> DnsUdp | DnsTcp:
    """The check's `method` says which."""
    return (DnsTcp if ask.check.method.lower() == "tcp" else DnsUdp)(engine, ask, ended)
