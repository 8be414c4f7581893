"""BGP over TCP: sockets, the clock and chance for `fairlead.bgp`, and nothing else.

One `_Peer` per neighbour holds a session and at most one link. Whatever happens - bytes, a timer, a new route - ends in `_turn`:
flush output, act on events, arm one timer. A link that was hung up lingers for a moment on its own, so that the NOTIFICATION
which ended it arrives (closing a socket with unread bytes resets it, and a reset overtakes what was sent).
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, ip_address
from typing import Any

from fairlead.bgp import Cease, Dial, HangUp, Session, from_plain
from fairlead.events import Event
from fairlead.model import Address, PeerConfig, PeerStatus, Route

PORT = 179  # RFC 4271 section 3
DIAL_TIMEOUT = 10.0  # seconds
FLUSH = 0.5  # seconds in which a peer has to take what is out, or its session is not handed over
LINGER = 2.0  # seconds from the last byte of ours to the end of a connection that the peer does not close


class Speaker:
    """All BGP sessions of this machine. Runs in the event loop that calls it; `log` is given PeerUp and PeerDown.

    `inherited` is what `hand_over` of a run before gave, in this process: those sessions go on.
    """

    def __init__(
        self,
        router_id: IPv4Address,
        log: Callable[[Event], None],
        *,
        port: int = PORT,
        inherited: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._router_id = router_id
        self._log = log
        self._port = port
        self._peers: dict[Address, _Peer] = {}
        self._leaving: set[_Peer] = set()
        self._routes: tuple[Route, ...] = ()
        self._inherited = {found["peer"]: found for found in inherited}

    def configure(self, peers: Sequence[PeerConfig]) -> None:
        """The neighbours from now on. A changed filter or attribute re-announces; only AS number, hold time and source reset."""
        wanted = {peer.address: peer for peer in peers}
        for address in [address for address in self._peers if address not in wanted]:
            self._leave(self._peers.pop(address), "removed from the configuration", Cease.PEER_DECONFIGURED)
        for address, config in wanted.items():
            if address in self._peers:
                self._peers[address].configure(config)
            else:
                session = Session(config, self._router_id, random.random, asyncio.get_running_loop().time())
                session.announce(self._routes)
                self._peers[address] = _Peer(config, session, self._log, self._port, self._inherited.pop(str(address), None))
        for found in self._inherited.values():
            os.close(found["descriptor"])
        self._inherited.clear()

    def announce(self, routes: Sequence[Route]) -> None:
        """The routes to announce from now on, all of them; each peer's filter applies."""
        self._routes = tuple(routes)
        for peer in self._peers.values():
            peer.announce(self._routes)

    def status(self) -> tuple[PeerStatus, ...]:
        """One entry for each configured neighbour, in the order of their addresses."""
        return tuple(self._peers[a].status() for a in sorted(self._peers, key=lambda a: (a.version, int(a))))

    async def hand_over(self) -> list[dict[str, Any]]:
        """What a successor in this process needs to go on with the sessions; each `descriptor` is its to close.

        Nothing is said or heard here any more. A session that is not established, or whose peer takes no output, is lost.
        """
        peers = list(self._peers.values())
        self._peers.clear()
        return [left for left in await asyncio.gather(*(peer.hand_over() for peer in peers)) if left is not None]

    async def close(self, reason: str) -> None:
        """Withdraw everything, say why (RFC 9003) and end all sessions; returns within two seconds."""
        while self._peers:
            self._leave(self._peers.popitem()[1], reason, Cease.ADMINISTRATIVE_SHUTDOWN)
        await asyncio.gather(*(peer.gone.wait() for peer in self._leaving))

    def _leave(self, peer: _Peer, reason: str, cease: Cease) -> None:
        self._leaving = {p for p in self._leaving if not p.gone.is_set()} | {peer}
        peer.shutdown(reason, cease)


