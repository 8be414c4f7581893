"""What a pass does: stores, operations made of them, routes.

A cold start makes hundreds of thousands of stores: tuples are cheaper than dataclasses, above all for the garbage collector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from fairlead.model.configuration import ServiceKey
from fairlead.model.places import Prefix


class Store(NamedTuple):
    """Plain bytes into a row that no reader can reach yet (or a private table): table name, byte offset, contents."""

    table: str
    offset: int
    data: bytes


class Publish(NamedTuple):
    """One aligned u64 with release order: the switch that makes stored rows reachable, or unreachable. `value` is host order."""

    table: str
    offset: int
    value: int


@dataclass(frozen=True, slots=True)
class Op:
    """One step of a pass. `text` is what `plan`, the event log, the API and the tests show; `about` the service it belongs to.

    `stores` are carried out in order; each may be the last one before a crash, so every prefix of the list must leave tables that
    readers can live with.
    """

    text: str
    stores: tuple[Store | Publish, ...]
    about: ServiceKey | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One prefix to announce. `why` is shown in status, what follows is for the peers' attribute rules.

    `names` and `priority` are those of the services behind it, `graceful_shutdown` adds RFC 8326's community and takes the route
    last: it is about to be withdrawn.
    """

    prefix: Prefix
    why: str = ""
    names: frozenset[str] = frozenset()
    priority: str = ""
    graceful_shutdown: bool = False
