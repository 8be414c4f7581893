"""What the lab tests are written with: a lab driven through the installed command, and polling with a deadline."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

FAIRLEAD = str(Path(sys.executable).parent / "fairlead")
TOOLS = Path(__file__).with_name("tools.py")
PASS_OBJECT = Path(__file__).parents[2] / "src/fairlead/_objects/pass.bpf.o"
V4, V6 = "203.0.113.1", "fd1a:b:0:ff::1"
VIPS = {4: V4, 6: V6}
SEGMENT = {4: "192.0.2.", 6: "fd1a:b:0:10::"}
MAC = "02:1a:0b:00:10:"
ROUTER_MAC, BALANCER_MAC = f"{MAC}01", f"{MAC}11"
CLIENT = {4: "198.18.1.2", 6: "fd1a:b:0:1::2"}

WELL_OR_NOT = (0, 3)  # exit codes of `fairlead status` and its like: all is well, something is degraded

PATIENCE = 4  # every deadline below says what an idle machine needs; a busy one must not fail a test

T = TypeVar("T")


def eventually(seen: Callable[[], T], within: float = 10.0, every: float = 0.05) -> T:
    """The first true value of `seen`; fails after `within` seconds (and patience) with what was seen, and how long."""
    began, within = time.monotonic(), within * PATIENCE
    history: list[tuple[float, str]] = []
    while True:
        try:
            value = seen()
            if value:
                return value
            says = repr(value)
        except (AssertionError, KeyError, LookupError, OSError, ValueError, subprocess.SubprocessError) as error:
            says = f"{type(error).__name__}: {error}"
        now = time.monotonic() - began
        if not history or history[-1][1] != says:
            history.append((now, says))
        if now > within:
            told = "\n".join(f"  from {at:6.2f} s: {says[:2000]}" for at, says in history[-10:])
            raise AssertionError(f"not within {within} s:\n{told}")
        time.sleep(every)


def fairlead(*words: str, env: Mapping[str, str] | None = None, within: float = 60) -> subprocess.CompletedProcess[str]:
    """Run the installed command; whatever its exit code."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("FAIRLEAD_")} | dict(env or {})
    return subprocess.run([FAIRLEAD, *words], env=own, capture_output=True, text=True, timeout=within * PATIENCE, check=False)


class Failed(AssertionError):
    """A command that should have worked did not."""


