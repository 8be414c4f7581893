"""Health probes over HTTP/1.1: each one a connection of its own to the VIP, marked so that it reaches one certain backend.

The mark (SO_MARK) holds the destination id; at tc egress the probe program writes the header of the very next hop that client
traffic gets. Sockets are closed by a reset (SO_LINGER 0): nothing lingers on either side, and the reset carries the mark as
well. A probe says how it went in words for an operator. Rise and fall are not decided here.

Each key has a timer; a run starts `interval` after the start of the last, give or take 5 %: probes spread, and stay spread.
"""

from __future__ import annotations

import asyncio
import collections
import errno
import os
import random
import resource
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httptools

from fairlead.model import Check, ProbeKey, ProbeResult, ProbeTarget

BODY_LIMIT = 64 << 10  # bytes of a body that are read before the answer is taken as whole
HEAD_LIMIT = 64 << 10  # bytes of status line and headers
FIRST_RATE = 2000  # first runs a second, at most
JITTER = 0.05
AT_ONCE = 1024
_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h: the port is chosen at connect, by the whole 4-tuple

_WORDS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
    errno.EHOSTUNREACH: "host unreachable",
    errno.ENETUNREACH: "no route for probes",
    errno.EADDRNOTAVAIL: "the probe's source address is not on this machine",
    errno.EPERM: "not permitted to mark the probe (CAP_NET_ADMIN)",
    errno.EMFILE: "too many open files",
}


class Failed(Exception):
    """A probe did not pass; the text says why, without the time that it took."""


@dataclass(slots=True)
class _Reply:
    """What the parser has seen: a `status` of 0 means no status line yet."""

    status: int = 0
    headers_done: bool = False
    whole: bool = False
    counted: bool = False  # the body's end is told by its length or by chunks
    body: int = 0


class _Http(asyncio.Protocol):
    """Sends one request and reads one answer; `done` ends with the status code, or with Failed."""

    def __init__(self, check: Check) -> None:
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        # out of time before anybody waits for it, it may still fail: then asyncio must not report that nobody looked
        self.done.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._check = check
        self._reply = _Reply()
        self._head = 0
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask at once."""
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(request(self._check))

    def data_received(self, data: bytes) -> None:
        """Feed the parser until the answer is decided."""
        if not self._reply.headers_done:
            self._head += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._enough():
                self._fail("the answer is not HTTP")
            return
        if self._enough() and not self.done.done():
            self.done.set_result(self._reply.status)
        elif self._head > HEAD_LIMIT and not self._reply.headers_done:
            self._fail("the answer's headers do not end")

    def eof_received(self) -> None:
        """The server has said all that it will say."""
        self._ended()

    def connection_lost(self, exc: Exception | None) -> None:
        """Decide with what there is."""
        if isinstance(exc, OSError) and not self._enough():
            self._fail(words(exc))
        self._ended()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by httptools."""
        chunked = name.lower() == b"transfer-encoding" and b"chunked" in value.lower()
        self._reply.counted |= chunked or name.lower() == b"content-length"

    def on_headers_complete(self) -> None:
        """Called by httptools."""
        self._reply.status = self._parser.get_status_code()
        self._reply.headers_done = self._reply.status >= 200  # 1xx are no answers yet (RFC 9110 section 15.2)

    def on_body(self, body: bytes) -> None:
        """Called by httptools."""
        self._reply.body += len(body)

    def on_message_complete(self) -> None:
        """Called by httptools."""
        self._reply.whole = self._reply.headers_done

    def _enough(self) -> bool:
        reply = self._reply
        head_only = reply.headers_done and (self._check.method == "HEAD" or self._wrong_status())
        return reply.whole or head_only or reply.body >= BODY_LIMIT

    def _wrong_status(self) -> bool:
        return not accepted(self._check, self._reply.status)

    def _ended(self) -> None:
        reply = self._reply
        if self.done.done():
            return
        if reply.headers_done and not reply.counted:  # a body that ends with the connection (RFC 9112 section 6.3)
            self.done.set_result(reply.status)
        elif reply.headers_done:
            self._fail(f"{reply.status}, but its body was cut short at {reply.body} bytes")
        else:
            self._fail("closed without an answer")

    def _fail(self, text: str) -> None:
        if not self.done.done():
            self.done.set_exception(Failed(text))


