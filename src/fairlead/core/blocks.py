"""Blocked sources as decisions: what operators write, whom that would hit, what is in effect and until when."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv6Network, ip_address, ip_network

from fairlead.core.words import date
from fairlead.errors import Refused
from fairlead.model import Address, Block, BlockStatus, Prefix

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LONGEST = 10 * 365 * 86400  # seconds
_MAPPED = IPv6Network("::ffff:0:0/96")
_WIDEST = {4: 8, 6: 19}  # bits: what a registry gives out is not larger
_NAMED = 5  # whom a prefix would hit, at most, in one sentence
CONFIGURATION = "the configuration"


def prefix_of(text: str) -> Prefix:
    """What an operator writes: a prefix, or an address for itself alone. Refused, with what to write instead."""
    try:
        found, address = ip_network(text, strict=False), ip_address(text.partition("/")[0])
    except ValueError:
        example = "write for example 198.51.100.0/24, 2001:db8::/32 or one address"
        raise Refused([f"{text or 'nothing'} is no prefix: {example}"]) from None
    if "%" in text:
        raise Refused([f"{text} names an interface: leave out what begins with %"])
    if isinstance(found, IPv6Network) and found.subnet_of(_MAPPED):
        raise Refused([f"{text} is IPv4 in the dress of IPv6: write it as IPv4"])
    if address != found.network_address:
        raise Refused([f"{text} has bits set beyond its length: write {found}, or {address} for that one address"])
    return found


def seconds_of(text: str) -> float:
    """`90`, `30m`, `1h`, `2d`, `1w`, `1h30m` in seconds; Refused for what is none, nothing, or longer than ten years."""
    parts = re.fullmatch(r"(?:[0-9]{1,9}[smhdw])+|[0-9]{1,9}", text.replace(" ", ""))
    if parts is None:
        raise Refused([f"{text or 'nothing'} is no time: write for example 30m, 1h or 2d"])
    found = sum(int(n) * _UNITS[unit or "s"] for n, unit in re.findall(r"([0-9]+)([smhdw]?)", parts[0]))
    if not 0 < found <= _LONGEST:
        raise Refused([f"{text} is not from 1 s to ten years; without --for a block lasts until it is taken back"])
    return float(found)


def objections(prefixes: Iterable[Prefix], guarded: Mapping[Address, str]) -> list[str]:
    """Why these should not be blocked, a sentence each. `guarded`: addresses that we live by, and what each is."""
    sorted_by_version = {version: sorted((int(a), a) for a in guarded if a.version == version) for version in (4, 6)}
    found = []
    for prefix in prefixes:
        if prefix.prefixlen < _WIDEST[prefix.version]:
            found.append(f"{prefix} is wider than a /{_WIDEST[prefix.version]}: that is a large part of the Internet")
        addresses = sorted_by_version[prefix.version]
        first = bisect_left(addresses, int(prefix.network_address), key=_number)
        last = bisect_right(addresses, int(prefix.broadcast_address), key=_number)
        hit = [f"{guarded[address]} {address}" for _, address in addresses[first : min(last, first + _NAMED)]]
        more = f" and {last - first - _NAMED} more" if last - first > _NAMED else ""
        found += [f"{prefix} holds {', '.join(hit)}{more}"] if hit else []
    return found


def _number(each: tuple[int, Address]) -> int:
    return each[0]


# --------------------------------------------------------------------------------------------------------------- what was said


def told(blocks: Sequence[Block], new: Block) -> tuple[Block, ...]:
    """With one more; it replaces what was said of the same prefix, which keeps the moment since when it is blocked."""
    before = next((b for b in blocks if b.prefix == new.prefix), None)
    since = new.since if before is None else before.since
    kept = (b for b in blocks if b is not before)
    return (*kept, Block(new.prefix, new.who, since, new.until, new.why))


def said_of(prefix: Prefix, blocks: Iterable[Block], configured: Iterable[Prefix]) -> Prefix:
    """The prefix if a block of it was said, and can be taken back; Refused, with what else there is, if not."""
    said = {b.prefix for b in blocks}
    if prefix in said:
        return prefix
    if prefix in configured:
        raise Refused([f"{prefix} is blocked by the configuration: take it out of `block` there"])
    around = next((p for p in (*said, *configured) if p.version == prefix.version and p.supernet_of(prefix)), None)  # type: ignore[arg-type]
    if around is not None:
        raise Refused([f"{prefix} is not blocked by itself: it lies in {around}, which is"])
    raise Refused([f"{prefix} is not blocked"])


def ended(blocks: Iterable[Block], now: float) -> tuple[tuple[Block, ...], tuple[Block, ...]]:
    """(left, ended): those whose time is over."""
    found = tuple(blocks)
    over = tuple(b for b in found if b.until and b.until <= now)
    return tuple(b for b in found if b not in over), over


def next_end(blocks: Iterable[Block]) -> float | None:
    """The Unix time at which the first of them ends by itself."""
    return min((b.until for b in blocks if b.until), default=None)


def wanted(blocks: Iterable[Block], configured: Iterable[Prefix]) -> frozenset[Prefix]:
    """All that is to be blocked."""
    return frozenset(b.prefix for b in blocks) | frozenset(configured)


def statuses(
    blocks: Iterable[Block], configured: Iterable[Prefix], started: float, dropped: Mapping[Prefix, tuple[int, int]]
) -> tuple[BlockStatus, ...]:
    """As they are shown, by address; `dropped`: (packets, bytes) of those that are in effect, `started`: of those of the file."""
    said = {b.prefix: b for b in blocks}
    every = said | {p: Block(p, CONFIGURATION, started) for p in configured if p not in said}
    return tuple(_status(every[p], dropped) for p in sorted(every, key=order))


def _status(b: Block, dropped: Mapping[Prefix, tuple[int, int]]) -> BlockStatus:
    packets, octets = dropped.get(b.prefix, (0, 0))
    return BlockStatus(str(b.prefix), b.who, b.since, b.until, b.why, packets, octets, b.prefix in dropped)


def order(prefix: Prefix) -> tuple[int, int, int]:
    """IPv4 first, then by address, the wider one first."""
    return prefix.version, int(prefix.network_address), prefix.prefixlen


def says(b: Block) -> str:
    """`until 2026-11-23 12:04:31`, `until it is taken back`."""
    return f"until {date(b.until)}" if b.until else "until it is taken back"
