"""TCP: a connection that is taken is the answer; closed by a reset. What speaks over connections builds on it."""

from __future__ import annotations

import errno
import socket

from fairlead.adapters.probes.attempt import Ask, Ended, SocketAttempt
from fairlead.adapters.probes.engine import BROKEN, CLOSING, READABLE, WRITABLE, Engine

CHUNK = 64 << 10  # bytes


class Connection(SocketAttempt):
    """What a check does with a connection: `connected` when it stands, `received` for each piece, `finished` at its end."""

    __slots__ = ("stands",)
    kind = socket.SOCK_STREAM

    def __init__(self, engine: Engine, ask: Ask, ended: Ended) -> None:
        super().__init__(engine, ask, ended)
        self.stands = False

    def go_on(self, mask: int) -> None:
        """From the engine, edge-triggered: all that has come must be read."""
        if not self.stands:
            if not mask & (WRITABLE | BROKEN):
                return
            self._require_connection()
            self.stands = True
            self.heard("connected, but no answer")
            self.connected()
        if mask & (READABLE | CLOSING | BROKEN):
            self._read(bool(mask & (CLOSING | BROKEN)))

    def _require_connection(self) -> None:
        assert self.socket is not None
        error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, "")

    def _read(self, closing: bool) -> None:
        """A shorter piece than asked for is the last one there is, but for the end itself. `received` says when it is enough."""
        while self.socket is not None:
            data = self.socket.recv(CHUNK)
            if not data:
                self.finished()
                return
            self.received(data)
            if len(data) < CHUNK and not closing:
                return

    def send(self, data: bytes) -> None:
        """Requests are far smaller than a socket's buffer: what does not fit into one was not taken."""
        assert self.socket is not None
        if self.socket.send(data) < len(data):
            raise OSError(errno.ENOBUFS, "")

    def connected(self) -> None:
        """The connection stands."""
        self.passed("connected")

    def received(self, data: bytes) -> None:
        """A piece of what the server says."""

    def finished(self) -> None:
        """The server has said all that it will say."""
