"""Two balancers behind one router (the lab `ecmp`): what clients lose when one of them dies, and whose connections break."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.results import Figure
from tests.lab.ecmp import Site, built
from tests.lab.kit import V4, eventually
from tests.lab.newflows import streaming

KILLED = "SIGKILL of one of two balancers' daemons, until the last lost new flow"
CUT = "one of two balancers cut off, hold time 3 s, until the last lost new flow"
BROKEN = "TCP connections of {:,} that break when one of two balancers leaves"
MOVED = "TCP connections of {:,} that move when one of two balancers leaves"
RATE = 500  # new flows a second: what is shorter than 2 ms is not seen
CROWD = Path(__file__).with_name("crowd.py")
CLIENTS, SERVERS, SOURCES = 3, 3, 4096  # processes on each client and each backend; addresses of each client process
PORT = "9000"


@contextmanager
def everywhere() -> Iterator[None]:
    """A lab is many processes: they inherit neither the bench's one CPU nor its priority."""
    cpus, policy, priority = os.sched_getaffinity(0), os.sched_getscheduler(0), os.sched_getparam(0)
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        os.sched_setaffinity(0, cpus)
        os.sched_setscheduler(0, policy, priority)


def reload(site: Site, changed: dict[str, str]) -> None:
    """The topology's configuration with other words in it, on every balancer, as a SIGHUP takes it."""
    for balancer in site.balancers:
        path = site.lab.home(balancer) / "fairlead.yaml"
        text = path.read_text()
        for old, new in changed.items():
            text = re.sub(old, new, text)
        path.write_text(text)
        site.said(balancer, "reload")
    eventually(site.all_up, 30)


def killed(site: Site) -> float:
    """Milliseconds until the last datagram that nobody answered; 0: none was lost. The router keeps the routes."""
    with streaming(site.lab, V4, RATE) as stream:
        at = time.monotonic()
        site.lab.cli("kill", "balancer2")
        time.sleep(1)
        site.lab.cli("start", "balancer2")
        eventually(site.all_up, 30)
    return stream.lost(at) * 1000


def cut(site: Site) -> float:
    """The same for silence: the router has nothing but the hold time to go by; and nothing is lost when it comes back."""
    with streaming(site.lab, V4, RATE) as stream:
        at = time.monotonic()
        with site.cut("balancer2"):
            eventually(lambda: site.shared("balancer1"), 10)
            time.sleep(1)
        eventually(site.all_up, 30)
    return stream.lost(at) * 1000


def failures(runs: int, only: str) -> Iterator[Figure]:
    """From a balancer's death to traffic again."""
    cases = [case for case in ((KILLED, killed, 0, 10, 50), (CUT, cut, 3, 3000, 4000)) if only in case[0]]
    if not cases:
        return
    with everywhere(), built(2) as site:
        for name, measure, hold_time, goal, must in cases:
            if hold_time:
                reload(site, {r"hold_time: \d+": f"hold_time: {hold_time}"})
            found = sorted(measure(site) for _ in range(min(runs, 3)))
            yield Figure(name, "ms", found[len(found) // 2], found[0], found[-1], 0, goal, must)


@contextmanager
def crowd(site: Site, count: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Connections from both clients that live through the block; each process has told of them once."""
    with ExitStack() as stack:
        for name in [f"backend{n}" for n in (1, 2, 3)] * SERVERS:
            server = stack.enter_context(site.lab.running(name, "python3", str(CROWD), "serve", name, "9001"))
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
        holders = []
        for n in range(2 * CLIENTS):
            client, first = f"client{n // CLIENTS + 1}", f"198.19.{128 * (n // CLIENTS) + SOURCES // 256 * (n % CLIENTS)}.0"
            words = ("hold", V4, "9001", first, str(SOURCES), str(-(-count // (2 * CLIENTS))))
            holders.append(stack.enter_context(site.lab.running(client, "python3", str(CROWD), *words)))
        yield holders


def told(holders: list[subprocess.Popen[str]]) -> dict[str, int]:
    """Their next lines, summed up."""
    lines = [json.loads(holder.stdout.readline()) for holder in holders if holder.stdout]
    return {key: sum(line[key] for line in lines) for key in lines[0]}


def leave(site: Site, balancer: str) -> None:
    """For good: routes withdrawn, daemon stopped, program off."""
    site.lab.cli("kill", "--signal", "TERM", balancer)
    eventually(lambda: not site.runs(balancer) and site.shared(*(b for b in site.balancers if b != balancer)), 15)
    site.said(balancer, "detach")


def connections(count: int, only: str) -> Iterator[Figure]:
    """Each connection is used before and after one of two balancers leaves; no backend changes."""
    names = BROKEN.format(count), MOVED.format(count)
    if not any(only in name for name in names):
        return
    with everywhere(), built(2) as site:
        patient = {r"timeout: [\d.]+, rise: 2, fall: 2": "timeout: 5, rise: 1, fall: 5", r"hold_time: \d+": "hold_time: 60"}
        reload(site, patient | {r"(?m)^    9000/tcp\*:": "    9000/tcp*:\n    9001/tcp*:"})
        with crowd(site, count) as holders:
            at_first = told(holders)
            assert at_first["open"] >= count, at_first
            before = site.forwarded()
            leave(site, "balancer2")
            for holder in holders:
                assert holder.stdin is not None
                print(file=holder.stdin, flush=True)
            after = told(holders)
    print(f"{at_first['open']:,} open, {before['balancer2']:,} packets by the one that left")
    for name, value in zip(names, (after["broken"] - at_first["broken"], after["moved"]), strict=True):
        yield Figure(name, f"of {at_first['open']:,}", value, value, value, 0, 0, 0)


def figures(runs: int, only: str, *, quick: bool = False) -> Iterator[Figure]:
    """All whose name contains `only`."""
    yield from failures(runs, only)
    yield from connections(6_000 if quick else 100_000, only)
