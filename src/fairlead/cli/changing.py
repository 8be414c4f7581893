"""Commands that change what runs: `plan`, `apply`, `drain` and its kin."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from pathlib import Path
from urllib.parse import urlencode

from fairlead import render
from fairlead.cli.online import Denied, NoDaemon, ask, complain, decode, get
from fairlead.model import Change

CHANGES, REFUSED = 4, 5  # exit codes
_LARGE = 600.0  # seconds: a hundred thousand backends are read and planned meanwhile
_LOOK_EVERY = 1.0  # seconds
_LOOK_AWAY_EVERY = 0.2  # seconds
_RATE_OVER = 10  # looks


def change(socket: str, verb: str, path: str, max_moved: float | None, *, as_json: bool) -> int:
    """`fairlead plan` and `fairlead apply`: 0 nothing to do, 4 changes, 5 refused by the budget, 1 for everything else."""
    try:
        text = Path(path).read_bytes()
    except OSError as e:
        return complain(f"cannot read {path}: {e.strerror}")
    words = {"path": str(Path(path).absolute())} | ({} if max_moved is None else {"max-moved": f"{max_moved!r}"})
    try:
        _, body = ask(socket, "POST", f"/v1/{verb}?{urlencode(words)}", text, _LARGE)
    except NoDaemon as e:
        return complain(str(e))
    found = json.loads(body)
    if "error" in found:
        return _bad(found["error"], own_words="problems" in found)  # the file's problems stand for themselves
    made = decode(Change, found)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        print(render.change(made), end="")
    if made.refused:
        return REFUSED
    return CHANGES if made.changed else 0


def _bad(text: str, *, own_words: bool) -> int:
    if not own_words:
        return complain(text)
    print(text, file=sys.stderr)
    return 1


def say(socket: str, target: str, **words: str | None) -> int:
    """A verb with words; prints what the daemon says."""
    given = urlencode({name.replace("_", "-"): word for name, word in words.items() if word})
    try:
        code, body = ask(socket, "POST", f"{target}?{given}")
    except NoDaemon as e:
        return complain(str(e))
    found = json.loads(body)
    if code != 200:  # as everywhere in HTTP
        return complain(str(found.get("error", found)))
    print(found["says"])
    return 0


def _flows(socket: str, backend: str, service: str | None) -> int:
    """How many a backend has."""
    words = {"backend": backend} | ({"service": service} if service else {})
    return int(get(socket, f"/v1/flows?{urlencode(words)}")["entries"])


def wait(socket: str, backend: str, service: str | None, timeout: float | None) -> int:
    """Until a backend has no flows left: a line each second with how many, how fast and about how long. 1 after `timeout` s."""
    began, looks = time.monotonic(), deque[tuple[float, int]](maxlen=_RATE_OVER)
    while True:
        try:
            left = _flows(socket, backend, service)
        except (NoDaemon, Denied) as e:
            return complain(str(e))
        now = time.monotonic()
        looks.append((now, left))
        print(render.draining(backend, left, _rate(looks)), flush=True)
        if not left:
            return 0
        if timeout is not None and now - began > timeout:
            return complain(f"{backend} has {left} flows still after {timeout:g} s; it goes on draining")
        try:
            time.sleep(_LOOK_EVERY)
        except KeyboardInterrupt:
            complain(f"no longer waiting; {backend} goes on draining, with {left} flows left")
            return 130  # as a shell has it for SIGINT


def wait_away(socket: str, timeout: float | None) -> int:
    """Until this balancer announces nothing any more; 1 after `timeout` s."""
    began = time.monotonic()
    while True:
        try:
            _, body = ask(socket, "GET", "/v1/bgp")
        except NoDaemon as e:
            return complain(str(e))
        found = json.loads(body)
        if not found["drained"]:
            return complain("somebody has taken it back: this balancer is not drained")
        if not found["leaving"]:
            print("no route is announced any more")
            return 0
        if timeout is not None and time.monotonic() - began > timeout:
            return complain(f"routes are still announced after {timeout:g} s; it goes on leaving")
        time.sleep(_LOOK_AWAY_EVERY)


def _rate(looks: deque[tuple[float, int]]) -> float:
    """Flows that ended per second, over the last looks."""
    (first, before), (last, after) = looks[0], looks[-1]
    return (before - after) / (last - first) if last > first else 0.0
