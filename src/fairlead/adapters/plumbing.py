"""What health probes need of the kernel's routing, kept as wanted state: a rule, a route and a neighbour for each IP version.

A probe's socket carries a mark; the rule sends marked packets to a table of their own, whose default route leads over a made-up
neighbour to the interface where the probe program waits at tc egress and writes the real header. Everything carries protocol
70, so that strays are found and removed with neither daemon nor configuration at hand, and nothing that is not ours is touched.
No netfilter rule and no sysctl is changed. Network managers delete what they do not know: `ensure` runs on events and every
minute.
"""

from __future__ import annotations

import errno
import pathlib
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from fairlead.model import ProbeConfig

PROTOCOL = 70
MARK_SHIFT = 20
MARK_MASK = 0xFFF00000
GATEWAYS = {4: "169.254.77.77", 6: "fe80::fa:77"}  # nobody's: the probe program overwrites the header that they give
GATEWAY_MAC = "02:00:00:00:00:01"

_FAMILIES = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}
_VERSIONS = {number: version for version, number in _FAMILIES.items()}
_ONLINK = 4  # RTNH_F_ONLINK
_TO_TABLE = 1  # FR_ACT_TO_TBL
_PERMANENT = 0x80  # NUD_PERMANENT
_ABSENT = {errno.ENOENT, errno.ESRCH, errno.ENODEV}
_CONF = pathlib.Path("/proc/sys/net")


@dataclass(frozen=True, slots=True)
class Rule:
    """An `ip rule`: packets with this mark look in this table."""

    version: int
    mark: int
    mask: int
    priority: int
    table: int

    def __str__(self) -> str:
        """The piece, for the log."""
        return f"IPv{self.version} rule {self.priority}: mark {self.mark:#x}/{self.mask:#x} looks in table {self.table}"


@dataclass(frozen=True, slots=True)
class DefaultRoute:
    """The table's only route: everything, out of this interface."""

    version: int
    table: int
    ifindex: int

    def __str__(self) -> str:
        """The piece, for the log."""
        return f"IPv{self.version} default route in table {self.table} out of interface {self.ifindex}"


@dataclass(frozen=True, slots=True)
class Gateway:
    """The permanent neighbour that the route leads over."""

    version: int
    ifindex: int

    def __str__(self) -> str:
        """The piece, for the log."""
        return f"permanent neighbour {GATEWAYS[self.version]} on interface {self.ifindex}"


Piece = Rule | DefaultRoute | Gateway


def wanted(config: ProbeConfig, ifindex: int, versions: Iterable[int]) -> tuple[Piece, ...]:
    """What must exist, in the order in which it can be made."""
    pieces: list[Piece] = []
    for version in sorted(set(versions)):
        pieces += [
            Gateway(version, ifindex),
            DefaultRoute(version, config.table, ifindex),
            Rule(version, config.mark << MARK_SHIFT, MARK_MASK, config.priority, config.table),
        ]
    return tuple(pieces)


async def ensure(config: ProbeConfig, ifindex: int, versions: Iterable[int]) -> tuple[list[str], list[str]]:
    """Make it so; returns what was done and what could not be done, as sentences. Pieces of ours that are not wanted go."""
    want = wanted(config, ifindex, versions)
    done: list[str] = []
    failed: list[str] = []
    try:
        async with AsyncIPRoute(strict_check=True) as ask:  # the kernel filters dumps: a router may hold a million routes
            have = await _ours(ask)
            for old in (piece for piece in have if piece not in want):
                await _attempt(ask, "delete", old, done, failed)
            for new in (piece for piece in want if piece not in have):
                await _attempt(ask, "replace" if isinstance(new, Gateway) else "add", new, done, failed)
    except (NetlinkError, OSError) as e:
        failed.append(f"could not look after what probes need: {e}")
    return done, failed


