"""Sources that may send nothing to any VIP, and packets by where they come from."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.model.places import Prefix


@dataclass(frozen=True, slots=True)
class Block:
    """What an operator said of a prefix. `who` is a name for people, `since` and `until` are Unix times; `until` 0: for ever."""

    prefix: Prefix
    who: str
    since: float
    until: float = 0.0
    why: str = ""


@dataclass(frozen=True, slots=True)
class BlockStatus:
    """One blocked prefix as it is shown. `packets` and `bytes`: dropped since then; not `applied`: not in effect yet."""

    prefix: str
    who: str
    since: float
    until: float  # Unix time, 0: for ever
    why: str
    packets: int
    bytes: int
    applied: bool


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """Packets for VIPs that came from one prefix, since they are counted."""

    prefix: str
    packets: int


@dataclass(frozen=True, slots=True)
class SourcesStatus:
    """The prefixes that most packets for VIPs come from, most first: /20 of IPv4, and /48 of IPv6, those seen last."""

    counted: bool  # `count-prefixes: true`
    ipv4: tuple[SourceStatus, ...]
    ipv6: tuple[SourceStatus, ...]
