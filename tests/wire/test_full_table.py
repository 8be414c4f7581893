"""A peer that sends a full table of the Internet: bounded memory, no stall, and our own routes get through meanwhile."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, ip_network
from pathlib import Path

import pytest

from fairlead.model import PeerConfig, Route
from tests.wire.conftest import ROOT, Running, eventually

pytestmark = pytest.mark.root

PREFIXES = 1_000_000
MEMORY = 24 << 20  # bytes; kept, the table would take ten times that
STALL = 1.0  # seconds that the event loop may be late: a turn takes some milliseconds, but others share the machine


@pytest.fixture
def router(net, tmp_path) -> Iterator[Path]:
    """The router, and what it prints."""
    told = tmp_path / "router.txt"
    command = ["ip", "netns", "exec", net.router, sys.executable, str(ROOT / "tests/wire/router.py"), "10.99.0.2", str(PREFIXES)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    with told.open("wb") as file, subprocess.Popen(command, stdout=file, env=environment, cwd=tmp_path) as process:
        try:
            eventually(lambda: "listening" in told.read_text(), what="the router")
            yield told
        finally:
            process.kill()


class Late:
    """How late the event loop is, at most: a timer that is due every 10 ms."""

    def __init__(self, speaker: Running) -> None:
        self.most = 0.0
        self._loop = speaker._loop
        asyncio.run_coroutine_threadsafe(self._watch(), self._loop)

    async def _watch(self) -> None:
        while True:
            due = self._loop.time() + 0.01
            await asyncio.sleep(0.01)
            self.most = max(self.most, self._loop.time() - due)


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peer(**changes) -> PeerConfig:
    return PeerConfig(**({"address": IPv4Address("10.99.0.2"), "as_number": 4200000001, "hold_time": 30} | changes))


def test_a_million_prefixes(speaker, router):
    """All of them are heard and none is kept; a route of ours that comes in the middle is not held up until the end."""
    speaker.configure(peer())
    eventually(speaker.established, what="the session")
    late, before = Late(speaker), resident()
    eventually(lambda: speaker.status().counters.prefixes_in > PREFIXES // 10, what="the first tenth")
    speaker.announce(Route(ip_network("192.0.2.10/32")))
    eventually(lambda: "update 20c000020a" in router.read_text(), what="our route at the router")
    reached_after = speaker.status().counters.prefixes_in
    eventually(lambda: speaker.status().counters.prefixes_in == PREFIXES, 120, "the whole table")

    counters = speaker.status().counters
    assert (counters.malformed_in, counters.updates_in, speaker.downs()) == (0, PREFIXES // 5, [])
    assert reached_after < PREFIXES * 0.9
    assert resident() - before < MEMORY
    print(f"{(resident() - before) >> 10} KiB more, the loop was {late.most * 1000:.0f} ms late at most")
    assert late.most < STALL


def test_a_million_prefixes_are_too_many(speaker, router):
    """With `max_prefixes` the session ends at that number, and the peer is not dialled all the time."""
    speaker.configure(peer(max_prefixes=50_000))
    eventually(speaker.downs, what="the end of the session")

    assert "the peer announces more than 50000 prefixes" in speaker.downs()[0]
    assert speaker.status().counters.prefixes_in <= 50_005
    assert time.time() >= speaker.status().last_error_at > 0
