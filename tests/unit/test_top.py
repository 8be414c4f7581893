"""`fairlead top`: the screen it draws, and the real command on a pseudo-terminal against a served API."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fairlead.adapters.http import Handlers
from fairlead.adapters.log import Log
from fairlead.cli.top import pressed
from fairlead.model import Status
from fairlead.render import top
from fairlead.render.paint import bare
from fairlead.render.top import View
from tests.lab.kit import eventually
from tests.unit.sample import NOW, STATUS, WEB
from tests.unit.served import Served

pytestmark = pytest.mark.live

FAIRLEAD = str(Path(sys.executable).parent / "fairlead")
GOLDEN = Path(__file__).parent / "golden"
ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"


def later(s: Status, seconds: float = 2.0, packets: int = 24_680) -> Status:
    """The same balancer after so many more packets of each service, 400 octets each; a tenth of that of its first backend."""

    def more(s: object, n: int) -> dict[str, int]:
        found = {"packets": n, "bytes": 400 * n, "new_flows": n // 100}
        return {name: getattr(s, name) + value for name, value in found.items()}

    services = tuple(
        replace(x, **more(x, packets // (n + 1)), backends=tuple(replace(b, **more(b, packets // 10)) for b in x.backends))
        for n, x in enumerate(s.services)
    )
    verdicts = {name: replace(v, packets=v.packets + 9, bytes=v.bytes + 540) for name, v in s.verdicts.items()}
    return replace(s, at=s.at + seconds, services=services, verdicts=verdicts)


START = replace(STATUS, at=NOW)
SIZES = {"services": (80, 24), "backends": (80, 24), "verdicts": (80, 12), "narrow": (60, 10)}


@pytest.mark.parametrize("name", SIZES)
def test_the_screen_is_the_golden_one(name: str) -> None:
    """Line for line; never wider nor higher than the terminal."""
    size, view = SIZES[name], View(name if name != "narrow" else "services")
    lines = top.screen(START, later(START), view, size, "12:04:31")
    text, path = "\n".join(lines) + "\n", GOLDEN / f"top-{name}.txt"
    if os.environ.get("FAIRLEAD_BLESS"):
        path.write_text(text)

    assert text == path.read_text()
    assert len(lines) == size[1]
    assert max(map(len, lines)) <= size[0]


@pytest.mark.parametrize("columns", [1, 20, 40, 41, 61, 79, 300])
@pytest.mark.parametrize("rows", [1, 7, 8, 9, 50])
@pytest.mark.parametrize("what", top.VIEWS.values())
def test_any_size_will_do(what: str, columns: int, rows: int) -> None:
    """Whatever the terminal's size, nothing is wider or higher; far too small a one is told so."""
    lines = top.screen(START, later(START), View(what), (columns, rows), "12:04:31")

    assert len(lines) <= rows
    assert max(map(len, lines)) <= columns


def test_rates_are_per_second() -> None:
    """Two seconds, 24,680 packets: 12,340 each second. What is new counts from now on, a counter that began anew from 0."""
    lines = top.screen(START, later(START), View(), (120, 24), "")
    assert re.search(r"192\.0\.2\.10:80/tcp .* 12\.3k +39\.5M +123 +15$", "\n".join(lines), re.MULTILINE)
    fresh = replace(START, services=())
    assert re.search(
        r"192\.0\.2\.10:80/tcp .* 0 +0 +0 +15$", "\n".join(top.screen(fresh, later(START), View(), (120, 24), "")), re.MULTILINE
    )
    assert top.rate(100, 40, 2.0) == 20.0
    assert top.rate(1, 2, 0.0) == 0.0


def test_sorting_and_scrolling() -> None:
    """Each key sorts by its column, the most first; a long table is walked through to its end and no further."""
    many = replace(START, services=tuple(replace(WEB, port=n, packets=n, flows=100 - n, backends=()) for n in range(1, 51)))
    after = replace(many, at=NOW + 1, services=tuple(replace(s, packets=2 * s.port) for s in many.services))

    def ports(view: View) -> list[int]:
        lines = top.screen(many, after, view, (80, 24), "")
        return [int(re.match(r"192\.0\.2\.10:(\d+)/", line)[1]) for line in lines if line.startswith("192.")]  # type: ignore[index]

    assert ports(View(sort="p"))[:3] == [50, 49, 48]
    assert ports(View(sort="f"))[:3] == [1, 2, 3]
    view = View(sort="p")
    deepest = top.deepest(after, view, 24)
    for key in ("page down",) * 10:
        view = pressed(view, key, deepest, 24)
    assert ports(view)[-1] == 1
    assert pressed(view, "home", deepest, 24).first == 0
    assert pressed(pressed(view, "home", deepest, 24), "up", deepest, 24).first == 0
    assert pressed(view, "x", deepest, 24) == view


