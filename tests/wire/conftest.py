"""A BIRD router and a Fairlead speaker in network namespaces of their own, gone after each test."""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from uuid import uuid4

import pytest

from fairlead.adapters.bgp_tcp import Speaker
from fairlead.events import Event, PeerDown, PeerUp
from fairlead.model import PeerStatus

ROOT = Path(__file__).parents[2]
CLONE_NEWNET = 0x40000000


def eventually(question: Callable[[], object], seconds: float = 60.0, what: str = "") -> object:
    """Ask again and again until the answer is true; AssertionError with the last answer when time is over."""
    end = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < end, f"{what or 'it'} did not come true within {seconds:g} s; last answer: {answer!r}"
        time.sleep(0.02)
    return answer


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
    return done.stdout


@pytest.fixture(scope="session")
def bird_program() -> Path:
    """BIRD, from FAIRLEAD_BIRD, from .tools/ or from PATH."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    places = [os.environ.get("FAIRLEAD_BIRD"), str(ROOT / ".tools/bird/usr/sbin/bird"), shutil.which("bird")]
    for place in places:
        if place and os.access(place, os.X_OK):
            return Path(place)
    pytest.fail("BIRD is missing: run `make setup`, which unpacks it under .tools/, or name it in FAIRLEAD_BIRD", pytrace=False)


@dataclass(frozen=True)
class Net:
    """Two namespaces on one wire: ours with 10.99.0.1 and fd99::1, the router's with 10.99.0.2 and fd99::2."""

    ours: str
    router: str


