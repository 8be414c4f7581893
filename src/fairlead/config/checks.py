"""What a check asks: the keys that cascade, those of single types, and the Check that they come to together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import get_args

from fairlead.config import questions, scalars
from fairlead.config.nodes import Section, Value, section
from fairlead.config.report import Report, listed, shown
from fairlead.config.vocabulary import CHECK
from fairlead.model import Check, CheckType, Position, Rules, ServiceKey

TYPES: tuple[CheckType, ...] = get_args(CheckType)
_NAMES: dict[str, CheckType] = {t: t for t in TYPES}
METHODS = ("GET", "HEAD")
TRANSPORTS = ("udp", "tcp")

_HTTP = frozenset("host path method expect headers body".split())
# What each type has a use for; when and how often is for all of them.
USES: Mapping[CheckType, frozenset[str]] = {
    "http": _HTTP,
    "https": _HTTP | {"verify"},
    "dns": frozenset("method name record rcode".split()),
    "udp": frozenset(["payload", "answer"]),
    "tcp": frozenset(),
    "syn": frozenset(),
    "icmp": frozenset(),
}
_VC5 = frozenset("host path method expect".split())  # VC5 takes them in any check, and reads past them


@dataclass(frozen=True, slots=True)
class Asking:
    """How a check asks; None is not said at this level. `expect` empty means any status, `rcode` empty any."""

    host: str | None = None
    path: str | None = None
    method: str | None = None  # of http and https
    transport: str | None = None  # what `method` is to dns
    expect: frozenset[int] | None = None
    headers: tuple[tuple[str, str], ...] | None = None
    body: str | None = None
    verify: bool | None = None
    name: str | None = None
    record: str | None = None
    rcode: str | None = None
    payload: bytes | None = None
    answer: str | None = None
    interval: float | None = None
    timeout: float | None = None
    window: int | None = None
    fall: int | None = None
    rise: int | None = None


@dataclass(frozen=True, slots=True)
class CheckDraft:
    """A check as one policy entry states it; the rest comes from the entry, the service and the service key."""

    type: CheckType
    asking: Asking
    port: int | None
    at: Position


def read_asking(section: Section) -> Asking:
    """The keys of a check that cascade, from a service, an entry or a check."""
    method = section.take("method", scalars.choice({m: m for m in (*METHODS, *TRANSPORTS)}))
    return Asking(
        host=section.take("host", scalars.host),
        path=section.take("path", scalars.http_path),
        method=method if method in METHODS else None,
        transport=method if method in TRANSPORTS else None,
        expect=section.take("expect", questions.statuses),
        headers=section.take("headers", questions.headers),
        body=section.take("body", questions.pattern),
        verify=section.take("verify", scalars.boolean),
        interval=section.take("interval", scalars.duration(0.1, 3600)),
        timeout=section.take("timeout", scalars.duration(0.01, 60)),
        window=section.take("window", scalars.integer(1, 64)),
        fall=section.take("fall", scalars.integer(1, 64)),
        rise=section.take("rise", scalars.integer(1, 64)),
    )


def read_check(value: Value) -> CheckDraft | None:
    """One item of `checks`."""
    said = section(value, CHECK, "such as `- {type: http, path: /healthz}`")
    if said is None:
        return None
    if said.get("type") is None:
        value.error("a check needs a `type`", f"one of {listed(TYPES)}")
    kind: CheckType | None = said.take("type", scalars.choice(_NAMES))
    asking = replace(
        read_asking(said),
        name=said.take("name", questions.domain),
        record=said.take("record", questions.record),
        rcode=said.take("rcode", questions.rcode),
        payload=said.take("payload", questions.payload),
        answer=said.take("answer", questions.pattern),
    )
    port = said.take("port", scalars.integer(1, 65535))
    if kind is None:
        return None
    _report_idle(said, kind)
    return CheckDraft(kind, asking, port, value.at)


def _report_idle(said: Section, kind: CheckType) -> None:
    """Reports what this type of check does not ask, and would not notice."""
    for key in sorted(frozenset().union(*USES.values()) - USES[kind]):
        given = said.get(key)
        if given is None:
            continue
        those = listed([t for t in TYPES if key in USES[t]], "and")
        says, hint = f"{shown(key)} is for checks of type {those}, not `{kind}`", "leave it out"
        given.warn(f"{says}: it has no effect", hint) if key in _VC5 else given.error(says, hint)
    method, words = said.get("method"), TRANSPORTS if kind == "dns" else METHODS
    if method is not None and "method" in USES[kind] and method.scalar in (*METHODS, *TRANSPORTS) and method.scalar not in words:
        method.must_be(listed(words), f"in a check of type `{kind}`")
    if kind == "icmp" and (port := said.get("port")) is not None:
        port.error("an icmp check has no port", "leave it out")


def build(draft: CheckDraft, asking: Asking, key: ServiceKey, report: Report) -> Check:
    """The check of a service: what the draft and the levels above it say, and defaults. `asking` is all levels as one."""
    port = 0 if draft.type == "icmp" else draft.port or key.port
    check = Check(draft.type, port, interval=_or(asking.interval, 2.0), timeout=_or(asking.timeout, 2.0))
    said = {name: value for name in USES[draft.type] if (value := getattr(asking, name)) is not None}
    if draft.type == "dns":
        said["method"] = asking.transport or str(key.protocol)
    elif "host" in USES[draft.type]:
        said.setdefault("host", f"[{key.vip}]" if key.vip.version == 6 else str(key.vip))
    return replace(check, rules=_rules(draft, asking, report), **said)


def _or(said: float | None, default: float) -> float:
    return default if said is None else said


def _rules(draft: CheckDraft, asking: Asking, report: Report) -> Rules:
    said = {name: value for name in Rules.__slots__ if (value := getattr(asking, name)) is not None}
    rules = replace(Rules(), **said)
    for name, number in (("fall", rules.fall), ("rise", rules.rise)):
        if number > rules.window:
            hint = f"raise `window` to {number} at least, or lower `{name}`"
            report.error(draft.at, f"`{name}` is {number}, but only the last {rules.window} results are looked at", hint)
    return rules
