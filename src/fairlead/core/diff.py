"""The way from what is there to what is wanted, one service at a time: operations in an order that readers can live with.

    add next hop -> add destination -> (better) -> fill slots -> point service -> (worse) -> remove destination

Whatever gets better for clients comes before the slots name it, whatever gets worse after the slots have let go of it. A chain is
carried out until its first failure, so each operation may rely on those before it. Numbers are taken from `have.holdings` while a
chain is made and noted in `reserved`; what the chain did not come to use goes back through quarantine.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from hashlib import blake2b

from fairlead.core.diff_fresh import add_destinations
from fairlead.core.hashes import known, unmapped
from fairlead.core.ids import FullError, Item, Kind, Move, place
from fairlead.core.maglev import permutation
from fairlead.core.plan import State
from fairlead.core.rows import RegistryRow, RowKey, is_vip, named, parsed
from fairlead.core.steps import Chain, Tools
from fairlead.core.tables import Fill, Have
from fairlead.core.wants import WantDestination, WantService
from fairlead.model import Address, OnDown, Path, Publish, Scheduler, Store, Ttl


class ServiceDiff:
    """The chain of one service; made for one use."""

    def __init__(self, have: Have, want: WantService, tools: Tools) -> None:
        self.have, self.want, self.tools, self.rows = have, want, tools, have.rows
        self.chain = Chain(want.key, want.key)
        self.name = str(want.key)
        self.ids: dict[bytes, int] = {}
        self.nodes: list[tuple[WantDestination, int]] = []
        self.worse: list[tuple[str, tuple[Store | Publish, ...]]] = []
        self.hops: dict[bytes, int] = {}
        self.own = have.owned.get(want.row, {})
        self.fresh: list[tuple[WantDestination, int, int]] = []  # with id and next hop

    def make(self) -> Chain:
        """Everything that this service needs, in order; nothing while its row stands at two places, which must say the same."""
        if self.want.row in self.have.strays:
            self.chain.postponed = True
            return self.chain
        try:
            number = self._service_id()
        except FullError as full:
            self.chain.lacks(f"add {self.name}", full, self.have.geometry.services)
            return self.chain
        for destination in self.want.destinations:
            self._destination(destination, number)
        add_destinations(self.have, self.want, number, self.fresh, self.chain, self.tools)
        settled = self._slots(number)
        for text, stores in self.worse:
            self.chain.add(text, *stores)
        if settled:
            wanted = {d.packed for d in self.want.destinations}
            remove_destinations(self.have, self.want.row, wanted, self.chain)
        return self.chain

    def _reserve(self, item: Item) -> int:
        self.chain.reserved.append(item)
        return item.number

    def _service_id(self) -> int:
        number = self.have.service_id(self.want.row)
        return number or self._reserve(self.have.holdings.take(Kind.SERVICE))

    # ------------------------------------------------------------------------------------------------------------ destinations

    def _destination(self, want: WantDestination, service: int) -> None:
        hop = self._hop(want)
        number = self.own.get(want.packed, 0)
        row = self.have.destinations[number] if number else None
        if row is not None and row.service != service:
            row = None  # of a service that was removed half-way: it goes, and a new one takes its place
        if row is not None and not hop and (want.hop or want.keeps):
            hop = row.hop  # no room for the new one yet, or nobody knows a better: the old way rather than none
        if row is None:
            number = self._new_destination(want, hop)
        else:
            self._set_destination(want, number, row.live, hop)
        if number and want.weight and hop:
            self.nodes.append((want, number))

    def _hop(self, want: WantDestination) -> int:
        if not want.hop or want.path is None:
            return 0
        known = self.hops.get(want.hop) or self.have.hops.get(want.hop)
        if known:
            item = Item(Kind.NEXT_HOP, known) if self.have.holdings.waits() else None
            if item is not None and not self.have.holdings.uses(item):
                self.have.holdings.rescue(item)
                self._reserve(item)
            return known
        return self._new_hop(want, want.path)

    def _new_hop(self, want: WantDestination, path: Path) -> int:
        mac = path.mac_destination.hex(":")
        on = self.tools.links.get(path.ifindex, f"interface {path.ifindex}")
        try:
            index = self._reserve(self.have.holdings.take(Kind.NEXT_HOP))
        except FullError as full:
            self.chain.lacks(f"add next hop: {want.text} via {mac} on {on}", full, self.have.geometry.nexthops)
            return 0
        self.hops[want.hop] = index
        store = Store("nexthops", index * self.rows.size["nexthops"], want.hop)
        self.chain.add(f"add next hop {index}: {want.text} via {mac} on {on}", store)
        return index

    def _new_destination(self, want: WantDestination, hop: int) -> int:
        try:
            number = self._reserve(self.have.holdings.take(Kind.DESTINATION))
        except FullError as full:
            self.chain.lacks(f"add destination: {want.text} for {self.name}", full, self.have.geometry.destinations)
            return 0
        self.fresh.append((want, number, hop))
        return number

    def _set_destination(self, want: WantDestination, number: int, live: int, hop: int) -> None:
        row, target = self.have.destinations[number], want.live | hop
        past = self.have.registry(number)
        registry = want.registry(past.since if row.state is want.state else self.tools.now, past.base)
        stores: tuple[Store | Publish, ...] = () if registry == past else (self._registry(number, registry),)
        about = f"{number}: {want.text} for {self.name}"
        if target != live:
            text = f"set destination {about} {self._says(want, row.state, row.hop, hop)}"
            stores = (*stores, self._publish(number, target))
        else:
            text = f"note destination {about} {'healthy' if want.healthy else 'unhealthy'}"
        if not stores:
            return
        if want.state is State.ACTIVE and hop:
            self.chain.add(text, *stores)
        else:
            self.worse.append((text, stores))

    @staticmethod
    def _says(want: WantDestination, state: State | None, old: int, new: int) -> str:
        says = [] if state is want.state and old != new else [want.state.value]
        if old != new:
            says.append(f"next hop {new}" if new else "no next hop")
        return ", ".join(says)

    def _registry(self, number: int, row: RegistryRow) -> Store:
        data = self.rows.registry(row)
        return Store("registry", number * len(data), data)

    def _publish(self, number: int, live: int) -> Publish:
        return publish(self.have, "destinations", number, live)

    # ------------------------------------------------------------------------------------------------------- slots and service

    def _slots(self, number: int) -> bool:
        """Fill and point; False if there is no room, so that the old slots are in use still."""
        row, size = self.have.service(self.want.row), self.want.size
        base, current = 0, row is not None and row.size == size
        if not self.nodes:
            size = 0
        elif current and row is not None and self._same(row.base):
            base = row.base
        else:
            found = self._fill(row.base if row is not None and current else 0, rebuild=row is not None and row.size > 0)
            if found is None:
                return False
            base = found
        live = self.rows.pointed(self.want.live, base, size)
        return (row is not None and row.live == live) or self._point(number, live, base, size)

    def _nodes(self) -> tuple[tuple[bytes, int, int], ...]:
        return tuple((d.packed, d.weight, number) for d, number in self.nodes)

    def _same(self, base: int) -> bool:
        fill = self.have.fills.get(base)
        want = self.want
        return fill is not None and (fill.size, fill.scheduler, fill.nodes) == (want.size, want.scheduler, self._nodes())

    def _fill(self, old: int, rebuild: bool) -> int | None:
        """The base of a region with the right slots: the present one if it has them already, else a new one; None if there is no
        room.
        """
        size = self.want.size
        chosen = indices(self.tools, self.want.scheduler, size, [(d.backend, d.weight) for d, _ in self.nodes])
        slots = self.tools.maglev.translate(chosen, [number for _, number in self.nodes])
        fill = Fill(self._nodes(), self.want.scheduler, size, zlib.crc32(slots), self._digest(chosen))
        change = size
        if old:
            present = self.have.region(old, size)
            change = self.tools.maglev.differing(present, slots) if len(present) == len(slots) else size
            if not change:
                self.have.fills[old] = fill
                return old
        return self._new_region(slots, fill, change, rebuild)

    def _new_region(self, slots: bytes, fill: Fill, change: int, rebuild: bool) -> int | None:
        about = f"fill {fill.size} slots for {self.name}"
        length = self.rows.elements(fill.size)
        try:
            base = self._reserve(self.have.holdings.take_region(length, rebuild))
        except FullError as full:
            self.chain.lacks(about, full, self.have.geometry.slots)
            return None
        self.have.fills[base] = fill
        width = self.rows.size["slots"]
        self.chain.add(f"{about}: {change} change", Store("slots", base * width, slots.ljust(length * width, b"\0")))
        return base

    def _digest(self, indices: bytes) -> bytes:
        """What `tables_hash` takes from one service: names, never local numbers."""
        text = blake2b(f"{self.name} {self.want.scheduler.value} {self.want.size}\n".encode(), digest_size=16)
        for destination, _ in self.nodes:
            text.update(destination.packed + destination.weight.to_bytes(8, "little"))
        text.update(indices)
        return text.digest()

    def _point(self, number: int, live: int, base: int, size: int) -> bool:
        first = base * self.rows.slots_per_element
        text = f"point {self.name} at slots {first}..{first + size}" if size else f"point {self.name} at no slots"
        at = self.have.places.get(self.want.row)
        if at is not None:
            self.chain.add(text, publish(self.have, "services", at, live))
            return True
        return add_row(self.have, self.chain, text, self.want.row, number, live)


# ------------------------------------------------------------------------------------------------------- shared with other chains


def indices(tools: Tools, scheduler: Scheduler, size: int, nodes: Sequence[tuple[Address, int]]) -> bytes:
    """The scheduler's choice for each slot: u32 indices into `nodes`, which are (address, weight) in Maglev's order."""
    weights = [weight for _, weight in nodes]
    if scheduler is Scheduler.RENDEZVOUS:
        return tools.rendezvous.fill(size, [known(address).packed for address, _ in nodes], weights)
    walks = [permutation(address, size) for address, _ in nodes]
    return tools.maglev.fill(size, [o for o, _ in walks], [s for _, s in walks], weights)


def publish(have: Have, table: str, row: int, live: int) -> Publish:
    """The switch of one row."""
    return Publish(table, row * have.rows.size[table] + have.rows.live_at[table], live)


def add_row(have: Have, chain: Chain, text: str, key: RowKey, number: int, live: int, *then: Publish) -> bool:
    """A new row of services, or the move that makes room for it; False if it has to wait or there is no room."""
    try:
        at = place(have.places_of(key), lambda p: _taken(have, p), lambda p: _other(have, p))
    except FullError as full:
        chain.lacks(text, full, have.geometry.services)
        return False
    if isinstance(at, Move):
        move_row(have, chain, at)
        chain.postponed = True
        return False
    payload = have.rows.service(key, number)
    chain.add(text, Store("services", at * len(payload), payload), publish(have, "services", at, live), *then)
    return True


def _taken(have: Have, at: int) -> bool:
    return at in have.services or have.holdings.quarantined(Item(Kind.PLACE, at))


def _other(have: Have, at: int) -> int | None:
    row = have.services.get(at)
    if row is None or row.key in have.strays:
        return None
    first, second = have.places_of(row.key)
    return second if at == first else first


def move_row(have: Have, chain: Chain, move: Move) -> None:
    """Copy a row to its other place.

    The old one goes after a grace period: a reader that looked here first and there next found both.
    """
    row = have.services[move.source]
    payload = have.rows.service(row.key, row.id)
    stores = (Store("services", move.target * len(payload), payload), publish(have, "services", move.target, row.live))
    chain.add(f"move {named(row.key)} from row {move.source} to row {move.target} to make room", *stores)


def remove_destinations(have: Have, key: RowKey, wanted: set[bytes], chain: Chain) -> None:
    """Destinations of a service that are not wanted are gone from now on; their ids come free later."""
    service = have.service_id(key)
    own = [
        n for backend, n in have.owned.get(key, {}).items() if backend not in wanted or have.destinations[n].service != service
    ]
    for number in sorted({*own, *have.spare.get(key, ())}):
        row = have.destinations[number]
        live = have.rows.destination_live(row.hop, State.GONE, Ttl.ONE, OnDown.MOVE)
        backend = unmapped(row.backend)
        chain.add(f"remove destination {number}: {backend} for {named(key)}", publish(have, "destinations", number, live))


def remove_service(have: Have, key: RowKey) -> Chain:
    """Nobody wants this service any more: unpoint it, then its destinations are gone."""
    chain = Chain(("service", key), parsed(key))
    if key in have.places and not is_vip(key):
        chain.add(f"remove {named(key)}", *unpoint(have, key))
    remove_destinations(have, key, set(), chain)
    return chain


def unpoint(have: Have, key: RowKey) -> tuple[Publish, ...]:
    """Clear every row that holds a key."""
    return tuple(publish(have, "services", at, 0) for at in sorted({have.places[key], *have.strays.get(key, ())}))
