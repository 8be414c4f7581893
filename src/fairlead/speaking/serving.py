"""The API of one run: where it is served, to whom, and what a reload changes of that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from ipaddress import ip_address

from fairlead.adapters.http import Handlers, Kept, Server, application, exposed, table
from fairlead.errors import Refused
from fairlead.events import AccessRefused, ApiListens, Event, Warned
from fairlead.model import Address, Api

_TELL_EVERY = 60.0  # seconds between two events about one client
_CLIENTS = 64  # that are told of one by one in that time


class Serving:
    """`log` takes events, `clock` gives seconds that only rise."""

    def __init__(self, path: str, log: Callable[[Event], None], clock: Callable[[], float]) -> None:
        self._path = path
        self._log = log
        self._knocks = Knocks(log, clock)
        self._server: Server | None = None
        self._told: ApiListens | None = None

    async def start(self, handlers: Handlers, kept: Kept, api: Api) -> None:
        """Serve. Refused if the unix socket or anything that `api` names cannot be used."""
        public = [name.split()[1] for name, call in table(handlers).items() if call.public]
        self._server = Server(self._path, application(handlers), kept, public=public, told=self._knocks)
        prepared = await asyncio.to_thread(self._server.prepare, api)
        try:
            await self._server.start()
        except OSError as e:
            prepared.discard()
            raise Refused([f"cannot listen on {self._path}: {e.strerror or e}"]) from None
        await self._server.use(prepared)
        self._tell(api)

    async def problems(self, api: Api) -> list[str]:
        """Why it could not be served like this; nothing changes."""
        assert self._server is not None
        try:
            prepared = await asyncio.to_thread(self._server.prepare, api)
        except Refused as e:
            return list(e.reasons)
        prepared.discard()
        return []

    async def follow(self, api: Api) -> None:
        """Serve like this from now on, with tokens and certificates as their files have them; what fails leaves all as it was."""
        assert self._server is not None
        try:
            prepared = await asyncio.to_thread(self._server.prepare, api)
        except Refused as e:  # it was fine a moment ago
            self._log(Warned(f"the API is served as before: {e}"))
            return
        await self._server.use(prepared)
        self._tell(api)

    async def keep(self) -> Kept:
        """What the successor goes on with; nobody is let in any more."""
        assert self._server is not None
        return await self._server.keep()

    async def close(self) -> None:
        """Serve nobody any more."""
        if self._server is not None:
            await self._server.close()

    def _tell(self, api: Api) -> None:
        assert self._server is not None
        rights = "nobody" if api.token_file is None else "whoever has the token"
        rights = f"{rights} may change, everybody read" if api.public_read else f"{rights} may ask"
        event = ApiListens(self._path, " ".join(self._server.endpoints()), rights if api.listen else "")
        if event != self._told:
            self._told = event
            self._log(event)


def warnings(api: Api, here: Collection[Address]) -> list[str]:
    """What works, but not as it should. `here` are this machine's addresses."""
    found = [
        f"every user of this machine can read {path}: chmod o-r {path}"
        for path in (api.token_file, api.key)
        if path and exposed(path)
    ]
    for address, port in api.listen:
        if not (address.is_unspecified or address.is_loopback or address in here):
            found.append(f"nobody can reach the API on {address}, port {port}: this machine does not have the address")
    return found


class Knocks:
    """Requests over TCP that were refused: told of, but not so often that they fill the log."""

    def __init__(self, log: Callable[[Event], None], clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self._since: dict[str, tuple[float, int]] = {}  # client -> when it was last told of, how many came since

    def __call__(self, who: str, why: str) -> None:
        """One was refused."""
        now = self._clock()
        at, count = self._since.get(who, (None, 0))
        if at is not None and now - at < _TELL_EVERY:
            self._since[who] = (at, count + 1)
            return
        if at is None and not self._room(now):
            return
        self._since[who] = (now, 0)
        self._log(AccessRefused(ip_address(who.partition("%")[0]) if who else None, why, count + 1))

    def _room(self, now: float) -> bool:
        if len(self._since) >= _CLIENTS:
            self._since = {who: said for who, said in self._since.items() if now - said[0] < _TELL_EVERY}
        return len(self._since) < _CLIENTS
