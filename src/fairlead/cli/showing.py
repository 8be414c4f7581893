"""How what a daemon knows is shown: as text or JSON, in colour on a terminal, once or again and again."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TextIO

from fairlead.cli.online import Denied, NoDaemon, complain
from fairlead.cli.screen import Screen
from fairlead.render.paint import paint

DEGRADED = 3  # exit code
INTERRUPTED = 130  # as a shell has it for SIGINT
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class How:
    """What the operator asked for: JSON, a look every `watch` seconds, and colour "auto", "always" or "never"."""

    as_json: bool = False
    watch: float | None = None
    color: str = "auto"


@dataclass(frozen=True, slots=True)
class Shown:
    """One look: for people, for programs, and the exit code that says how things are."""

    text: str
    data: Any
    code: int = 0


def show(look: Callable[[], Shown], how: How) -> int:
    """Look and print; the exit code. `look` raises NoDaemon or Denied."""
    if how.watch is not None:
        return _watch(look, how, how.watch)
    try:
        shown = look()
    except (NoDaemon, Denied) as e:
        return complain(str(e))
    if how.as_json:
        print(json.dumps(shown.data, indent=2), flush=True)
    else:
        print(dressed(shown.text, how.color), end="", flush=True)  # while somebody can still take it that nobody reads on
    return shown.code


def dressed(text: str, color: str) -> str:
    """In colour if that is wanted here; without what a server's answer or a name could do to a terminal."""
    safe = _CONTROL.sub("?", text)
    return paint(safe) if wants_color(color, sys.stdout) else safe


def wants_color(color: str, out: TextIO) -> bool:
    """On a terminal that can, unless NO_COLOR is set (no-color.org); --color says otherwise."""
    if color != "auto":
        return color == "always"
    return out.isatty() and not os.environ.get("NO_COLOR") and _able()


def live() -> bool:
    """Whether there is somebody who looks at a screen and has keys."""
    return sys.stdout.isatty() and sys.stdin.isatty() and _able()


def _able() -> bool:
    return os.environ.get("TERM", "dumb") not in {"", "dumb"}


def _watch(look: Callable[[], Shown], how: How, every: float) -> int:
    """Until somebody has seen enough: on a terminal in place, else one look below the other, of JSON a line each.

    A daemon that is gone for a while, as in a restart, is waited for; one that was never there is not.
    """
    try:
        shown = look()
    except (NoDaemon, Denied) as e:
        return complain(str(e))
    if live() and not how.as_json:
        return _in_place(look, shown, how, every)
    try:
        while True:
            print(json.dumps(shown.data) if how.as_json else f"{_stamp()}\n\n{dressed(shown.text, how.color)}", flush=True)
            time.sleep(every)
            shown = _again(look, shown)
    except KeyboardInterrupt:
        return INTERRUPTED


def _in_place(look: Callable[[], Shown], shown: Shown, how: How, every: float) -> int:
    title = f"every {every:g} s: {' '.join(['fairlead', *sys.argv[1:]])}"
    with Screen() as screen:
        while True:
            columns, rows = screen.size()
            head = f"{title[: columns - 21]:{max(0, columns - 20)}} {_stamp()}"
            lines = [line[:columns] for line in shown.text.splitlines()]
            if len(lines) > rows - 2:
                lines = [*lines[: rows - 3], f"... {len(lines) - rows + 3} more lines"]
            screen.draw([head, "", *dressed("\n".join(lines), how.color).split("\n")])
            key = screen.key(every)
            if key in {"q", "\x03"}:
                break
            if key != "resize":
                shown = _again(look, shown)
    print(dressed(shown.text, how.color), end="")
    return shown.code


def _again(look: Callable[[], Shown], before: Shown) -> Shown:
    """Another look; the sentence that says why there is none."""
    try:
        return look()
    except (NoDaemon, Denied) as e:
        return Shown(f"# {e}\n", {"error": str(e)}, before.code)


def _stamp() -> str:
    return datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")[:19]
