"""BGP over TCP: sockets, the clock and chance for `fairlead.bgp`, and nothing else.

One `_Peer` per neighbour holds a session and at most one link. Whatever happens - bytes, a timer, a new route - ends in `_turn`:
flush output, act on events, arm one timer. A link that was hung up lingers for a moment on its own, so that the NOTIFICATION
which ended it arrives (closing a socket with unread bytes resets it, and a reset overtakes what was sent).
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, ip_address

from fairlead.bgp import Cease, Dial, HangUp, Session
from fairlead.events import Event
from fairlead.model import Address, Listen, PeerConfig, PeerStatus, Route

PORT = 179  # RFC 4271 section 3
DIAL_TIMEOUT = 10.0  # seconds
LINGER = 2.0  # seconds from the last byte of ours to the end of a connection that the peer does not close


class Speaker:
    """All BGP sessions of this machine. Runs in the event loop that calls it; `log` is given PeerUp and PeerDown."""

    def __init__(self, router_id: IPv4Address, log: Callable[[Event], None], *, port: int = PORT) -> None:
        self._router_id = router_id
        self._log = log
        self._port = port
        self._peers: dict[Address, _Peer] = {}
        self._leaving: set[_Peer] = set()
        self._routes: tuple[Route, ...] = ()

    def configure(self, peers: Sequence[PeerConfig], listen: Listen | None = None) -> None:
        """The neighbours from now on. A changed filter or attribute re-announces; only AS number, hold time and source reset."""
        if listen is not None:
            raise OSError(errno.EOPNOTSUPP, "listening for peers is not supported yet")
        wanted = {peer.address: peer for peer in peers}
        for address in [address for address in self._peers if address not in wanted]:
            self._leave(self._peers.pop(address), "removed from the configuration", Cease.PEER_DECONFIGURED)
        for address, config in wanted.items():
            if address in self._peers:
                self._peers[address].configure(config)
            else:
                session = Session(config, self._router_id, random.random, asyncio.get_running_loop().time())
                session.announce(self._routes)
                self._peers[address] = _Peer(config, session, self._log, self._port)

    def announce(self, routes: Sequence[Route]) -> None:
        """The routes to announce from now on, all of them; each peer's filter applies."""
        self._routes = tuple(routes)
        for peer in self._peers.values():
            peer.announce(self._routes)

    def status(self) -> tuple[PeerStatus, ...]:
        """One entry for each configured neighbour, in the order of their addresses."""
        return tuple(self._peers[a].status() for a in sorted(self._peers, key=lambda a: (a.version, int(a))))

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

    def __init__(self, config: PeerConfig, session: Session, log: Callable[[Event], None], port: int) -> None:
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
        self.tick()

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

    def connected(self, link: _Link, local: Address) -> None:
        self._link, self._dialling = link, None
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
    """One TCP connection. Once let go it is nobody's: it is read out, and closed by the peer or by time."""

    def __init__(self, peer: _Peer) -> None:
        self._peer = peer
        self._ours = True
        self.full = False  # the transport's buffer is over its high-water mark

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._peer.connected(self, ip_address(transport.get_extra_info("sockname")[0]))

    def data_received(self, data: bytes) -> None:
        if self._ours:
            self._peer.received(data)

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        self._peer.tick()

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
