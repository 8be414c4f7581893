"""Readers of single values: each gives the value or reports what is wrong and gives None. They see the text as written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from fairlead.config.nodes import Reader, Value
from fairlead.config.report import listed, meant, shown

T = TypeVar("T")

_BOOLEANS = frozenset("y n yes no on off true false".split())
_WHOLE = re.compile(r"0|[1-9][0-9]{0,18}")
_DURATION = re.compile(r"((?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,9})?)\s?(ms|s|m|h)?")
_UNITS = {None: 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_NAME = re.compile(r"[A-Za-z0-9][-A-Za-z0-9]*")


def words(value: Value, wanted: str, hint: str = "") -> str | None:
    """The text of a scalar; an error for anything else, `wanted` naming what it should have been."""
    if value.scalar is None or value.empty:
        value.must_be(wanted, hint)
        return None
    return None if value.tagged() else value.scalar


def not_a_number(text: str) -> str:
    """Why YAML and people may differ over this text where a number should be; "" where there is nothing to say."""
    if re.fullmatch(r"0[0-9]+", text):
        return f"a leading 0 means octal to some: write {text.lstrip('0') or '0'}"
    if re.fullmatch(r"[0-9]+(:[0-9]+)+", text):
        return "YAML 1.1 reads this as a number to the base of 60: write the number itself"
    if text.lower() in _BOOLEANS:
        return "a number is wanted here, not yes or no"
    if re.fullmatch(r"[0-9]+_[0-9_]+", text):
        return f"write {text.replace('_', '')}"
    return ""


def integer(low: int, high: int, *, hexadecimal: bool = False) -> Reader[int]:
    """A reader of whole decimal numbers from `low` to `high`, of 0x... too if asked for."""
    wanted = f"a whole number from {low} to {high}"

    def read(value: Value) -> int | None:
        text = words(value, wanted)
        if text is None:
            return None
        if _WHOLE.fullmatch(text):
            number = int(text)
        elif hexadecimal and re.fullmatch(r"0x[0-9A-Fa-f]{1,8}", text):
            number = int(text, 16)
        else:
            value.must_be(wanted, not_a_number(text))
            return None
        if not low <= number <= high:
            value.must_be(wanted)
            return None
        return number

    return read


def boolean(value: Value) -> bool | None:
    """`true` or `false`. VC5 took `yes` for false; whoever wrote that must say what was meant."""
    text = words(value, "`true` or `false`")
    if text is None or text in ("true", "false"):
        return None if text is None else text == "true"
    hint = ""
    if text.lower() in _BOOLEANS:
        meant = "true" if text.lower() in ("y", "yes", "on", "true") else "false"
        hint = f"write `{meant}`" if text.lower() in ("true", "false") else f"write `{meant}`; VC5 takes {shown(text)} for false"
    value.must_be("`true` or `false`", hint)
    return None


def choice(options: Mapping[str, T], later: Mapping[str, str] | None = None, hint: str = "") -> Reader[T]:
    """A reader of one word of several; words in `later` are refused as not supported yet, with their hint."""

    def read(value: Value) -> T | None:
        text = words(value, listed(options))
        if text is None:
            return None
        if text in options:
            return options[text]
        if later and text in later:
            value.not_yet(later[text])
        else:
            value.must_be(listed(options), hint or meant(text, options))
        return None

    return read


def duration(low: float, high: float) -> Reader[float]:
    """A reader of seconds: `2`, `0.5`, `500ms`, `2s`, `1m`, `1h`."""
    wanted = f"a duration from {low:g} s to {high:g} s"

    def read(value: Value) -> float | None:
        text = words(value, wanted)
        if text is None:
            return None
        match = _DURATION.fullmatch(text)
        # Nanoseconds are enough, and keep 10.7 ms from becoming 0.010700000000000001 s.
        seconds = round(float(match[1]) * _UNITS[match[2]], 9) if match else -1.0
        if not low <= seconds <= high:
            value.must_be(wanted, not_a_number(text) or ("" if match else "such as `2`, `0.5`, `500ms` or `1m`"))
            return None
        return seconds

    return read


def share(value: Value) -> float | None:
    """A percentage, such as `20%` or `12.5%`, as a number from 0 to 1."""
    wanted = "a percentage such as `20%`"
    text = words(value, wanted)
    if text is None:
        return None
    match = re.fullmatch(r"((?:0|[1-9][0-9]{0,2})(?:\.[0-9]{1,2})?)\s?%", text)
    percent = float(match[1]) if match else -1.0
    if not 0 <= percent <= 100:
        bare = re.fullmatch(r"[1-9][0-9]?(\.[0-9]{1,2})?", text)
        value.must_be(wanted if not match else "a percentage from 0% to 100%", f"write `{text}%`" if bare else not_a_number(text))
        return None
    return round(percent / 100, 6)


def name(value: Value) -> str | None:
    """A name: letters, digits and hyphens, a letter or digit first (VC5's rule)."""
    text = words(value, "a name")
    if text is not None and not _NAME.fullmatch(text):
        value.must_be("a name of letters, digits and hyphens", "longer text belongs into `description`")
        return None
    return text


def prose(value: Value) -> str | None:
    """Free text on one line: runs of white space become one blank."""
    text = words(value, "text")
    if text is None:
        return None
    line = " ".join(text.split())
    if not line.isprintable():
        value.must_be("printable text")
        return None
    return line


def host(value: Value) -> str | None:
    """What an HTTP check sends as Host."""
    text = words(value, "a host name")
    if text is not None and not re.fullmatch(r"[-A-Za-z0-9._]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?", text):
        hint = "put an IPv6 address in brackets and quotes" if ":" in text else "ASCII letters, digits, `-`, `_` and `.`"
        value.must_be("a host name or address", hint)
        return None
    return text


def http_path(value: Value) -> str | None:
    """What an HTTP check asks for; the leading slash may be left out, as in VC5."""
    text = words(value, "a path")
    if text is not None and not re.fullmatch(r"[!-~]{0,2000}", text):
        value.must_be("a path of printable ASCII without blanks", "percent-encode the rest, %20 for a blank")
        return None
    return None if text is None else "/" + text.lstrip("/")


def interface(value: Value) -> str | None:
    """A network interface's name, as the kernel allows it (15 bytes, no slash, blank or colon)."""
    text = words(value, "the name of a network interface")
    if text is not None and (not re.fullmatch(r"[!-.0-9;-~]{1,15}", text) or text in (".", "..")):
        value.must_be("the name of a network interface", "as `ip link` shows it")
        return None
    return text


def file_name(value: Value) -> str | None:
    """The path of a file."""
    text = words(value, "the path of a file")
    if text is not None and (not text.isprintable() or not text):
        value.must_be("the path of a file")
        return None
    return text
