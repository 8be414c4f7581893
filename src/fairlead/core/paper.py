"""Tables that are only thought of: what is written to them nobody reads but a rehearsal."""

from __future__ import annotations

from fairlead.core.steps import Tables
from fairlead.model import Geometry, Layout, Op, Store


class Overlay:
    """The slots as they would be: what was stored here over what the real table holds. Only slices are asked for."""

    def __init__(self, real: memoryview) -> None:
        self._real = real
        self._stored: dict[int, bytes] = {}

    def put(self, offset: int, data: bytes) -> None:
        """A region that was filled: `offset` in bytes."""
        self._stored[offset] = data

    def __getitem__(self, part: slice) -> memoryview:
        """The bytes of a region, from its start on."""
        stored = self._stored.get(part.start)
        return self._real[part] if stored is None else memoryview(stored)[: part.stop - part.start]


class Paper:
    """In the place of the kernel's tables: reads what is there, keeps the slots that are stored, and does nothing else.

    What becomes of the rows is in `Have`, which believes every operation that did not fail; here none does.
    """

    def __init__(self, real: Tables) -> None:
        self.layout: Layout = real.layout
        self.geometry: Geometry = real.geometry
        self.slots = Overlay(real.view("slots"))
        self._real = real

    def view(self, table: str) -> memoryview:
        """The real table, read-only."""
        return self._real.view(table)

    def apply(self, op: Op) -> None:
        """Keep what goes to the slots."""
        for store in op.stores:
            if isinstance(store, Store) and store.table == "slots":
                self.slots.put(store.offset, store.data)

    def grace(self) -> None:
        """Nobody reads here."""

    def sweep(self, owned: bytes) -> int:
        """There are no flows here."""
        del owned
        return 0