@contextmanager
def network() -> Iterator[Net]:
    """Both namespaces and the wire, gone afterwards."""
    unique = f"fl-wire-{uuid4().hex[:8]}"
    net = Net(f"{unique}-f", f"{unique}-r")
    try:
        run("ip", "netns", "add", net.ours)
        run("ip", "netns", "add", net.router)
        run("ip", "-n", net.ours, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", net.router)
        for name, host in ((net.ours, 1), (net.router, 2)):
            for arguments in (
                f"addr add 10.99.0.{host}/24 dev eth0",
                f"addr add fd99::{host}/64 dev eth0 nodad",
                "link set lo up",
                "link set eth0 up",
            ):
                run("ip", "-n", name, *arguments.split())
        yield net
    finally:
        for name in (net.ours, net.router):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.fixture
def net(bird_program) -> Iterator[Net]:
    with network() as net:
        yield net


class Bird:
    """A BIRD in the foreground. `local`, `session` and `channel` are lines of its configuration."""

    def __init__(self, program: Path, namespace: str, directory: Path) -> None:
        self._program = program
        self._namespace = namespace
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.log_path = directory / "bird.log"

    def start(
        self,
        *,
        our_as: int = 4200000002,
        remote: str = "as 4200000001",
        transport: int = 4,
        session: str = "",
        export: str = "none",
        extra: str = "",
    ) -> Bird:
        ours, theirs = ("10.99.0.2", "10.99.0.1") if transport == 4 else ("fd99::2", "fd99::1")
        channels = "\n".join(f"  ipv{v} {{ import all; export {export if v == 4 else 'none'}; }};" for v in (4, 6))
        (self._directory / "bird.conf").write_text(
            f"""log "{self.log_path}" all;
router id 10.99.0.2;
protocol device {{ }}
{extra}
protocol bgp fairlead {{
  local {ours} as {our_as};
  neighbor {theirs} {remote};
  passive yes;
  hold time 90;
  error wait time 1, 2;
  {session}
{channels}
}}
"""
        )
        return self.restart()

    def restart(self) -> Bird:
        """Start, or start again with the configuration as it was."""
        self.stop()
        command = [self._program, "-f", "-c", self._directory / "bird.conf", "-s", self._directory / "bird.ctl"]
        self._process = subprocess.Popen(["ip", "netns", "exec", self._namespace, *map(str, command)])
        eventually(lambda: (self._directory / "bird.ctl").exists() and self.listening(), what="BIRD's port")
        return self

    def listening(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"BIRD ended: {self.log()}"
        return ":179 " in run("ip", "netns", "exec", self._namespace, "ss", "-Hltn")

    def stop(self) -> None:
        """SIGKILL: the kernel closes its connections, as when a router's process dies."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None
            (self._directory / "bird.ctl").unlink(missing_ok=True)

    def freeze(self) -> None:
        """SIGSTOP: connections stay, and nothing answers any more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask(self, *words: str) -> str:
        control = shutil.which("birdcl", path=self._program.parent) or shutil.which("birdc", path=self._program.parent)
        assert control, f"no birdcl beside {self._program}"
        return run(control, "-s", str(self._directory / "bird.ctl"), *words)

    def log(self) -> str:
        return self.log_path.read_text() if self.log_path.exists() else ""

    def routes(self) -> dict[str, dict[str, str]]:
        """Prefix -> what BIRD says of it, by the names BIRD uses without their `BGP.`: as_path, next_hop, med, community ..."""
        found: dict[str, dict[str, str]] = {}
        about: dict[str, str] = {}
        for line in self.ask("show", "route", "all", "protocol", "fairlead").splitlines():
            if match := re.match(r"(\S+/\d+)\s", line):
                about = found.setdefault(match[1], {})
            elif match := re.match(r"\s+BGP\.(\w+): ?(.*)", line):
                about[match[1]] = match[2].strip()
        return found

    def imports(self) -> int:
        """How many updates of routes BIRD has received from us in this session."""
        return sum(int(n) for n in re.findall(r"Import updates:\s+(\d+)", self.ask("show", "protocols", "all", "fairlead")))


@pytest.fixture
def bird(net, bird_program, tmp_path) -> Iterator[Bird]:
    bird = Bird(bird_program, net.router, tmp_path)
    yield bird
    bird.stop()


class Running:
    """A speaker in its own thread, which has moved into our namespace; `do` runs a verb there."""

    def __init__(self, namespace: str, **options) -> None:
        self.events: list[Event] = []
        self._options = options
        self._namespace = namespace
        self._ready: Future[tuple[asyncio.AbstractEventLoop, Speaker]] = Future()
        self._thread = threading.Thread(target=self._main)
        self._thread.start()
        self._loop, self._speaker = self._ready.result(10)

    def _main(self) -> None:
        try:
            with Path(f"/run/netns/{self._namespace}").open() as there:
                if ctypes.CDLL(None, use_errno=True).setns(there.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            loop = asyncio.new_event_loop()
            self._ready.set_result((loop, Speaker(IPv4Address("10.99.0.1"), self.events.append, **self._options)))
        except BaseException as error:
            self._ready.set_exception(error)
            raise
        loop.run_forever()
        loop.close()

    def do(self, verb: Callable[[Speaker], object]) -> object:
        async def call() -> object:
            return verb(self._speaker)

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(10)

    def configure(self, *peers, listen=None) -> None:
        self.do(lambda speaker: speaker.configure(peers, listen))

    def announce(self, *routes) -> None:
        self.do(lambda speaker: speaker.announce(routes))

    def status(self) -> PeerStatus:
        """Of the one peer that there is."""
        (status,) = self.do(lambda speaker: speaker.status())
        return status

    def established(self) -> bool:
        return self.status().state == "Established"

    def downs(self) -> list[str]:
        return [event.says for event in self.events if isinstance(event, PeerDown)]

    def ups(self) -> int:
        return sum(isinstance(event, PeerUp) for event in self.events)

    def close(self, reason: str = "test is over") -> float:
        """Close the speaker; how many seconds that took."""
        began = time.monotonic()
        asyncio.run_coroutine_threadsafe(self._speaker.close(reason), self._loop).result(60)
        return time.monotonic() - began

    def end(self) -> None:
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


@pytest.fixture
def speaker(net) -> Iterator[Running]:
    speaker = Running(net.ours)
    yield speaker
    speaker.end()
