"""The listening end of the API: HTTP/1.1 on a unix socket (mode 0660, in a directory of mode 0750 if that had to be made)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import pwd
import socket
import struct
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

SOCKET_MODE = 0o660
DIRECTORY_MODE = 0o750
BACKLOG = 128
ASK_WITHIN = 0.05  # seconds from a client's connection to its question, when a restart is due


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
