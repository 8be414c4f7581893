"""`fairlead top`: looks at the daemon again and again, and shows what happened between two looks."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import datetime

from fairlead.cli.online import Denied, NoDaemon, complain, decode, get
from fairlead.cli.screen import Screen
from fairlead.cli.showing import dressed, live
from fairlead.model import Status
from fairlead.render import top as drawn
from fairlead.render.top import View

_PATIENCE = 5.0  # seconds: keys wait meanwhile
_QUIT = frozenset(("q", "Q", "\x03", "\x04"))


def top(path: str, view: View, every: float, color: str, *, as_json: bool) -> int:
    """Live on a terminal; elsewhere, and as JSON, once, over one interval. `every` is in seconds."""
    try:
        before = _look(path)
        if as_json:
            time.sleep(every)
            print(json.dumps(drawn.figures(before, _look(path), view), indent=2))
            return 0
        if not live():
            time.sleep(every)
            print(dressed(drawn.once(before, _look(path), view, _clock()), color), end="")
            return 0
    except (NoDaemon, Denied) as e:
        return complain(str(e))
    with Screen() as screen:
        _live(screen, path, before, view, every, color)
    return 0


def _live(screen: Screen, path: str, before: Status, view: View, every: float, color: str) -> None:
    """Until somebody presses q. A daemon that does not answer for a while, as in a restart, is asked again."""
    after, gone = before, ""
    due = time.monotonic() + every
    while True:
        lines = drawn.screen(before, after, view, screen.size(), _clock())
        if gone:
            lines[2:3] = [f"# {gone}"[: screen.size()[0]]]
        screen.draw(dressed("\n".join(lines), color).split("\n"))
        key = screen.key(max(0.0, due - time.monotonic()) if not view.held else every)
        if key in _QUIT:
            return
        view = pressed(view, key, drawn.deepest(after, view, screen.size()[1]), screen.size()[1])
        if view.held or time.monotonic() < due:
            continue
        due = time.monotonic() + every
        try:
            seen, gone = _look(path), ""
        except (NoDaemon, Denied) as e:
            gone = str(e)
            continue
        before, after = after, seen


def pressed(view: View, key: str, deepest: int, rows: int) -> View:
    """The view after a key; what is no key of ours changes nothing."""
    if key in drawn.VIEWS:
        return replace(view, what=drawn.VIEWS[key], first=0)
    if key in drawn.SORTS:
        return replace(view, sort=key, first=0)
    if key == " ":
        return replace(view, held=not view.held)
    page = max(1, rows - 6)
    steps = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -page, "page down": page, "home": -view.first, "end": deepest}
    return replace(view, first=min(max(0, view.first + steps.get(key, 0)), deepest)) if key in steps else view


def _look(path: str) -> Status:
    return decode(Status, get(path, "/v1/status", _PATIENCE))


def _clock() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")
