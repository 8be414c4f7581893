"""What the file says of alerts: which events people are told of, where, and how often."""

from __future__ import annotations

from dataclasses import fields
from typing import Any
from urllib.parse import urlsplit

from fairlead.config import scalars
from fairlead.config.expand_bgp import Plain, plain_seconds
from fairlead.config.nodes import Section, Value, items, list_of, section
from fairlead.config.report import listed
from fairlead.config.scalars import words
from fairlead.config.settings import PRIORITIES
from fairlead.config.vocabulary import ALERT
from fairlead.model import Alert

KINDS = ("slack", "teams", "webhook")
# RFC 5424 section 6.2.1, by their numbers
LEVELS = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")
_WORST = 3  # nothing that Fairlead says of itself is worse than an error


def alerts(said: Section) -> tuple[Alert, ...]:
    """What stands under `slack`, `teams` and `webhook` of `logging`; its `alert` is the level of those that say none."""
    level = said.take("alert", _level)
    found = [(alert, at) for kind in KINDS if (value := said.get(kind)) is not None for alert, at in _places(value, kind, level)]
    for index, (alert, at) in enumerate(found):
        if any((alert.url, alert.url_file) == (other.url, other.url_file) for other, _ in found[:index]):
            at.error("two alerts go to the same place", "everything would be told twice; keep one")
    return tuple(alert for alert, _ in found)


def _places(value: Value, kind: str, level: int | None) -> list[tuple[Alert, Value]]:
    """A URL as in VC5, a mapping, or a list of either."""
    lone = not value.is_list
    given = [value] if lone else [item.named(f"an item of `{kind}`") for item in items(value, "a list") or []]
    return [(alert, each) for each in given if (alert := _place(each, kind, level)) is not None]


def _place(value: Value, kind: str, level: int | None) -> Alert | None:
    found: dict[str, Any] = {"level": level}
    if not value.is_mapping:
        found["url"] = _url(value)
        if found["url"] is None:
            return None
        _warn_of(value, kind)
    else:
        said = section(value, ALERT)
        if said is None:
            return None
        url, file = said.get("url"), said.get("url-file")
        if (url is None) == (file is None):
            value.error(
                f"`{kind}` needs a `url` or a `url-file`" if url is None else "there are a `url` and a `url-file`", "say one"
            )
        elif url is not None:
            _warn_of(url, kind)
        found |= {
            "url": said.take("url", _url),
            "url_file": said.take("url-file", scalars.file_name),
            "token_file": said.take("token-file", scalars.file_name),
            "ca_file": said.take("ca-file", scalars.file_name),
            "priorities": _sorted(said.take("priorities", _priorities)),
            "group": said.take("group", scalars.duration(0, 3600)),
            "most": said.take("most", scalars.integer(2, 3600)),
        }
        own = said.take("level", _level)
        found["level"] = level if own is None else own
    return Alert(kind, **{name: it for name, it in found.items() if it is not None})  # type: ignore[arg-type]


_priorities = list_of(scalars.choice({p: p for p in PRIORITIES}), "a priority or a list of them")


def _warn_of(value: Value, kind: str) -> None:
    if kind != "webhook":
        value.warn("whoever may read this file may post there", "write the URL into a file of its own: `url-file`")


def _sorted(found: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return None if found is None else tuple(p for p in PRIORITIES if p in found)


def _level(value: Value) -> int | None:
    """A severity of syslog, as a word or a number."""
    options = {name: number for number, name in enumerate(LEVELS)} | {str(number): number for number in range(len(LEVELS))}
    text = words(value, "a level")
    if text is None:
        return None
    if text not in options:
        value.must_be(f"{listed(LEVELS)}, or 0 to 7")
        return None
    found = options[text]
    if found < _WORST:
        value.warn(
            f"no event is as severe as `{text}`: nothing will be told", "`error` is the worst there is, `warning` the default"
        )
    return found


def _url(value: Value) -> str | None:
    """Where to post; it may hold a path and a query, and no name and password."""
    hint = "such as `https://alerts.example.net/hook`"
    text = words(value, "a URL", hint)
    if text is None:
        return None
    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or not text.isascii() or not text.isprintable() or any(c in text for c in " \\"):
        value.must_be("a URL", hint)
        return None
    if "@" in parts.netloc:
        value.error("a URL is no place for a password", "a receiver that asks for a token gets that of `token-file`")
        return None
    return text


def expanded(said: tuple[Alert, ...]) -> dict[str, Plain]:
    """The same in its normal form, for the section `logging`."""
    out: dict[str, Plain] = {}
    for kind in KINDS:
        if found := [_expanded(alert) for alert in said if alert.kind == kind]:
            out[kind] = found
    return out


def _expanded(alert: Alert) -> Plain:
    texts = {f.name.replace("_", "-"): getattr(alert, f.name) for f in fields(alert) if f.name in _TEXTS}
    out: dict[str, Plain] = {name: text for name, text in texts.items() if text}
    out |= {"level": LEVELS[alert.level], "group": plain_seconds(alert.group), "most": alert.most}
    return out | ({"priorities": list(alert.priorities)} if alert.priorities else {})


_TEXTS = ("url", "url_file", "token_file", "ca_file")
