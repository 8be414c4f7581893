"""Messages that wait until a socket has room for them. Bounded: what comes when it is full is dropped and counted."""

from __future__ import annotations

import asyncio
import collections
import errno
import fcntl
import os
import socket
import time
from collections.abc import Callable

from fairlead.model import SinkStatus

ROOM = 10000  # messages
AGAIN_AFTER = 1.0  # seconds to the first new attempt, twice as long after each further failure, up to
AGAIN_AT_LAST = 30.0


class Outbox:
    """Sends what it is given over one socket, in order: datagrams, or a stream of framed messages.

    `connect` gives a non-blocking socket that is connected or on its way; OSError where it cannot. `tell` is told of trouble when
    it begins, with a sentence, and when it is over, with None. All in the event loop; before there is one, a message is sent at
    once or not at all.
    """

    def __init__(
        self, name: str, connect: Callable[[], socket.socket], tell: Callable[[str | None], None], *, files: bool = False
    ) -> None:
        self._name = name
        self._connect = connect
        self._tell = tell
        self._files = files  # the other side takes what is too long for a datagram as a file
        self._waiting: collections.deque[bytes] = collections.deque()
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watched = False
        self._timer: asyncio.TimerHandle | None = None
        self._pause = AGAIN_AFTER
        self._part = 0  # octets of the first message that a stream has taken
        self._troubled = False
        self.sent = self.dropped = self.refused = 0
        self._error, self._error_at = "", 0.0

    def put(self, message: bytes) -> None:
        """Send it, now if there is room."""
        if len(self._waiting) >= ROOM:
            self.dropped += 1
            self._trouble(self._error if self._troubled else f"it takes nothing: {ROOM} messages wait for it")
            return
        self._waiting.append(message)
        if not self._watched and self._timer is None:
            self._flush()

    def status(self) -> SinkStatus:
        """How it fares."""
        return SinkStatus(
            self._name, self.sent, self.dropped, self.refused, len(self._waiting), 0, self._error, self._error_at, self._troubled
        )  # fmt: skip

    async def close(self, within: float) -> None:
        """Wait for what waits, for so many seconds at most, and close; what is left is dropped."""
        deadline = time.monotonic() + within
        while self._waiting and self._timer is None and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        self._hang_up()
        if self._timer is not None:
            self._timer.cancel()
        self.dropped += len(self._waiting)
        self._waiting.clear()

    # ------------------------------------------------------------------------------------------------------------------ sending

    def _flush(self) -> None:
        """Send while there is room; then wait for more, or for better times."""
        self._timer = None
        try:
            if self._socket is None:
                self._socket = self._connect()
                self._listen(self._socket)
            while self._waiting:
                self._send(self._socket, self._waiting[0])
        except (BlockingIOError, InterruptedError):
            self._watch(on=True)
            return
        except OSError as e:
            self._fail(e)
            return
        self._watch(on=False)

    def _send(self, to: socket.socket, message: bytes) -> None:
        stream = to.type == socket.SOCK_STREAM
        try:
            count = to.send(message[self._part :])
        except OSError as e:
            if e.errno != errno.EMSGSIZE or stream:
                raise
            count = self._as_file(to, message)
        if stream and self._part + count < len(message):
            self._part += count
            return
        self._part = 0
        self._waiting.popleft()
        self.sent += count > 0
        self._well()

    def _as_file(self, to: socket.socket, message: bytes) -> int:
        """What is too long for a datagram, as a sealed file; 0 where nobody takes those."""
        if not self._files:
            self.refused += 1
            return 0
        file = os.memfd_create("fairlead-entry", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        try:
            os.write(file, message)
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL)
            socket.send_fds(to, [b""], [file])
        finally:
            os.close(file)
        return len(message)

    def _well(self) -> None:
        self._pause = AGAIN_AFTER
        if self._troubled and len(self._waiting) <= ROOM // 2:  # one that is merely slow is not well and troubled by turns
            self._troubled = False
            self._soon(None)

    def _fail(self, error: OSError) -> None:
        """Try again later, over a new connection; the message that was on its way goes again, whole."""
        datagrams = self._socket is not None and self._socket.type == socket.SOCK_DGRAM
        if datagrams and error.errno == errno.ECONNREFUSED and self.sent:  # says so of the message before
            self.sent, self.dropped = self.sent - 1, self.dropped + 1
        self._hang_up()
        says = error.strerror or str(error)
        loop = self._running()
        if loop is None:
            self._error, self._error_at = says, time.time()
            self.dropped += len(self._waiting)
            self._waiting.clear()
            return
        self._timer = loop.call_later(self._pause, self._flush)
        self._pause = min(self._pause * 2, AGAIN_AT_LAST)
        self._trouble(says)

    def _trouble(self, says: str) -> None:
        self._error, self._error_at = says, time.time()
        if not self._troubled:
            self._troubled = True
            self._soon(says)

    def _soon(self, says: str | None) -> None:
        """Tell, but not from within: what is told becomes an event, and comes back here as a message."""
        if (loop := self._running()) is not None:
            loop.call_soon(self._tell, says)

    def _listen(self, to: socket.socket) -> None:
        """A stream's other end that goes is noticed at once: the next message would vanish in a closed connection."""
        if to.type == socket.SOCK_STREAM and (loop := self._running()) is not None:
            loop.add_reader(to, self._heard)

    def _heard(self) -> None:
        assert self._socket is not None
        try:
            if self._socket.recv(4096):
                return
            error = OSError(errno.ECONNRESET, "the connection was closed")
        except (BlockingIOError, InterruptedError):
            return
        except OSError as e:
            error = e
        if self._waiting:
            self._fail(error)
        else:  # the next message opens another
            self._hang_up()

    def _watch(self, *, on: bool) -> None:
        loop = self._running()
        if loop is None or self._socket is None or on == self._watched:
            return
        self._watched = on
        if on:
            loop.add_writer(self._socket, self._flush)
        else:
            loop.remove_writer(self._socket)

    def _running(self) -> asyncio.AbstractEventLoop | None:
        if self._loop is None:
            try:
                self._loop = asyncio.get_running_loop()
            except RuntimeError:
                return None
        return self._loop

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._watch(on=False)
            if self._loop is not None and self._socket.type == socket.SOCK_STREAM:
                self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        self._part = 0
