"""What the diffs are made of: chains of operations, refusals, and what they need from outside."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fairlead.core.ids import FullError, Item, Kind
from fairlead.model import Geometry, Layout, Op, Publish, ServiceKey, Store


class MaglevFill(Protocol):
    """The three functions of `core.maglev` that `fairlead._native.maglev` has too."""

    def fill(self, size: int, offsets: Sequence[int], skips: Sequence[int], weights: Sequence[int]) -> bytes:
        """See `core.maglev.fill`."""
        ...

    def translate(self, indices: bytes, ids: Sequence[int]) -> bytes:
        """See `core.maglev.translate`."""
        ...

    def differing(self, a: bytes | memoryview, b: bytes | memoryview) -> int:
        """See `core.maglev.differing`."""
        ...


class RendezvousFill(Protocol):
    """What `core.rendezvous` and `fairlead._native.rendezvous` have both."""

    def fill(self, size: int, addresses: Sequence[bytes], weights: Sequence[int]) -> bytes:
        """See `core.rendezvous.fill`; `addresses` have 16 bytes each."""
        ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What a diff needs from outside: `counters` gives (packets, bytes, flows) so far of as many ids from one on, `links` names
    interfaces, `now` is in ns.
    """

    maglev: MaglevFill
    rendezvous: RendezvousFill
    counters: Callable[[int, int], list[tuple[int, int, int]]]
    links: Mapping[int, str]
    now: int


# The key of the configuration that gives each kind of thing more room.
LIMIT_OF: Mapping[Kind, str] = {
    Kind.DESTINATION: "limits.destinations",
    Kind.NEXT_HOP: "limits.destinations",
    Kind.SERVICE: "limits.services",
    Kind.PLACE: "limits.services",
    Kind.COPY: "limits.services",
    Kind.REGION: "limits.slots",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An operation that cannot even be tried, and why."""

    text: str
    says: str


@dataclass(slots=True)
class Chain:
    """Operations that depend on each other. `postponed`: room comes free with the next collection, then more can be done."""

    name: Hashable
    about: ServiceKey | None = None
    ops: list[Op] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    reserved: list[Item] = field(default_factory=list)
    postponed: bool = False

    def add(self, text: str, *stores: Store | Publish) -> None:
        """One more operation."""
        self.ops.append(Op(text, stores, self.about))

    def lacks(self, text: str, full: FullError, rows: int) -> None:
        """There is no room for an operation: for now, or at all."""
        if full.waiting:
            self.postponed = True
        else:
            advice = f"raise {LIMIT_OF[full.kind]} in the configuration, then `fairlead detach` and start again"
            says = f"the table is full: no {full.kind.value} is free ({rows:,} in all); {advice}"
            self.refusals.append(Refusal(text, says))


class Tables(Protocol):
    """The kernel's tables, as adapters/kernel has them. `apply`, `grace` and `sweep` raise KernelError; the last two block."""

    @property
    def layout(self) -> Layout:
        """The structs and constants of abi.h."""
        ...

    @property
    def geometry(self) -> Geometry:
        """How many rows there are; fixed while the tables live."""
        ...

    def sizes(self) -> Mapping[str, tuple[int, int]]:
        """Rows and octets of kernel memory of every table."""
        ...

    def view(self, table: str) -> memoryview:
        """The mapped bytes of a table, read-only."""
        ...

    def apply(self, op: Op) -> None:
        """Carry out the stores of `op` in order."""
        ...

    def grace(self) -> None:
        """Wait until every reader that runs now has ended."""
        ...

    def sweep(self, owned: bytes) -> int:
        """Clear flow entries of destination ids whose bit is clear, and expired ones."""
        ...
