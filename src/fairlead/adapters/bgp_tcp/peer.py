"""One neighbour: the session, its links and its timer.

Whatever happens - bytes, a timer, a new route - ends in `_turn`: flush output, act on events, arm one timer.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from fairlead.adapters.bgp_tcp import sockets
from fairlead.adapters.bgp_tcp.link import Link
from fairlead.bgp import Cease, Dial, HangUp, Session, Side, from_plain
from fairlead.events import Event
from fairlead.model import PeerConfig, PeerStatus, Route

DIAL_TIMEOUT = 4.0  # seconds; TCP repeats a SYN after 1, 3 and 7, and the last is later than a new dial


class Peer:
    """`inherited` is what `hand_over` of a run before gave, if it was the same session."""

    def __init__(
        self, config: PeerConfig, session: Session, log: Callable[[Event], None], inherited: Mapping[str, Any] | None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._config = config
        self._session = session
        self._log = log
        self._links: dict[Side, Link] = {}
        self._dialling: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._shown, self._since = self._session.state, time.time()
        self._lingering = 0  # links that were let go and are not closed yet
        self._over = False  # handed over
        self.gone = asyncio.Event()  # shut down, and no link is left
        if inherited is not None:
            self._inherit(inherited)
        self.tick()

    # ------------------------------------------------------------------------------------------------------------------- verbs

    def configure(self, config: PeerConfig, *, listening: bool) -> None:
        """Take a new configuration of the same peer."""
        self._config = config
        self._session.configure(config, self._loop.time(), listening=listening)
        self._turn()

    def announce(self, routes: tuple[Route, ...]) -> None:
        """All routes from now on."""
        self._session.announce(routes)
        self._turn()

    def settle(self) -> None:
        """The routes are all there is for now."""
        self._session.settle()
        self._turn()

    def shutdown(self, reason: str, cease: Cease) -> None:
        """Withdraw everything, say why, end; `gone` is set when it is over."""
        self._session.shutdown(self._loop.time(), reason, cease)
        self._turn()

    def status(self) -> PeerStatus:
        """What an operator wants to know."""
        return self._session.status(self._since, self._loop.time(), time.time())

    def tick(self) -> None:
        """The timer is due."""
        self._session.tick(self._loop.time())
        self._turn()

    async def accept(self, made: socket.socket) -> None:
        """The peer has dialled us: take the connection, or say why not and close it."""
        try:
            sockets.guard(made, self._config)
            local = sockets.local(made)
            _, link = await self._loop.connect_accepted_socket(lambda: Link(self, Side.ACCEPTED), made)
        except OSError:  # it is gone already
            made.close()
            return
        refusal = b"" if self._over else self._session.accepted(self._loop.time(), local)
        if refusal is None:
            self._act()  # hang up what it replaces
            self._links[Side.ACCEPTED] = link
            link.start()
        else:
            self._lingering += 1
            link.let_go(refusal)
        self._turn()

    # ------------------------------------------------------------------------------------------------------- what links report

    def received(self, link: Link, data: bytes) -> None:
        """Bytes from the peer."""
        self._session.receive(data, self._loop.time(), link.side)
        self._turn()

    def disconnected(self, link: Link, why: str) -> None:
        """A connection is gone without our doing."""
        if self._links.get(link.side) is link:
            del self._links[link.side]
            self._session.disconnected(self._loop.time(), why, link.side)
            self._turn()

    def flowing(self, link: Link, *, flows: bool) -> None:
        """Whether the peer takes what is written."""
        self._session.blocked(self._loop.time(), link.side, blocked=not flows)
        if flows:
            self._turn()

    def closed(self) -> None:
        """A link that was let go is gone."""
        self._lingering -= 1
        self._turn()

    # -------------------------------------------------------------------------------------------------------------- succession

    async def hand_over(self) -> dict[str, Any] | None:
        """What a successor needs to go on; nothing is said or heard here any more. See `Speaker.hand_over`."""
        self._session.assure(self._loop.time())
        self._turn()
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._dialling is not None:
            self._dialling.cancel()
        left = self._session.leave()
        link = self._links.get(left[0]) if left is not None else None
        if left is None or link is None:
            return None
        descriptor = await link.leave()
        return None if descriptor < 0 else left[1].plain() | {"descriptor": descriptor, "since": self._since}

    def _inherit(self, found: Mapping[str, Any]) -> None:
        estate = from_plain(found)
        if not self._session.resume(estate, self._loop.time()):
            os.close(found["descriptor"])
            return
        self._shown, self._since = self._session.state, found["since"]
        self._keep(self._take_over(found["descriptor"], estate.side))

    async def _take_over(self, descriptor: int, side: Side) -> None:
        made = socket.socket(fileno=descriptor)
        made.setblocking(False)
        try:
            _, link = await self._loop.create_connection(lambda: Link(self, side), sock=made)
        except OSError as error:  # it ended while nobody looked
            self._session.disconnected(self._loop.time(), os.strerror(error.errno).lower() if error.errno else str(error), side)
        else:
            self._links[side] = link
            link.start()
        self._turn()

    def _keep(self, coroutine: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -------------------------------------------------------------------------------------------------------------------- turn

    def _turn(self) -> None:
        """Flush output, act on events, arm one timer: after every input, whatever it was."""
        if self._over:
            return
        self._act()
        for side, link in self._links.items():
            if not link.full:
                link.transport.write(self._session.take_output(side))
        self._act()
        if self._timer is not None:
            self._timer.cancel()
        at = self._session.deadline()
        self._timer = self._loop.call_at(at, self.tick) if at is not None else None
        if self._session.state is not self._shown:
            self._shown, self._since = self._session.state, time.time()
        if self._session.resting and self._session.stopped and not self._links and not self._lingering:
            self.gone.set()

    def _act(self) -> None:
        for event in self._session.take_events():
            match event:
                case Dial():
                    self._dialling = self._keep(self._dial(self._config))
                case HangUp(side, parting):
                    self._hang_up(side, parting)
                case _:
                    self._log(event)

    async def _dial(self, config: PeerConfig) -> None:
        try:
            made = sockets.dialling(config)
            try:
                async with asyncio.timeout(DIAL_TIMEOUT):
                    await self._loop.sock_connect(made, sockets.destination(config))
                local = sockets.local(made)
                _, link = await self._loop.create_connection(lambda: Link(self, Side.DIALLED), sock=made)
            except BaseException:
                made.close()
                raise
        except OSError as error:  # TimeoutError is one
            self._dialling = None
            self._session.disconnected(self._loop.time(), _in_words(error, config), Side.DIALLED)
        else:
            self._dialling = None
            self._links[Side.DIALLED] = link
            self._session.connected(self._loop.time(), local)
            link.start()
        self._turn()

    def _hang_up(self, side: Side, parting: bytes) -> None:
        if side is Side.DIALLED and self._dialling is not None:
            self._dialling.cancel()
            self._dialling = None
        link = self._links.pop(side, None)
        if link is not None:
            self._lingering += 1
            link.let_go(parting)


def _in_words(error: OSError, config: PeerConfig) -> str:
    """Why a dial failed. A wrong password shows as silence: the kernels drop what is not signed as they expect."""
    if error.errno:
        return os.strerror(error.errno).lower()
    if str(error):
        return f"interface {config.interface}: {error}" if config.interface else str(error)
    hint = "; has the peer the same password?" if config.password else ""
    return f"no answer within {DIAL_TIMEOUT:g} s{hint}"
