"""HTTP/1.1: one request on a connection of its own, and the answer's status, end and body."""

from __future__ import annotations

from ipaddress import IPv6Address

import httptools

from fairlead.adapters.probes.attempt import Ask, Ended
from fairlead.adapters.probes.engine import Engine
from fairlead.adapters.probes.patterns import pattern
from fairlead.adapters.probes.tcp import Connection
from fairlead.adapters.probes.words import Failed
from fairlead.model import Address, Check

BODY_LIMIT = 64 << 10  # bytes of a body that are looked at; an answer that is longer counts as whole
HEAD_LIMIT = 64 << 10  # bytes of status line and headers
_PORTS = {"http": 80, "https": 443}
_BREAKS = {13: None, 10: None, 0: None}


class Answer:
    """Judges an answer while it comes. `says` is set when nothing more needs to be read; Failed is raised if it is not good."""

    __slots__ = ("_body", "_check", "_counted", "_head", "_headers_done", "_parser", "_size", "_status", "_whole", "says")

    def __init__(self, check: Check) -> None:
        self._check = check
        self._status = 0
        self._headers_done = self._whole = False
        self._counted = False  # the body's end is told by its length or by chunks
        self._head = self._size = 0
        self._body: list[bytes] = []
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self.says = ""

    def feed(self, data: bytes) -> None:
        """The next piece."""
        if not self._headers_done:
            self._head += len(data)
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._enough():
                raise Failed("the answer is not HTTP") from None
        if self._enough():
            self._judge()
        elif self._head > HEAD_LIMIT and not self._headers_done:
            raise Failed("the answer's headers do not end")

    def end(self) -> None:
        """The connection has ended."""
        if self._headers_done and not self._counted:  # a body that ends with the connection (RFC 9112 section 6.3)
            self._judge()
        elif self._headers_done:
            raise Failed(f"{self._status}, but its body was cut short at {self._size} bytes")
        else:
            raise Failed("closed without an answer")

    def drop(self) -> None:
        """The parser knows its owner: without this only the garbage collector would free them."""
        self._parser = None

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by httptools."""
        lowered = name.lower()
        if lowered == b"content-length" or (lowered == b"transfer-encoding" and b"chunked" in value.lower()):
            self._counted = True

    def on_headers_complete(self) -> None:
        """Called by httptools."""
        assert self._parser is not None
        self._status = self._parser.get_status_code()
        self._headers_done = self._status >= 200  # 1xx are no answers yet (RFC 9110 section 15.2)

    def on_body(self, body: bytes) -> None:
        """Called by httptools."""
        if self._check.body and self._size < BODY_LIMIT:
            self._body.append(body)
        self._size += len(body)

    def on_message_complete(self) -> None:
        """Called by httptools."""
        self._whole = self._headers_done

    def _enough(self) -> bool:
        if not self._headers_done:
            return False
        return self._whole or self._size >= BODY_LIMIT or self._check.method == "HEAD" or not self._accepted()

    def _accepted(self) -> bool:
        return not self._check.expect or self._status in self._check.expect

    def _judge(self) -> None:
        if not self._accepted():
            raise Failed(f"{self._status}")
        if self._check.body and not pattern(self._check.body).found_in(b"".join(self._body)[:BODY_LIMIT]):
            raise Failed(f"{self._status}, but nothing in its body matches {self._check.body!r}")
        self.says = str(self._status)


class Http(Connection):
    """Sends the request as soon as the connection stands."""

    __slots__ = ("answer",)

    def __init__(self, engine: Engine, ask: Ask, ended: Ended) -> None:
        super().__init__(engine, ask, ended)
        self.answer = Answer(ask.check)

    def connected(self) -> None:
        """Ask."""
        self.send(self.ask.question(request))

    def received(self, data: bytes) -> None:
        """Judge."""
        self.answer.feed(data)
        self._tell()

    def finished(self) -> None:
        """Judge by what there is."""
        self.answer.end()
        self._tell()

    def _tell(self) -> None:
        if self.answer.says:
            self.passed(self.answer.says)

    def release(self) -> None:
        """Close the socket."""
        super().release()
        self.answer.drop()


def request(check: Check, vip: Address) -> bytes:
    """The bytes that ask. The check's headers take the place of ours; line breaks in them are left out."""
    headers = {
        "host": ("Host", check.host or _authority(check, vip)),
        "user-agent": ("User-Agent", "fairlead"),
        "accept": ("Accept", "*/*"),
        "connection": ("Connection", "close"),
    }
    own = {name.lower() for name, _ in check.headers}
    chosen = [pair for lowered, pair in headers.items() if lowered not in own]
    lines = [f"{check.method} {check.path} HTTP/1.1", *(f"{name}: {value}" for name, value in (*chosen, *check.headers))]
    return ("\r\n".join(line.translate(_BREAKS) for line in lines) + "\r\n\r\n").encode("latin-1", "replace")


def _authority(check: Check, vip: Address) -> str:
    """The VIP as a Host header names it (RFC 9110 section 7.2)."""
    host = f"[{vip}]" if isinstance(vip, IPv6Address) else str(vip)
    return host if check.port == _PORTS.get(check.type) else f"{host}:{check.port}"
