"""What services and policy entries may each say, and how the lower level wins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from fairlead.config import scalars
from fairlead.config.nodes import Said, Section, Value, below, placed, section
from fairlead.config.vocabulary import DAMPING
from fairlead.model import Damping, OnDown, Reject, Scheduler, Ttl

PRIORITIES = ("critical", "high", "medium", "low")
_MAGLEV = "leave it out for `maglev`; VC5 used Maglev whatever stood here"
# Primes, so that every skip of Maglev visits every slot: the sizes of which core picks one where none is said.
TABLE_SIZES = (251, 1021, 4093, 16381, 65537, 131071)
TUNNEL_TYPES = ("none", "ipip", "gre", "fou", "gue")


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
    hold: float | None = None
    panic: float | None = None
    damping: Said[Damping] | None = None  # with the value None: switched off


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
        **read_calm(section),
    )


def read_calm(section: Section) -> dict[str, Any]:
    """What keeps a service from following every change at once; the file may say it for all services, too."""
    return {
        "hold": section.take("hold", scalars.duration(0, 3600)),
        "panic": section.take("panic", scalars.share),
        "damping": section.take("damping", placed(damping)),
    }


def damping(value: Value) -> Damping | None:
    """A mapping, `true` for the defaults, or `false` for none."""
    if not value.is_mapping:
        if value.scalar not in ("true", "false"):
            value.must_be("`true`, `false` or a mapping", "such as `{half-life: 60, suppress: 2500, reuse: 1000}`")
        return Damping() if value.scalar == "true" else None
    said = section(value, DAMPING)
    if said is None:
        return None
    points = scalars.integer(1, 1_000_000)
    numbers: dict[str, float | None] = {name: said.take(name, points) for name in ("penalty", "suppress", "reuse")}
    numbers["half_life"] = said.take("half-life", scalars.duration(1, 86400))
    found = replace(Damping(), **{name: float(number) for name, number in numbers.items() if number is not None})
    if found.reuse >= found.suppress:
        says = f"a server is left out above {found.suppress:g} and back below {found.reuse:g}: it would never settle"
        value.error(says, "`reuse` must be less than `suppress`")
    return found


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