def request(check: Check) -> bytes:
    """The bytes that ask."""
    lines = (
        f"{check.method} {check.path} HTTP/1.1",
        f"Host: {check.host}",
        "User-Agent: fairlead",
        "Accept: */*",
        "Connection: close",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def accepted(check: Check, status: int) -> bool:
    """Whether the check takes this status code; an empty list takes any."""
    return not check.expect or status in check.expect


def words(error: OSError) -> str:
    """What happened to a connection, for an operator."""
    number = error.errno or 0
    return _WORDS.get(number) or (os.strerror(number).lower() if number else str(error) or "connection lost")


def after(seconds: float) -> str:
    """`after 12 ms`, `after 1.4 s`."""
    return f"after {seconds * 1000:.0f} ms" if seconds < 1 else f"after {seconds:.1f} s"


def marked_socket(target: ProbeTarget) -> socket.socket:
    """A non-blocking TCP socket whose packets carry the target's mark; OSError where that is not permitted."""
    made = socket.socket(socket.AF_INET if target.vip.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if target.mark:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, struct.pack("=I", target.mark))  # as int it would be signed
        if target.source is not None and target.source.version == target.vip.version:
            made.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            made.bind((str(target.source), 0))
    except OSError:
        made.close()
        raise
    return made


async def probe(target: ProbeTarget, clock: Callable[[], float] = time.time) -> ProbeResult:
    """Run one check once. Never raises but for cancellation; bounded by the check's timeout."""
    loop, began = asyncio.get_running_loop(), time.monotonic()
    check, phase = target.check, "no answer"
    made: socket.socket | None = None
    transport: asyncio.Transport | None = None
    passed, says = False, ""
    try:
        made = marked_socket(target)
        async with asyncio.timeout(check.timeout):
            await loop.sock_connect(made, (str(target.vip), check.port))
            phase = "connected, but no answer"
            transport, http = await loop.create_connection(lambda: _Http(check), sock=made)
            status = await http.done
        passed, says = accepted(check, status), f"{status} {after(time.monotonic() - began)}"
    except TimeoutError:
        says = f"{phase} within {check.timeout:g} s"
    except Failed as e:
        says = f"{e} {after(time.monotonic() - began)}"
    except OSError as e:
        says = f"{words(e)} {after(time.monotonic() - began)}"
    finally:
        if transport is not None:
            transport.abort()
        elif made is not None:
            made.close()
    return ProbeResult(passed, says, time.monotonic() - began, clock())


class _Run:
    """One target: its timer, and its probe while one is under way."""

    __slots__ = ("key", "stopped", "target", "task", "timer")

    def __init__(self, key: ProbeKey, target: ProbeTarget) -> None:
        self.key = key
        self.target = target
        self.stopped = False
        self.timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """No more runs; the one under way is broken off."""
        self.stopped = True
        if self.timer is not None:
            self.timer.cancel()
        if self.task is not None:
            self.task.cancel()


class Prober:
    """Keeps probing what `set` names. `on_result` is called in the event loop, once for each run that was not broken off.

    At most `at_once` probes are under way; what is due beyond that waits its turn, first come first served.
    """

    def __init__(self, on_result: Callable[[ProbeKey, ProbeResult], None], *, at_once: int = AT_ONCE) -> None:
        self._on_result = on_result
        self._targets: Mapping[ProbeKey, ProbeTarget] = {}
        self._runs: dict[ProbeKey, _Run] = {}
        self._waiting: collections.deque[_Run] = collections.deque()
        self._chance = random.Random()  # noqa: S311 - spreads probes, keeps no secret
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._free = max(16, min(at_once, files // 2))

    def set(self, targets: Mapping[ProbeKey, ProbeTarget]) -> None:
        """Probe exactly these from now on. One that has changed is asked anew at once; the others keep their rhythm."""
        if targets is self._targets:
            return
        before, self._runs, self._targets = self._runs, {}, targets
        new = []
        for key, target in targets.items():
            run = before.get(key)
            if run is not None and (run.target is target or run.target == target):
                del before[key]
            else:
                run = _Run(key, target)
                new.append(run)
            self._runs[key] = run
        for run in before.values():
            run.stop()
        for run in new:
            self._later(run, self._chance.uniform(0, len(new) / FIRST_RATE))

    async def close(self) -> None:
        """Stop all; returns when no probe is under way."""
        under_way = [run.task for run in self._runs.values() if run.task is not None]
        self.set({})
        await asyncio.gather(*under_way, return_exceptions=True)

    def _later(self, run: _Run, seconds: float) -> None:
        run.timer = asyncio.get_running_loop().call_later(seconds, self._due, run)

    def _due(self, run: _Run) -> None:
        self._waiting.append(run)
        self._start()

    def _start(self) -> None:
        """Let those that wait begin, as far as there is room."""
        while self._free and self._waiting:
            run = self._waiting.popleft()
            if not run.stopped:
                self._free -= 1
                run.task = asyncio.create_task(self._run(run))
                run.task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Make room. A probe that raises is a bug; the loop is told, for its target would silently be probed no longer."""
        self._free += 1
        self._start()
        if not task.cancelled():
            task.result()

    async def _run(self, run: _Run) -> None:
        result = await probe(run.target)
        run.task = None
        interval = run.target.check.interval * self._chance.uniform(1 - JITTER, 1 + JITTER)
        self._later(run, max(interval - result.took, interval / 10))
        self._on_result(run.key, result)
