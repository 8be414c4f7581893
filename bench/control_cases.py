"""Milliseconds of the control plane: Maglev, a cold start, one health change."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from subprocess import run as command

from bench.results import Figure
from fairlead import config
from fairlead._native import maglev
from fairlead.core import maglev as reference
from fairlead.core.hashes import known
from fairlead.model import Geometry, ProbeKey, ProbeResult
from tests.bpf.plane import Plane


def timed(call: Callable[[], object], runs: int) -> list[float]:
    """Milliseconds of each run."""
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1000)
    return times


def figure(name: str, times: list[float], goal: float, must: float) -> Figure:
    return Figure(name, "ms", statistics.median(times), min(times), max(times), 0.0, goal, must)


def maglev_fill(runs: int) -> Figure:
    """One table of 65,537 slots over 100 backends of mixed weights."""
    size, nodes = 65537, [ip_address(f"10.1.0.{i}") for i in range(100)]
    offsets, skips = zip(*(reference.permutation(n, size) for n in nodes), strict=True)
    weights = [1 + i % 10 for i in range(100)]
    return figure(
        "Maglev, 65,537 slots, 100 weighted backends", timed(lambda: maglev.fill(size, offsets, skips, weights), runs), 1.5, 5
    )


def many_services(services: int, backends: int) -> str:
    """A configuration; each service has its own VIP, all have the same checks."""
    servers = ", ".join(f"10.1.{i // 200}.{i % 200 + 1}" for i in range(backends))
    lines = [f"  - {{virtual: 198.18.{n // 250}.{n % 250 + 1}, servers: all, policy: {{80/http: }}}}" for n in range(services)]
    return f"address: 10.1.255.1\nservers: {{all: [{servers}]}}\nservices:\n" + "\n".join(lines)


def start_and_change(runs: int) -> Iterator[Figure]:
    """1,000 services of 100 backends: filling empty tables, then the pass after one check said down or up."""
    with tempfile.TemporaryDirectory() as directory:
        command(["mount", "-t", "bpf", "fairlead-bench", directory], check=True)
        try:
            text = many_services(1000, 100)
            with Plane(f"{directory}/fairlead", "services: []\naddress: 10.1.255.1", Geometry(slots=1 << 21)) as plane:
                cold = timed(lambda: take_over(plane, text), 1)
                assert len(plane.events) > 3000, "1,000 services were filled and pointed at"
                yield figure("cold start: 1,000 services x 100 backends (parse included)", cold, 1000, 2000)
                yield figure("one health change of 1,000 services x 100 backends", changes(plane, runs), 20, 50)
        finally:
            command(["umount", "-l", directory], check=True)


def take_over(plane: Plane, text: str) -> None:
    """What the daemon does with a configuration: each address has one path, however many services name it."""
    plane.config = config.parse(text, "bench.yaml")
    plane.reconciler.set_config(plane.config)
    backends = {known(b.address).order: b.address for service in plane.config.services for b in service.backends}
    plane.reconciler.set_paths({address: plane.path_to(address) for address in backends.values()})
    plane.run_pass()


def changes(plane: Plane, runs: int) -> list[float]:
    """Times of single passes, each after one backend of one service changed its standing."""
    service = plane.config.services[500]
    keys = [ProbeKey(service.key.vip, b.address, service.tunnel, service.checks[0].asked()) for b in service.backends]
    for key in keys:
        plane.probe(key, True)
    times = []
    for i in range(runs):
        for _ in range(5):
            plane.now += 2
            plane.reconciler.probed(keys[i % 10], ProbeResult(i // 10 % 2 == 1, "measured", 0.001, plane.now))
        times += timed(plane.run_pass, 1)
    return times


def figures(runs: int, only: str) -> Iterator[Figure]:
    """Every figure whose name contains `only`."""
    sources = {"Maglev, ": lambda: [maglev_fill(runs)], "cold start: one health change": lambda: start_and_change(runs)}
    for name, source in sources.items():
        if only in name or not only:
            yield from source()
