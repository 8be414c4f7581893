"""The data plane outlives the daemon: transfers and requests go on over reload, kill -9, stop and start."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.lab.kit import FAIRLEAD, SEGMENT, TOOLS, VIPS, Lab, eventually

pytestmark = pytest.mark.root

SECONDS, RATE = 6, 8  # of the transfer; megabytes a second
PORT = "9000"
# a TCP stream of 33,000 segments over busy cores may lose a few to scheduling; a hole in the data plane would cost hundreds
RETRANSMITS = 60


@contextmanager
def static_routes(lab: Lab) -> Iterator[None]:
    """Second-best routes on the router, so that only the data plane decides whether packets get through while BGP is away."""
    for version, vip in VIPS.items():
        lab.run("router", "ip", "route", "add", vip, "via", f"{SEGMENT[version]}11", "metric", "9999")
    try:
        yield
    finally:
        for vip in VIPS.values():
            lab.run("router", "ip", "route", "del", vip, "metric", "9999", check=False)


@contextmanager
def sinks(lab: Lab) -> Iterator[None]:
    """A server on every backend that takes what it is sent, and a service for it without checks."""
    with ExitStack() as stack:
        for number in (1, 2, 3):
            server = stack.enter_context(lab.running(f"backend{number}", "python3", str(TOOLS), "sink", PORT))
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
        lab.reload(lab.config.replace("policy:\n  web: {http:", f"policy:\n  web: {{{PORT}/tcp*: , http:"))
        yield


@pytest.mark.slow
@pytest.mark.parametrize("version", [4, 6])
def test_transfer(either: Lab, version: int) -> None:
    """A long upload survives reloads, kill -9 and the restart of the daemon: not a byte lost, hardly a segment sent twice."""
    with sinks(either), static_routes(either):
        command = ("python3", str(TOOLS), "send", VIPS[version], PORT, str(SECONDS), str(RATE))
        with either.running("client1", *command) as sender:
            assert sender.stdout is not None
            assert sender.stdout.readline() == "connected\n", sender.stdout.read()
            either.reload(either.config_path.read_text().replace("rise: 2", "rise: 3"))
            os.kill(either.pid(), signal.SIGKILL)
            eventually(lambda: "killed by SIGKILL" in either.cli("status", check=False).stdout)
            either.cli("start", "balancer1")
            started = eventually(lambda: either.event("started"))
            assert "adopted the running data plane" in started["text"]
            assert sender.poll() is None, "the transfer was over before the daemon was back"
            told = json.loads(sender.stdout.read())
    assert told["sink"] == told["sent"]
    assert told["retransmits"] <= RETRANSMITS, told


def test_stop(either: Lab) -> None:
    """SIGTERM withdraws the routes while the data plane forwards on; the next start adopts it and announces again."""
    with static_routes(either), requests(either) as load:
        os.kill(either.pid(), signal.SIGTERM)
        eventually(lambda: not either.route(VIPS[4]) and not either.route(VIPS[6]), 5)
        eventually(lambda: "exited with 0" in either.cli("status", check=False).stdout, 5)
        assert load.more(400), "the data plane stopped with the daemon"
        either.cli("start", "balancer1")
        eventually(either.all_up, 15)
        assert load.more(200)
    assert not load.failures


def test_kill_under_requests(either: Lab) -> None:
    """Killing (-9) and restarting the daemon under a stream of fresh connections costs not one of them."""
    with static_routes(either), requests(either) as load:
        for _ in range(3):
            os.kill(either.pid(), signal.SIGKILL)
            eventually(lambda: "killed by SIGKILL" in either.cli("status", check=False).stdout)
            either.cli("start", "balancer1")
            eventually(lambda: either.event("started"), 10)
        assert load.more(200)
    assert not load.failures


def test_totals_do_not_fall(lab: Lab) -> None:
    """What a server counted stays in the sums of its service and VIP when it leaves, and when the daemon is killed after that."""

    def sums() -> list[int]:
        vip = next(v for v in lab.status()["vips"] if v["address"] == VIPS[4])
        return [each[name] for each in (lab.service(VIPS[4]), vip) for name in ("packets", "bytes", "new_flows")]

    assert {lab.get(VIPS[4]).split()[0] for _ in range(40)} == {"backend1", "backend2", "backend3"}
    assert lab.backend("192.0.2.22")["packets"] > 0
    before, at = sums(), time.time()
    lab.reload(lab.config.replace("192.0.2.22, ", ""))
    eventually(lambda: [e for e in lab.events(at) if e["text"].startswith("free destination")])
    now = sums()
    assert all(a <= b for a, b in zip(before, now, strict=True)), (before, now)
    os.kill(lab.pid(), signal.SIGKILL)
    eventually(lambda: "killed by SIGKILL" in lab.cli("status", check=False).stdout)
    lab.cli("start", "balancer1")
    eventually(lab.status, 15)
    after = sums()
    assert all(a <= b for a, b in zip(now, after, strict=True)), (now, after)


def test_reload_keeps_the_running_configuration(lab: Lab) -> None:
    """A file with errors is refused on reload with file, line and column, and the running configuration stays."""
    before = lab.status()
    at = time.time()
    lab.config_path.write_text(lab.config.replace("servers: [", "severs: [", 1))
    os.kill(lab.pid(), signal.SIGHUP)
    event = eventually(lambda: lab.event("reload-refused", at))
    assert f"{lab.config_path}:" in event["text"]
    assert "severs" in event["text"]
    after = lab.status()
    assert [s["name"] for s in after["services"]] == [s["name"] for s in before["services"]]
    assert after["tables_hash"] == before["tables_hash"]
    assert lab.get(VIPS[4])


def test_reload_adds_and_removes(lab: Lab) -> None:
    """A backend that leaves the configuration gets no more requests; one that enters it gets them after its checks passed."""
    without = lab.config.replace("192.0.2.22, ", "")
    lab.reload(without)
    eventually(lambda: {b["address"] for b in lab.service(VIPS[4])["backends"]} == {"192.0.2.21", "192.0.2.23"})
    assert {lab.get(VIPS[4]).split()[0] for _ in range(30)} == {"backend1", "backend3"}
    lab.reload(lab.config)
    eventually(lambda: lab.backend("192.0.2.22")["state"] == "up")
    eventually(lambda: lab.get(VIPS[4]).startswith("backend2"))


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2, signal.SIGINT])
def test_reload_signals(lab: Lab, number: int) -> None:
    """SIGHUP, SIGUSR2 and SIGINT read the configuration again; when nothing has changed, that is what is said."""
    at = time.time()
    os.kill(lab.pid(), number)
    event = eventually(lambda: lab.event("reloaded", at))
    assert event["text"].endswith("nothing has changed")
    assert not [e for e in lab.events(at) if e["name"] == "operated"]


def test_sigquit(lab: Lab) -> None:
    """SIGQUIT stops as SIGTERM does: routes withdrawn, exit code 0."""
    os.kill(lab.pid(), signal.SIGQUIT)
    eventually(lambda: "exited with 0" in lab.cli("status", check=False).stdout, 5)
    assert not lab.route(VIPS[4])


def test_read_commands_without_daemon(lab: Lab) -> None:
    """`fairlead status` says plainly that no daemon runs, and exits with 1."""
    os.kill(lab.pid(), signal.SIGTERM)
    eventually(lambda: "exited with 0" in lab.cli("status", check=False).stdout, 5)
    done = lab.try_run("balancer1", FAIRLEAD, "status")
    assert done.returncode == 1
    assert "no fairlead daemon runs here" in done.stderr
    assert len(done.stderr.splitlines()) <= 2


class Requests:
    """Fresh connections without end; the client of the lab does the counting."""

    def __init__(self) -> None:
        self.answers = 0
        self.failures: list[dict[str, object]] = []
        self.lines: Iterator[str] = iter(())

    def read(self) -> bool:
        line = next(self.lines, "")
        if line:
            report = json.loads(line)
            self.answers += sum(n for by in report["answers"].values() for n in by.values())
            self.failures += report["failures"]
        return bool(line)

    def more(self, count: int) -> bool:
        """Whether that many more answers come."""
        wanted = self.answers + count
        while self.answers < wanted:
            if not self.read():
                return False
        return True


@contextmanager
def requests(lab: Lab) -> Iterator[Requests]:
    """200 requests a second to both VIPs until the end of the block."""
    python = str(Path(FAIRLEAD).with_name("python"))
    found = Requests()
    with lab.running("client1", python, "-m", "fairlead.lab.client", "--rate", "200", *VIPS.values()) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        found.lines = iter(client.stdout)
        assert found.more(20)
        yield found
        client.stdin.close()
        while found.read():
            pass
