"""Parameters of a request, held against what its call says of them: nothing that was said is passed over."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from fairlead.adapters.http.calls import Word
from fairlead.errors import UsageError

_BOOLEANS = ("true", "false")


def checked(given: Iterable[tuple[str, str]], wanted: Sequence[Word]) -> dict[str, str]:
    """The parameters by name; UsageError for an unknown or repeated one, one that is missing, and one that does not fit."""
    known = {word.name: word for word in wanted}
    found: dict[str, str] = {}
    for name, text in given:
        if name not in known:
            there = f"there are {', '.join(known)}" if known else "there are none"
            raise UsageError(f"there is no parameter {name!r} here: {there}")
        if name in found:
            raise UsageError(f"{name} is given twice")
        _judge(known[name], text)
        found[name] = text
    missing = [word.name for word in wanted if word.required and word.name not in found]
    if missing:
        raise UsageError(f"{missing[0]} is missing: {known[missing[0]].says}")
    return found


def _judge(word: Word, text: str) -> None:
    if word.kind is bool and text not in _BOOLEANS:
        raise UsageError(f"{word.name} is true or false, not {text!r}")
    if word.choices and text not in word.choices:
        raise UsageError(f"{word.name} is one of {', '.join(word.choices)}, not {text!r}")
    if word.fit and not re.fullmatch(word.fit, text):
        raise UsageError(f"{word.name}: {text!r} does not fit: {word.says}")
    if word.kind in (int, float):
        _judge_number(word, text)


def _judge_number(word: Word, text: str) -> None:
    whole = word.kind is int
    what = "a whole number" if whole else "a number"
    if not re.fullmatch(r"-?[0-9]{1,18}" if whole else r"-?[0-9]{1,18}(\.[0-9]{1,9})?", text):
        raise UsageError(f"{word.name} is {what}, not {text!r}")
    if word.low is not None and float(text) < word.low:
        raise UsageError(f"{word.name} is {word.low:g} at least, not {text}")
    if word.high is not None and float(text) > word.high:
        raise UsageError(f"{word.name} is {word.high:g} at most, not {text}")
