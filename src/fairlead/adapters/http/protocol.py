"""One connection: uvicorn's HTTP/1.1, with bounds on everything that a client could make large or slow."""

from __future__ import annotations

import asyncio
import json
import logging
import pwd
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

_QUIET = logging.getLogger("fairlead.http")  # bugs of ours are worth a word on standard error, a client's nonsense is not
_QUIET.setLevel(logging.ERROR)

_AHEAD = 64  # requests that may wait for the answers to those before them
_FRAMING = 4 << 20  # octets of chunked coding and trailers, which the parser keeps, beside a body


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a client may take: sizes in octets, times in seconds, connections at once in all and from one address."""

    connections: int = 512
    each: int = 128
    head: int = 16 << 10
    headers: int = 100
    body: int = 64 << 20
    head_within: float = 10.0  # from the connection, or a request's first octet, to the end of its head
    body_within: float = 60.0
    idle: float = 30.0  # between two requests
    stalled: float = 20.0  # in which not an octet of an answer was taken
    requests: int = 10000  # over one connection
    look: float = 1.0  # between two looks at all this


class _State(ServerState):
    """What uvicorn shares between connections; `Date` as RFC 9110 section 6.6.1 wants it."""

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"date", formatdate(usegmt=True).encode())]

    @default_headers.setter
    def default_headers(self, _: object) -> None:
        pass


class Shared:
    """What the connections to one application have in common."""

    def __init__(self, app: ASGIApp, bounds: Bounds) -> None:
        self.bounds = bounds
        self.state = _State()
        # no proxy headers, no Server header: nobody stands between the socket and us
        self.config = uvicorn.Config(
            app,
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=int(bounds.idle),
        )

    def connection(self, leave: Callable[[], None]) -> Connection:
        """The protocol of a new one; `leave` is called at its end."""
        return Connection(self, leave)


class Connection(HttpToolsProtocol):
    """Refuses what is too large or too slow; knows who connected: over a unix socket the kernel says it."""

    def __init__(self, shared: Shared, leave: Callable[[], None]) -> None:
        super().__init__(shared.config, shared.state, {})
        self.logger, self.access_log = _QUIET, False
        self.timeout_keep_alive = shared.bounds.idle  # type: ignore[assignment]  # seconds, and they may be fractions
        self._bounds = shared.bounds
        self._leave = leave
        self._refused = False
        self._head = self._body = self._framing = self._requests = 0
        self._since: float | None = 0.0  # when what we wait for from the client was begun: a head or a body; None for neither
        self._in_body = False
        self._unsent, self._unsent_since = 0, 0.0
        self._watch: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------------------------------------------------------- its life

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the class above it
        """The client is a user's name and number, or an address and -1."""
        super().connection_made(transport)
        own = transport.get_extra_info("socket")
        if own.family == socket.AF_UNIX:
            _, uid, _ = struct.unpack("iII", own.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            self.client = (_user(uid), uid)
        else:
            peer = transport.get_extra_info("peername")  # None: it is gone again
            self.client = (str(peer[0]) if peer else "", -1)
        self._since = self.loop.time()
        self._watch = self.loop.call_later(self._bounds.look, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)
        self._leave()

    def _look(self) -> None:
        now, left = self.loop.time(), self.transport.get_write_buffer_size()
        self._watch = self.loop.call_later(self._bounds.look, self._look)
        if left < self._unsent or not self._unsent:
            self._unsent_since = now
        self._unsent = left
        if left and now - self._unsent_since > self._bounds.stalled:
            self.transport.abort()
        elif self._since is not None and now - self._since > self._patience():
            self._since = None
            self._refuse(408, "the request took too long to arrive")

    def _patience(self) -> float:
        return self._bounds.body_within if self._in_body else self._bounds.head_within

    # ----------------------------------------------------------------------------------------------------------- a request

    def data_received(self, data: bytes) -> None:
        """Octets of heads and bodies."""
        if self._refused:
            return
        if self._since is None and not self._in_body and self._idle():
            self._since = self.loop.time()  # the first octet of another request
        heading, number, body = not self._in_body, self._requests, self._body
        self._head += len(data) if heading else 0
        super().data_received(data)
        if self._refused or heading == self._in_body:
            return
        if heading and self._head > self._bounds.head:  # of one behind others that are not answered yet, too
            self._refuse(431, f"the head of a request is {self._bounds.head} octets at most")
        elif not heading and number == self._requests:
            self._framing += len(data) - (self._body - body)
            if self._framing > self._bounds.head + min(self._body // 4, _FRAMING):
                self._refuse(413, "the body of a request came in too small pieces, or too much behind its end")

    def on_message_begin(self) -> None:
        """A request's first octet was read."""
        if self._refused:
            raise ConnectionAbortedError  # the parser looks no further
        super().on_message_begin()
        self._requests += 1

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of the head; what follows a body (RFC 9112 section 7.1.2) is nothing that anybody here reads."""
        if not self._in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Refuse what is too large, or hand the request to the application."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        said = [value for name, value in self.headers if name == b"content-length"]
        if size > self._bounds.head or len(self.headers) > self._bounds.headers:
            self._refuse(431, f"the head of a request is {self._bounds.head} octets and {self._bounds.headers} headers at most")
        elif said and said[0].isdigit() and int(said[0]) > self._bounds.body:
            self._refuse(413, f"the body of a request is {self._bounds.body} octets at most")
        elif len(self.pipeline) >= _AHEAD:
            self._refuse(429, f"{_AHEAD} requests may wait for an answer")
        if self._refused:
            return
        self._head = self._body = self._framing = 0
        self._in_body, self._since = True, self.loop.time()
        super().on_headers_complete()
        if self._requests >= self._bounds.requests:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        if self._refused:
            return
        self._body += len(body)
        if self._body > self._bounds.body:
            self._refuse(413, f"the body of a request is {self._bounds.body} octets at most")
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there: the next octet is that of another."""
        self._in_body, self._since = False, None
        if not self._refused:
            super().on_message_complete()

    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    # ----------------------------------------------------------------------------------------------------------- refusals

    def send_400_response(self, msg: str) -> None:
        """What the parser could not read."""
        self._refuse(400, msg.rstrip(".").lower())

    def _refuse(self, code: int, says: str) -> None:
        """Answer, unless an answer is under way, and hang up."""
        if self._refused:
            return
        self._refused = True
        if self.cycle is not None and not self.cycle.response_complete:
            if self.cycle.response_started or self.pipeline:
                self.transport.abort()
                return
            self.cycle.disconnected = True  # the application is not to answer too
            self.cycle.message_event.set()
        if not self.transport.is_closing():
            self.transport.write(plain(code, says))
            self.transport.close()


def plain(code: int, says: str) -> bytes:
    """A whole answer, after which the connection ends."""
    body = json.dumps({"error": says}).encode()
    head = [
        f"HTTP/1.1 {code} {HTTPStatus(code).phrase}",
        f"date: {formatdate(usegmt=True)}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "connection: close",
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
