"""The API of a real daemon over TCP: what it says of itself is so, who may ask, and what reloads, restarts, stops do to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.kit import FAIRLEAD, PATIENCE, Failed, Lab, eventually

pytestmark = pytest.mark.root
TOKEN = "a-token-of-the-lab-that-is-long"
BEARER = ("-H", f"Authorization: Bearer {TOKEN}")
HERE = "http://127.0.0.1:8080"
SCHEMA = Path(__file__).with_name("schema.py")


def curl(lab: Lab, *words: str) -> tuple[int, str]:
    """HTTP status and body, as curl gets them on the balancer; 0 for no answer."""
    done = lab.try_run("balancer1", "curl", "-sS", "-g", "-m", "20", "-w", "\n%{http_code}", *words)
    body, _, code = done.stdout.rpartition("\n")
    return int(code or 0), body


@pytest.fixture
def open_lab(lab: Lab) -> Lab:
    """A lab whose API takes a token on the default port."""
    (lab.home("balancer1") / "token").write_text(f"{TOKEN}\n")
    lab.reload(f"token-file: {lab.home('balancer1')}/token\n{lab.config}")
    return lab


@contextmanager
def stream(lab: Lab, *words: str) -> Iterator[subprocess.Popen[str]]:
    with lab.running("balancer1", "curl", "-sSN", *words) as process:
        yield process


def test_what_it_says_of_itself_is_so(open_lab: Lab) -> None:
    """Schemathesis makes requests out of /openapi.json, right ones and wrong ones: every answer is as described.

    Routes that end or empty the daemon are asked in ways that cannot do it.
    """
    argv = open_lab.argv("balancer1", sys.executable, str(SCHEMA), HERE, TOKEN)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60 * PATIENCE, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert open_lab.status()["services"]
    assert "Traceback" not in (open_lab.home("balancer1") / "log").read_text()


def test_every_route_is_described_and_answers(open_lab: Lab) -> None:
    """What only reads answers; what changes is refused without the token; there are all that were promised."""
    code, body = curl(open_lab, *BEARER, f"{HERE}/openapi.json")
    assert code == 200
    paths: dict[str, dict[str, Any]] = json.loads(body)["paths"]
    promised = "status services services/{service} backends vips events events/stream flows bgp explain blocks".split()
    assert {f"/v1/{name}" for name in promised} | {"/metrics", "/prefixes.json", "/openapi.json", "/healthz"} <= set(paths)
    for path, operations in paths.items():
        for method in operations:
            url = HERE + path.replace("{service}", "203.0.113.1:80/tcp")
            code, _ = curl(open_lab, "-X", method.upper(), url)
            assert code == (200 if path == "/healthz" else 401), (method, path)
    for path in "status services services/203.0.113.1:80/tcp backends?state=up vips events".split():
        code, body = curl(open_lab, *BEARER, f"{HERE}/v1/{path}")
        assert (code, bool(json.loads(body))) == (200, True), path
    code, body = curl(open_lab, *BEARER, f"{HERE}/v1/services/%5Bfd1a:b:0:ff::1%5D:80%2Ftcp")
    assert (code, json.loads(body)["vip"]) == (200, "fd1a:b:0:ff::1")
    code, body = curl(open_lab, *BEARER, f"{HERE}/v1/services/nowhere")
    assert (code, json.loads(body)) == (404, {"error": "there is no service nowhere"})
    code, body = curl(open_lab, *BEARER, "-X", "POST", f"{HERE}/v1/clear?bakend=192.0.2.21")
    assert code == 400, "a slip of the pen is not `all of them`"


def test_a_change_over_tcp_has_a_name(open_lab: Lab) -> None:
    """Who changed what is in the log: the client's address, since a token has no name."""
    code, body = curl(open_lab, *BEARER, "-X", "POST", f"{HERE}/v1/override?backend=192.0.2.21&state=drain")
    assert code == 200, body
    assert "a token from 127.0.0.1" in open_lab.backend("192.0.2.21")["override"]
    assert curl(open_lab, *BEARER, "-X", "POST", f"{HERE}/v1/clear?backend=192.0.2.21")[0] == 200


def test_knocking_is_told_but_not_endlessly(open_lab: Lab) -> None:
    """Wrong tokens are an event, one a minute for each client, however often it tries."""
    began = time.time()
    for _ in range(20):
        assert curl(open_lab, "-H", "Authorization: Bearer wrong-wrong-wrong", f"{HERE}/v1/status")[0] == 401
    found = [event for event in open_lab.events(began) if event["name"] == "access-refused"]
    assert len(found) <= 1
    told = open_lab.event("access-refused")
    assert told is not None
    assert "127.0.0.1" in told["text"]


