"""Real servers in a network namespace, and a loop inside it: what the tests of probes are written with."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any

import pytest
from pyroute2 import netns

from fairlead.adapters.probes import probe
from fairlead.model import Check, ProbeResult, ProbeTarget

LOOPBACKS = ["127.0.0.1", "::1"]

_numbers = itertools.count()


@pytest.fixture(scope="module")
def space() -> Iterator[str]:
    name = f"flp{os.getpid()}x{next(_numbers)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True)


def inside(space: str, story: Callable[[], Awaitable[Any]]) -> Any:
    """Run a coroutine in the namespace: namespaces belong to threads, so in a thread that ends with it."""
    results: list[Any] = []
    errors: list[BaseException] = []

    async def whole() -> Any:
        return await asyncio.wait_for(story(), 20)

    def run() -> None:
        netns.setns(space)
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


@asynccontextmanager
async def serving(answer: bytes, *, keep: bool = False, seen: list[bytes] | None = None, **more: Any) -> Any:
    """A server that answers every request with these bytes and then closes; with `keep` it leaves the connection open."""
    held = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        try:
            asked = await reader.readuntil(b"\r\n\r\n")
            if seen is not None:
                seen.append(asked)
            writer.write(answer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        if not keep:
            writer.close()

    server = await asyncio.start_server(serve, **({"host": "127.0.0.1", "port": 0} | more))
    yield server.sockets[0].getsockname()[1]
    server.close()
    for writer in held:
        writer.transport.abort()
    # connections that are just being taken, TLS being set up: asyncio has a task for each
    names = ("_accept_connection2", "serve")
    taking = [t for t in asyncio.all_tasks() if getattr(t.get_coro(), "__name__", "") in names]
    if taking:
        await asyncio.wait(taking, timeout=2)
    for writer in held:
        writer.transport.abort()
    await asyncio.sleep(0)


def target(check: Check, vip: str = "127.0.0.1", backend: str = "") -> ProbeTarget:
    return ProbeTarget(ip_address(vip), ip_address(backend or vip), check, mark=0xFA100007, source=None)


def run(space: str, check: Check, vip: str = "127.0.0.1") -> ProbeResult:
    result = inside(space, lambda: probe(target(check, vip)))
    assert isinstance(result, ProbeResult)
    return result
