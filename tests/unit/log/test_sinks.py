"""Which sinks a configuration means, and what a reload does to those that are there."""

from __future__ import annotations

import asyncio
import os
import pathlib
import pty
import socket
import sys
from collections.abc import Iterator

import pytest

from fairlead import preflight
from fairlead.adapters.log import Journal, Lines, Log, Sink, SyslogSink
from fairlead.adapters.search import SearchSink
from fairlead.config import parse
from fairlead.errors import Refused
from fairlead.events import Warned
from fairlead.model import Config
from fairlead.speaking.sinks import Sinks, named


def config(logging: str) -> Config:
    return parse(f"services: []\nlogging: {logging}\n", "x")


@pytest.fixture
def server(tmp_path: pathlib.Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind(str(tmp_path / "log"))
        found.setblocking(False)
        yield found


def numbers(server: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(server.recv(65536).decode().rpartition(" ")[2])
        except BlockingIOError:
            return found


async def test_a_reload_loses_nothing(tmp_path: pathlib.Path, server: socket.socket) -> None:
    """What stays as it was goes on; what is new begins with the next event, what is gone has had the last one before."""
    log = Log()
    sinks = Sinks(log, str(tmp_path))
    path = tmp_path / "log"
    kinds: list[list[type[Sink]]] = []
    said = ["{}", f"{{syslog: {{address: {path}}}}}", f"{{syslog: {{address: {path}, facility: local0}}}}", "{format: text}"]
    for number, text in enumerate([*said, said[1], said[1]]):
        sinks.follow(config(text))
        kinds.append([type(sink) for sink in log.sinks])
        log(Warned(f"event {number}"))
    assert kinds == [[Lines], [Lines, SyslogSink], [Lines, SyslogSink], [Lines], [Lines, SyslogSink], [Lines, SyslogSink]]
    assert numbers(server) == ["1", "2", "4", "5"]
    before = log.sinks
    sinks.follow(config(said[1]))
    assert log.sinks == before
    await sinks.close(1)
    assert log.sinks == ()


async def test_a_cluster_stays_the_same(tmp_path: pathlib.Path) -> None:
    """New addresses, another place in the list: the sink, its queue and its spool are those that were there."""
    log = Log()
    sinks = Sinks(log, str(tmp_path))
    sinks.follow(
        config("{elasticsearch: [{addresses: http://127.0.0.1:1, stream: a}, {addresses: http://127.0.0.1:1, stream: b}]}")
    )
    first = {sink.name: sink for sink in log.sinks if isinstance(sink, SearchSink)}
    assert set(first) == {"elasticsearch-a", "elasticsearch-b"}
    sinks.follow(config("{elasticsearch: [{addresses: http://127.0.0.1:2, stream: b, probes: changes}]}"))
    (left,) = [sink for sink in log.sinks if isinstance(sink, SearchSink)]
    assert left is first["elasticsearch-b"]
    assert (left.said.addresses, left.probes) == (("http://127.0.0.1:2",), "changes")
    assert not log.all_probes
    await sinks.close(0.5)


def test_names() -> None:
    """Two clusters with streams of one name have spools of their own."""
    text = "{opensearch: [{addresses: http://10.0.0.1:1}, {addresses: http://10.0.0.2:1}]}"
    assert [name for name, _ in named(config(text).logging.searches)] == [
        "opensearch-logs-fairlead-default",
        "opensearch-logs-fairlead-default-2",
    ]


@pytest.mark.parametrize(
    ("where", "text", "kind"),
    [
        ("terminal", "{}", "text"),
        ("file", "{}", "json"),
        ("journal", "{}", "journal"),
        ("terminal", "{format: json}", "json"),
        ("file", "{format: text}", "text"),
    ],
)
async def test_standard_error(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, where: str, text: str, kind: str
) -> None:  # fmt: skip
    """Text on a terminal, fields under systemd, JSON elsewhere; or as the configuration says."""
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal, (tmp_path / "out").open("w") as file:
        out = terminal if where == "terminal" else file
        found = os.fstat(file.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}" if where == "journal" else "1:1")
        monkeypatch.setattr(sys, "stderr", out)
        log = Log()
        sinks = Sinks(log, str(tmp_path))
        sinks.follow(config(text))
        log(Warned("said"))
        (sink,) = log.sinks
        assert isinstance(sink, Journal) == (kind == "journal")
        if kind != "journal":
            written = os.read(master, 4096).decode() if where == "terminal" else (tmp_path / "out").read_text()
            assert written.startswith("{") == (kind == "json")
            assert "said" in written
        await sinks.close(0)
    os.close(master)


def test_files_are_looked_at(tmp_path: pathlib.Path) -> None:
    """A password's file that is not there refuses the configuration, and with it a reload."""
    text = "services: []\nlogging: {elasticsearch: {addresses: http://10.0.0.1:9200, username: x, password-file: %s}}\n"
    with pytest.raises(Refused, match="password-file: cannot read"):
        preflight.parse(text % (tmp_path / "none"), "x")
    (tmp_path / "there").write_text("geheim\n")
    assert preflight.parse(text % (tmp_path / "there"), "x").logging.searches


async def test_nothing_runs_on(tmp_path: pathlib.Path) -> None:
    """Closing takes no longer than it may, with a cluster that is not there and a syslog that is not either."""
    log = Log()
    sinks = Sinks(log, str(tmp_path))
    sinks.follow(config("{syslog: {address: /nowhere/log}, elasticsearch: {addresses: http://127.0.0.1:1}}"))
    log(Warned("x"))
    await asyncio.wait_for(sinks.close(0.5), 5)
    assert list((tmp_path / "spool").rglob("*.ndjson")), "what was not taken waits on disk"
