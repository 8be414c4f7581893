"""The daemon's API: HTTP/1.1 with JSON on a unix socket (mode 0660, in a directory of mode 0750 if that had to be made).

    GET  /v1/status    model.Status, field for field
    GET  /v1/events    the last thousand events, oldest first
    POST /v1/reload    read the configuration again; 409 with the problems if it is not usable
    POST /v1/restart   hand over to what is installed now, in the same process; 409 if that could not take over
    POST /v1/confirm   keep running: answers to `--confirm`; 409 if nothing waits for it
    POST /v1/reattach?interface=NAME   put the programs on a NIC, or on all members of a bond, anew; 409 if it is none of ours
    GET  /v1/flows?backend=&service=   the live entries of the flow table by service and backend
    POST /v1/plan?path=&max-moved=     body: a configuration; model.Change, what it would do. 400 with its problems if it is bad
    POST /v1/apply?path=&max-moved=    the same, and work by it; 409 with model.Change if it moves more than `max-moved` percent
    POST /v1/override?backend=&service=&state=&weight=   over the configuration, for one service or all
    POST /v1/clear?backend=&service=   take that back; without a backend all of it
    GET  /v1/bgp?peer=                 model.BgpStatus, all peers or one
    POST /v1/drain, /v1/undrain        send this balancer away from its routers, and take that back

What is behind each of them is handed in. Errors are `{"error": text}`. Who asks is the user of the connecting process; root may
say for whom it asks in the header `fairlead-user`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import pathlib
import pwd
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fairlead.errors import ConfigError, FairleadError, Refused
from fairlead.model import Status

SOCKET_MODE = 0o660
DIRECTORY_MODE = 0o750
BACKLOG = 128
ASK_WITHIN = 0.05  # seconds from a client's connection to its question, when a restart is due
LARGEST_BODY = 64 << 20  # bytes
_LONGEST_NAME = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """One request: the words behind its `?`, its body, and a name for who asks."""

    words: Mapping[str, str]
    body: str
    who: str


Call = Callable[[Question], Awaitable[object]]


@dataclasses.dataclass(frozen=True, slots=True)
class Handlers:
    """What the API serves. All but the first two answer with sentences, or raise FairleadError.

    `calls` are by method and path, as in "POST /v1/plan": they answer with any value that JSON has a form for.
    """

    status: Callable[[], Awaitable[Status]]
    events: Callable[[], list[dict[str, object]]]
    reload: Callable[[], Awaitable[str]]
    confirm: Callable[[], Awaitable[str]]
    reattach: Callable[[str], Awaitable[str]]
    restart: Callable[[], Awaitable[str]]
    calls: Mapping[str, Call] = dataclasses.field(default_factory=dict)


def encode(value: object) -> bytes:
    """JSON of dataclasses, mappings and sequences."""
    return json.dumps(value, default=_plain, separators=(",", ":")).encode()


def _plain(value: Any) -> object:
    if dataclasses.is_dataclass(value):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return str(value)


def _answer(value: object, code: int = 200) -> Response:
    return Response(encode(value), code, media_type="application/json")


async def _said(deed: Awaitable[str]) -> Response:
    try:
        return _answer({"says": await deed})
    except FairleadError as e:
        return _answer({"error": str(e)}, 409)


def application(handlers: Handlers) -> Starlette:
    """The routes."""

    async def status(_: Request) -> Response:
        found = await handlers.status()
        return Response(await asyncio.to_thread(encode, found), media_type="application/json")

    async def events(_: Request) -> Response:
        return _answer(handlers.events())

    def verb(act: Callable[[], Awaitable[str]]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(_: Request) -> Response:
            return await _said(act())

        return answer

    async def reattach(request: Request) -> Response:
        return await _said(handlers.reattach(request.query_params.get("interface", "")))

    return Starlette(
        routes=[
            Route("/v1/status", status),
            Route("/v1/events", events),
            Route("/v1/reload", verb(handlers.reload), methods=["POST"]),
            Route("/v1/restart", verb(handlers.restart), methods=["POST"]),
            Route("/v1/confirm", verb(handlers.confirm), methods=["POST"]),
            Route("/v1/reattach", reattach, methods=["POST"]),
            *(Route(name.split()[1], _called(call), methods=[name.split()[0]]) for name, call in handlers.calls.items()),
        ],
        exception_handlers={404: _no_such, 405: _no_such, 500: _broken},
    )


def _called(call: Call) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            body = await _body(request)
            found = await call(Question(dict(request.query_params), body, _who(request)))
        except ConfigError as e:
            return _answer({"error": str(e)}, 400)
        except FairleadError as e:
            return _answer({"error": str(e)}, 409)
        code = 409 if getattr(found, "refused", "") else 200
        return Response(await asyncio.to_thread(encode, found), code, media_type="application/json")

    return answer


async def _body(request: Request) -> str:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > LARGEST_BODY:
            raise Refused([f"the body is larger than {LARGEST_BODY >> 20} MiB"])
        parts.append(part)
    return b"".join(parts).decode("utf-8", "surrogateescape")  # the parser says where it is not UTF-8


def _who(request: Request) -> str:
    name, uid = request.client or ("somebody", -1)
    says = request.headers.get("fairlead-user", "")
    return f"{says} ({name})" if uid == 0 and says.isprintable() and 0 < len(says) <= _LONGEST_NAME else name


async def _no_such(request: Request, _: Exception) -> Response:
    return _answer({"error": f"there is no {request.method} {request.url.path}"}, 404)


async def _broken(_: Request, error: Exception) -> Response:
    return _answer({"error": f"{type(error).__name__}: {error}"}, 500)


class _Peered(HttpToolsProtocol):
    """Knows who connected: of a unix socket the kernel says it (SO_PEERCRED, unix(7))."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the class above it
        """The client's address is the user's name and number."""
        super().connection_made(transport)
        own = transport.get_extra_info("socket")
        _, uid, _ = struct.unpack("3i", own.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        self.client = (_user(uid), uid)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


class _Embedded(uvicorn.Server):
    """A uvicorn server inside the daemon's event loop; signals are the daemon's."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.settled = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say when it is decided."""
        try:
            await super().startup(sockets)
        finally:
            self.settled.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class Server:
    """Serves an application on a unix socket until it is closed.

    `inherited` is what `keep` of a run before gave, in this process: its clients have waited in the queue.
    """

    def __init__(self, path: str, app: Starlette, inherited: int = -1) -> None:
        self._path = pathlib.Path(path)
        self._inherited = inherited
        self._kept = False
        self._listening: socket.socket | None = None
        # no proxy headers, no Server header: nobody stands between the socket and us
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            http=_Peered,
            timeout_graceful_shutdown=1,
        )
        self._server = _Embedded(config)
        self._task: asyncio.Task[None] | None = None
        self._inode = 0

    async def start(self) -> None:
        """Bind and serve; OSError where the path cannot be used. A socket file that nobody listens on is replaced."""
        self._listening = listening = self._bind()
        self._inode = self._path.stat().st_ino
        self._task = asyncio.create_task(self._server.serve(sockets=[listening]))
        await self._server.settled.wait()

    async def close(self) -> None:
        """Stop serving and remove the socket file, unless somebody has put another in its place."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        with contextlib.suppress(OSError):
            if not self._kept and self._path.stat().st_ino == self._inode:
                self._path.unlink()

    async def keep(self) -> int:
        """A second descriptor of the listening socket: whoever asks from now on waits for the one who serves it next.

        Who is in already has a moment to ask: closed with an unread question, a connection would be reset.
        """
        assert self._listening is not None
        self._kept = True
        kept = os.dup(self._listening.fileno())
        for server in self._server.servers:
            server.close()
        await asyncio.sleep(ASK_WITHIN)
        return kept

    def _bind(self) -> socket.socket:
        if self._inherited >= 0:
            listening = socket.socket(fileno=self._inherited)
            listening.setblocking(False)
            if self._path.is_socket():
                return listening
            listening.close()  # somebody removed the path: nobody can come in by it any more
        if not self._path.parent.exists():
            self._path.parent.mkdir(mode=DIRECTORY_MODE, parents=True)
        if self._path.is_socket():
            self._path.unlink()  # the daemon holds its instance locks: whoever made it is gone
        listening = socket.socket(socket.AF_UNIX)
        before = os.umask(0o777 ^ SOCKET_MODE)  # before it exists: there is no moment in which others could connect
        try:
            listening.bind(str(self._path))
        finally:
            os.umask(before)
        listening.listen(BACKLOG)
        listening.setblocking(False)
        return listening
