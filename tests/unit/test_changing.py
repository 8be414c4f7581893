"""The commands that change what runs: words, exit codes, and how they print; over a real socket."""

from __future__ import annotations

import io
import json
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fairlead import render
from fairlead.adapters.http import Call, Handlers, Question, Word
from fairlead.adapters.log import Log
from fairlead.cli import changing, fairlead
from fairlead.errors import ConfigError, Refused
from fairlead.model import (
    BackendFlows,
    BackendShare,
    Change,
    FlowsInState,
    FlowTable,
    Moved,
    Position,
    Problem,
    ServiceChange,
    ServiceFlows,
    Status,
)
from tests.unit.served import Served

SHARES = (BackendShare("10.1.0.11", 0.5, 1.0, 651, 0), BackendShare("10.1.0.12", 0.5, 0.0, 640, 640))
CHANGE = Change(
    path="/etc/new.yaml",
    changed=True,
    operations=("fill 1021 slots for 192.0.2.10:80/tcp: 510 change", "set need of 192.0.2.10:80/tcp"),
    moved=Moved(510, 640, 49.574),
    services=(ServiceChange("192.0.2.10:80/tcp", 1021, 510, 1291, 640, SHARES),),
    later=("1 of 1021 slots of 192.0.2.10:80/tcp move once 10.1.0.13 is up",),
)
NOTHING = Change("/etc/same.yaml", False, (), Moved(), ())
PRINTED = """\
fill 1021 slots for 192.0.2.10:80/tcp: 510 change
set need of 192.0.2.10:80/tcp

# later: 1 of 1021 slots of 192.0.2.10:80/tcp move once 10.1.0.13 is up

SERVICE            BACKEND        BEFORE     AFTER  FLOWS  MOVED
192.0.2.10:80/tcp  all        1021 slots  510 move  1.29k    640
                   10.1.0.11       50.0%    100.0%    651      0
                   10.1.0.12       50.0%      0.0%    640    640

/etc/new.yaml would be 2 operations: 510 slots and 640 live flows move, 49.574%
"""
CELLS = (FlowsInState("embryonic", 2, 0.5, 3.0), FlowsInState("established", 40, 0.0, 130.0))
FLOWS = FlowTable(
    5.0,
    42,
    8388608,
    (ServiceFlows("192.0.2.10:80/tcp", 42, (BackendFlows("10.1.0.11", 42, CELLS), BackendFlows("10.1.0.12", 0, ()))),),
)


class Daemon(Served):
    """The API with answers of the test's own, in a thread; what was asked is kept."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked: list[tuple[str, Question]] = []
        self.change: Change | Exception = CHANGE
        self.left = [42]

    async def _plan(self, question: Question) -> Change:
        self.asked.append(("plan", question))
        if isinstance(self.change, Exception):
            raise self.change
        return self.change

    async def _say(self, question: Question) -> dict[str, str]:
        self.asked.append(("say", question))
        if question.words.get("backend") == "10.9.9.9":
            raise Refused(["there is no backend 10.9.9.9"])
        return {"says": "done"}

    async def _flows(self, question: Question) -> FlowTable:
        self.asked.append(("flows", question))
        left = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        return FlowTable(5.0, left, 8388608, FLOWS.services)

    async def _none(self, *_: object) -> str:
        return ""

    async def _status(self) -> Status:
        raise NotImplementedError

    def handlers(self) -> Handlers:
        words = tuple(map(Word, ("path", "max-moved", "backend", "service", "state", "weight"), ("",) * 6))
        calls = {
            "POST /v1/plan": Call(self._plan, "", words=words, body="a file"),
            "POST /v1/apply": Call(self._plan, "", words=words, body="a file"),
            "POST /v1/override": Call(self._say, "", words=words),
            "POST /v1/clear": Call(self._say, "", words=words),
            "GET /v1/flows": Call(self._flows, "", words=words),
        }
        return Handlers(self._status, Log(io.StringIO()).recent, self._none, self._none, self._none, self._none, calls)

    def run(self, *words: str, **env: str) -> Result:
        return CliRunner(env={"SUDO_USER": "", **env}).invoke(
            fairlead, [*words, "--socket", str(self.path)], prog_name="fairlead"
        )


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path / "api.sock") as made:
        yield made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "new.yaml"
    path.write_text("services: []  # é\n")
    return path


@pytest.mark.parametrize("verb", ["plan", "apply"])
def test_exit_codes_of_changes(daemon: Daemon, file: Path, verb: str) -> None:
    """0 nothing to do, 4 changes, 5 refused by the budget, 1 a bad file, 2 wrong words."""
    assert daemon.run(verb, str(file)).exit_code == 4
    daemon.change = NOTHING
    assert daemon.run(verb, str(file)).exit_code == 0
    daemon.change = Change("x", True, ("a",), Moved(1, 1, 3.0), (), refused="it moves 3%: more than 1%")
    found = daemon.run(verb, str(file), "--max-moved", "1%")
    assert (found.exit_code, found.stdout.splitlines()[-1]) == (5, "refused: it moves 3%: more than 1%; nothing was changed")
    daemon.change = ConfigError([Problem(Position("new.yaml", 3, 5), "no key", "a hint")])
    found = daemon.run(verb, str(file))
    assert (found.exit_code, found.stdout, found.stderr) == (1, "", "new.yaml:3:5: error: no key (a hint)\n")
    daemon.change = Refused(["there is no interface eth9"])
    found = daemon.run(verb, str(file))
    assert (found.exit_code, found.stderr) == (1, "fairlead: there is no interface eth9\n")
    assert daemon.run(verb, str(file) + "x").exit_code == 1
    assert daemon.run(verb, str(file), "--max-moved", "101").exit_code == 2
    assert daemon.run(verb).exit_code == 2


def test_what_is_sent(daemon: Daemon, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text as it stands in the file, its whole path and the budget; and who asks, which the kernel says."""
    monkeypatch.chdir(file.parent)
    daemon.run("plan", file.name, "--max-moved", "0.5%")
    (_, question) = daemon.asked.pop()
    assert question == Question({"path": str(file), "max-moved": "0.5"}, file.read_text(), pwd.getpwuid(os.getuid()).pw_name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may speak for others")
def test_behind_sudo(daemon: Daemon) -> None:
    """Root names who called sudo; what is no plain name is left out."""
    daemon.run("drain", "10.1.0.11", SUDO_USER="alice")
    daemon.run("drain", "10.1.0.11", SUDO_USER="x" * 80)
    assert [question.who for _, question in daemon.asked] == ["alice (root)", "root"]


def test_a_change_reads_like_this(daemon: Daemon, file: Path) -> None:
    """Operations word for word on lines of their own; --json is every field."""
    assert daemon.run("plan", str(file)).stdout == PRINTED
    found = json.loads(daemon.run("plan", str(file), "--json").stdout)
    assert found["operations"] == list(CHANGE.operations)
    assert found["moved"] == {"slots": 510, "flows": 640, "percent": 49.574}
    assert render.change(NOTHING) == "/etc/same.yaml is what runs: nothing to do\n"


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (("drain", "10.1.0.11"), {"backend": "10.1.0.11", "state": "drain"}),
        (("disable", "10.1.0.11", "--service", "web"), {"backend": "10.1.0.11", "service": "web", "state": "disabled"}),
        (("enable", "2001:db8::1"), {"backend": "2001:db8::1", "state": "active"}),
        (("weight", "10.1.0.11", "0"), {"backend": "10.1.0.11", "weight": "0"}),
        (("clear", "10.1.0.11", "--service", "web"), {"backend": "10.1.0.11", "service": "web"}),
        (("clear", "--all"), {}),
    ],
)
def test_what_verbs_say(daemon: Daemon, words: tuple[str, ...], sent: dict[str, str]) -> None:
    """Each verb is one question; the answer is printed."""
    assert daemon.run(*words).stdout == "done\n"
    assert daemon.asked[-1][1].words == sent