class Api(Served):
    """Serves a status whose counters rise by a thousand packets a second."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.began = time.monotonic()

    async def _status(self) -> Status:
        seconds = time.monotonic() - self.began
        return later(START, seconds, int(1000 * seconds))

    async def _none(self, *_: object) -> str:
        return ""

    def handlers(self) -> Handlers:
        return Handlers(self._status, Log(io.StringIO()).recent, self._none, self._none, self._none, self._none)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with Api(tmp_path / "api.sock") as made:
        yield made


class Terminal:
    """A pseudo-terminal with the command on it; what it wrote is kept."""

    def __init__(self, argv: list[str], size: tuple[int, int], env: dict[str, str]) -> None:
        self.main, self.side = pty.openpty()
        self.resize(size)
        self.before = termios.tcgetattr(self.side)
        own = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS", "LINES"}}
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *argv],  # the terminal is its own: Ctrl-C, Ctrl-Z and its size are told to it
            stdin=self.side,
            stdout=self.side,
            stderr=self.side,
            env=own | {"TERM": "xterm"} | env,
        )
        os.set_blocking(self.main, False)
        self.written = ""

    def resize(self, size: tuple[int, int]) -> None:
        fcntl.ioctl(self.main, termios.TIOCSWINSZ, struct.pack("4H", size[1], size[0], 0, 0))

    def read(self) -> str:
        """All that it wrote so far."""
        try:
            while data := os.read(self.main, 65536):
                self.written += data.decode()
        except OSError:  # nothing more now, or the other end is gone
            pass
        return self.written

    def frame(self) -> list[str]:
        """The last whole picture, without its colours."""
        frames = self.read().split("\x1b[H")[1:]
        whole = [frame for frame in frames if "\x1b[J" in frame]
        return [bare(line) for line in whole[-1].partition("\x1b[J")[0].split("\r\n")] if whole else []

    def type(self, keys: str) -> None:
        os.write(self.main, keys.encode())

    def shows(self, text: str) -> None:
        eventually(lambda: any(text in line for line in self.frame()))

    def ends(self) -> int:
        return eventually(lambda: (self.read(), self.process.poll() is not None)[1]) and self.process.returncode


def terminal(api: Api, *words: str, **env: str) -> AbstractContextManager[Terminal]:
    return on_terminal([FAIRLEAD, *words, "--socket", str(api.path)], **env)


@contextmanager
def on_terminal(argv: list[str], **env: str) -> Iterator[Terminal]:
    made = Terminal(argv, (80, 24), env)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()
        os.close(made.main)
        os.close(made.side)


def test_top_lives_on_a_terminal(api: Api) -> None:
    """It draws rates, follows keys and the size of the terminal, and leaves the terminal as it was."""
    with terminal(api, "top", "--every", "0.3") as seen:
        seen.shows("1k")
        assert len(seen.frame()) == 24
        seen.type("b")
        seen.shows("10.1.0.13")
        seen.type("v")
        seen.shows("bad_header")
        seen.type(" ")
        seen.shows("held")
        seen.type(" s")
        seen.resize((100, 12))
        eventually(lambda: len(seen.frame()) == 12)
        seen.type("q")
        assert seen.ends() == 0
        assert seen.read().count(ENTER) == seen.read().count(LEAVE) == 1
        assert seen.read().endswith(LEAVE)
        assert termios.tcgetattr(seen.side) == seen.before


@pytest.mark.parametrize("end", ["\x03", "term"])
def test_top_leaves_the_terminal_as_it_was(api: Api, end: str) -> None:
    """Ctrl-C is a way out like q; a SIGTERM ends it, and the terminal has its old screen, cursor and mode."""
    with terminal(api, "top", "--every", "0.3") as seen:
        seen.shows("192.0.2.10:80/tcp")
        if end == "term":
            seen.process.send_signal(signal.SIGTERM)
        else:
            seen.type(end)
        assert seen.ends() == (143 if end == "term" else 0)
        assert LEAVE in seen.read()
        assert "\x1b[?25h" in seen.read()
        assert termios.tcgetattr(seen.side) == seen.before


def test_top_can_be_stopped_and_goes_on(api: Api, tmp_path: Path) -> None:
    """Ctrl-Z gives the terminal back to the shell, and `fg` takes it again."""
    script = tmp_path / "shell"
    script.write_text(f"set -m\n{FAIRLEAD} top --every 0.3 --socket {api.path}\necho stopped with $?\nread line\nfg\n")
    with on_terminal(["bash", str(script)]) as seen:
        seen.shows("192.0.2.10:80/tcp")
        seen.type("\x1a")
        eventually(lambda: "stopped with 148" in seen.read())
        assert "stopped with 148" in seen.read().rpartition(LEAVE)[2]
        assert termios.tcgetattr(seen.side) == seen.before
        seen.type("\n")
        eventually(lambda: seen.read().count(ENTER) == 2)
        seen.type("q")
        assert seen.ends() == 0


def test_top_says_when_nobody_answers(api: Api) -> None:
    """A daemon that goes is named where all would be well, and its return ends that."""
    with terminal(api, "top", "--every", "0.3") as seen:
        seen.shows("192.0.2.10:80/tcp")
        aside = api.path.with_name("aside")
        api.path.rename(aside)
        seen.shows("no fairlead daemon runs here")
        aside.rename(api.path)
        eventually(lambda: not any("no fairlead daemon" in line for line in seen.frame()))
        seen.type("q")
        assert seen.ends() == 0


def test_top_prints_once_into_a_pipe(api: Api) -> None:
    """Without a terminal there is one plain look, as wide as it has to be."""
    done = subprocess.run(
        [FAIRLEAD, "top", "--every", "0.3", "--socket", str(api.path)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "192.0.2.10:80/tcp      web" in done.stdout


@pytest.mark.parametrize(("show", "first"), [("services", "service"), ("backends", "backend"), ("verdicts", "verdict")])
def test_top_for_programs(api: Api, show: str, first: str) -> None:
    """One look as JSON: a row for each, rates as numbers."""
    words = [FAIRLEAD, "top", "--json", "--show", show, "--every", "0.3", "--socket", str(api.path)]
    rows = json.loads(subprocess.run(words, capture_output=True, text=True, timeout=30, check=True).stdout)
    assert rows
    assert all(next(iter(row)) == first and row[first] and row["packets_per_second"] >= 0 for row in rows)
    if show == "services":
        assert {"service", "name", "state", "packets_per_second", "bits_per_second", "new_flows_per_second", "flows"} == set(
            rows[0]
        )


def test_a_dumb_terminal_is_no_screen(api: Api) -> None:
    """What cannot be painted on gets one plain look."""
    with terminal(api, "top", "--every", "0.3", TERM="dumb") as seen:
        assert seen.ends() == 0
        assert "\x1b" not in seen.read()
        assert "192.0.2.10:80/tcp" in seen.read()


def test_watch_paints_in_place(api: Api) -> None:
    """On a terminal --watch shows one look after the other in the same place, and leaves the last."""
    with terminal(api, "status", "--watch", "0.3") as seen:
        seen.shows("every 0.3 s: fairlead status")
        seen.type("q")
        assert seen.ends() == 3
        assert "192.0.2.10:80/tcp" in seen.read().rpartition(LEAVE)[2]
        assert termios.tcgetattr(seen.side) == seen.before


@pytest.mark.parametrize(("env", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colour_is_for_terminals(api: Api, env: dict[str, str], coloured: bool) -> None:
    """A terminal has colour, unless NO_COLOR is set or it has none."""
    with terminal(api, "status", **env) as seen:
        assert seen.ends() == 3
        assert ("\x1b[31m" in seen.read()) is coloured


def test_no_colour_in_a_pipe(api: Api) -> None:
    """What a script reads has none; --color=always gives it all the same."""
    for words, coloured in (((), False), (("--color", "always"), True)):
        done = subprocess.run(
            [FAIRLEAD, "status", *words, "--socket", str(api.path)], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 3
        assert ("\x1b[" in done.stdout) is coloured
