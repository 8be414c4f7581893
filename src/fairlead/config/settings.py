"""What services, policy entries and checks may each say, and how the lower level wins."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TypeVar

from fairlead.config import scalars
from fairlead.config.nodes import Reader, Section, Value, items
from fairlead.config.scalars import words
from fairlead.model import OnDown, Ttl

PRIORITIES = ("critical", "high", "medium", "low")
_DNS = "`method` tells dns checks apart, and there are http checks only"
_L2_ONLY = "leave it out: backends must be on a network of one of this machine's interfaces"
_MAGLEV = "write `maglev` or leave it out; VC5 used Maglev whatever stood here"


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


L = TypeVar("L", Asking, Settings)


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
    """The keys that a service and a policy entry share; those whose feature comes later are looked at, too."""
    section.take("scheduler", scheduler)
    section.take("reset", _only_for_now("false", "known flows of a server that is down stay or move, see `on-down`"))
    section.take("track", _only_for_now("true", "leave it out: every flow is remembered"))
    section.take("tunnel-type", scalars.choice({"none": "none"}, later=dict.fromkeys("ipip gre fou gue".split(), _L2_ONLY)))
    on_down = scalars.choice({o.value: o for o in OnDown}, later={"reset": "write `move` or `keep`"})
    return Settings(
        name=section.take("name", scalars.name),
        description=section.take("description", scalars.prose),
        priority=section.take("priority", scalars.choice({p: p for p in PRIORITIES})),
        need=section.take("need", scalars.integer(0, 65535)),
        sticky=section.take("sticky", scalars.boolean),
        ttl=section.take("ttl", scalars.choice({t.name.lower(): t for t in Ttl})),
        on_down=section.take("on-down", on_down),
    )


def scheduler(value: Value) -> str | None:
    """`maglev`, the only way to spread flows so far."""
    return scalars.choice({"maglev": "maglev"}, later={"rendezvous": _MAGLEV}, hint=_MAGLEV)(value)


def _only_for_now(supported: str, hint: str) -> Reader[bool]:
    def read(value: Value) -> bool | None:
        said = scalars.boolean(value)
        if said is not None and said != (supported == "true"):
            value.not_yet(hint)
        return said

    return read


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
