"""An HTTP client to load a lab with: a fresh connection for each request, no retries, every failure told.

Run inside a client's namespace: `python -m fairlead.lab.client [--requests N] [--rate N] TARGET...`. Each target (an address, or
an address and a path: `203.0.113.1/big`) gets requests in turn, at most --at-once of them in the air; without --requests it goes
on until its standard input is closed. Every fifth of a second, and at the end, it prints what is new as one JSON line:

    {"answers": {TARGET: {BACKEND: n}}, "failures": [{"target": T, "began": t, "ended": t, "says": "..."}], "slowest": seconds}

Times are seconds since the Unix epoch. A failure is anything but a whole answer with status 200.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass

TIMEOUT = 5.0
REPORT = 0.2


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that brought no whole 200."""

    target: str
    began: float
    ended: float
    says: str


class BadAnswerError(Exception):
    """The server answered, but not as it should."""


class Tally:
    """What came of the requests since the last report."""

    def __init__(self) -> None:
        self.answers: dict[str, Counter[str]] = {}
        self.failures: list[Failure] = []
        self.slowest = 0.0

    def answered(self, target: str, backend: str, took: float) -> None:
        """Count a whole answer."""
        self.answers.setdefault(target, Counter())[backend] += 1
        self.slowest = max(self.slowest, took)

    def report(self) -> None:
        """Print what is new and begin afresh."""
        failures = [asdict(failure) for failure in self.failures]
        print(json.dumps({"answers": self.answers, "failures": failures, "slowest": self.slowest}), flush=True)
        self.__init__()  # type: ignore[misc]


async def fetch(target: str) -> str:
    """GET the target over a connection of its own; the name of the backend that answered. OSError or BadAnswerError."""
    host, slash, path = target.partition("/")
    reader, writer = await asyncio.open_connection(host, 80)
    try:
        name = f"[{host}]" if ":" in host else host
        writer.write(f"GET {slash or '/'}{path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        return backend_of(await reader.read(-1))
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def backend_of(answer: bytes) -> str:
    """The X-Backend of a whole answer with status 200; BadAnswerError for any other."""
    head, blank, body = answer.partition(b"\r\n\r\n")
    if not blank:
        raise BadAnswerError(f"the connection ended after {len(answer)} bytes")
    status, *lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if " 200 " not in status:
        raise BadAnswerError(status)
    if len(body) != int(fields.get("content-length", "-1")):
        raise BadAnswerError(f"{len(body)} of {fields.get('content-length')} bytes")
    return fields.get("x-backend", "?")


async def _request(target: str, tally: Tally) -> None:
    began = time.time()
    try:
        async with asyncio.timeout(TIMEOUT):
            backend = await fetch(target)
    except (OSError, BadAnswerError, TimeoutError) as error:
        says = "timed out" if isinstance(error, TimeoutError) else str(error)
        tally.failures.append(Failure(target, began, time.time(), says))
    else:
        tally.answered(target, backend, time.time() - began)


async def _worker(targets: Iterator[str], tally: Tally, pause: float) -> None:
    """Take targets until there are none; `pause` is the least time from one start to the next."""
    due = time.monotonic()
    for target in targets:
        due += pause
        await _request(target, tally)
        if (wait := due - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        elif pause and wait < -1:
            due = time.monotonic()  # fell far behind: no burst to make up for it


async def _report(tally: Tally) -> None:
    while True:
        await asyncio.sleep(REPORT)
        tally.report()


async def _closed_input() -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(1024):
        pass
    transport.close()


async def load(targets: list[str], requests: int, rate: float, at_once: int) -> None:
    """Load the targets until all requests are made, or the input closes."""
    tally, running = Tally(), True
    turns = itertools.islice(itertools.cycle(targets), requests or None)

    def until_told() -> Iterator[str]:
        while running and (target := next(turns, None)):
            yield target

    reporter = asyncio.create_task(_report(tally))
    workers = [asyncio.create_task(_worker(until_told(), tally, at_once / rate if rate else 0)) for _ in range(at_once)]
    if not requests:
        await _closed_input()
        running = False
    await asyncio.gather(*workers)
    reporter.cancel()
    tally.report()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="fresh HTTP connections to TARGETs, no retries", prog="fairlead.lab.client")
    parser.add_argument("targets", nargs="+", metavar="TARGET")
    parser.add_argument("--requests", type=int, default=0, help="how many in all; 0: until standard input closes")
    parser.add_argument("--rate", type=float, default=0, help="requests a second at most; 0: as fast as it goes")
    parser.add_argument("--at-once", type=int, default=16, help="requests in the air at most")
    options = parser.parse_args()
    asyncio.run(load(options.targets, options.requests, options.rate, options.at_once))


if __name__ == "__main__":
    main()
