"""Colour for a terminal, laid over text that is whole without it: taken out again, the same text is left."""

from __future__ import annotations

import re
from itertools import pairwise

_BOLD, _RED, _GREEN, _YELLOW, _PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"
_GOOD = frozenset(("up", "yes", "Established", "announced"))
_BAD = frozenset(
    (
        "down",
        "no",
        "not",
        "withheld:",
        "Idle",
        "Connect",
        "Active",
        "OpenSent",
        "OpenConfirm",
        "error",
        "critical",
        "alert",
        "emergency",
    )
)
_BETWEEN = frozenset(("drain", "draining", "disabled", "warning"))
_COLUMNS = frozenset(("STATE", "ANNOUNCED"))
_HEAD = re.compile(r"[A-Z][A-Z/ ]*(  +[A-Z][A-Z/ ]*)+$")
_CELL = re.compile(r"\S+(?: \S+)*")
_SAID = re.compile(r"(?:\S+ (?:\(.*?\) )?is|    \S.*? ) (up|down|draining|disabled|announced|withheld:)(?= |$)")
_TOLD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} (\w+)")
_SOME = re.compile(r"(\d+)/(\d+) up")
_ANY = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def paint(text: str) -> str:
    """Heads of tables bold, states by what they mean, sentences by how bad they are."""
    spans: list[tuple[int, int]] = []
    lines = []
    for line in text.split("\n"):
        if _HEAD.match(line):
            spans = _states(line)
            lines.append(f"{_BOLD}{line}{_PLAIN}")
        elif not line:
            spans = []
            lines.append(line)
        elif line.startswith("# "):
            lines.append(f"{_YELLOW if line.startswith('# warning') else _RED}{line}{_PLAIN}")
        elif told := _TOLD.match(line):
            lines.append(line[: told.start(1)] + coloured(told[1]) + line[told.end(1) :])
        elif said := _SAID.match(line.removeprefix("  ") if line.startswith("  ") and line[2:3] != " " else line):
            at = len(line) - len(said.string) + said.start(1)
            lines.append(line[:at] + coloured(said[1]) + line[at + len(said[1]) :])
        else:
            lines.append(_cells(line, spans))
    return "\n".join(lines)


def bare(text: str) -> str:
    """Without any colour."""
    return _ANY.sub("", text)


def coloured(word: str) -> str:
    """A word by what it means."""
    some = _SOME.fullmatch(word)
    if some:
        shade = _GREEN if some[1] == some[2] else _YELLOW if int(some[1]) else _RED
    else:
        first = word.partition(" ")[0]
        shade = _GREEN if first in _GOOD else _RED if first in _BAD else _YELLOW if first in _BETWEEN else ""
    return f"{shade}{word}{_PLAIN}" if shade and word else word


def _states(head: str) -> list[tuple[int, int]]:
    """From where to where the columns stand that tell a state."""
    cells = [*_CELL.finditer(head), None]
    found = []
    for cell, following in pairwise(cells):
        if cell is not None and (cell[0] in _COLUMNS or cell[0] == "BACKENDS"):
            found.append((cell.start(), following.start() if following else 1 << 16))
    return found


def _cells(line: str, spans: list[tuple[int, int]]) -> str:
    """The cells that begin within these columns in colour; from the right, so that places hold."""
    for start, end in reversed(spans):
        for cell in reversed([m for m in _CELL.finditer(line) if start <= m.start() < end]):
            line = line[: cell.start()] + coloured(cell[0]) + line[cell.end() :]
    return line
