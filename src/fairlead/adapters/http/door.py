"""Where connections come in: counted from the first moment, TLS handshakes included, and turned away when there are too many."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import socket
import ssl
from collections.abc import Callable
from ipaddress import ip_address, ip_network

from fairlead.adapters.http.protocol import Shared, plain

_HANDSHAKE_WITHIN, _GOODBYE_WITHIN = 10.0, 2.0  # seconds, of TLS
_UNHEARD = 30_000  # milliseconds after which a client that acknowledges nothing is gone: TCP_USER_TIMEOUT
_REST = 0.2  # seconds without accepting, when the machine is short of something


class Door:
    """Lets clients in on any number of listening sockets; `context` says which TLS they are met with, at that moment."""

    def __init__(self, shared: Shared, context: Callable[[], ssl.SSLContext | None] = lambda: None) -> None:
        self._shared = shared
        self._context = context
        self._listening: set[socket.socket] = set()
        self._inside: collections.Counter[str] = collections.Counter()
        self._greeting: set[asyncio.Task[None]] = set()
        self.turned_away = 0

    def open(self, listening: socket.socket) -> None:
        """Let in who comes by this one. It must not block."""
        self._listening.add(listening)
        asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def shut(self, listening: socket.socket) -> None:
        """Let nobody in by this one any more; the socket stays open, and who comes waits in its queue."""
        self._listening.discard(listening)
        asyncio.get_running_loop().remove_reader(listening)

    async def close(self, within: float) -> None:
        """Nobody comes in any more; who is in may finish within so many seconds."""
        for listening in list(self._listening):
            self.shut(listening)
        for task in list(self._greeting):
            task.cancel()
        state = self._shared.state
        for each in list(state.connections):
            each.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while state.connections or state.tasks:
                    await asyncio.sleep(0.01)
        for task in list(state.tasks):
            task.cancel()
        for each in list(state.connections):
            each.transport.abort()
        await asyncio.gather(*state.tasks, *self._greeting, return_exceptions=True)

    def _accept(self, listening: socket.socket) -> None:
        """One client in each turn of the loop: a flood of them leaves it time for all else. Nobody who is in can be lost."""
        try:
            came, peer = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):  # it hung up again
            return
        except OSError:  # there are no descriptors left, most likely: who is in will leave
            loop = asyncio.get_running_loop()
            loop.remove_reader(listening)
            loop.call_later(_REST, lambda: self.open(listening) if listening in self._listening else None)
            return
        came.setblocking(False)
        who = _network(str(peer[0])) if came.family != socket.AF_UNIX else ""
        if self._full(who):
            self._turn_away(came)
            return
        leave = self._ticket(who)
        task = asyncio.get_running_loop().create_task(self._greet(came, leave))
        self._greeting.add(task)
        task.add_done_callback(lambda done: self._greeted(done, came, leave))

    def _greeted(self, done: asyncio.Task[None], came: socket.socket, leave: Callable[[], None]) -> None:
        self._greeting.discard(done)
        if done.cancelled():  # before it began, maybe
            leave()
            came.close()

    def _full(self, who: str) -> bool:
        bounds = self._shared.bounds
        return self._inside.total() >= bounds.connections or (bool(who) and self._inside[who] >= bounds.each)

    def _turn_away(self, came: socket.socket) -> None:
        self.turned_away += 1
        with came, contextlib.suppress(OSError):
            if self._context() is None:
                came.send(plain(503, "too many connections: try again later"))

    async def _greet(self, came: socket.socket, leave: Callable[[], None]) -> None:
        """Shake hands; from then on the protocol looks after the connection, and calls `leave` at its end."""
        context, made = self._context(), None
        try:
            if came.family != socket.AF_UNIX:
                came.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                came.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNHEARD)
            waits = {"ssl_handshake_timeout": _HANDSHAKE_WITHIN, "ssl_shutdown_timeout": _GOODBYE_WITHIN} if context else {}
            loop = asyncio.get_running_loop()
            _, made = await loop.connect_accepted_socket(lambda: self._shared.connection(leave), came, ssl=context, **waits)
        except (OSError, ConnectionError):  # no TLS spoken, or not within its time; SSLError is an OSError
            pass
        finally:
            if made is None:
                leave()
                came.close()

    def _ticket(self, who: str) -> Callable[[], None]:
        """What gives a place free again, however often it is called."""
        self._inside[who] += 1
        inside = [who]

        def leave() -> None:
            while inside:
                self._inside[inside.pop()] -= 1
            self._inside += collections.Counter()  # drops those that have come to nothing

        return leave


def _network(text: str) -> str:
    """Whom to count as one client: an IPv4 address, or the /64 that an IPv6 address is in."""
    address = ip_address(text.partition("%")[0])
    return text if address.version == 4 else str(ip_network((address, 64), strict=False))
