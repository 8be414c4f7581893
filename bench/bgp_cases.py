"""How long BGP takes: 10,000 prefixes from the speaker to BIRD's table, over TCP between two network namespaces."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path

from bench.control_cases import figure
from bench.results import Figure
from fairlead.model import PeerConfig, Route
from tests.wire.conftest import ROOT, Bird, Running, eventually, network

ANNOUNCE, AGAIN, WITHDRAW = (
    f"10,000 BGP prefixes {what}, until BIRD has it" for what in ("announced", "with a new community", "withdrawn")
)
PREFIXES = [f"198.18.{i >> 8}.{i & 255}/32" for i in range(5000)] + [f"2001:db8:1::{i:x}/128" for i in range(5000)]


def peer(**changes: object) -> PeerConfig:
    return PeerConfig(IPv4Address("10.99.0.2"), 4200000001, next_hop_6=IPv6Address("fd99::1"), **changes)


def routes(bird: Bird) -> int:
    """How many BIRD has, of both families."""
    return sum(int(n) for n in re.findall(r"^(\d+) of", bird.ask("show", "route", "count"), re.MULTILINE))


def until(call: Callable[[], None], told: Callable[[], bool]) -> float:
    """Milliseconds from a change to what it leads to."""
    began = time.perf_counter()
    call()
    while not told():
        if time.perf_counter() - began > 30:
            raise TimeoutError("BIRD was not told within 30 s")
    return (time.perf_counter() - began) * 1000


def rounds(bird: Bird, speaker: Running, runs: int) -> dict[str, list[float]]:
    """Announce, announce with another community, withdraw; milliseconds of each."""
    prefixes = [Route(ip_network(prefix)) for prefix in PREFIXES]
    times: dict[str, list[float]] = {ANNOUNCE: [], AGAIN: [], WITHDRAW: []}
    for run in range(runs):
        times[ANNOUNCE].append(until(lambda: speaker.announce(*prefixes), lambda: routes(bird) == len(prefixes)))
        wanted = bird.imports() + len(prefixes)
        fresh = peer(communities=((64512, run + 1),))
        times[AGAIN].append(until(lambda fresh=fresh: speaker.configure(fresh), lambda wanted=wanted: bird.imports() >= wanted))
        times[WITHDRAW].append(until(speaker.announce, lambda: routes(bird) == 0))
    return times


def figures(runs: int, only: str) -> Iterator[Figure]:
    """Nothing without BIRD, which `make setup` unpacks."""
    if not any(only in name for name in (ANNOUNCE, AGAIN, WITHDRAW)):
        return
    program = shutil.which("bird", path=str(ROOT / ".tools/bird/usr/sbin")) or shutil.which("bird")
    if program is None:
        print("BIRD is missing: `make setup` unpacks it")
        return
    with network() as net, tempfile.TemporaryDirectory() as directory:
        bird, speaker = Bird(Path(program), net.router, Path(directory)), Running(net.ours)
        try:
            bird.start()
            speaker.configure(peer())
            eventually(speaker.established)
            times = rounds(bird, speaker, runs)
        finally:
            speaker.end()
            bird.stop()
    for name, found in times.items():
        if only in name:
            yield figure(name, found, 500, 1000)
