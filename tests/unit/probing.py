"""Real servers in a network namespace, and a loop inside it: what the tests of probes are written with."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pyroute2 import netns

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
    for _ in range(5):  # what has just been taken reaches `serve`
        await asyncio.sleep(0)
    for writer in held:
        writer.transport.abort()
    await asyncio.sleep(0)
