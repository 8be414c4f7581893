"""What the kernel's tables hold: decoded from the mapped images at adoption, then kept in step with every confirmed store.

`Have` owns a copy of the bytes of each table that only Fairlead writes. A row is decoded again whenever stores into it were
confirmed, so that adopting a table and having written it oneself are the same thing.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from fairlead.core.hashes import service_places
from fairlead.core.ids import Holdings, Item, Kind
from fairlead.core.plan import State
from fairlead.core.rows import MIRRORED, DestinationRow, InterfaceRow, RegistryRow, RowKey, Rows, ServiceRow, service_key
from fairlead.model import Geometry, Op, Publish, Scheduler, ServiceKey, Store

_CHUNK = 1 << 16
_ZERO = bytes(_CHUNK)


@dataclass(frozen=True, slots=True)
class Fill:
    """What a slot region was filled with: (address, weight, id) of each node, `crc` of its bytes, `digest` for `tables_hash`."""

    nodes: tuple[tuple[bytes, int, int], ...]
    scheduler: Scheduler
    size: int
    crc: int
    digest: bytes


def host(value: int) -> bytes:
    """A u64 as it stands in memory (BPF objects are built for little-endian machines only)."""
    return value.to_bytes(8, "little")


class Slots(Protocol):
    """The bytes of the slots table, of which slices are read."""

    def __getitem__(self, part: slice, /) -> memoryview:
        """Some bytes."""
        ...


class Have:
    """The tables as they were last read or confirmed.

    `slots` is the live mapping itself: too large to copy, read when asked for.
    """

    def __init__(self, rows: Rows, geometry: Geometry, slots: Slots) -> None:
        self.rows = rows
        self.geometry = geometry
        self.slots = slots
        self.services: dict[int, ServiceRow] = {}  # by place
        self.places: dict[RowKey, int] = {}
        self.strays: dict[RowKey, set[int]] = {}  # places that hold a key a second time
        self.destinations: dict[int, DestinationRow] = {}  # by id, those that are gone too
        self.owned: dict[RowKey, dict[bytes, int]] = {}  # key -> backend -> id, without those that are gone
        self.spare: dict[RowKey, set[int]] = {}  # key -> ids that name a backend a second time
        self.hops: dict[bytes, int] = {}  # contents -> index
        self.hop_rows: dict[int, bytes] = {}
        self.interfaces: dict[int, InterfaceRow] = {}  # by place
        self.fills: dict[int, Fill] = {}  # by base
        self.holdings = Holdings(geometry.services, geometry.destinations, geometry.nexthops, geometry.slots)
        self.images = {table: bytearray(self._bytes(table)) for table in MIRRORED}
        self._destination_size, self._registry_size = rows.size["destinations"], rows.size["registry"]
        self._readers: Mapping[str, Callable[[int], None]] = {
            "services": self._read_service,
            "destinations": self._read_destination,
            "nexthops": self._read_hop,
            "interfaces": self._read_interface,
        }

    def _bytes(self, table: str) -> int:
        g, single = self.geometry, {"vips": 1, "settings": 1, "interfaces": self.rows.constants["INTERFACE_ROWS"]}
        large = {"services": g.services, "destinations": g.destinations, "nexthops": g.nexthops, "registry": g.destinations}
        return (single | large)[table] * self.rows.size[table]

    # ---------------------------------------------------------------------------------------------------- reading what is there

    def adopt(self, views: Callable[[str], memoryview]) -> None:
        """Decode everything.

        A row without `live` is free whatever else it holds; a destination that is gone goes on into quarantine.
        """
        for table in MIRRORED:
            image, view = self.images[table], views(table)
            for at in range(0, len(image), _CHUNK):
                data = bytes(view[at : at + _CHUNK])
                if data != _ZERO[: len(data)]:
                    image[at : at + len(data)] = data
        for table in ("destinations", "services", "interfaces"):
            for row in self._alive(table):
                self._readers[table](row)

    def _alive(self, table: str) -> Iterator[int]:
        size, at = self.rows.size[table], self.rows.live_at[table]
        lives = memoryview(self.images[table]).cast("Q")[at // 8 :: size // 8]
        return iter([i for i, live in enumerate(lives.tolist()) if live])

    def confirm(self, op: Op) -> None:
        """The stores of `op` were carried out."""
        touched: dict[str, dict[int, None]] = {}
        for store in op.stores:
            table = store.table
            if table == "slots":
                continue
            image, offset, rows = self.images[table], store.offset, touched.setdefault(table, {})
            if isinstance(store, Publish):
                image[offset : offset + 8] = host(store.value)
                rows[offset // self.rows.size[table]] = None
            else:
                image[offset : offset + len(store.data)] = store.data
                rows.update(dict.fromkeys(self._rows_of(store)))
        for table, rows in touched.items():
            if table == "destinations":
                self._read_destinations(rows)
            elif table in self._readers:
                for row in rows:
                    self._readers[table](row)

    def _rows_of(self, store: Store | Publish) -> range:
        """The rows that a store concerns."""
        size, length = self.rows.size[store.table], len(store.data) if isinstance(store, Store) else 8
        return range(store.offset // size, (store.offset + length - 1) // size + 1)

    def _reread(self, table: str, row: int) -> None:
        reader = self._readers.get(table)
        if reader is not None:
            reader(row)

    def read_back(self, stores: Iterable[Store | Publish], views: Callable[[str], memoryview]) -> None:
        """Nobody knows how far `stores` got: read the rows they concern."""
        for store in stores:
            for row in self._rows_of(store) if store.table != "slots" else ():
                self.take_row(store.table, row, views(store.table))

    def take_row(self, table: str, row: int, view: memoryview) -> None:
        """Believe what `view` says about one row."""
        size = self.rows.size[table]
        self.images[table][row * size : (row + 1) * size] = view[row * size : (row + 1) * size]
        self._reread(table, row)

    def compare(self, views: Callable[[str], memoryview]) -> Iterator[int]:
        """Read everything back and believe it; a step compares a stretch and yields how many rows or regions were off."""
        for table in MIRRORED:
            view, size = views(table), self.rows.size[table]
            for at in range(0, len(self.images[table]), max(_CHUNK, size)):
                rows = self._differences(table, at, at + max(_CHUNK, size), view)
                for row in rows:
                    self.take_row(table, row, view)
                yield len(rows)
        for place in list(self.services):
            yield self._forget_spoilt(place)

    def _differences(self, table: str, start: int, stop: int, view: memoryview) -> list[int]:
        size, image = self.rows.size[table], self.images[table]
        if bytes(view[start:stop]) == image[start:stop]:
            return []
        steps = range(start, min(stop, len(image)), size)
        return [at // size for at in steps if bytes(view[at : at + size]) != image[at : at + size]]

    def _forget_spoilt(self, place: int) -> bool:
        """Forget what a service's slots were filled with if they do not hold it any more."""
        row = self.services.get(place)
        fill = self.fills.get(row.base) if row is not None and row.size else None
        spoilt = row is not None and fill is not None and zlib.crc32(self.region(row.base, row.size)) != fill.crc
        if row is not None and spoilt:
            del self.fills[row.base]
        return spoilt

    def region(self, base: int, size: int) -> memoryview:
        """The bytes of `size` slots from element `base` on; shorter where a broken word points beyond the table."""
        at = base * self.rows.size["slots"]
        return self.slots[at : at + 4 * size]

    # ----------------------------------------------------------------------------------------------------------------- one row

    def _data(self, table: str, row: int) -> bytes:
        size = self.rows.size[table]
        return bytes(self.images[table][row * size : (row + 1) * size])

    def _read_service(self, place: int) -> None:
        old, new = (
            self.services.pop(place, None),
            self.rows.read_service(self.images["services"], place * self.rows.size["services"]),
        )
        for item in self._service_items(place, new):
            self.holdings.hold(item)
        for item in self._service_items(place, old):
            self.holdings.drop(item)
        if old is not None:
            self._displace(old.key, place)
        if new is None:
            return
        self.services[place] = new
        before = self.places.setdefault(new.key, place)
        if before != place:
            # Being moved, or somebody was killed while it was: readers may find either, so both stay for a grace period.
            self.places[new.key] = place
            self.strays.setdefault(new.key, set()).add(before)
            self.holdings.quarantine(Item(Kind.COPY, before))

    def _displace(self, key: RowKey, place: int) -> None:
        """The row of `key` at `place` is gone; a copy of it takes over."""
        copies = self.strays.pop(key, set()) - {place}
        if self.places.get(key) == place:
            del self.places[key]
            if copies:
                self.places[key] = copies.pop()
        if copies:
            self.strays[key] = copies

    def _service_items(self, place: int, row: ServiceRow | None) -> Iterator[Item]:
        if row is None:
            return
        yield Item(Kind.PLACE, place)
        if row.id:
            yield Item(Kind.SERVICE, row.id)
        length = self.rows.elements(row.size)
        if length and 0 < row.base <= self.geometry.slots - length:
            yield Item(Kind.REGION, row.base, length)

    def _read_destination(self, number: int) -> None:
        old = self.destinations.pop(number, None)
        new = self.rows.read_destination(self.images["destinations"], number * self._destination_size)
        for item in self._destination_items(number, new):
            self.holdings.hold(item)
        if old is not None:
            self._disown(number, old)
            for item in self._destination_items(number, old):
                self.holdings.drop(item)
        if new is None:
            return
        self.destinations[number] = new
        if new.hop and new.hop not in self.hop_rows:
            self._read_hop(new.hop)
        if new.state is State.GONE:
            if old is None:
                self.holdings.hold(Item(Kind.DESTINATION, number))
                self.holdings.drop(Item(Kind.DESTINATION, number))
        elif self.owned.setdefault(new.key, {}).setdefault(new.backend, number) != number:
            self.spare.setdefault(new.key, set()).add(number)

    def _read_destinations(self, numbers: Iterable[int]) -> None:
        """As `_read_destination` for each, quickly where a row was free before and is in use now, as at a cold start."""
        image, size, new = self.images["destinations"], self._destination_size, list[tuple[int, DestinationRow]]()
        for number in numbers:
            row = None if number in self.destinations else self.rows.read_destination(image, number * size)
            if row is None or row.state is State.GONE or (row.hop and row.hop not in self.hop_rows):
                self._read_destination(number)
            else:
                new.append((number, row))
        self.holdings.hold_new(Kind.DESTINATION, [number for number, _ in new])
        self.holdings.hold_all(Kind.SERVICE, [row.service for _, row in new])
        self.holdings.hold_all(Kind.NEXT_HOP, [row.hop for _, row in new if row.hop])
        self.destinations.update(new)
        for number, row in new:
            if self.owned.setdefault(row.key, {}).setdefault(row.backend, number) != number:
                self.spare.setdefault(row.key, set()).add(number)

    @staticmethod
    def _destination_items(number: int, row: DestinationRow | None) -> list[Item]:
        if row is None:
            return []
        items = [Item(Kind.SERVICE, row.service)]
        if row.state is not State.GONE:
            items.append(Item(Kind.DESTINATION, number))
        if row.hop:
            items.append(Item(Kind.NEXT_HOP, row.hop))
        return items

    def _disown(self, number: int, row: DestinationRow) -> None:
        own, spare = self.owned.get(row.key, {}), self.spare.get(row.key, set())
        spare.discard(number)
        if own.get(row.backend) == number:
            del own[row.backend]
            heir = next((n for n in sorted(spare) if self.destinations[n].backend == row.backend), None)
            if heir is not None:
                own[row.backend] = heir
                spare.remove(heir)
            if not own:
                del self.owned[row.key]
        if not spare:
            self.spare.pop(row.key, None)

    def _read_hop(self, index: int) -> None:
        old, new = self.hop_rows.pop(index, None), self._data("nexthops", index)
        if old is not None and self.hops.get(old) == index:
            del self.hops[old]
        if any(new):
            self.hop_rows[index] = new
            self.hops.setdefault(new, index)

    def _read_interface(self, place: int) -> None:
        old, new = (
            self.interfaces.pop(place, None),
            self.rows.read_interface(self.images["interfaces"], place * self.rows.size["interfaces"]),
        )
        item = Item(Kind.INTERFACE, place)
        if new is not None:
            self.interfaces[place] = new
            self.holdings.hold(item)
        if old is not None:
            self.holdings.drop(item)

    # ----------------------------------------------------------------------------------------------------------------- look-ups

    def service(self, key: RowKey) -> ServiceRow | None:
        """The row of a key."""
        at = self.places.get(key)
        return None if at is None else self.services[at]

    def service_id(self, key: RowKey) -> int:
        """The id of a service, from its row or else from its destinations; 0 if it has none."""
        row = self.service(key)
        if row is not None:
            return row.id
        return next((self.destinations[n].service for n in self.owned.get(key, {}).values()), 0)

    def places_of(self, key: RowKey) -> tuple[int, int]:
        """The two places of a key."""
        return service_places(key[:16], int.from_bytes(key[16:], "little"), self.geometry.services - 1)

    def registry(self, number: int) -> RegistryRow:
        """What the registry says of a destination id."""
        return self.rows.read_registry(self.images["registry"], number * self._registry_size)

    def remembered(self, key: ServiceKey) -> dict[bytes, RegistryRow]:
        """What the registry says of the backends (16 bytes) of a service."""
        return {backend: self.registry(number) for backend, number in self.owned.get(service_key(key), {}).items()}

    def destination_id(self, key: RowKey, backend: bytes) -> int:
        """The id of a backend (16 bytes) of a service, 0 if it has none."""
        return self.owned.get(key, {}).get(backend, 0)
