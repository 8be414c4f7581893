"""The kernel's network, kept current.

One netlink socket asks, a second one listens. Events only mark what is stale; a settling task then looks again and calls
`changed` once for a whole burst. A neighbour event costs no question: its message carries all that a path needs, so that a new
MAC address is known within milliseconds. When the kernel's event queue overflows (ENOBUFS), everything is read again.

Neighbours of backends are kept alive by the kernel itself: "managed" entries (NTF_EXT_MANAGED, Linux 5.16) are resolved at once
and probed before they expire. They carry protocol 70 (NDA_PROTOCOL), by which `fairlead detach` finds them. Older kernels get
entries that are only "used" (NTF_USE), again every few seconds. Carrier loss deletes managed entries, hence the same round.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_interface
from typing import Any

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from fairlead.adapters.netlink import paths
from fairlead.adapters.netlink.messages import (
    NTF_EXT_MANAGED,
    NTF_USE,
    NUD_NOARP,
    NUD_PERMANENT,
    NUD_STALE,
    PROTOCOL,
    Device,
    Interface,
    Neighbour,
    NeighbourKey,
    RouteAnswer,
    device_of,
    managed_supported,
    neighbour_of,
    no_route,
    route_of,
)
from fairlead.adapters.netlink.paths import Way
from fairlead.model import Address, Link, NoPath, Path, Vlan

RECEIVE_BUFFER = 8 << 20  # bytes: the default loses 60 % of a burst of 9,000 events
SETTLE = 0.005  # seconds a burst of events is gathered
LOOK_UP_PAUSE = 0.25  # seconds between two rounds of route look-ups
HOLD_ROUND = 5.0  # seconds between two looks at the neighbours that we keep

_EVENT_GROUPS = sum(1 << n - 1 for n in (1, 3, 5, 7, 8, 9, 11, 19))  # link neigh ipv4{ifaddr,route,rule} ipv6{...}


class Network:
    """The kernel's view of the network.

    Both callbacks run in the event loop: `changed` when `links` or `paths` say something new, `disturbed` when somebody touched
    rules, routes, addresses, links or one of our permanent neighbours, so that it is worth while to look after them.
    """

    def __init__(self, changed: Callable[[], None], disturbed: Callable[[], None] = lambda: None) -> None:
        self._changed = changed
        self._disturbed = disturbed
        self._ask: Any = None
        self._tasks: list[asyncio.Task[None]] = []
        self._devices: dict[int, Device] = {}
        self._addresses: dict[int, set[Interface]] = {}
        self._neighbours: dict[NeighbourKey, Neighbour] = {}
        self._answers: dict[Address, RouteAnswer] = {}
        self._paths: dict[Address, Path | NoPath] = {}
        self._usable: frozenset[int] = frozenset()
        self._vlans: tuple[Vlan, ...] = ()
        self._kick = asyncio.Event()
        self._stale = False
        self._said: tuple[Any, ...] = ()
        self._managed = managed_supported()

    async def open(self) -> None:
        """Read links, addresses and neighbours, and listen to what changes from here on."""
        self._ask = AsyncIPRoute(rcvbuf=RECEIVE_BUFFER)
        listening = asyncio.Event()
        self._tasks = [asyncio.create_task(job) for job in (self._listen(listening), self._settle(), self._hold_round())]
        await listening.wait()

    async def close(self) -> None:
        """Stop listening. Neighbour entries stay, so that a restart finds them warm; `plumbing.remove` takes them away."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._ask is not None:
            self._ask.close()

    def links(self) -> tuple[Link, ...]:
        """Every interface, by index."""
        return tuple(self._devices[i].link for i in sorted(self._devices))

    def link(self, name: str) -> Link | None:
        """The interface of that name."""
        return next((device.link for device in self._devices.values() if device.link.name == name), None)

    def name(self, ifindex: int) -> str:
        """The interface's name, "" if it has gone."""
        device = self._devices.get(ifindex)
        return device.link.name if device else ""

    def managed(self, names: Iterable[str]) -> list[Link]:
        """The NICs that these names mean, in their order: a bond's name means its members, with `bond` and `active` set."""
        return list(dict.fromkeys(link for name in names for link in paths.managed(self._devices, name)))

    def misnamed(self, names: Iterable[str]) -> list[str]:
        """Names of devices that Fairlead cannot run on, as sentences that say what to name instead."""
        return [text for text in (paths.misnamed(self._devices, name) for name in dict.fromkeys(names)) if text]

    def related(self, links: Iterable[Link], vlans: Sequence[Vlan] = ()) -> set[int]:
        """The indices of the devices through which these NICs are used: themselves, bonds, VLAN devices, declared subnets'."""
        declared = {i for i, found in self._addresses.items() for a in found if paths.vlan_of(vlans, a.ip)}
        return paths.related(self._devices, links) | declared

    def devices_to(self, backends: Iterable[Address]) -> set[str]:
        """The names of the devices over which the kernel routes to these watched backends."""
        found = {self._answers[b].ifindex for b in backends if b in self._answers}
        return {name for name in map(self.name, found) if name}

    def addresses(self) -> Mapping[int, frozenset[Interface]]:
        """The addresses of each interface, with their prefixes."""
        return {index: frozenset(found) for index, found in self._addresses.items()}

    def paths(self) -> Mapping[Address, Path | NoPath]:
        """The path to each watched backend."""
        return dict(self._paths)

    def poke(self) -> None:
        """Look at routes and neighbours again soon."""
        self._stale = True
        self._kick.set()

    async def watch(self, backends: Iterable[Address], usable: Iterable[int], vlans: Sequence[Vlan] = ()) -> None:
        """Keep paths to these backends, through these NICs (by index; none: any) and with this override.

        Resolves once before it returns.
        """
        wanted = set(backends)
        self._usable, self._vlans = frozenset(usable), tuple(vlans)
        for gone in set(self._answers) - wanted:
            await self._release(gone)
        self._answers = {backend: self._answers.get(backend, RouteAnswer(error="not looked up yet")) for backend in wanted}
        await self._look_up()
        self._compute()

    async def settle(self, within: float) -> None:
        """Wait until the kernel has resolved the neighbours of all watched backends, but no longer than this many seconds."""
        give_up = asyncio.get_running_loop().time() + within
        while any(self._unresolved(b) for b in self._answers) and asyncio.get_running_loop().time() < give_up:
            await asyncio.sleep(SETTLE)
        self._compute()

    def _unresolved(self, backend: Address) -> bool:
        key = self._key(backend)
        entry = self._neighbours.get(key) if key else None
        return key is not None and isinstance(self._way(backend), Way) and (entry is None or not entry.mac)

    async def route(self, address: Address) -> RouteAnswer:
        """How the kernel would reach this address."""
        try:
            message = next(iter(await self._ask.route("get", dst=str(address))))
        except NetlinkError as e:
            return no_route(e.code)
        return route_of(message)

    async def _look_up(self) -> None:
        for backend in tuple(self._answers):
            answer = await self._answer(backend)
            if backend in self._answers:  # `watch` may have dropped it meanwhile
                self._answers[backend] = answer
                await self._hold(backend)

    async def _answer(self, backend: Address) -> RouteAnswer:
        """The route to a backend, or over the declared gateway if it is outside of all declared subnets."""
        gateway = paths.gateway_for(self._vlans, backend)
        if gateway is None:
            return await self.route(backend)
        return replace(await self.route(gateway), gateway=gateway)

    def _key(self, backend: Address) -> NeighbourKey | None:
        answer = self._answers[backend]
        return None if paths.refused(answer) else (answer.ifindex, answer.gateway or backend)

    def _way(self, backend: Address) -> Way | NoPath:
        answer = self._answers[backend]
        label = paths.vlan_of(self._vlans, answer.gateway or backend)
        return paths.egress(self._devices, answer.ifindex, self._usable, label)

    async def _hold(self, backend: Address) -> None:
        """Have the kernel resolve this neighbour and keep it so; a permanent entry is somebody's wish and stays as it is."""
        key = self._key(backend)
        if key is None or isinstance(self._way(backend), NoPath):
            return
        entry = self._neighbours.get(key)
        if entry is not None and (entry.state & (NUD_PERMANENT | NUD_NOARP) or (entry.managed and entry.protocol == PROTOCOL)):
            return
        how: dict[str, Any] = {"flags_ext": NTF_EXT_MANAGED} if self._managed else {"flags": NTF_USE}
        if entry is not None and entry.mac:  # a gateway is used by others too: what is known stays usable meanwhile
            how |= {"lladdr": entry.mac.hex(":"), "state": NUD_STALE}
        with contextlib.suppress(NetlinkError):  # a link that is down, a table that is full: the next round tries again
            await self._ask.neigh("replace", **{"dst": str(key[1]), "ifindex": key[0], "state": 0, "protocol": PROTOCOL} | how)

    async def _release(self, backend: Address) -> None:
        key = self._key(backend)
        self._paths.pop(backend, None)
        del self._answers[backend]
        entry = self._neighbours.get(key) if key else None
        shared = key in map(self._key, self._answers)  # a gateway has many behind it
        if key and entry and entry.protocol == PROTOCOL and not entry.state & NUD_PERMANENT and not shared:
            with contextlib.suppress(NetlinkError):
                await self._ask.neigh("delete", dst=str(key[1]), ifindex=key[0])

    def _path(self, backend: Address) -> Path | NoPath:
        answer, key = self._answers[backend], self._key(backend)
        entry = self._neighbours.get(key) if key else None
        found = paths.resolve(answer, self._way(backend), entry, self.name(answer.ifindex))
        if isinstance(found, Path) and found.source is None:
            return replace(found, source=self._own(backend.version, answer.ifindex))
        return found

    def _own(self, version: int, ifindex: int) -> Address | None:
        own = sorted(a.ip for a in self._addresses.get(ifindex, ()) if a.version == version and not a.ip.is_link_local)
        return own[0] if own else None

    def _compute(self) -> None:
        self._paths = {backend: self._path(backend) for backend in self._answers}
        now = (dict(self._devices), self._paths)
        if now != self._said:
            self._said = now
            self._changed()

    async def _settle(self) -> None:
        loop = asyncio.get_running_loop()
        looked = 0.0
        while True:
            await self._kick.wait()
            await asyncio.sleep(SETTLE)
            self._kick.clear()
            if self._stale and loop.time() - looked >= LOOK_UP_PAUSE:
                self._stale = False
                looked = loop.time()
                await self._look_up()
                self._disturbed()
            elif self._stale:
                loop.call_later(LOOK_UP_PAUSE, self._kick.set)
            self._compute()

    async def _hold_round(self) -> None:
        while True:
            await asyncio.sleep(HOLD_ROUND)
            for backend in tuple(self._answers):
                if backend in self._answers:
                    await self._hold(backend)

    async def _listen(self, listening: asyncio.Event) -> None:
        """Read everything, then follow the events; start over whenever some were lost."""
        while True:
            try:
                async with AsyncIPRoute(rcvbuf=RECEIVE_BUFFER) as events:
                    await events.bind(groups=_EVENT_GROUPS)  # first listen, then read: nothing falls in between
                    await self._read_all()
                    listening.set()
                    self.poke()
                    while True:  # get() ends after each batch
                        async for message in events.get():
                            self._take(message)
            except (OSError, NetlinkError):
                await asyncio.sleep(SETTLE)

    async def read_links(self) -> None:
        """Ask for the interfaces now: the event of one that was made a moment ago may still be on its way."""
        self._devices = {int(m["index"]): device_of(m) async for m in await self._ask.link("dump")}

    async def _read_all(self) -> None:
        await self.read_links()
        self._addresses = {}
        async for message in await self._ask.addr("dump"):
            self._take_address(message, gone=False)
        found = [neighbour_of(m) async for m in await self._ask.neigh("dump")]
        self._neighbours = dict(n for n in found if n is not None)

    def _take(self, message: Any) -> None:
        """One event: what it says is kept, what follows from it is left to the settling task."""
        event = str(message.get("event", ""))
        gone = event.startswith("RTM_DEL")
        match event.removeprefix("RTM_NEW").removeprefix("RTM_DEL"):
            case "LINK" if message["family"] == 0:  # the bridge family sends link messages of its own
                self._take_link(message, gone=gone)
            case "NEIGH":
                self._take_neighbour(message, gone=gone)
                self._kick.set()
                return
            case "ADDR":
                self._take_address(message, gone=gone)
            case "ROUTE" if int(message.get("flags") or 0) & 0x200:  # RTM_F_CLONED: a cached exception, not a change
                return
            case _:
                pass
        self.poke()

    def _take_link(self, message: Any, *, gone: bool) -> None:
        if gone:
            self._devices.pop(int(message["index"]), None)
        else:
            device = device_of(message)
            self._devices[device.link.ifindex] = device

    def _take_neighbour(self, message: Any, *, gone: bool) -> None:
        found = neighbour_of(message)
        if found is None:
            return
        key, entry = found
        if gone:
            self._neighbours.pop(key, None)
            self._stale |= key[1] in self._answers or entry.protocol == PROTOCOL  # ours went: look, and hold it again
        else:
            self._neighbours[key] = entry

    def _take_address(self, message: Any, *, gone: bool) -> None:
        where = message.get("local") or message.get("address")
        if not where:
            return
        mine = self._addresses.setdefault(int(message["index"]), set())
        address = ip_interface(f"{where}/{message['prefixlen']}")
        (mine.discard if gone else mine.add)(address)