class _Peer:
    """One neighbour: the session, its link and its timer."""

    def __init__(
        self, config: PeerConfig, session: Session, log: Callable[[Event], None], port: int, inherited: Mapping[str, Any] | None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._config = config
        self._session = session
        self._log = log
        self._port = port
        self._link: _Link | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._shown, self._since = self._session.state, time.time()
        self.lingering = 0  # links that were let go and are not closed yet
        self.gone = asyncio.Event()  # shut down, and no link is left
        self._over = False  # handed over
        if inherited is not None:
            self._inherit(inherited)
        self.tick()

    def _inherit(self, found: Mapping[str, Any]) -> None:
        if not self._session.resume(from_plain(found), self._loop.time()):
            os.close(found["descriptor"])
            return
        self._shown, self._since = self._session.state, found["since"]
        self._dialling = self._loop.create_task(self._take_over(found["descriptor"]))

    async def _take_over(self, descriptor: int) -> None:
        made = socket.socket(fileno=descriptor)
        made.setblocking(False)
        try:
            await self._loop.create_connection(lambda: _Link(self, fresh=False), sock=made)
        except OSError as error:  # it ended while nobody looked
            self.disconnected(os.strerror(error.errno).lower() if error.errno else str(error))

    async def hand_over(self) -> dict[str, Any] | None:
        """See `Speaker.hand_over`."""
        self._turn()
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        link, self._link = self._link, None
        if self._dialling is not None:
            self._dialling.cancel()
        if link is None:
            return None
        estate = self._session.leave()
        descriptor = await link.leave()
        if estate is None or descriptor < 0:
            return None
        return estate.plain() | {"descriptor": descriptor, "since": self._since}

    def configure(self, config: PeerConfig) -> None:
        self._config = config
        self._session.configure(config, self._loop.time())
        self._turn()

    def announce(self, routes: tuple[Route, ...]) -> None:
        self._session.announce(routes)
        self._turn()

    def shutdown(self, reason: str, cease: Cease) -> None:
        self._session.shutdown(self._loop.time(), reason, cease)
        self._turn()

    def status(self) -> PeerStatus:
        return self._session.status(self._since)

    def tick(self) -> None:
        self._session.tick(self._loop.time())
        self._turn()

    def connected(self, link: _Link, local: Address, *, fresh: bool) -> None:
        self._link, self._dialling = link, None
        if fresh:
            self._session.connected(self._loop.time(), local)
        self._turn()

    def received(self, data: bytes) -> None:
        self._session.receive(data, self._loop.time())
        self._turn()

    def disconnected(self, why: str) -> None:
        self._link = None
        self._session.disconnected(self._loop.time(), why)
        self._turn()

    def _turn(self) -> None:
        """Flush output, act on events, arm one timer: after every input, whatever it was."""
        if self._over:
            return
        if self._link is not None and not self._link.full:
            self._link.transport.write(self._session.take_output())
        for event in self._session.take_events():
            match event:
                case Dial():
                    self._dialling = self._loop.create_task(self._dial())
                case HangUp():
                    self._hang_up()
                case _:
                    self._log(event)
        if self._timer is not None:
            self._timer.cancel()
        at = self._session.deadline()
        self._timer = self._loop.call_at(at, self.tick) if at is not None else None
        if self._session.state is not self._shown:
            self._shown, self._since = self._session.state, time.time()
        if at is None and self._link is None and not self.lingering:  # only a session that was shut down waits for nothing
            self.gone.set()

    async def _dial(self) -> None:
        source = (str(self._config.source), 0) if self._config.source else None
        try:
            async with asyncio.timeout(DIAL_TIMEOUT):
                await self._loop.create_connection(lambda: _Link(self), str(self._config.address), self._port, local_addr=source)
        except OSError as error:  # TimeoutError is one
            if self._link is None:  # else the link itself will report
                self.disconnected(os.strerror(error.errno).lower() if error.errno else f"no answer within {DIAL_TIMEOUT:g} s")

    def _hang_up(self) -> None:
        if self._dialling is not None:
            self._dialling.cancel()
        if self._link is not None:
            self._link.transport.write(self._session.take_output())
            self._link.let_go()
            self._link = None
            self.lingering += 1


class _Link(asyncio.Protocol):
    """One TCP connection, `fresh` unless inherited. Let go it is nobody's: it is read out, and closed by the peer or by time."""

    def __init__(self, peer: _Peer, *, fresh: bool = True) -> None:
        self._peer = peer
        self._fresh = fresh
        self._ours = True
        self.full = False  # the transport's buffer is over its high-water mark

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._peer.connected(self, ip_address(transport.get_extra_info("sockname")[0]), fresh=self._fresh)

    def data_received(self, data: bytes) -> None:
        if self._ours:
            self._peer.received(data)

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        self._peer.tick()

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

    def let_go(self) -> None:
        self._ours = False
        with suppress(OSError):  # the connection may just have gone
            self.transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._ours:
            errno = exc.errno if isinstance(exc, OSError) else None
            self._peer.disconnected(os.strerror(errno).lower() if errno else "the peer closed the connection")
        else:
            self._peer.lingering -= 1
            self._peer.tick()
