"""Commands that ask the running daemon: HTTP over its unix socket."""

from __future__ import annotations

import dataclasses
import functools
import http.client
import json
import os
import socket
import sys
import time
import types
import typing
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

_RESTART_WITHIN, _POLL = 60.0, 0.05  # seconds
_SILENCE = 60.0  # seconds: a daemon that has nothing to tell says so more often


class NoDaemon(Exception):
    """Nobody answers; the text is a plain sentence."""


class Denied(Exception):
    """The daemon has no such answer; the text says why."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP to a unix socket."""

    def __init__(self, path: str, within: float) -> None:
        super().__init__("fairlead", timeout=within)
        self._path = path

    def connect(self) -> None:
        """Connect to the path instead of host and port."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(path: str, method: str, target: str, body: bytes | None = None, within: float = 30.0) -> tuple[int, bytes]:
    """Status code and body; NoDaemon when there is no answer within so many seconds. Who uses sudo is named.

    A question that changes nothing is asked once more where the daemon hung up: it may just be handing over to its successor.
    """
    try:
        try:
            return _asked(path, method, target, body, within)
        except (ConnectionResetError, BrokenPipeError):
            if method != "GET":
                raise
            return _asked(path, method, target, body, within)
    except (FileNotFoundError, ConnectionRefusedError):
        hint = "`fairlead run CONFIG` starts one, --socket names another"
        raise NoDaemon(f"no fairlead daemon runs here: nobody answers on {path} ({hint})") from None
    except PermissionError:
        raise NoDaemon(f"no permission to ask the daemon on {path} (run it with sudo)") from None
    except (OSError, http.client.HTTPException) as e:
        raise NoDaemon(f"the daemon on {path} gave no answer: {e or type(e).__name__}") from None


def _asked(path: str, method: str, target: str, body: bytes | None, within: float) -> tuple[int, bytes]:
    connection, user = _UnixConnection(path, within), os.environ.get("SUDO_USER", "")
    try:
        connection.request(method, target, body, {"fairlead-user": user} if user.isascii() and user else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def stream(path: str, target: str, last: int) -> Iterator[dict[str, Any]]:
    """The events that the daemon tells as they happen (server-sent events, WHATWG HTML 9.2), those after the number `last`.

    Ends when the daemon does. NoDaemon if it gives no answer, Denied if it has no such stream.
    """
    connection = _UnixConnection(path, _SILENCE)
    try:
        connection.request("GET", target, None, {"accept": "text/event-stream", "last-event-id": str(last)})
        answer = connection.getresponse()
        if answer.status != 200:  # as everywhere in HTTP
            raise Denied(f"the daemon does not tell events as they come: {answer.status} {answer.reason}")
        yield from _told(answer)
    except (OSError, http.client.HTTPException) as e:
        raise NoDaemon(f"the daemon on {path} is gone: {_words(e)}") from None
    finally:
        connection.close()


def _told(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    kind, data = "", list[str]()
    for line in lines:
        name, _, value = line.decode().rstrip("\r\n").partition(":")
        if name == "event":
            kind = value.strip()
        elif name == "data":
            data.append(value.removeprefix(" "))
        elif not name and not value:  # a blank line ends an event, a colon begins a comment
            if data and kind == "event":
                yield json.loads("\n".join(data))
            elif data and kind == "missed":
                print(f"fairlead: {json.loads(data[0])['events']} events went by unseen", file=sys.stderr, flush=True)
            kind, data = "", []


def _words(e: Exception) -> str:
    return (e.strerror if isinstance(e, OSError) else "") or str(e) or type(e).__name__


def decode(kind: type[T], value: Any) -> T:
    """A value of the model from its JSON; names that this version does not know are left out."""
    return typing.cast("T", _decode(kind, value))


@functools.cache
def _fields(kind: Hashable) -> tuple[tuple[str, Any], ...]:
    """Name and type of each field: asking takes a while, and there may be a hundred thousand backends."""
    return tuple(typing.get_type_hints(typing.cast("Any", kind)).items())


def _decode(kind: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        made: Any = kind
        return made(**{name: _decode(hint, value[name]) for name, hint in _fields(made) if name in value})
    if origin is tuple:
        return tuple(_decode(arguments[0], item) for item in value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _decode(arguments[1], item) for key, item in value.items()}
    if origin is types.UnionType and value is not None and dataclasses.is_dataclass(arguments[0]):
        return _decode(arguments[0], value)
    return value


def get(path: str, target: str, within: float = 30.0) -> Any:
    """The daemon's answer to a question, from its JSON; Denied with its words if it has none, NoDaemon."""
    code, body = ask(path, "GET", target, within=within)
    found = json.loads(body)
    if code != 200:
        raise Denied(str(found.get("error", found)))
    return found


def post(path: str, target: str) -> int:
    """A verb without a body; prints what the daemon says."""
    try:
        code, body = ask(path, "POST", target)
    except NoDaemon as e:
        return complain(str(e))
    found = json.loads(body)
    if code != 200:
        return complain(str(found.get("error", found)))
    print(found["says"])
    return 0


def restart(path: str) -> int:
    """`fairlead restart`: returns once the successor answers."""
    consequence = ""
    try:
        _, body = ask(path, "GET", "/v1/status")
        before = json.loads(body).get("started")
        code, body = ask(path, "POST", "/v1/restart")
        found = json.loads(body)
        if code != 200:
            return complain(str(found.get("error", found)))
        print(found["says"])
        consequence = "\nits log says why; the data plane forwards on"
        now, until = before, time.monotonic() + _RESTART_WITHIN
        while now == before and time.monotonic() < until:
            time.sleep(_POLL)
            _, body = ask(path, "GET", "/v1/status")  # waits in the queue of the socket that is handed on
            found = json.loads(body)
            now = found.get("started")
    except NoDaemon as e:
        return complain(f"{e}{consequence}")
    if now == before:
        return complain(f"the daemon did not restart within {_RESTART_WITHIN:g} s")
    print(f"fairlead {found['version']} runs")
    return 0


def complain(text: str) -> int:
    """Each line on standard error, with our name; the exit code of a refusal."""
    for line in text.splitlines():
        print(f"fairlead: {line}", file=sys.stderr)
    return 1