@dataclass
class Lab:
    """A lab that is up; everything goes through `fairlead lab` or the wire."""

    name: str
    xdp: str = "native"
    topology: str = "simple"
    _config: str = field(default="", repr=False)

    def up(self, *options: str) -> Lab:
        self.cli("up", self.topology, "--xdp", self.xdp, "--within", str(30 * PATIENCE), *options)
        self._config = self.config_path.read_text()
        return self

    def cli(self, verb: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = fairlead("lab", verb, "--name", self.name, *words)
        if check and done.returncode:
            raise Failed(f"fairlead lab {verb} {' '.join(words)} exited with {done.returncode}: {done.stderr}{done.stdout}")
        return done

    def argv(self, host: str, *command: str) -> list[str]:
        """For what is quick and many: straight into the namespace."""
        return ["ip", "netns", "exec", f"{self.name}-{host}", *command]

    def env(self, host: str = "balancer1") -> dict[str, str]:
        home, bpffs = self.home(host), self.directory / "bpffs" / host
        own = {"SOCKET": home / "api.sock", "BPFFS": bpffs, "STATE": home / "state"}
        return dict(os.environ) | {f"FAIRLEAD_{name}": str(path) for name, path in own.items()}

    def run(self, host: str, *command: str, check: bool = True, within: float = 30, fine: Collection[int] = (0,)) -> str:
        done = self.try_run(host, *command, within=within)
        if check and done.returncode not in fine:
            raise Failed(f"on {host}: {' '.join(command)} exited with {done.returncode}: {done.stderr}{done.stdout}")
        return done.stdout

    def try_run(self, host: str, *command: str, within: float = 30) -> subprocess.CompletedProcess[str]:
        argv = self.argv(host, *command)
        return subprocess.run(argv, env=self.env(), capture_output=True, text=True, timeout=within * PATIENCE, check=False)

    @contextmanager
    def running(self, host: str, *command: str) -> Iterator[subprocess.Popen[str]]:
        """A command that runs beside the block and is killed at its end if it still does."""
        pipe = subprocess.PIPE
        with subprocess.Popen(
            self.argv(host, *command), env=self.env(), stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    @property
    def directory(self) -> Path:
        return Path("/run/fairlead-lab", self.name)

    def home(self, host: str) -> Path:
        return self.directory / "hosts" / host

    @property
    def config_path(self) -> Path:
        return self.home("balancer1") / "fairlead.yaml"

    @property
    def config(self) -> str:
        """The configuration that the topology came with."""
        return self._config

    def pid(self, host: str = "balancer1") -> int:
        return int((self.home(host) / "pid").read_text())

    def status(self) -> dict[str, Any]:
        return json.loads(
            self.run("balancer1", "curl", "-sS", "--unix-socket", self.env()["FAIRLEAD_SOCKET"], "http://x/v1/status")
        )

    def events(self, since: float = 0) -> list[dict[str, Any]]:
        text = self.run("balancer1", "curl", "-sS", "--unix-socket", self.env()["FAIRLEAD_SOCKET"], "http://x/v1/events")
        return [event for event in json.loads(text) if event["at"] >= since]

    def event(self, name: str, since: float = 0) -> dict[str, Any] | None:
        return next((event for event in self.events(since) if event["name"] == name), None)

    def service(self, vip: str, port: int = 80) -> dict[str, Any]:
        return next(s for s in self.status()["services"] if (s["vip"], s["port"]) == (vip, port))

    def backend(self, address: str) -> dict[str, Any]:
        return next(b for s in self.status()["services"] for b in s["backends"] if b["address"] == address)

    def states(self) -> set[str]:
        return {b["state"] for s in self.status()["services"] for b in s["backends"]}

    def all_up(self) -> bool:
        """Every backend up, every VIP announced and known to the router."""
        status = self.status()
        up = {b["state"] for s in status["services"] for b in s["backends"]} == {"up"}
        return up and all(v["announced"] and self.route(v["address"]) for v in status["vips"])

    def route(self, vip: str) -> str:
        """What the router's kernel learned by BGP for a VIP; "" for nothing."""
        family = "-6" if ":" in vip else "-4"
        return self.run("router", "ip", family, "route", "show", vip, "proto", "bird").strip()

    def reload(self, config: str) -> None:
        """Put a configuration in place and SIGHUP; returns once the daemon says that it took it."""
        self.config_path.write_text(config)
        at = time.time()
        os.kill(self.pid(), signal.SIGHUP)
        eventually(lambda: self.event("reloaded", at))

    def get(self, vip: str, client: str = "client1", path: str = "/") -> str:
        """One HTTP request by curl; the body. Failed if there was no 200."""
        url = f"http://[{vip}]{path}" if ":" in vip else f"http://{vip}{path}"
        return self.run(client, "curl", "-sS", "-g", "-f", "-m", "5", url)

    def restore(self) -> Lab:
        """As it was at first: the topology's configuration, all daemons running, everything up."""
        for line in self.cli("status", check=False).stdout.splitlines():
            words = line.split()
            if words and "pid" in words and "running," not in words:
                self.cli("start", words[0])
        eventually(self.status, 15)
        if self.config_path.read_text() != self.config:
            self.reload(self.config)
        eventually(self.all_up, 15)
        return self

    def down(self) -> None:
        self.cli("down")

    def dossier(self, to: Path) -> list[str]:
        """Save all that could explain a failure; the paths."""
        to.mkdir(parents=True, exist_ok=True)
        for path in self.directory.glob("hosts/*/log"):
            (to / f"{path.parent.name}.log").write_bytes(path.read_bytes())
        questions = {
            "status.txt": (
                "balancer1",
                "sh",
                "-c",
                "fairlead status; bpftool net; ip -d addr; ip neigh; ip route; ip -6 route; ip rule",
            ),
            "events.json": ("balancer1", "curl", "-sS", "--unix-socket", self.env()["FAIRLEAD_SOCKET"], "http://x/v1/events"),
            "router.txt": ("router", "sh", "-c", f"ip route; ip -6 route; {self.home('router')}/bin/birdc show protocols all"),
            "switch.txt": ("switch", "sh", "-c", "bridge fdb; ip -d -s link; tc -s qdisc"),
        }
        for name, (host, *command) in questions.items():
            done = self.try_run(host, "env", f"PATH={Path(FAIRLEAD).parent}:{os.environ['PATH']}", *command)
            (to / name).write_text(done.stdout + done.stderr)
        return sorted(str(path) for path in to.iterdir())


@contextmanager
def held(lab: Lab, count: int, vip: str = V4) -> Iterator[Callable[[], dict[str, Any]]]:
    """HTTP connections that live through the block; each call uses all of them once more and tells who answered."""
    with lab.running("client1", "python3", str(TOOLS), "hold", vip, str(count)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["broken"] == 0

        def use() -> dict[str, Any]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield use


def unharmed(told: dict[str, Any]) -> bool:
    """No connection has moved to another backend, none is broken."""
    return (told["moved"], told["broken"]) == (0, 0)
