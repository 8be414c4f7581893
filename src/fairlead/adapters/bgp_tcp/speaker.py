"""All BGP sessions of this machine, and where peers may dial it."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address
from typing import Any

from fairlead.adapters.bgp_tcp import sockets
from fairlead.adapters.bgp_tcp.peer import Peer
from fairlead.bgp import Cease, Session
from fairlead.events import Event, Warned
from fairlead.model import Address, Listen, PeerConfig, PeerStatus, Route

LISTEN_AGAIN = 5.0  # seconds between attempts at a port that somebody else has
STRANGERS = 16  # addresses that are named in the log at most


class Speaker:
    """Runs in the event loop that calls it; `log` is given PeerUp and PeerDown, and what cannot be listened on.

    `inherited` is what `hand_over` of a run before gave, in this process: those sessions go on. `restarted`: a run before this
    one may have announced routes, what they lead to is forwarded still; `settle` will be called once the routes are all there.
    """

    def __init__(
        self,
        router_id: IPv4Address,
        log: Callable[[Event], None],
        *,
        inherited: Sequence[Mapping[str, Any]] = (),
        restarted: bool = False,
    ) -> None:
        self._router_id = router_id
        self._log = log
        self._peers: dict[str, Peer] = {}
        self._configs: dict[str, PeerConfig] = {}
        self._leaving: set[Peer] = set()
        self._routes: tuple[Route, ...] = ()
        self._inherited = {found["peer"]: found for found in inherited}
        self._restarted = restarted
        self._settled = not restarted
        self._listen: Listen | None = None
        self._listeners: dict[tuple[Address, int], socket.socket] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._strangers: set[Address] = set()

    # ------------------------------------------------------------------------------------------------------------------- verbs

    def configure(self, peers: Sequence[PeerConfig], listen: Listen | None = None) -> None:
        """The neighbours from now on, and where they may dial us. Most changes re-announce; see `docs/reference/bgp.md`."""
        wanted = {str(peer): peer for peer in peers}
        old, self._configs = self._configs, wanted
        for name in [name for name in self._peers if name not in wanted]:
            self._leave(self._peers.pop(name), "removed from the configuration", Cease.PEER_DECONFIGURED)
        self._listen_on(listen, [old[name] for name in old if name not in wanted])
        for name, config in wanted.items():
            if name in self._peers:
                self._peers[name].configure(config, listening=listen is not None)
            else:
                self._peers[name] = Peer(config, self._session(config), self._log, self._inherited.pop(name, None))
        for found in self._inherited.values():
            os.close(found["descriptor"])
        self._inherited.clear()

    def announce(self, routes: Sequence[Route]) -> None:
        """The routes to announce from now on, all of them; each peer's filter applies."""
        self._routes = tuple(routes)
        for peer in self._peers.values():
            peer.announce(self._routes)

    def settle(self) -> None:
        """All that was announced before a restart is decided on: what is announced now is all there is."""
        if not self._settled:
            self._settled = True
            for peer in self._peers.values():
                peer.settle()

    def status(self) -> tuple[PeerStatus, ...]:
        """One entry for each configured neighbour, in the order of their addresses."""

        def order(name: str) -> tuple[int, int, str]:
            address = self._configs[name].address
            return address.version, int(address), name

        return tuple(self._peers[name].status() for name in sorted(self._peers, key=order))

    async def hand_over(self) -> list[dict[str, Any]]:
        """What a successor in this process needs to go on with the sessions; each `descriptor` is its to close.

        Nothing is said or heard here any more. A session that is not established, or whose peer takes no output, is lost.
        """
        self._stop_listening()
        peers = list(self._peers.values())
        self._peers.clear()
        return [left for left in await asyncio.gather(*(peer.hand_over() for peer in peers)) if left is not None]

    async def close(self, reason: str) -> None:
        """Withdraw everything, say why (RFC 9003) and end all sessions; returns within two seconds."""
        self._stop_listening()
        while self._peers:
            self._leave(self._peers.popitem()[1], reason, Cease.ADMINISTRATIVE_SHUTDOWN)
        await asyncio.gather(*(peer.gone.wait() for peer in self._leaving))

    def _session(self, config: PeerConfig) -> Session:
        session = Session(
            config,
            self._router_id,
            random.random,
            asyncio.get_running_loop().time(),
            listening=self._listen is not None,
            restarted=self._restarted,
        )
        session.announce(self._routes)
        if not self._settled:
            session.unsettle()
        return session

    def _leave(self, peer: Peer, reason: str, cease: Cease) -> None:
        self._leaving = {p for p in self._leaving if not p.gone.is_set()} | {peer}
        peer.shutdown(reason, cease)

    # ----------------------------------------------------------------------------------------------------------- being dialled

    def _listen_on(self, listen: Listen | None, gone: Sequence[PeerConfig]) -> None:
        """Have the sockets that are asked for, with every peer's password on them."""
        if listen != self._listen:
            self._stop_listening()
        self._listen = listen
        if listen is None:
            return
        for address in listen.addresses or sockets.wildcards():
            if (address, listen.port) not in self._listeners:
                self._open(address, listen.port)
        for (address, _), listener in self._listeners.items():
            for config in gone:
                if config.address.version == address.version:
                    sockets.set_password(listener, config.address, None)
        self._sign()

    def _open(self, address: Address, port: int) -> None:
        where = f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
        try:
            self._listeners[address, port] = listener = sockets.listening(address, port)
        except OSError as error:
            again = f"it is tried again every {LISTEN_AGAIN:g} s"
            self._log(Warned(f"BGP peers cannot dial us at {where}: {os.strerror(error.errno or 0).lower()}; {again}"))
            self._keep(self._open_later(address, port))
        else:
            self._keep(self._accept(listener))

    async def _open_later(self, address: Address, port: int) -> None:
        while True:
            await asyncio.sleep(LISTEN_AGAIN)
            try:
                self._listeners[address, port] = listener = sockets.listening(address, port)
            except OSError:
                continue
            self._sign()
            await self._accept(listener)

    def _sign(self) -> None:
        for (address, _), listener in self._listeners.items():
            for config in self._configs.values():
                if config.address.version == address.version:
                    try:
                        sockets.set_password(listener, config.address, config.password)
                    except OSError as error:
                        why = os.strerror(error.errno or 0).lower()
                        self._log(Warned(f"BGP peer {config}: the kernel takes no password: {why}"))

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                made, _ = await loop.sock_accept(listener)
            except OSError:  # a connection that is gone already, or no descriptor left
                await asyncio.sleep(0.1)
                continue
            await self._admit(made)

    async def _admit(self, made: socket.socket) -> None:
        """Hand a connection to its peer. Strangers are turned away, and named once."""
        try:
            address, interface = sockets.remote(made)
        except OSError:
            made.close()
            return
        peer = self._peers.get(f"{address}%{interface}" if interface else str(address))
        if peer is not None:
            await peer.accept(made)
            return
        made.close()
        if address not in self._strangers and len(self._strangers) < STRANGERS:
            self._strangers.add(address)
            self._log(Warned(f"{address} wants to speak BGP with us and is no configured peer: refused"))

    def _keep(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _stop_listening(self) -> None:
        for task in self._tasks:
            task.cancel()
        while self._listeners:
            self._listeners.popitem()[1].close()