def test_reloads(open_lab: Lab) -> None:
    """Another port, another token, nothing at all: without a restart. What cannot be used is refused, and the rest stays."""
    lab, home = open_lab, open_lab.home("balancer1")
    lab.reload(f"token-file: {home}/token\nlisten: 127.0.0.1:8181\n{lab.config}")
    assert curl(lab, HERE + "/healthz")[0] == 0
    assert curl(lab, *BEARER, "http://127.0.0.1:8181/v1/status")[0] == 200
    (home / "token").write_text("quite-another-token-of-the-lab\n")
    at = time.time()
    os.kill(lab.pid(), signal.SIGHUP)
    eventually(lambda: lab.event("reloaded", at))
    assert curl(lab, *BEARER, "http://127.0.0.1:8181/v1/status")[0] == 401
    with lab.running("balancer1", sys.executable, "-m", "http.server", "-b", "127.0.0.1", "8282"):
        eventually(lambda: curl(lab, "http://127.0.0.1:8282/")[0] == 200)
        lab.config_path.write_text(f"listen: 127.0.0.1:8282\n{lab.config}")
        refused = lab.try_run("balancer1", FAIRLEAD, "reload")
        assert refused.returncode == 1
        assert "cannot serve the API on 127.0.0.1:8282: Address already in use" in refused.stderr
        refused = lab.try_run("balancer1", FAIRLEAD, "restart")
        assert refused.returncode == 1
    assert curl(lab, "http://127.0.0.1:8181/healthz") == (200, "ok\n")
    lab.reload(f"listen: none\n{lab.config}")
    assert curl(lab, "http://127.0.0.1:8181/healthz")[0] == 0


def test_a_restart_hands_it_on(open_lab: Lab) -> None:
    """No connection is refused while one daemon follows another; a stream ends with the reason, and its client goes on."""
    lab = open_lab
    with stream(lab, *BEARER, f"{HERE}/v1/events/stream?status=false") as live:
        loop = f"while :; do curl -sS -m 20 -o /dev/null {HERE}/healthz || echo no; done"
        with lab.running("balancer1", "sh", "-c", loop) as asking:
            lab.run("balancer1", FAIRLEAD, "restart", within=60)
            asking.kill()
            refused = [line for line in asking.stdout or [] if "no" in line]
        assert not refused
        out, _ = live.communicate(timeout=20 * PATIENCE)
    assert live.returncode == 0, "it ended as HTTP wants it"
    events = [json.loads(line[6:]) for line in out.splitlines() if line.startswith("data: ")]
    assert events[-1]["name"] == "handed-over"
    with stream(lab, *BEARER, "-H", f"Last-Event-ID: {events[-1]['id']}", f"{HERE}/v1/events/stream?status=false") as live:
        assert live.stdout is not None
        first = next(line for line in live.stdout if line.startswith("data: "))
    assert json.loads(first[6:])["id"] > events[-1]["id"]


def test_a_stop_ends_streams(open_lab: Lab) -> None:
    """The last event of a stream is that the daemon stops."""
    lab = open_lab
    with stream(lab, *BEARER, f"{HERE}/v1/events/stream") as live:
        assert live.stdout is not None
        assert any(line.startswith("event: status") for line in live.stdout)
        os.kill(lab.pid(), signal.SIGTERM)
        out, _ = live.communicate(timeout=20 * PATIENCE)
    assert live.returncode == 0
    events = [json.loads(line[6:]) for line in out.splitlines() if line.startswith("data: ")]
    assert [event["name"] for event in events if "name" in event][-1] == "stopped"
    eventually(lambda: lab.cli("start", "balancer1", check=False) and lab.status())  # once it has come to its end


def test_a_port_that_is_taken_keeps_it_from_starting(bare: Lab) -> None:
    """The error says so before anything is touched, and names the way out."""
    with bare.running("balancer1", sys.executable, "-m", "http.server", "-b", "127.0.0.1", "8080"):
        eventually(lambda: curl(bare, HERE)[0] == 200)
        done = bare.try_run("balancer1", FAIRLEAD, "run", str(bare.config_path))
    assert done.returncode == 1
    assert "the API cannot be served on 127.0.0.1:8080: somebody else listens on TCP port 8080" in done.stderr
    assert "`listen` in the configuration" in done.stderr
    with pytest.raises(Failed):
        bare.run("balancer1", "ls", f"{bare.env()['FAIRLEAD_BPFFS']}/links")
