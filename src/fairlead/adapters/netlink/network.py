"""The kernel's network, kept current.

One netlink socket asks, a second one listens. Events only mark what is stale; a settling task then looks again and calls
`changed` once for a whole burst. A neighbour event costs no question: its message carries all that a path needs. Whatever else
could lead a backend elsewhere (link, address, rule, a route that covers it) costs one look-up of every backend, 3 us each. Both
take effect within some milliseconds; look-ups take a fifth of the time at most, however many events there are. Events that no
backend has to do with (a router's full table) cost reading them. When the kernel's event queue overflows (ENOBUFS), everything is
read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from fairlead.adapters.netlink import paths, wire
from fairlead.adapters.netlink.keeper import Keeper
from fairlead.adapters.netlink.messages import Device, Interface, NeighbourKey, RouteAnswer
from fairlead.adapters.netlink.paths import Way
from fairlead.adapters.netlink.picture import News, Picture
from fairlead.adapters.netlink.stakes import Stakes
from fairlead.events import Event, OperationFailed, Warned
from fairlead.model import Address, Link, NoPath, Path, Vlan

RECEIVE_BUFFER = 8 << 20  # bytes: the default loses 60 % of a burst of 9,000 events
SETTLE = 0.005  # seconds a burst of events is gathered
LOOK_UP_PAUSE = 0.02  # seconds between two rounds of look-ups, at least
LOOK_UP_REST = 4  # and this many times what the last one took
DISTURBED_PAUSE = 1.0  # seconds between two calls of `disturbed`
HOLD_ROUND = 5.0  # seconds between two looks at the neighbours that we keep
ASK_ROUND = 1.0  # seconds between two times that those are asked again which did not answer,
ASKED_AT_ONCE = 100  # and how many of them: each is a broadcast, or three
EVENTS_AT_ONCE = 64  # datagrams, then others have their turn

# bits for link neigh ipv4{ifaddr,route,rule} ipv6{ifaddr,route} ipv6{rule} ipv4-netconf (rp_filter) nexthop
_EVENT_GROUPS = sum(1 << n - 1 for n in (1, 3, 5, 7, 8, 9, 11, 19, 24, 32))
Call = Callable[[], None]
_UNASKED = RouteAnswer(error="not looked up yet")


class Network:
    """The kernel's view of the network.

    Both callbacks run in the event loop: `changed` when `links` or `paths` say something new, `disturbed` when somebody touched
    rules, routes, addresses, links, reverse-path filters or one of our neighbours, so that it is worth while to look after them.
    """

    def __init__(self, changed: Call, disturbed: Call = lambda: None, log: Callable[[Event], None] = lambda _: None) -> None:
        self._changed, self._disturbed, self._log = changed, disturbed, log
        self._tasks: list[asyncio.Task[None]] = []
        self._picture = Picture()
        self._where: dict[Address, Address] = {}  # backend -> what is looked up: its address, or the declared gateway's
        self._answers: dict[Address, RouteAnswer] = {}
        self._stakes = Stakes()
        self._paths: dict[Address, Path | NoPath] = {}
        self._usable: frozenset[int] = frozenset()
        self._vlans: tuple[Vlan, ...] = ()
        self._kick = asyncio.Event()
        self._looking = asyncio.Lock()
        self._dirty: set[Address] = set()
        self._stale: set[Address] = set()
        self._touched = self._overrun = False
        self._said: dict[int, Device] = {}

    async def open(self) -> None:
        """Read links, addresses and neighbours, and listen to what changes from here on. OSError."""
        self._ask = wire.Asker(RECEIVE_BUFFER)
        self._keeper = Keeper(self._ask, self._picture)
        self._listen()
        self._tasks = [asyncio.create_task(job) for job in (self._settle(), self._hold_round(), self._ask_round())]
        for task in self._tasks:
            task.add_done_callback(lambda done: done.cancelled() or done.result())  # a bug is for the loop to hear of
        self.poke()

    async def close(self) -> None:
        """Stop listening. Neighbour entries stay, so that a restart finds them warm; `plumbing.remove` takes them away."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._tasks:
            self._deafen()
            self._ask.close()

    def links(self) -> tuple[Link, ...]:
        """Every interface, by index."""
        return tuple(device.link for _, device in sorted(self._picture.devices.items()))

    def link(self, name: str) -> Link | None:
        """The interface of that name."""
        return next((device.link for device in self._picture.devices.values() if device.link.name == name), None)

    def name(self, ifindex: int) -> str:
        """The interface's name, "" if it has gone."""
        device = self._picture.devices.get(ifindex)
        return device.link.name if device else ""

    def managed(self, names: Iterable[str]) -> list[Link]:
        """The NICs that these names mean, in their order: a bond's name means its members, with `bond` and `active` set."""
        return list(dict.fromkeys(link for name in names for link in paths.managed(self._picture.devices, name)))

    def misnamed(self, names: Iterable[str]) -> list[str]:
        """Names of devices that Fairlead cannot run on, as sentences that say what to name instead."""
        return [text for text in (paths.misnamed(self._picture.devices, name) for name in dict.fromkeys(names)) if text]

    def related(self, links: Iterable[Link], vlans: Sequence[Vlan] = ()) -> set[int]:
        """The indices of the devices through which these NICs are used: themselves, bonds, VLAN devices, declared subnets'."""
        addresses = self._picture.addresses
        declared = {i for i, found in addresses.items() for a in found if paths.vlan_of(vlans, a.ip)}
        return paths.related(self._picture.devices, links) | declared

    def devices_to(self, backends: Iterable[Address]) -> set[str]:
        """The names of the devices over which the kernel routes to these watched backends."""
        found = {self._answers[b].ifindex for b in backends if b in self._answers}
        return {name for name in map(self.name, found) if name}

    def addresses(self) -> Mapping[int, frozenset[Interface]]:
        """The addresses of each interface, with their prefixes."""
        return {index: frozenset(found) for index, found in self._picture.addresses.items()}

    def paths(self) -> Mapping[Address, Path | NoPath]:
        """The path to each watched backend; the same object as long as nothing changes."""
        return self._paths

    def poke(self) -> None:
        """Look at routes and neighbours again soon."""
        self._stale.update(self._answers)
        self._touched = True
        self._kick.set()

    async def watch(self, backends: Iterable[Address], usable: Iterable[int], vlans: Sequence[Vlan] = ()) -> None:
        """Keep paths to these backends, through these NICs (by index; none: any) and with this override.

        Resolves once before it returns.
        """
        self._usable, self._vlans = frozenset(usable), tuple(vlans)
        where = {backend: paths.gateway_for(self._vlans, backend) or backend for backend in backends}
        self._release(set(self._answers) - where.keys())
        self._answers = {backend: self._answers.get(backend, _UNASKED) for backend in where}
        self._where = where
        self._stakes.follow(where)
        await self._look_up(where)
        self._compute()

    async def settle(self, within: float) -> None:
        """Wait until the kernel has resolved the neighbours of all watched backends, but no longer than this many seconds."""
        give_up = asyncio.get_running_loop().time() + within
        while any(self._unresolved(b) for b in self._answers) and asyncio.get_running_loop().time() < give_up:
            await asyncio.sleep(SETTLE)
        self._dirty.update(self._answers)
        self._compute()

    def _unresolved(self, backend: Address) -> bool:
        key = self._key(backend)
        entry = self._picture.neighbours.get(key) if key else None
        return key is not None and isinstance(self._way(backend), Way) and (entry is None or not entry.mac)

    async def route(self, address: Address) -> RouteAnswer:
        """How the kernel would reach this address. Events about routes to it count as disturbing from now on."""
        self._stakes.asked(address)
        return wire.route_of(self._ask.ask([wire.route_to(address)])[0])

    async def read_links(self) -> None:
        """Ask for the interfaces now: the event of one that was made a moment ago may still be on its way."""
        self._picture.read_links(self._ask)

    # ---------------------------------------------------------------------------------------------------- routes and neighbours

    async def _look_up(self, backends: Iterable[Address]) -> None:
        """The routes to backends, or over the declared gateway to those outside of all declared subnets; and their holds."""
        async with self._looking:
            everyone = tuple(backends)
            for at in range(0, len(everyone), wire.AT_ONCE):
                some = [b for b in everyone[at : at + wire.AT_ONCE] if b in self._answers]  # `watch` may have dropped some
                self._answer(some)
                self._hold(some)
                self._dirty.update(some)
                await asyncio.sleep(0)

    def _answer(self, backends: Sequence[Address]) -> None:
        where = [self._where[backend] for backend in backends]
        for backend, asked, message in zip(backends, where, self._ask.ask(list(map(wire.route_to, where))), strict=True):
            found = wire.route_of(message)
            self._answers[backend] = found if asked == backend else replace(found, gateway=asked)
            self._stakes.rest_on(backend, self._key(backend))

    def _key(self, backend: Address) -> NeighbourKey | None:
        answer = self._answers[backend]
        return None if paths.refused(answer) else (answer.ifindex, answer.gateway or backend)

    def _way(self, backend: Address) -> Way | NoPath:
        answer = self._answers[backend]
        label = paths.vlan_of(self._vlans, answer.gateway or backend)
        return paths.egress(self._picture.devices, answer.ifindex, self._usable, label)

    def _hold(self, backends: Iterable[Address]) -> None:
        keys = (self._key(backend) for backend in backends if isinstance(self._way(backend), Way))
        self._keeper.hold(key for key in keys if key is not None)

    def _release(self, gone: Collection[Address]) -> None:
        """Forget backends, and let go of the neighbours that no other backend is behind."""
        left = [self._stakes.rest_on(backend, None) for backend in gone]
        self._keeper.release(key for key in left if key is not None)
        self._paths = {backend: path for backend, path in self._paths.items() if backend not in gone}

    def doubt(self, backend: Address) -> None:
        """What was sent to it came back unanswered: see whether its neighbour's MAC is still right. Cheap, however often."""
        key = self._key(backend) if backend in self._answers else None
        if key is not None:
            self._keeper.doubt(key, asyncio.get_running_loop().time())

    # -------------------------------------------------------------------------------------------------------------------- paths

    def _path(self, backend: Address) -> Path | NoPath:
        answer, key = self._answers[backend], self._key(backend)
        entry = self._picture.neighbours.get(key) if key else None
        found = paths.resolve(answer, self._way(backend), entry, self.name(answer.ifindex), full=key in self._keeper.full)
        if isinstance(found, Path):
            return self._sourced(found, backend)
        return found if found.last is None else replace(found, last=self._sourced(found.last, backend))

    def _sourced(self, path: Path, backend: Address) -> Path:
        """With an address of ours to send from where the route names none."""
        return path if path.source else replace(path, source=self._own(backend.version, self._answers[backend].ifindex))

    def _own(self, version: int, ifindex: int) -> Address | None:
        mine = self._picture.addresses.get(ifindex, ())
        return min((a.ip for a in mine if a.version == version and not a.ip.is_link_local), default=None)

    def _compute(self) -> None:
        dirty, self._dirty = self._dirty, set()
        fresh = {backend: self._path(backend) for backend in dirty if backend in self._answers}
        new = {backend: path for backend, path in fresh.items() if self._paths.get(backend) != path}
        if new or self._picture.devices != self._said:
            self._said = dict(self._picture.devices)
            self._paths = self._paths | new
            self._changed()

    async def _settle(self) -> None:
        """Do what events call for: paths at once, look-ups and what others have to do no more often than they are worth."""
        loop = asyncio.get_running_loop()
        look = disturb = 0.0  # not before
        while True:
            await self._kick.wait()
            await asyncio.sleep(SETTLE)
            self._kick.clear()
            self._compute()
            if (self._stale or self._overrun) and loop.time() >= look:
                began = loop.time()
                await self._renew()
                look = loop.time() + max(LOOK_UP_PAUSE, LOOK_UP_REST * (loop.time() - began))
            if self._touched and loop.time() >= disturb:
                self._touched = False
                disturb = loop.time() + DISTURBED_PAUSE
                self._disturbed()
            due = [at for asked, at in ((self._stale or self._overrun, look), (self._touched, disturb)) if asked]
            if due:
                loop.call_at(min(due), self._kick.set)

    async def _renew(self) -> None:
        """What is stale is asked for; after an overrun that is all. What fails stays stale, and the next round tries again."""
        try:
            if self._overrun:
                self._log(Warned("the kernel dropped network events, there were too many at once: everything is read again"))
                self._deafen()
                self._listen()
                self._overrun = False
                self._stale.update(self._answers)
            stale, self._stale = self._stale, set()
            await self._look_up(stale)
        except OSError as error:
            self._stale.update(self._answers)
            self._log(OperationFailed("read the network", str(error)))
        self._compute()

    async def _hold_round(self) -> None:
        while True:
            await asyncio.sleep(HOLD_ROUND)
            everyone = tuple(self._answers)
            for at in range(0, len(everyone), wire.AT_ONCE):
                self._hold(b for b in everyone[at : at + wire.AT_ONCE] if b in self._answers)
                await asyncio.sleep(0)

    async def _ask_round(self) -> None:
        while True:
            await asyncio.sleep(ASK_ROUND)
            with suppress(OSError):  # of the socket: the others who ask by it say so
                self._keeper.ask_again(ASKED_AT_ONCE)

    # ------------------------------------------------------------------------------------------------------------------- events

    def _listen(self) -> None:
        """First listen, then read: nothing falls in between."""
        self._events = wire.opened(_EVENT_GROUPS, RECEIVE_BUFFER)
        self._events.setblocking(False)
        self._picture.read(self._ask)
        asyncio.get_running_loop().add_reader(self._events, self._hear)

    def _deafen(self) -> None:
        if self._events.fileno() < 0:
            return
        asyncio.get_running_loop().remove_reader(self._events)
        self._events.close()

    def _hear(self) -> None:
        try:
            for message in wire.heard(self._events, EVENTS_AT_ONCE):
                self._take(self._picture.take(message))
        except OSError:  # ENOBUFS: what was lost, nobody can say
            self._overrun = True
            self._kick.set()

    def _take(self, news: News | None) -> None:
        """Mark what has become stale; what no backend has to do with is not worth waking anybody."""
        if news is None:
            return
        if news.neighbour is not None:
            users = self._stakes.with_neighbour(news.neighbour)
            self._dirty.update(users)
            if news.lost:
                self._stale.update(users)  # look, and hold it again
            if news.silent and users:
                self._keeper.failed(news.neighbour)
            self._touched |= news.lost and news.ours
            if users or self._touched:
                self._kick.set()
        elif news.prefix is None:
            self.poke()
        elif (covered := self._stakes.within(news.prefix)) is not None:
            self._stale.update(covered)
            self._touched = True
            self._kick.set()
