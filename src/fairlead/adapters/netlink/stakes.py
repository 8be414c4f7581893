"""Which backends an event concerns: by the neighbour that their path rests on, by the prefix that they are routed by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fairlead.adapters.netlink.messages import NeighbourKey
from fairlead.adapters.netlink.picture import Prefix
from fairlead.model import Address

_NONE: frozenset[Address] = frozenset()


class Stakes:
    """Answers cost a look into a dictionary, however many backends there are: a router's full table may come by."""

    def __init__(self) -> None:
        self._keys: dict[Address, NeighbourKey] = {}
        self._users: dict[NeighbourKey, set[Address]] = {}
        self._where: Mapping[Address, Address] = {}
        self._others: set[Address] = set()
        self._prefixes: dict[tuple[int, int], dict[int, set[Address]]] = {}

    def follow(self, where: Mapping[Address, Address]) -> None:
        """All backends, and the address that is looked up for each: its own or its gateway's."""
        self._where = where
        self._prefixes.clear()

    def asked(self, address: Address) -> None:
        """Somebody else wanted to know the route to this address."""
        if address not in self._others:
            self._others.add(address)
            self._prefixes.clear()

    def rest_on(self, backend: Address, key: NeighbourKey | None) -> NeighbourKey | None:
        """From now on a path rests on this neighbour, or on none; returns the one before if it is nobody's any more."""
        old = self._keys.pop(backend, None)
        if old is not None:
            self._users[old].discard(backend)
        if key is not None:
            self._keys[backend] = key
            self._users.setdefault(key, set()).add(backend)
        if old is None or self._users[old]:
            return None
        del self._users[old]
        return old

    def with_neighbour(self, key: NeighbourKey) -> Iterable[Address]:
        """Whose path rests on it."""
        return self._users.get(key, _NONE)

    def within(self, prefix: Prefix) -> Iterable[Address] | None:
        """Whose route it may be; None if it holds neither a backend nor another address that somebody asked for."""
        version, length, network = prefix
        known = self._prefixes.get((version, length))
        if known is None:
            shift = (32 if version == 4 else 128) - length
            known = self._prefixes[version, length] = {
                int(address) >> shift: set() for address in self._others if address.version == version
            }
            for backend, address in self._where.items():
                if address.version == version:
                    known.setdefault(int(address) >> shift, set()).add(backend)
        return known.get(network)
