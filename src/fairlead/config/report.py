"""Where problems are collected, and how what an operator wrote is quoted back."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from fairlead.model import Position, Problem, Severity

_LONGEST = 48  # characters of a file's own text within a message


class Report:
    """Collects the problems of one file. Reading goes on after an error, so that one run shows them all."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._found: dict[Problem, None] = {}  # a dict, because an alias or a named policy is read more than once

    def error(self, at: Position, says: str, hint: str = "") -> None:
        """What refuses the file."""
        self._found[Problem(at, says, hint)] = None

    def warn(self, at: Position, says: str, hint: str = "") -> None:
        """What is said and lived with."""
        self._found[Problem(at, says, hint, Severity.WARNING)] = None

    @property
    def failed(self) -> bool:
        """Whether there is an error among the problems."""
        return any(p.severity is Severity.ERROR for p in self._found)

    def problems(self) -> tuple[Problem, ...]:
        """All of them, each once, in the order of the file."""
        return tuple(sorted(self._found, key=lambda p: (p.position.line, p.position.column)))


def shown(text: str) -> str:
    """Text of the file as a message may quote it: in backquotes, cut short, unprintable characters escaped."""
    cut = text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
    clean = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut)
    return f"`{clean}`"


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, None where nothing is near. Case and `_` for `-` make no difference."""
    by_form = {k.lower().replace("_", "-"): k for k in known}
    matches = difflib.get_close_matches(word.lower().replace("_", "-"), by_form, n=1)
    return by_form[matches[0]] if matches else None


def meant(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """The hint for a word that is not known: the nearest one, or `otherwise`."""
    near = closest(word, known)
    return f"did you mean {shown(near)}?" if near else otherwise


def listed(words: Iterable[str], last: str = "or") -> str:
    """`a`, `b` or `c`."""
    quoted = [f"`{w}`" for w in words]
    return f"{', '.join(quoted[:-1])} {last} {quoted[-1]}" if len(quoted) > 1 else "".join(quoted)
