"""Handing over inside one process: what is left is what is found, and only by the one whom it was left to."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from fairlead.ending import Ending
from fairlead.errors import Refused
from fairlead.events import Event
from fairlead.succession import VARIABLE, Legacy, _judged, inherit

# A process that leaves a pipe to itself, with a signal on its way, and says what it finds afterwards.
STORY = """
import json, os, signal, sys
from dataclasses import asdict
from fairlead import succession
from fairlead.succession import Legacy
legacy = succession.inherit()
if legacy is None:
    reading, writing = os.pipe()
    os.write(writing, b"left")
    succession.hold_signals()
    os.kill(os.getpid(), signal.SIGTERM)
    succession.bequeath(Legacy(lock=reading, announced=("192.0.2.10",), descriptors=(reading,), format=int(sys.argv[1])))
heard = []
signal.signal(signal.SIGTERM, lambda *_: heard.append("SIGTERM"))
succession.release_signals()
open_still = os.read(legacy.lock, 9).decode()
print(json.dumps(asdict(legacy) | {"heard": heard, "read": open_still, "inherited": os.get_inheritable(legacy.lock),
                                   "variable": succession.VARIABLE in os.environ, "pid": os.getpid()}))
"""


def told(form: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", STORY, str(form)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_what_is_left_is_found() -> None:
    """Descriptors and facts arrive in the next run of the same process, and a signal that came in between waits for it."""
    done = told(1)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["announced"], found["read"], found["heard"]) == (["192.0.2.10"], "left", ["SIGTERM"])
    assert not found["inherited"], "its own children get none of it"
    assert not found["variable"]


def test_another_process_inherits_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable may reach others, a child for one: it names the process that it is for."""
    monkeypatch.setenv(VARIABLE, f"{os.getpid() + 1}:3")
    assert inherit() is None
    assert VARIABLE not in os.environ


def test_another_format_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a version of another format leaves is closed, so that nobody holds locks for ever; the start is an ordinary one."""
    reading, writing = os.pipe()
    file = os.memfd_create("legacy")
    os.write(file, json.dumps({"format": 99, "descriptors": [reading], "treasure": "unknown"}).encode())
    os.lseek(file, 0, os.SEEK_SET)
    monkeypatch.setenv(VARIABLE, f"{os.getpid()}:{file}")
    assert inherit() is None
    with pytest.raises(BrokenPipeError):
        os.write(writing, b"x")
    os.close(writing)


@pytest.mark.parametrize(
    ("out", "says"),
    [
        (b"", "gave no answer"),
        (b"[]", "gave no answer"),
        (b'{"version": "9"}', "gave no answer"),
        (b'{"version": "9", "layout": "bb"}', r"fairlead 9.* has another table layout \(bb, not aa\).*this daemon goes on"),
    ],
)
def test_who_may_not_take_over(out: bytes, says: str) -> None:
    """What does not answer in our words, or has other tables, is refused."""
    with pytest.raises(Refused, match=says):
        _judged(out, "aa")


def test_who_may() -> None:
    """The same layout: its version is told."""
    assert _judged(b'{"version": "9", "layout": "aa", "more": 1}', "aa") == "9"


def silent(_: Event) -> None:
    pass


async def test_an_unconfirmed_run_is_not_handed_over() -> None:
    """Before `fairlead confirm` there is no successor: it would forget that nobody has confirmed."""
    ending = Ending(silent, 60)
    with pytest.raises(Refused, match="confirm"):
        ending.hand_over()
    await ending.confirm()
    ending.hand_over()
    assert ending.succeed
    assert ending.asked.is_set()


async def test_who_is_told_to_stop_does_not_go_on() -> None:
    """SIGTERM while a restart begins is a stop."""
    ending = Ending(silent, None)
    ending.hand_over()
    ending.end("SIGTERM")
    assert not ending.succeed
    assert Legacy() == Legacy(-1, -1, -1)
