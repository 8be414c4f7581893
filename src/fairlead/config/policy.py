"""The grammar of a policy: which ports a service has, what checks them, and what an entry says of its own.

80  80/tcp  53/udp  http  8080/http  https  domain  domain/udp  ssh  any/tcp  ...   and a star behind any of them for no checks
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fairlead.config import scalars
from fairlead.config.checks import Asking, CheckDraft, read_asking, read_check
from fairlead.config.nodes import Entry, Section, Value, entries, items, section
from fairlead.config.report import meant, shown
from fairlead.config.settings import Settings, read_settings
from fairlead.config.vocabulary import POLICY_ENTRY
from fairlead.model import CheckType, Position, Protocol

_TCP, _UDP = (Protocol.TCP,), (Protocol.UDP,)
# name -> port, protocols, the check it implies
_NAMES: dict[str, tuple[int, tuple[Protocol, ...], CheckType]] = {
    "http": (80, _TCP, "http"),
    "https": (443, _TCP, "https"),
    "domain": (53, _TCP + _UDP, "dns"),
    "ftp": (21, _TCP, "syn"),
    "ssh": (22, _TCP, "syn"),
    "telnet": (23, _TCP, "syn"),
    "smtp": (25, _TCP, "syn"),
    "pop2": (109, _TCP, "syn"),
    "pop3": (110, _TCP, "syn"),
    "imap": (143, _TCP, "syn"),
    "imaps": (993, _TCP, "syn"),
}
_CHECKED = ("http", "https", "domain")  # the names that may follow a port number
_KEY_HINT = "write a port and what runs there: `80/tcp`, `53/udp`, `http`, `8080/http`, `443/tcp*`"


@dataclass(frozen=True, slots=True)
class PolicyEntry:
    """One port and protocol of a policy, port 0 for every port. `text` is the key as written."""

    port: int
    protocol: Protocol
    checks: tuple[CheckDraft, ...]
    settings: Settings
    asking: Asking
    at: Position
    text: str


@dataclass(frozen=True, slots=True)
class _Ports:
    port: int
    protocols: tuple[Protocol, ...]
    implied: CheckType | None  # the check that the key itself stands for
    starred: bool


def read_policy(value: Value) -> tuple[PolicyEntry, ...] | None:
    """The entries of a policy map; None, with an error, where it is none."""
    found = entries(value, "a mapping of ports", "such as `{http: , 8080/http: }`")
    if found is None:
        return None
    if not found:
        value.error(f"{value.label} is empty", _KEY_HINT)
    return tuple(entry for pair in found.values() for entry in _read_entry(pair))


def _read_entry(pair: Entry) -> tuple[PolicyEntry, ...]:
    ports = _read_key(pair.key, pair.name)
    body: Section | None = None
    if pair.value.scalar is not None and not pair.value.empty:
        if ports:
            _check_bind(pair.value.named("`bind`"), ports.port)
    elif not pair.value.empty:
        body = section(pair.value, POLICY_ENTRY)
        if body and ports and (bind := body.get("bind")):
            _check_bind(bind, ports.port)
    drafts = _read_checks(pair, ports, body)
    settings = read_settings(body) if body else Settings()
    asking = read_asking(body) if body else Asking()
    if ports is None:
        return ()
    return tuple(PolicyEntry(ports.port, p, drafts, settings, asking, pair.key.at, pair.name) for p in ports.protocols)


def _check_bind(value: Value, port: int) -> None:
    bind = scalars.integer(1, 65535)(value)
    if not port:
        value.error("every port has no other port on the servers: what is sent to a port arrives there", "leave out `bind`")
        return
    if bind is not None and bind != port:
        hint = f"let the servers listen on port {port}, or offer the service on port {bind}"
        value.error(f"port {port} cannot become port {bind} on the servers: replies go straight from them to the clients", hint)


def _read_checks(pair: Entry, ports: _Ports | None, body: Section | None) -> tuple[CheckDraft, ...]:
    given = body.get("checks") if body else None
    if given is not None:
        if ports and ports.starred:
            given.error(f"{shown(pair.name)} says no checks, and `checks` follow", "leave out the star or the checks")
        drafts = [read_check(item.named("a check")) for item in items(given, "a list of checks") or []]
        for draft in drafts:
            if draft and ports and not ports.port and not draft.port and draft.type != "icmp":
                hint = f"such as `{{type: {draft.type}, port: 80}}`"
                given.report.error(draft.at, f"a check of {shown(pair.name)} needs a `port`", hint)
        return tuple(draft for draft in drafts if draft)
    if ports is None or ports.starred or not ports.implied:
        return ()
    return (CheckDraft(ports.implied, Asking(), None, pair.key.at),)


def is_policy_key(text: str) -> bool:
    """Whether a text could be the key of a policy entry."""
    return _parse_key(text) is not None


def _read_key(key: Value, text: str) -> _Ports | None:
    ports = _parse_key(text)
    if ports is None:
        first, _, second = text.removesuffix("*").partition("/")
        _refuse_key(key, first, second)
    return ports


def _parse_key(text: str) -> _Ports | None:
    bare = text.removesuffix("*")
    first, slash, second = bare.partition("/")
    number = _port(first)
    if first == "any" and second in ("tcp", "udp"):
        return _Ports(0, _TCP if second == "tcp" else _UDP, None, text != bare)
    if number is not None:
        kind = second if slash else "tcp"
        if kind in ("tcp", "udp"):
            return _Ports(number, _TCP if kind == "tcp" else _UDP, "syn" if kind == "tcp" else None, text != bare)
        if kind in _CHECKED:
            return _Ports(number, *_NAMES[kind][1:], text != bare)
    elif bare in _NAMES:
        return _Ports(*_NAMES[bare], text != bare)
    elif bare in ("domain/tcp", "domain/udp"):
        return _Ports(53, _TCP if second == "tcp" else _UDP, "dns", text != bare)
    return None


def _port(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,4}", text) and int(text) <= 65535 else None


def _refuse_key(key: Value, first: str, second: str) -> None:
    text = shown(key.scalar or "")
    if first in ("any", "*", "0", "all"):
        key.error(f"{text} is not a policy entry", "every port of the VIP is `any/tcp` or `any/udp`")
    elif re.fullmatch(r"[0-9]+", first) and _port(first) is None:
        key.error(f"{text} is not a policy entry", scalars.not_a_number(first) or "ports are 1 to 65535")
    elif first in _NAMES and second:
        key.error(f"{text} is not a policy entry", f"`{first}` says the protocol itself; leave out `/{second}`")
    elif second in _NAMES:
        key.error(f"{text} is not a policy entry", f"`{second}` has a fixed port; write `{first}/tcp*`")
    elif first == "dns" or second == "dns":
        key.error(f"{text} is not a policy entry", "it is called `domain` since VC5 0.2")
    else:
        hint = scalars.not_a_number(first) or meant(first, () if second else _NAMES, _KEY_HINT)
        key.error(f"{text} is not a policy entry", hint)
