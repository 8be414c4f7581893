"""A cluster to speak to, events to send, and what arrived."""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from ipaddress import ip_address

from fairlead.adapters.search import SearchSink
from fairlead.events import BackendDown, Event, Probed, Warned
from fairlead.model import Protocol, Search, ServiceKey
from fairlead.records import Record
from fairlead.records.ecs import Origin

ORIGIN = Origin("balancer1", 1, "0.1.0", "0123456789ab")
SERVICE = ServiceKey(ip_address("192.0.2.10"), 443, Protocol.TCP)
KINDS = ("elasticsearch", "opensearch")


class Cluster:
    """The stand-in as a process; the port stays the same over its deaths."""

    def __init__(self, directory: pathlib.Path, kind: str, login: str = "", tls: tuple[str, ...] = ()) -> None:
        self.directory = directory
        self.kind = kind
        self._words = (login, *tls)
        self._scheme = "https" if tls else "http"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        directory.mkdir(exist_ok=True)

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def start(self) -> Cluster:
        told = self.directory / "port"
        told.unlink(missing_ok=True)
        path = pathlib.Path(__file__).with_name("elastic.py")
        argv = [sys.executable, str(path), str(self.port), str(self.directory), self.kind, *self._words]
        self._process = subprocess.Popen(argv)
        wait(lambda: told.exists() and told.read_text() != "", 10)
        self.port = int(told.read_text())
        return self

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def aside(self) -> None:
        """To other CPUs than ours, at an ordinary priority."""
        assert self._process is not None
        found = os.sched_getaffinity(1)
        os.sched_setaffinity(self._process.pid, found - os.sched_getaffinity(0) or found)
        os.sched_setscheduler(self._process.pid, os.SCHED_OTHER, os.sched_param(0))

    def script(self, words: str) -> None:
        (self.directory / "script").write_text(words)

    def done(self) -> bool:
        """Whether the script has been played."""
        return (self.directory / "script").read_text() == ""

    def documents(self) -> list[dict[str, object]]:
        path = self.directory / "documents"
        return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    def numbers(self) -> list[int]:
        return [found["document"]["event.sequence"] for found in self.documents()]  # type: ignore[index]

    def odd(self) -> str:
        path = self.directory / "odd"
        return path.read_text() if path.exists() else ""


def wait(true: Callable[[], bool], within: float) -> None:
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.02)


async def until(true: Callable[[], bool], within: float) -> None:
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, "in vain"
        await asyncio.sleep(0.02)


def search(cluster: Cluster, **words: object) -> Search:
    return Search(kind=cluster.kind, addresses=(cluster.url,), **words)  # type: ignore[arg-type]


class Telling:
    """A sink and what it told."""

    def __init__(self, said: Search, spools: pathlib.Path, name: str = "cluster") -> None:
        self.told: list[tuple[str | None, int]] = []
        self.sink = SearchSink(name, said, str(spools), ORIGIN, lambda says, waited: self.told.append((says, waited)))
        self.number = 0

    def send(self, count: int) -> None:
        for _ in range(count):
            self.number += 1
            self.sink(Record(self.number, 1.7e9 + self.number / 1000, event(self.number)))


def event(number: int) -> Event:
    """One of several types."""
    backend = ip_address("10.1.0.11")
    match number % 3:
        case 0:
            return Warned(f"number {number}")
        case 1:
            return BackendDown(SERVICE, backend, f"number {number}")
    return Probed(SERVICE.vip, backend, "http GET / port 80", number % 2 == 0, 0.012, f"number {number}", changed=False)
