"""What an established session leaves to a successor that goes on with its connection: `fairlead restart` asks for it.

The peer learns nothing of the change: its routes stay, and what it said last is heard by the successor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

from fairlead.bgp.rib import Terms
from fairlead.bgp.wire import Family
from fairlead.model import Address, PeerConfig, Prefix


@dataclass(frozen=True, slots=True)
class Estate:
    """`opened` is what our OPEN and the connection rest on; `heard` the beginning of a message; `prefixes` what the peer has."""

    peer: Address
    opened: str
    terms: Terms
    heard: bytes
    prefixes: tuple[Prefix, ...]

    def plain(self) -> dict[str, Any]:
        """The same in what JSON knows."""
        terms = self.terms
        return {
            "peer": str(self.peer),
            "opened": self.opened,
            "as": [terms.local_as, terms.remote_as],
            "hold_time": terms.hold_time,
            "families": sorted(family.version for family in terms.families),
            "four_octet": terms.four_octet,
            "local": str(terms.local),
            "router_id": str(terms.router_id),
            "heard": self.heard.hex(),
            "prefixes": [str(prefix) for prefix in self.prefixes],
        }


def from_plain(found: Mapping[str, Any]) -> Estate:
    """The reverse of `Estate.plain`."""
    local_as, remote_as = found["as"]
    families = frozenset(family for family in Family if family.version in found["families"])
    local, router_id = ip_address(found["local"]), IPv4Address(found["router_id"])
    terms = Terms(local_as, remote_as, found["hold_time"], families, found["four_octet"], local, router_id)
    prefixes = tuple(ip_network(text) for text in found["prefixes"])
    return Estate(ip_address(found["peer"]), found["opened"], terms, bytes.fromhex(found["heard"]), prefixes)


def opened_with(config: PeerConfig, router_id: IPv4Address) -> str:
    """All that needs a new session when it changes."""
    return f"AS {config.as_number}, hold time {config.hold_time}, source {config.source}, router id {router_id}"
