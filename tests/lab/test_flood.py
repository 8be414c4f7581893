"""Floods of ten times the flow table, while 1,000 live connections keep their backends."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import new_name
from tests.lab.kit import BALANCER_MAC, PASS_OBJECT, ROUTER_MAC, TOOLS, VIPS, Lab, eventually
from tests.lab.traffic import verdicts

pytestmark = [pytest.mark.root, pytest.mark.slow]

EACH = 500  # live connections of each IP version
FLOWS = 1 << 18  # the limit; the table has twice as many places
TIMES = 10
CONFIRMED = 5.0  # seconds: more than two ticks, after which a packet on a connection confirms its entry
PAUSE = 0.3  # between two rounds of requests over all connections
WITHIN = 150.0  # for one flood on a busy machine
SERVERS = "[192.0.2.21, 192.0.2.22, 192.0.2.23]"


class Live:
    """Connections that are held open; `ask` sends a request over each of them and says who answered."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._processes = processes
        self.told = [self._read(process) for process in processes]

    def ask(self) -> list[dict[str, Any]]:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("again\n")
            process.stdin.flush()
        self.told = [self._read(process) for process in self._processes]
        return self.told

    @staticmethod
    def _read(process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("{"), line
        found: dict[str, Any] = json.loads(line)
        return found


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    from fairlead.lab.topologies.simple import CONFIG

    path = tmp_path_factory.mktemp("flood") / "small.yaml"
    small = CONFIG.replace("policy:\n  web: {http:", f"limits: {{flows: {FLOWS}}}\n\npolicy:\n  web: {{9000/udp: , http:")
    path.write_text(small)
    made = Lab(new_name())
    try:
        yield made.up("--config", str(path))
    finally:
        made.down()


@pytest.fixture(scope="module")
def live(lab: Lab) -> Iterator[Live]:
    """1,000 confirmed connections, a third of them to backends that get no new flows: only the flow table knows their place."""
    servers = [f"192.0.2.{n}" for n in (21, 22, 23)] + [f"fd1a:b:0:10::{n}" for n in (21, 22, 23)]
    eventually(lambda: {lab.backend(a)["state"] for a in servers} == {"up"})  # the lab waits for VIPs only
    with ExitStack() as stack:
        held = [
            stack.enter_context(lab.running("client1", "python3", str(TOOLS), "hold", vip, str(EACH))) for vip in VIPS.values()
        ]
        found = Live(held)
        until = time.monotonic() + CONFIRMED
        while time.monotonic() < until:
            found.ask()
        drained = lab.config.replace("192.0.2.23]", "192.0.2.23*]").replace('::23"]', '::23*"]')
        lab.reload(drained)
        eventually(lambda: {lab.backend(a)["state"] for a in ("192.0.2.23", "fd1a:b:0:10::23")} == {"drain"})
        yield found


@pytest.mark.parametrize("kind", ["syn", "ack", "udp"])
def test_flood(lab: Lab, live: Live, kind: str) -> None:
    """Ten times as many new flows as the table has places: not one of 1,000 connections moves to another backend or breaks."""
    pin = f"{lab.directory}/bpffs/flood-{kind}"
    subprocess.run(["bpftool", "prog", "load", PASS_OBJECT.with_name("flood.bpf.o"), pin, "type", "xdp"], check=True)
    wanted = verdicts(lab)["forwarded"] + TIMES * 2 * FLOWS
    over = threading.Event()

    def rain() -> None:
        words = (pin, "balancer1", BALANCER_MAC, ROUTER_MAC, VIPS[4], "9000" if kind == "udp" else "80", kind, str(2 * FLOWS))
        until = time.monotonic() + WITHIN
        while verdicts(lab)["forwarded"] < wanted and time.monotonic() < until:
            lab.run("switch", "python3", str(TOOLS), "storm", *words, within=WITHIN)
        over.set()

    thread = threading.Thread(target=rain)
    thread.start()
    asked = 0
    while not over.wait(PAUSE) or not asked:
        told = live.ask()
        asked += 1
        assert [(t["moved"], t["broken"]) for t in told] == [(0, 0), (0, 0)], (asked, told)
    thread.join()
    assert verdicts(lab)["forwarded"] >= wanted, "the flood was as large as it says"
    assert all(t["backends"]["backend3"] > EACH / 6 for t in live.ask()), "those that only the table knows are among them"


def test_there_is_a_generator() -> None:
    """The generator's object is where the build puts the lab's programs."""
    assert Path(PASS_OBJECT.with_name("flood.bpf.o")).exists()
