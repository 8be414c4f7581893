"""One TCP connection of a session."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Protocol

from fairlead.bgp import Side

LINGER = 2.0  # seconds from the last byte of ours to the end of a connection that the peer does not close
FLUSH = 0.5  # seconds in which a peer has to take what is out, or its session is not handed over

# Bytes that are read in one turn of the event loop: a peer that sends its full table shares the loop with everybody else.
TURN = 8192


class Owner(Protocol):
    """Whom a link reports to."""

    def received(self, link: Link, data: bytes) -> None:
        """Bytes from the peer."""

    def disconnected(self, link: Link, why: str) -> None:
        """The connection is gone; only while it is the owner's."""

    def flowing(self, link: Link, *, flows: bool) -> None:
        """The peer takes no more of our bytes, or takes them again."""

    def closed(self) -> None:
        """A link that was let go is gone."""


class Link(asyncio.BufferedProtocol):
    """Once let go it is nobody's: it is read out, and closed by the peer or by time.

    Then the NOTIFICATION which ended it arrives: closing a socket with unread bytes resets it, and a reset overtakes what was
    sent.
    """

    transport: asyncio.Transport

    def __init__(self, owner: Owner, side: Side) -> None:
        self._owner = owner
        self.side = side
        self._ours = True
        self._early: bytearray | None = bytearray()  # what comes before `start`
        self._lost = ""
        self._room = bytearray(TURN)
        self.full = False  # the transport's buffer is over its high-water mark

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Who made the connection reports it."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def start(self) -> None:
        """From now on report to the owner, what has happened since the connection was made included."""
        early, self._early = bytes(self._early or b""), None
        if early:
            self._owner.received(self, early)
        if self._lost:
            self._owner.disconnected(self, self._lost)

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 - one turn is as large as we say
        """The room of one turn."""
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes came."""
        if self._early is not None:
            self._early += self._room[:nbytes]
        elif self._ours:
            self._owner.received(self, bytes(self._room[:nbytes]))

    def pause_writing(self) -> None:
        """A peer that does not read costs no more memory than the transport's buffer."""
        self.full = True
        if self._ours:
            self._owner.flowing(self, flows=False)

    def resume_writing(self) -> None:
        """What has changed meanwhile is said now."""
        self.full = False
        if self._ours:
            self._owner.flowing(self, flows=True)

    def let_go(self, parting: bytes) -> None:
        """Send the last bytes and end."""
        self._ours = False
        if self._lost:
            asyncio.get_running_loop().call_soon(self._owner.closed)
            return
        self.transport.write(parting)
        with suppress(OSError):  # the connection may just have gone
            self.transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER, self.transport.abort)

    async def leave(self) -> int:
        """A descriptor of the connection once all that was written is out; -1 if the peer does not take it. Ends this link."""
        self.transport.pause_reading()
        until = asyncio.get_running_loop().time() + FLUSH
        while self.transport.get_write_buffer_size() and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.01)
        self._ours = False
        left = -1
        if not self.transport.get_write_buffer_size() and not self.transport.is_closing():
            left = os.dup(self.transport.get_extra_info("socket").fileno())
        self.transport.abort()
        return left

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        errno = exc.errno if isinstance(exc, OSError) else None
        self._lost = os.strerror(errno).lower() if errno else "the peer closed the connection"
        if not self._ours:
            self._owner.closed()
        elif self._early is None:
            self._owner.disconnected(self, self._lost)
