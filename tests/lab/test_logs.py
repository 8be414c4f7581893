"""Where the events of a running daemon go: each of them, whatever happens to the daemon and to who takes them."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.kit import Lab, eventually
from tests.search import elastic

pytestmark = pytest.mark.root

pytest.importorskip("elasticsearch")
PORT = 9200
CLUSTER = f"""
logging:
  elasticsearch: {{addresses: http://127.0.0.1:{PORT}}}
"""


@contextmanager
def cluster(lab: Lab, directory: Path) -> Iterator[int]:
    """The stand-in on the balancer; the number of its process."""
    directory.mkdir(exist_ok=True)
    (directory / "port").unlink(missing_ok=True)
    argv = (sys.executable, elastic.__file__, str(PORT), str(directory), "elasticsearch", "")
    with lab.running("balancer1", *argv) as process:
        eventually((directory / "port").exists)
        yield process.pid


def documents(directory: Path) -> list[dict[str, Any]]:
    path = directory / "documents"
    return [json.loads(line)["document"] for line in path.read_bytes().splitlines()] if path.exists() else []


def numbers(directory: Path) -> list[int]:
    return [document["event.sequence"] for document in documents(directory)]


def sink(lab: Lab) -> dict[str, Any]:
    return next(sink for sink in lab.status()["sinks"] if sink["name"].startswith("elasticsearch"))


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_every_event_arrives_once(lab: Lab, tmp_path: Path, how: str) -> None:
    """The cluster is killed, stays away while the daemon is replaced, and comes back: all is there, once, in order."""
    at = time.time()
    with cluster(lab, tmp_path):
        lab.reload(lab.config + CLUSTER)
        lab.cli("kill", "backend1")
        eventually(lambda: lab.event("backend-down", at), 15)
        eventually(lambda: any(d["event.action"] == "backend-down" for d in documents(tmp_path)), 15)
        probes = [d for d in documents(tmp_path) if d["event.action"] == "probed"]
        failed = [d for d in probes if d["event.outcome"] == "failure"]
        assert any(d["event.outcome"] == "success" for d in probes), "those that changed nothing, too"
        assert failed
        assert all(d["error.message"] and d["fairlead.check"].startswith("http") and "event.duration" in d for d in failed)
    eventually(lambda: sink(lab)["last_error"], 15)
    lab.cli("start", "backend1")
    eventually(lambda: lab.event("backend-up", at), 15)
    eventually(lambda: sink(lab)["spooled"], 15)
    told = {event["id"] for event in lab.events(at)}
    eventually(lambda: not sink(lab)["queued"])  # all that was told is on disk
    if how == "restart":
        lab.run("balancer1", str(Path(sys.executable).with_name("fairlead")), "restart")
    else:
        os.kill(lab.pid(), signal.SIGKILL)
        eventually(lambda: "killed by SIGKILL" in lab.cli("status", check=False).stdout)
        lab.cli("start", "balancer1")
    eventually(lambda: lab.event("started", at), 15)
    told |= {event["id"] for event in lab.events(at)}
    with cluster(lab, tmp_path):
        eventually(lambda: not sink(lab)["spooled"] and not sink(lab)["queued"], 40)
        told |= {event["id"] for event in lab.events(at)}
        eventually(lambda: told <= set(numbers(tmp_path)), 15)
        found = numbers(tmp_path)
        assert found == sorted(set(found))
        last = any(d["event.action"] == "handed-over" for d in documents(tmp_path))
        assert last == (how == "restart"), "the last word of the run before"
        assert not sink(lab)["dropped"]
    assert not (tmp_path / "odd").exists()
    lab.restore()


def test_a_cluster_that_hangs_holds_up_nobody(lab: Lab, tmp_path: Path) -> None:
    """A stopped process takes connections and says nothing: passes, checks and the API go on as ever."""
    with cluster(lab, tmp_path) as process:
        lab.reload(lab.config + CLUSTER)
        eventually(lambda: sink(lab)["sent"], 15)
        os.kill(process, signal.SIGSTOP)
        at = time.time()
        lab.cli("kill", "backend2")
        eventually(lambda: lab.event("backend-down", at), 10)
        worst = max(_timed(lab) for _ in range(20))
        assert worst < 2.0
        lab.cli("start", "backend2")
        eventually(lambda: lab.event("backend-up", at), 15)
        os.kill(process, signal.SIGCONT)
        told = {event["id"] for event in lab.events(at)}
        eventually(lambda: told <= set(numbers(tmp_path)), 40)
        found = numbers(tmp_path)
        assert len(found) == len(set(found))
    lab.restore()


def _timed(lab: Lab) -> float:
    began = time.monotonic()
    lab.status()
    return time.monotonic() - began


def test_lines_are_json(lab: Lab) -> None:
    """Where standard error is no terminal each line is an object, with the event's own fields."""
    lab.reload(lab.config.replace("rise: 2", "rise: 3"))
    lines = [json.loads(line) for line in (lab.home("balancer1") / "log").read_text().splitlines() if line.startswith("{")]
    (last,) = [line for line in lines if line["name"] == "reloaded"][-1:]
    assert last["facts"]["changed"] is True
    assert last["severity"] == "notice"
    lab.restore()
