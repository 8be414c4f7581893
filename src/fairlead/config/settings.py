"""What services, policy entries and checks may each say, and how the lower level wins."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TypeVar

from fairlead.config import scalars
from fairlead.config.nodes import Said, Section, Value, items, placed
from fairlead.config.scalars import words
from fairlead.model import OnDown, Reject, Scheduler, Ttl

PRIORITIES = ("critical", "high", "medium", "low")
_DNS = "`method` tells dns checks apart, and there are http checks only"
_MAGLEV = "leave it out for `maglev`; VC5 used Maglev whatever stood here"
# Primes, so that every skip of Maglev visits every slot: the sizes of which core picks one where none is said.
TABLE_SIZES = (251, 1021, 4093, 16381, 65537, 131071)
TUNNEL_TYPES = ("none", "ipip", "gre", "fou", "gue")


@dataclass(frozen=True, slots=True)
class Asking:
    """How a check asks; None is not said at this level. `expect` empty means any status."""

    host: str | None = None
    path: str | None = None
    method: str | None = None
    expect: frozenset[int] | None = None
    interval: float | None = None
    timeout: float | None = None
    window: int | None = None
    fall: int | None = None
    rise: int | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """What a service and a policy entry may both say; None is not said at this level."""

    name: str | None = None
    description: str | None = None
    priority: str | None = None
    need: int | None = None
    sticky: bool | None = None
    ttl: Ttl | None = None
    on_down: OnDown | None = None
    reset: bool | None = None  # VC5's word; `on_down` holds what it means
    scheduler: Scheduler | None = None
    table_size: Said[int] | None = None
    track: Said[bool] | None = None
    reject: Reject | None = None
    tunnel_type: Said[str] | None = None  # one of TUNNEL_TYPES
    tunnel_port: Said[int] | None = None
    tunnel_no_checksum: Said[bool] | None = None
    tunnel_mtu: Said[int] | None = None


L = TypeVar("L", Asking, Settings)


def settled(upper: Settings, lower: Settings) -> Settings:
    """`below`, and what one key of the lower level takes back of other keys: the tunnel's, and the reset of flows."""
    if lower.tunnel_type is not None:
        if lower.tunnel_type.value not in ("fou", "gue"):
            upper = replace(upper, tunnel_port=None, tunnel_no_checksum=None)
        if lower.tunnel_type.value == "none":
            upper = replace(upper, tunnel_mtu=None)
    if lower.reset is False and upper.on_down is OnDown.RESET:
        upper = replace(upper, on_down=None)
    return below(upper, lower)


def below(upper: L, lower: L) -> L:
    """Both levels as one: what the lower one says wins."""
    said = {f.name: getattr(lower, f.name) for f in fields(lower)}
    return type(upper)(**{name: getattr(upper, name) if value is None else value for name, value in said.items()})


def read_asking(section: Section) -> Asking:
    """The keys of a check that cascade."""
    return Asking(
        host=section.take("host", scalars.host),
        path=section.take("path", scalars.http_path),
        method=section.take("method", scalars.choice({"GET": "GET", "HEAD": "HEAD"}, later={"tcp": _DNS, "udp": _DNS})),
        expect=section.take("expect", statuses),
        interval=section.take("interval", scalars.duration(0.1, 3600)),
        timeout=section.take("timeout", scalars.duration(0.01, 60)),
        window=section.take("window", scalars.integer(1, 64)),
        fall=section.take("fall", scalars.integer(1, 64)),
        rise=section.take("rise", scalars.integer(1, 64)),
    )


def read_settings(section: Section) -> Settings:
    """The keys that a service and a policy entry share."""
    reset = section.take("reset", scalars.boolean)
    return Settings(
        name=section.take("name", scalars.name),
        description=section.take("description", scalars.prose),
        priority=section.take("priority", scalars.choice({p: p for p in PRIORITIES})),
        need=section.take("need", scalars.integer(0, 65535)),
        sticky=section.take("sticky", scalars.boolean),
        ttl=section.take("ttl", scalars.choice({t.name.lower(): t for t in Ttl})),
        on_down=_on_down(section, reset),
        reset=reset,
        scheduler=section.take("scheduler", scheduler),
        table_size=section.take("table-size", placed(_table_size)),
        track=section.take("track", placed(scalars.boolean)),
        reject=section.take("reject", scalars.choice({r.value: r for r in Reject})),
        tunnel_type=section.take("tunnel-type", placed(scalars.choice({t: t for t in TUNNEL_TYPES}))),
        tunnel_port=section.take("tunnel-port", placed(scalars.integer(1, 65535))),
        tunnel_no_checksum=section.take("tunnel-no-checksum", placed(scalars.boolean)),
        tunnel_mtu=section.take("tunnel-mtu", placed(scalars.integer(576, 65535))),
    )


def scheduler(value: Value) -> Scheduler | None:
    """How slots are given to servers."""
    return scalars.choice({s.value: s for s in Scheduler}, hint=_MAGLEV)(value)


def _table_size(value: Value) -> int | None:
    size = scalars.integer(1, TABLE_SIZES[-1])(value)
    if size is not None and size not in TABLE_SIZES:
        near = next(s for s in TABLE_SIZES if s > size)
        value.must_be(f"one of {', '.join(map(str, TABLE_SIZES))}", f"write {near}; every balancer must have the same sizes")
        return None
    return size


def _on_down(section: Section, reset: bool | None) -> OnDown | None:
    """`on-down`, or what VC5's `reset: true` stands for."""
    on_down = section.take("on-down", scalars.choice({o.value: o for o in OnDown}))
    given = section.get("reset")
    if given is not None and reset is not None and on_down is not None and reset != (on_down is OnDown.RESET):
        says = f"`reset: {str(reset).lower()}` contradicts `on-down: {on_down.value}`"
        given.error(says, "leave out `reset`; `on-down` says it all")
    return OnDown.RESET if reset and on_down is None else on_down


def statuses(value: Value) -> frozenset[int] | None:
    """`any`, or status codes and ranges such as `200-299 301`, in one text or as a list. Empty stands for any."""
    if value.is_list:
        each = [_statuses(item) for item in items(value, "") or []]
        if not each:
            value.error(f"{value.label} is empty", "write `any` to accept every status")
        return None if None in each or not each else frozenset[int]().union(*(e for e in each if e is not None))
    text = words(value, "status codes")
    return frozenset() if text == "any" else None if text is None else _statuses(value)


def _statuses(value: Value) -> frozenset[int] | None:
    found: set[int] = set()
    tokens = (words(value, "status codes") or "").split()
    for token in tokens:
        first, dash, last = token.partition("-")
        ends = (first, last if dash else first)
        if not all(len(e) == 3 and e.isascii() and e.isdigit() and e >= "100" for e in ends):
            value.must_be("HTTP status codes such as `200`, `200-299 301` or `any`")
            return None
        low, high = sorted(map(int, ends))
        found.update(range(low, high + 1))
    return frozenset(found) or None
