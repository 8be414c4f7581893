"""What an established session leaves to a successor that goes on with its connection: `fairlead restart` asks for it.

The peer learns nothing of the change: its routes stay, and what it said last is heard by the successor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

from fairlead.bgp.terms import Terms, agree
from fairlead.bgp.wire import Open, encode, messages
from fairlead.bgp.wishes import Side
from fairlead.model import Address, PeerConfig, Prefix


@dataclass(frozen=True, slots=True)
class Estate:
    """`opened` is what our OPEN and the connection rest on; `heard` the beginning of a message; `prefixes` what the peer has."""

    peer: str
    opened: str
    side: Side
    ours: Open
    theirs: Open
    local: Address
    heard: bytes
    prefixes: tuple[Prefix, ...]

    @property
    def terms(self) -> Terms:
        """What was agreed on."""
        return agree(self.ours, self.theirs, self.local)

    def plain(self) -> dict[str, Any]:
        """The same in what JSON knows."""
        return {
            "peer": self.peer,
            "opened": self.opened,
            "side": self.side.value,
            "ours": encode(self.ours).hex(),
            "theirs": encode(self.theirs).hex(),
            "local": str(self.local),
            "heard": self.heard.hex(),
            "prefixes": [str(prefix) for prefix in self.prefixes],
        }


def from_plain(found: Mapping[str, Any]) -> Estate:
    """The reverse of `Estate.plain`."""
    return Estate(
        found["peer"],
        found["opened"],
        Side(found["side"]),
        _open(found["ours"]),
        _open(found["theirs"]),
        ip_address(found["local"]),
        bytes.fromhex(found["heard"]),
        tuple(ip_network(text) for text in found["prefixes"]),
    )


def _open(text: str) -> Open:
    (message,) = messages(bytearray.fromhex(text))
    assert isinstance(message, Open)
    return message


# What of a peer's configuration is said again while a session stands; all else needs a new one.
_TOLD: dict[str, Any] = {
    "local_pref": None,
    "med": None,
    "communities": (),
    "large_communities": (),
    "ext_communities": (),
    "next_hop_4": None,
    "next_hop_6": None,
    "accept": (),
    "reject": (),
    "prepend": 0,
    "rules": (),
    "max_prefixes": None,
    "passive": False,
    "password_file": "",
}


def foundation(config: PeerConfig) -> PeerConfig:
    """All that needs a new session when it changes: what our OPEN says, and what the connection is made of."""
    return replace(config, position=None, **_TOLD)


def opened_with(config: PeerConfig, router_id: IPv4Address) -> str:
    """The same in words that another process can compare; of the password they hold a hash."""
    secret = sha256(config.password or b"").hexdigest()
    return f"{foundation(config)!r} password {secret} router id {router_id}"