async def remove() -> list[str]:
    """Take away everything that carries our protocol number, backends' neighbour entries included; returns what was removed."""
    done: list[str] = []
    failed: list[str] = []
    async with AsyncIPRoute(strict_check=True) as ask:
        for piece in await _ours(ask):
            await _attempt(ask, "delete", piece, done, failed)
        held = [m async for m in await ask.neigh("dump") if m.get("protocol") == PROTOCOL and m.get("dst")]
        for message in held:
            await _forget(ask, message)
    if held:
        done.append(f"removed {len(held)} neighbour entries of backends")
    return done + failed


async def _forget(ask: Any, message: Any) -> None:
    try:
        await ask.neigh("delete", dst=message.get("dst"), ifindex=message["ifindex"])
    except NetlinkError as e:
        if e.code not in _ABSENT:
            raise


async def _attempt(ask: Any, verb: str, piece: Piece, done: list[str], failed: list[str]) -> None:
    try:
        await _carry_out(ask, verb, piece)
    except NetlinkError as e:
        if verb == "delete" and e.code in _ABSENT:
            return
        if verb != "delete" and e.code == errno.EEXIST:
            return
        failed.append(f"could not {'remove' if verb == 'delete' else 'add'} {piece}: {e.args[-1]}")
    else:
        done.append(f"{'removed' if verb == 'delete' else 'added'} {piece}")


async def _carry_out(ask: Any, verb: str, piece: Piece) -> None:
    family = _FAMILIES[piece.version]
    match piece:
        case Rule():
            await ask.rule(
                verb,
                family=family,
                fwmark=piece.mark,
                fwmask=piece.mask,
                priority=piece.priority,
                table=piece.table,
                protocol=PROTOCOL,
            )
        case DefaultRoute():
            where = {"gateway": GATEWAYS[piece.version], "oif": piece.ifindex, "table": piece.table}
            await ask.route(verb, family=family, dst="default", proto=PROTOCOL, flags=_ONLINK, **where)
        case Gateway():
            mac = {} if verb == "delete" else {"lladdr": GATEWAY_MAC, "state": _PERMANENT, "protocol": PROTOCOL}
            await ask.neigh(verb, dst=GATEWAYS[piece.version], ifindex=piece.ifindex, **mac)


async def _ours(ask: Any) -> list[Piece]:
    """Every piece that carries our protocol number; rules first, so that no probe ever meets an empty table."""
    found: list[Piece] = []
    for version, family in _FAMILIES.items():
        found += [_rule(version, m) async for m in await ask.rule("dump", family=family) if _is_our_rule(m)]
    for version, family in _FAMILIES.items():
        routes = [m async for m in await ask.route("dump", family=family, proto=PROTOCOL) if m["proto"] == PROTOCOL]
        ours = [m for m in routes if m.get("gateway") == GATEWAYS[version]]
        found += [DefaultRoute(version, m.get("table") or m["table"], m.get("oif") or 0) for m in ours]
    for m in [m async for m in await ask.neigh("dump") if m.get("protocol") == PROTOCOL]:
        version = _VERSIONS.get(m["family"], 0)
        if m["state"] & _PERMANENT and m.get("dst") == GATEWAYS.get(version) and m.get("lladdr") == GATEWAY_MAC:
            found.append(Gateway(version, m["ifindex"]))
    return found


def _is_our_rule(message: Any) -> bool:
    return bool(message.get("protocol") == PROTOCOL and message["action"] == _TO_TABLE)


def _rule(version: int, m: Any) -> Rule:
    return Rule(version, m.get("fwmark") or 0, m.get("fwmask") or 0, m.get("priority") or 0, m.get("table") or 0)


def reverse_path(name: str) -> int:
    """The rp_filter in force on an interface: the larger of its own and that of `all`. 0 off, 1 strict, 2 loose; IPv4 only."""
    return max(_number(_CONF / "ipv4/conf" / which / "rp_filter") for which in ("all", name))


def _number(path: pathlib.Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
