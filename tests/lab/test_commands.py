"""The commands that show: against a daemon that runs, with servers that die and come back."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab.kit import FAIRLEAD, PATIENCE, VIPS, Lab, eventually

pytestmark = pytest.mark.root

VICTIM = "192.0.2.22"


def ask(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    return lab.try_run("balancer1", FAIRLEAD, *words)


@contextmanager
def bounded(lab: Lab, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A command that tells for ever, ended in any case: who waits for its next line does not wait for ever."""
    with lab.running("balancer1", FAIRLEAD, *words) as process:
        end = threading.Timer(30 * PATIENCE, process.kill)
        end.start()
        try:
            yield process
        finally:
            end.cancel()


def down(lab: Lab) -> None:
    """One of the servers stops serving."""
    lab.cli("kill", "backend2")
    eventually(lambda: lab.backend(VICTIM)["state"] == "down")


def test_well_is_0_and_degraded_is_3(lab: Lab) -> None:
    """All is well without a sentence and with exit code 0; a server that dies is named, with what to do, and makes it 3."""
    for noun in ("status", "services", "backends", "bgp"):
        done = eventually(lambda noun=noun: (found := ask(lab, noun)).returncode == 0 and found)
        assert not re.search(r"^# (?!warning)", done.stdout, re.MULTILINE), done.stdout
    assert lab.status()["problems"] == []
    down(lab)
    for noun in ("status", "services", "backends"):
        done = ask(lab, noun)
        assert done.returncode == 3
        assert re.search(rf"^# {VICTIM} is down for .*connection refused.*\(does anything serve", done.stdout, re.MULTILINE)
    assert ask(lab, "bgp").returncode == 0
    assert any(VICTIM in text for text in lab.status()["problems"])
    assert ask(lab, "backends", "192.0.2.21").returncode == 0
    assert ask(lab, "backends", VICTIM).returncode == 3


def test_programs_get_the_same(lab: Lab) -> None:
    """`--json` of services and backends is what status says of them; filters leave out the rest."""
    found: list[dict[str, Any]] = json.loads(ask(lab, "services", "--json").stdout)
    status = lab.status()
    assert [(s["vip"], s["port"], s["name"]) for s in found] == [(s["vip"], s["port"], s["name"]) for s in status["services"]]
    down(lab)

    def listed() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(ask(lab, "backends", "--json", "--state", "down").stdout)
        return found

    eventually(lambda: {b["backend"]["address"] for b in listed()} == {VICTIM, "fd1a:b:0:10::22"})
    assert f"{VIPS[4]}:80/tcp" in {b["service"] for b in listed()}
    assert ask(lab, "services", "nobody").stderr == "fairlead: there is no service nobody (`fairlead services` lists them)\n"
    about = ask(lab, "backends", VICTIM).stdout
    assert f"{VICTIM} is down for {VIPS[4]}:80/tcp" in about
    assert re.search(r"^    http GET /healthz port 80 +down  connection refused .* failures in a row", about, re.MULTILINE)


def test_the_log_is_followed_over_a_restart(lab: Lab) -> None:
    """`log -f` tells an event within a second of its happening, goes on when the daemon is replaced, and tells none twice."""
    with bounded(lab, "log", "-f", "-n", "1", "--json") as following:
        assert following.stdout is not None
        seen = [json.loads(following.stdout.readline())]  # it listens

        def until(words: str) -> None:
            assert following.stdout is not None
            while words not in seen[-1]["text"]:
                line = following.stdout.readline()
                assert line, f"it ended before anything was said of {words}"
                if line.startswith("{"):  # and no word about a daemon that is gone
                    seen.append(json.loads(line))

        assert ask(lab, "drain", "192.0.2.21").returncode == 0
        until("192.0.2.21 for all its services: drain")
        assert time.time() - seen[-1]["at"] < 5.0
        assert ask(lab, "restart").returncode == 0
        until("takes over")
        assert ask(lab, "clear", "192.0.2.21").returncode == 0
        until("no longer drain")
        following.send_signal(signal.SIGINT)
        assert following.wait(30) == 130
    numbers = [event["id"] for event in seen]
    assert numbers == sorted(set(numbers))


def test_the_last_events(lab: Lab) -> None:
    """`log` shows the last so many, as severe as asked for, of one service."""
    down(lab)
    done = ask(lab, "log", "-n", "5", "--level", "warning")
    assert done.returncode == 0
    lines = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert 0 < len(lines) <= 5
    assert all(
        re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} (warning|error|critical|alert|emergency) ", line) for line in lines
    )
    mine = json.loads(ask(lab, "log", "--json", "--service", f"{VIPS[4]}:80/tcp").stdout)
    assert {event["about"] for event in mine} == {f"{VIPS[4]}:80/tcp"}


def test_watching_waits_for_a_daemon_that_is_gone(lab: Lab) -> None:
    """`--watch --json` is one look a line, and a daemon that is killed and comes back is looked at again."""
    with bounded(lab, "status", "--watch", "0.2", "--json") as watching:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["services"]
        lab.cli("kill", "balancer1")
        while "error" not in (look := json.loads(watching.stdout.readline())):
            pass
        assert "no fairlead daemon runs here" in look["error"] or "no answer" in look["error"]
        lab.cli("start", "balancer1")
        while "services" not in json.loads(watching.stdout.readline()):
            pass
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 130


def test_top_counts_what_flows(lab: Lab) -> None:
    """The rates of `top` are those of the traffic: so many requests, so many packets and flows, at the service that got them."""
    with lab.running("client1", "sh", "-c", f"while :; do curl -s -o /dev/null -m 2 http://{VIPS[4]}/; done"):
        time.sleep(1)
        done = ask(lab, "top", "--every", "2", "--by", "packets")
    assert done.returncode == 0, done.stderr
    first = next(line for line in done.stdout.splitlines() if line.startswith(("203.", "[fd")))
    assert first.startswith(f"{VIPS[4]}:80/tcp")
    packets, bits, made, _ = first.split()[-4:]
    assert float(packets.rstrip("k")) > 5
    assert bits != "0"
    assert float(made.rstrip("k")) > 0.5
