"""The listening ends of the API: a unix socket (mode 0660, in a directory of mode 0750 if that had to be made), and TCP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import socket
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_address

from starlette.types import ASGIApp

from fairlead.adapters.http.access import Access, read_access
from fairlead.adapters.http.door import Door
from fairlead.adapters.http.guard import Guarded
from fairlead.adapters.http.protocol import Bounds, Shared
from fairlead.errors import Refused
from fairlead.model import Address, Api

SOCKET_MODE = 0o660
DIRECTORY_MODE = 0o750
BACKLOG = 128
ASK_WITHIN = 0.05  # seconds from a client's connection to its question, when a restart is due
FINISH_WITHIN = 1.0  # seconds that requests have to come to their end when the daemon does
IP_FREEBIND, IPV6_FREEBIND = 15, 78  # linux/in.h, linux/in6.h: Python's socket module has no names for them

Endpoint = tuple[Address, int]


@dataclass(frozen=True, slots=True)
class Kept:
    """Second descriptors of listening sockets, for the run that follows: the unix socket's, and address, port, descriptor."""

    api: int = -1
    listening: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Prepared:
    """A configuration of the API that can be put to work: nothing is left that could fail. `fresh` sockets are bound."""

    api: Api
    access: Access
    fresh: dict[Endpoint, socket.socket]

    def discard(self) -> None:
        """It will not be put to work."""
        for each in self.fresh.values():
            each.close()


class Server:
    """Serves an application on a unix socket until it is closed, and behind a guard on TCP as `use` says.

    `kept` is what `keep` of a run before gave, in this process: its clients have waited in the queues. `public` are the paths
    that need no token; `told` hears who was refused over TCP, and why.
    """

    def __init__(
        self,
        path: str,
        app: ASGIApp,
        kept: Kept = Kept(),
        *,
        public: Collection[str] = (),
        told: Callable[[str, str], None] = lambda _who, _why: None,
        bounds: Bounds = Bounds(),  # noqa: B008 - a frozen value
    ) -> None:
        self._path = pathlib.Path(path)
        self._inherited = kept
        self._kept = False
        self._inode = 0
        self._own: socket.socket | None = None
        self._access = Access()
        self._listening: dict[Endpoint, socket.socket] = {}
        self._left_over = {(ip_address(address), port): number for address, port, number in kept.listening}
        # the operator at the machine has a door of his own: nobody on the network can fill it
        self._door = Door(Shared(app, replace(bounds, each=bounds.connections)))
        guarded = Guarded(app, lambda: self._access, public, told)
        self._outer = Door(Shared(guarded, bounds), lambda: self._access.tls)

    async def start(self) -> None:
        """Bind and serve; OSError where the path cannot be used. A socket file that nobody listens on is replaced."""
        self._own = self._bind()
        self._inode = self._path.stat().st_ino
        self._door.open(self._own)

    # ------------------------------------------------------------------------------------------------------------------- TCP

    def prepare(self, api: Api) -> Prepared:
        """Read the files and bind what is new: Refused with every reason why not. Blocks; changes nothing."""
        problems: list[str] = []
        access, fresh = Access(), {}
        try:
            access = read_access(api)
        except Refused as e:
            problems += e.reasons
        for endpoint in api.listen:
            if endpoint not in self._listening and endpoint not in self._left_over:
                try:
                    fresh[endpoint] = self._fresh(*endpoint)
                except OSError as e:
                    problems.append(_not_there(*endpoint, e))
        found = Prepared(api, access, fresh)
        if problems:
            found.discard()
            raise Refused(problems)
        return found

    def _fresh(self, address: Address, port: int) -> socket.socket:
        """A socket for an endpoint that may overlap one of ours that it takes the place of: all addresses, and one of them."""
        ours = [each for (_, number), each in self._listening.items() if number == port]
        for each in ours:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            return _tcp(address, port, beside=bool(ours))
        finally:
            for each in ours:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)

    async def use(self, prepared: Prepared) -> None:
        """Work by it: connections that are there keep what they were met with, token and names hold for all from now on."""
        self._access = prepared.access
        for endpoint in [each for each in self._listening if each not in prepared.api.listen]:
            self._outer.shut(self._listening[endpoint])
            self._listening.pop(endpoint).close()
        for endpoint in prepared.api.listen:
            if endpoint not in self._listening:
                number = self._left_over.pop(endpoint, None)
                self._listening[endpoint] = prepared.fresh[endpoint] if number is None else _inherited(number)
                self._outer.open(self._listening[endpoint])
        for number in self._left_over.values():
            os.close(number)
        self._left_over.clear()

    def endpoints(self) -> tuple[str, ...]:
        """Where it is served over TCP, as URLs."""
        scheme = "http" if self._access.tls is None else "https"
        return tuple(f"{scheme}://{_spelled(*endpoint)}" for endpoint in self._listening)

    # -------------------------------------------------------------------------------------------------------------- its end

    async def close(self) -> None:
        """Stop serving and remove the socket file, unless somebody has put another in its place."""
        await asyncio.gather(self._door.close(FINISH_WITHIN), self._outer.close(FINISH_WITHIN))
        for each in self._sockets():
            each.close()
        with contextlib.suppress(OSError):
            if not self._kept and self._path.stat().st_ino == self._inode:
                self._path.unlink()

    async def keep(self) -> Kept:
        """Second descriptors of what listens: whoever asks from now on waits for the one who serves it next.

        Who is in already has a moment to ask: closed with an unread question, a connection would be reset.
        """
        assert self._own is not None
        self._kept = True
        there = [(str(address), port, os.dup(each.fileno())) for (address, port), each in self._listening.items()]
        kept = Kept(os.dup(self._own.fileno()), tuple(there))
        self._door.shut(self._own)
        for each in self._listening.values():
            self._outer.shut(each)
        await asyncio.sleep(ASK_WITHIN)
        return kept

    def _sockets(self) -> Iterable[socket.socket]:
        return [*self._listening.values(), *([self._own] if self._own is not None else [])]

    def _bind(self) -> socket.socket:
        if self._inherited.api >= 0:
            listening = _inherited(self._inherited.api)
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


def _inherited(number: int) -> socket.socket:
    listening = socket.socket(fileno=number)
    listening.setblocking(False)
    return listening


def _tcp(address: Address, port: int, *, beside: bool) -> socket.socket:
    """A socket that listens; the address may still be missing, as before a network is up. `beside` others that allow it."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        else:
            made.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, beside)
        made.bind((str(address), port))
        made.listen(BACKLOG)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)  # for nobody else
    except BaseException:
        made.close()
        raise
    return made


def _not_there(address: Address, port: int, error: OSError) -> str:
    where = _spelled(address, port)
    if isinstance(error, PermissionError):
        return f"cannot serve the API on {where}: a port below 1024 needs the capability CAP_NET_BIND_SERVICE"
    return f"cannot serve the API on {where}: {error.strerror}; `listen` in the configuration names another place, or `none`"


def _spelled(address: Address, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