@pytest.mark.parametrize("words", [("clear",), ("clear", "10.1.0.1", "--all"), ("weight", "10.1.0.1", "1001"), ("drain",)])
def test_wrong_words(daemon: Daemon, words: tuple[str, ...]) -> None:
    """What cannot be meant is wrong usage, and nobody is asked."""
    assert daemon.run(*words).exit_code == 2
    assert not daemon.asked


def test_refusals_end_a_wait_before_it_begins(daemon: Daemon) -> None:
    """An unknown server is exit code 1, without waiting."""
    found = daemon.run("drain", "10.9.9.9", "--wait")
    assert (found.exit_code, found.stderr) == (1, "fairlead: there is no backend 10.9.9.9\n")


def test_waiting(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line each look, with the rate over the last ones; the last flow ends it, and so does the time-out, with exit code 1."""
    monkeypatch.setattr(changing, "_LOOK_EVERY", 0.05)
    daemon.left = [30, 20, 10, 0]
    found = daemon.run("drain", "10.1.0.11", "--wait")
    assert found.exit_code == 0
    lines = found.stdout.splitlines()
    assert lines[1] == "10.1.0.11: 30 flows left, none has ended of late"
    assert lines[2].startswith("10.1.0.11: 20 flows left, ")
    assert lines[2].endswith("a second end, about 0 s")
    assert lines[-1] == "10.1.0.11: no flows left"
    daemon.left = [1]
    found = daemon.run("drain", "10.1.0.11", "--wait", "--timeout", "0.1")
    assert (found.exit_code, found.stderr) == (1, "fairlead: 10.1.0.11 has 1 flows still after 0.1 s; it goes on draining\n")


def test_flows_read_like_this(daemon: Daemon) -> None:
    """A line for each server, those without a flow too."""
    assert daemon.run("flows").stdout == (
        "SERVICE            BACKEND    FLOWS  EMBRYONIC  ESTABLISHED  DATAGRAM  CLOSING  IDLE\n"
        "192.0.2.10:80/tcp  10.1.0.11     42          2           40         0        0  0 s to 2 min\n"
        "192.0.2.10:80/tcp  10.1.0.12      0          0            0         0        0  -\n"
        "\n"
        "42 live flows; the table has room for 8.39M\n"
    )
    assert json.loads(daemon.run("flows", "--json", "--backend", "10.1.0.11").stdout)["entries"] == 42
    assert daemon.asked[-1][1].words == {"backend": "10.1.0.11"}
