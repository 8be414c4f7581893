"""Nouns against a served API: what is chosen, exit codes, --watch, and what programs get."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fairlead.adapters.http import Handlers
from fairlead.adapters.log import Log
from fairlead.cli import fairlead, online
from fairlead.events import Event, Operated, Warned
from fairlead.model import Status
from fairlead.render.told import SEVERITIES
from tests.unit.sample import DNS, STATUS, WEB, WELL
from tests.unit.served import Served

FAIRLEAD = str(Path(sys.executable).parent / "fairlead")
KEY = "192.0.2.10:80/tcp"


class Api(Served):
    """Serves the status that the test wants, and a log."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.status = STATUS
        self.log = Log(io.StringIO())

    async def _status(self) -> Status:
        return self.status

    async def _none(self, *_: object) -> str:
        return ""

    def handlers(self) -> Handlers:
        return Handlers(self._status, self.log.recent, self._none, self._none, self._none, self._none)

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(fairlead, [*words, "--socket", str(self.path)], prog_name="fairlead")


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with Api(tmp_path / "api.sock") as made:
        yield made


@pytest.mark.parametrize("words", [("status",), ("services",), ("backends",), ("services", "web"), ("backends", "10.1.0.12")])
def test_exit_codes_say_how_it_is(api: Api, words: tuple[str, ...]) -> None:
    """3 where what is shown is degraded, 0 where it is not; JSON makes no difference."""
    assert api.run(*words).exit_code == 3
    assert api.run(*words, "--json").exit_code == 3
    api.status = WELL
    if "10.1.0.12" not in words:
        assert api.run(*words).exit_code == 0
        assert api.run(*words, "--json").exit_code == 0


def test_only_what_is_shown_counts(api: Api) -> None:
    """A backend that is well is 0 beside one that is not."""
    assert api.run("backends", "10.1.0.11").exit_code == 0
    assert api.run("backends", "--state", "up", "--service", "web").exit_code == 0


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("web", [KEY]), (KEY, [KEY]), ("192.0.2.10", [KEY]), ("[2001:db8::53]:53/udp", ["[2001:db8::53]:53/udp"])],
)
def test_a_service_has_three_names(api: Api, wanted: str, found: list[str]) -> None:
    """Key, name and VIP all mean it."""
    listed = json.loads(api.run("backends", "--service", wanted, "--json").stdout)

    assert sorted({each["service"] for each in listed}) == found
    assert wanted in api.run("services", wanted).stdout


def test_programs_get_what_the_status_has(api: Api) -> None:
    """A list of services, and of backends beside their services, field for field."""
    assert json.loads(api.run("services", "--json").stdout) == json.loads(json.dumps([asdict(WEB), asdict(DNS)]))
    first, *_ = json.loads(api.run("backends", "--json").stdout)
    assert first == {"service": KEY, "name": "web", "backend": json.loads(json.dumps(asdict(WEB.backends[0])))}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("services", "nobody"), "there is no service nobody (`fairlead services` lists them)"),
        (("backends", "192.0.2.99"), "there is no backend 192.0.2.99 (`fairlead backends` lists them)"),
        (("backends", "--service", "nobody"), "there is no service nobody (`fairlead services` lists them)"),
        (("backends", "192.0.2.99", "--watch", "1"), "there is no backend 192.0.2.99 (`fairlead backends` lists them)"),
    ],
)
def test_what_is_not_there_is_said(api: Api, words: tuple[str, ...], says: str) -> None:
    """One sentence, exit code 1, and nothing on standard output."""
    done = api.run(*words)

    assert (done.exit_code, done.stdout, done.stderr) == (1, "", f"fairlead: {says}\n")


def test_nothing_a_server_says_reaches_the_terminal(api: Api) -> None:
    """Escape sequences in a name or in a server's answer are shown, not obeyed."""
    api.status = replace(STATUS, services=(replace(WEB, name="web\x1b]0;owned\x07\x9b2J"),))

    text = api.run("status").stdout
    assert "web?]0;owned??2J" in text
    assert not set(text) & set(map(chr, [*range(10), *range(11, 32), *range(127, 160)]))


@pytest.mark.parametrize(
    ("words", "looks"),
    [(("--watch",), 2.0), (("--watch", "0.3"), 0.3), (("--watch=5",), 5.0), (("--watch", "web"), 2.0), ((), None)],
)
def test_watch_takes_a_number_or_none(words: tuple[str, ...], looks: float | None) -> None:
    """Whatever else follows it is an argument as ever."""
    command = fairlead.commands["services"]
    context = command.make_context("services", list(words))

    assert context.params["watch"] == looks
    assert context.params["service"] == ("web" if "web" in words else None)


@pytest.mark.parametrize("json_", [False, True])
def test_watching_into_a_pipe(api: Api, json_: bool) -> None:
    """One look below the other, of JSON one a line, until SIGINT: exit code 130."""
    words = ["services", "--watch", "0.1", "--socket", str(api.path), *(["--json"] if json_ else [])]
    with subprocess.Popen([FAIRLEAD, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = 0
        while seen < 3:
            line = process.stdout.readline()
            assert line
            seen += bool(json.loads(line)) if json_ else line.startswith("SERVICE ")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "")


def test_a_reader_may_stop_reading(api: Api) -> None:
    """`fairlead status | head -1` complains of nothing."""
    env = dict(os.environ) | {"FAIRLEAD_SOCKET": str(api.path)}
    done = subprocess.run(
        ["sh", "-c", f"{FAIRLEAD} status --watch 0.1 | head -1"], env=env, capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1


def test_the_log_shows_the_last(api: Api) -> None:
    """The last so many, those that are severe enough; a line begins with time and severity."""
    events: list[Event] = [Operated(f"do {n}", None) for n in range(60)]
    for event in [*events, Warned("look\nhere")]:
        api.log(event)

    lines = api.run("log").stdout.splitlines()
    assert len(lines) == 51
    assert lines[-2].endswith(" warning look")
    assert lines[-1] == "    here"
    assert len(api.run("log", "-n", "3").stdout.splitlines()) == 4
    assert len(api.run("log", "--level", "warning").stdout.splitlines()) == 2
    assert [each["text"] for each in json.loads(api.run("log", "-n", "2", "--json").stdout)] == ["do 59", "look\nhere"]
    assert api.run("log", "-n", "0").stdout == ""


def test_severities_are_those_of_syslog() -> None:
    """The words stand in the order of RFC 5424, so that their place is the number."""
    assert [SEVERITIES[n] for n in (0, 3, 4, 6)] == ["emergency", "error", "warning", "info"]
    assert SEVERITIES[Warned("").severity] == "warning"


def test_following_and_watching_are_two_things(api: Api) -> None:
    """Both at once is wrong usage."""
    assert api.run("log", "-f", "--watch").exit_code == 2


def test_server_sent_events_are_understood(capsys: pytest.CaptureFixture[str]) -> None:
    """Comments, states and unknown kinds are passed over; data may have several lines; what went by is told."""
    sent = (
        b'retry: 2000\n\n: \n\nid: 7\nevent: event\ndata: {"id": 7}\n\nevent: status\ndata: {"x": 1}\n\n'
        b'event: missed\ndata: {"events": 3}\n\nid: 8\r\nevent: event\r\ndata: {"id":\r\ndata:  8}\r\n\r\n'
        b'event: event\ndata: {"id": 9}'
    )

    assert list(online._told(io.BytesIO(sent))) == [{"id": 7}, {"id": 8}]
    assert capsys.readouterr().err == "fairlead: 3 events went by unseen\n"
