"""What logging costs: a thousand events a second to a cluster, and while it is away; on one core, the cluster on the others.

The events are those of checks, the most frequent by far. CPU time is of this whole process, loop and sending thread; the hold-up
is how much later than asked for a pause of the loop ended. The cluster is the tests' stand-in: what a real one takes is its own.
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from bench.results import Figure
from fairlead.adapters.log import Log
from fairlead.adapters.search import SearchSink
from fairlead.events import Probed
from fairlead.model import Search
from fairlead.records.ecs import Origin
from tests.search.kit import Cluster

RATE, PAUSE = 1000, 0.01  # events a second, seconds between two handfuls
HERE, AWAY, ALONE = "1,000 events a second to Elasticsearch", "1,000 events a second while Elasticsearch is away", "an event kept"
ORIGIN = Origin("bench", 1, "0", "0123456789ab")
WHO = ip_address("192.0.2.10"), ip_address("10.1.0.11"), "http GET /healthz port 80"
EVENT = Probed(*WHO, True, 0.0012, "200 after 1.2 ms", changed=False)


def alone(runs: int) -> Figure:
    """The hub alone: the event is made, numbered and kept."""
    log, times = Log(), []
    log.use(())
    for _ in range(runs):
        began = time.perf_counter()
        for _ in range(10_000):
            log(Probed(*WHO, True, 0.0012, EVENT.says, changed=True))
        times.append((time.perf_counter() - began) * 100)
    return Figure(ALONE, "us", statistics.median(times), min(times), max(times), 0.0, 0, 0)


async def steady(log: Log, seconds: float) -> tuple[float, list[float]]:
    """Percent of a core, and milliseconds by which each pause was too long."""
    late, use, began = [], _cpu(), time.perf_counter()
    while (now := time.perf_counter()) - began < seconds:
        for _ in range(int(RATE * PAUSE)):
            log(EVENT)
        left = PAUSE - (time.perf_counter() - now)
        asked = time.perf_counter() + left
        await asyncio.sleep(left)
        late.append((time.perf_counter() - asked) * 1000)
    return (_cpu() - use) / (time.perf_counter() - began) * 100, late


def _cpu() -> float:
    use = resource.getrusage(resource.RUSAGE_SELF)
    return use.ru_utime + use.ru_stime


async def measured(name: str, cluster: Cluster, spools: str, runs: int) -> list[Figure]:
    """CPU and hold-up, after the client is there; every event is counted at the end."""
    log, told = Log(), []
    said = Search(addresses=(cluster.url,))
    sink = SearchSink("bench", said, spools, ORIGIN, lambda says, _: told.append(says))
    log.use((sink,))
    log(EVENT)
    while not (sink.status().sent or told):
        await asyncio.sleep(0.05)
    rounds = [await steady(log, 2.0) for _ in range(max(3, runs // 3))]
    while sink.status().queued:
        await asyncio.sleep(0.05)
    status = sink.status()
    assert status.dropped == status.refused == 0
    assert told or status.sent == log.count
    await sink.close(2)
    use, late = [percent for percent, _ in rounds], [max(pauses) for _, pauses in rounds]
    return [
        Figure(f"{name}: of a core", "%", statistics.median(use), min(use), max(use), 0.0, 0, 0),
        Figure(f"{name}: longest hold-up", "ms", statistics.median(late), min(late), max(late), 0.0, 0, 0),
    ]


def figures(runs: int, only: str) -> Iterator[Figure]:
    """Nothing of clusters without their client, which is optional."""
    if only in ALONE:
        yield alone(runs)
    for name in (HERE, AWAY):
        if only not in name or not _client():
            continue
        with tempfile.TemporaryDirectory() as directory:
            cluster = Cluster(Path(directory, "cluster"), "elasticsearch").start()
            cluster.aside()
            try:
                if name == AWAY:
                    cluster.kill()
                yield from asyncio.run(measured(name, cluster, directory, runs))
            finally:
                cluster.kill()


def _client() -> bool:
    try:
        import elasticsearch
    except ImportError:
        return False
    return bool(elasticsearch.__version__)
