"""Two namespaces and a cable, for what needs the kernel's network and no lab; and a Network that can be waited for."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pyroute2 import netns

from fairlead.adapters.netlink import Network
from fairlead.model import Path

_numbers = itertools.count()


@dataclass(frozen=True)
class Pair:
    """Two namespaces with one cable: `here` is 10.9.0.1/24 and fd09::1/64, `there` has the backends' addresses."""

    here: str
    there: str

    def ip(self, *words: str, at: str = "") -> str:
        made = subprocess.run(["ip", "-n", at or self.here, *words], check=True, capture_output=True, text=True)
        return made.stdout

    def cable(self, name: str, net: int) -> None:
        """A cable with this name at both ends, and the addresses 10.NET.0.1 and 10.NET.0.2, fdNET::1 and fdNET::2."""
        self.ip("link", "add", name, "type", "veth", "peer", "name", name, "netns", self.there)
        for at, host in ((self.here, 1), (self.there, 2)):
            self.ip("addr", "add", f"10.{net}.0.{host}/24", "dev", name, at=at)
            self.ip("addr", "add", f"fd{net:02}::{host}/64", "dev", name, "nodad", at=at)
            self.ip("link", "set", name, "up", at=at)

    def inside(self, story: Callable[[], Awaitable[Any]]) -> Any:
        """Run a coroutine in `here`, in a thread that ends with it."""
        results: list[Any] = []
        errors: list[BaseException] = []

        async def whole() -> Any:
            return await asyncio.wait_for(story(), 20)

        def run() -> None:
            netns.setns(self.here)
            try:
                results.append(asyncio.run(whole()))
            except BaseException as e:  # noqa: BLE001 - handed to the test
                errors.append(e)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def everything(self) -> list[str]:
        """Rules, routes and neighbours, for comparisons before and after."""
        shown = [self.ip(f, what, "show", *more) for f in ("-4", "-6") for what, *more in (("rule",), ("route", "table", "all"))]
        return [*shown, *sorted(self.ip("neigh", "show", "nud", "permanent").splitlines())]

    def mac(self, at: str, name: str = "eth0") -> bytes:
        words = self.ip("link", "show", name, at=at).split()
        return bytes.fromhex(words[words.index("link/ether") + 1].replace(":", ""))


@contextmanager
def paired() -> Iterator[Pair]:
    """A new pair, removed at the end."""
    number = next(_numbers)
    made = Pair(f"flq{os.getpid()}a{number}", f"flq{os.getpid()}b{number}")
    for name in (made.here, made.there):
        subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for name in (made.here, made.there):
            made.ip("link", "set", "lo", "up", at=name)
        made.cable("eth0", 9)
        yield made
    finally:
        for name in (made.here, made.there):
            subprocess.run(["ip", "netns", "del", name], check=True)


class Watching:
    """A Network and the means to wait for what it says."""

    def __init__(self) -> None:
        self.changes = 0
        self.network = Network(self._changed)

    def _changed(self) -> None:
        self.changes += 1

    async def until(self, holds: Callable[[], bool], within: float = 8.0) -> float:
        """Poll until it holds; returns the seconds it took."""
        began = time.monotonic()
        while not holds():
            assert time.monotonic() - began < within, str(self.network.paths())[:2000]
            await asyncio.sleep(0.002)
        return time.monotonic() - began

    async def resolved(self, *backends: Any) -> None:
        await self.until(lambda: all(isinstance(self.network.paths().get(b), Path) for b in backends))
