"""Health probes against real servers, in a network namespace of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from fairlead.adapters.probes import Prober, probe
from fairlead.adapters.probes.engine import Engine
from fairlead.adapters.probes.http import BODY_LIMIT, request
from fairlead.adapters.probes.words import after
from fairlead.model import Check, ProbeKey, ProbeResult, ProbeTarget
from tests.unit.probing import inside, serving, space

__all__ = ["space"]

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="makes a network namespace")]

LOOPBACK = ip_address("127.0.0.1")


def target(port: int, **fields: Any) -> ProbeTarget:
    check = Check(type="http", port=port, host="www.example.org", timeout=0.5)
    return ProbeTarget(LOOPBACK, LOOPBACK, replace(check, **fields), mark=0xFA100007, source=LOOPBACK)


def probed(space: str, answer: bytes, *, keep: bool = False, **fields: Any) -> ProbeResult:
    async def story() -> ProbeResult:
        async with serving(answer, keep=keep) as port:
            return await probe(target(port, **fields))

    result = inside(space, story)
    assert isinstance(result, ProbeResult)
    return result


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_an_expected_status_passes(space: str) -> None:
    """200 passes, and says how long it took."""
    result = probed(space, OK)
    assert result.passed
    assert result.says.startswith("200 after ")
    assert result.says.endswith(" ms")


def test_the_request_is_plain(space: str) -> None:
    """The server sees method, path and host of the check, and that the connection is to end."""

    async def story() -> list[bytes]:
        seen: list[bytes] = []
        async with serving(OK, seen=seen) as port:
            await probe(target(port, path="/alive?x=1", method="GET", host="a.example"))
        return seen

    (asked,) = inside(space, story)
    lines = asked.split(b"\r\n")
    assert lines[0] == b"GET /alive?x=1 HTTP/1.1"
    assert b"Host: a.example" in lines
    assert b"Connection: close" in lines


@pytest.mark.parametrize(
    ("answer", "fields", "passed", "says"),
    [
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", {}, False, "503 after"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", {"expect": frozenset({503})}, True, "503 after"),
        (b"HTTP/1.1 404 Not\r\nContent-Length: 0\r\n\r\n", {"expect": frozenset()}, True, "404 after"),
        (b"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n", {}, False, "302 after"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", {"method": "HEAD"}, True, "200 after"),
        (b"HTTP/1.1 204 None\r\n\r\n", {"expect": frozenset({204})}, True, "204 after"),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", {}, True, "200 after"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, {}, True, "200 after"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", {}, True, "200 after"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
            {},
            False,
            "200, but its body was cut short at 2 bytes",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok", {}, False, "200, but its body was cut short at 2 bytes"),
        (b"", {}, False, "closed without an answer"),
        (b"SSH-2.0-x\r\n", {}, False, "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"a" * 70000, {}, False, "the answer"),
    ],
)
def test_answers_are_judged(space: str, answer: bytes, fields: dict[str, Any], passed: bool, says: str) -> None:
    """Status, body and ends of answers lead to these verdicts in these words."""
    result = probed(space, answer, **fields)
    assert (result.passed, result.says.startswith(says)) == (passed, True), result.says


def test_a_large_body_is_not_awaited(space: str) -> None:
    """After 64 KiB of a body the answer counts as whole."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + b"x" * (BODY_LIMIT + 1)
    assert probed(space, answer, keep=True).passed


def test_a_stalled_body_fails(space: str) -> None:
    """A server that stops in the middle of a body is not healthy."""
    result = probed(space, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok", keep=True, timeout=0.2)
    assert (result.passed, result.says) == (False, "connected, but no answer within 0.2 s")


def test_silence_is_named(space: str) -> None:
    """A connection that is taken and never answered is told from one that is not taken."""
    assert probed(space, b"", keep=True, timeout=0.2).says == "connected, but no answer within 0.2 s"


def test_refusal_is_named(space: str) -> None:
    """Nobody listens: refused, with the time it took."""

    async def story() -> ProbeResult:
        return await probe(target(1))

    result = inside(space, story)
    assert not result.passed
    assert result.says.startswith("connection refused after ")


def test_a_foreign_source_is_named(space: str) -> None:
    """A source address that is not this machine's is a failure in words, not an exception."""

    async def story() -> ProbeResult:
        return await probe(replace(target(1), source=ip_address("198.51.100.1")))

    assert inside(space, story).says.startswith("the probe's source address is not on this machine")


def test_the_mark_is_on_the_wire(space: str) -> None:
    """A rule for the mark decides where the probe goes: here, nowhere."""
    rule = ["ip", "-n", space, "rule", "add", "fwmark", "0xfa100000/0xfff00000", "prohibit", "pref", "1"]
    # the local table has preference 0: move it behind the mark's rule for this namespace
    subprocess.run(["ip", "-n", space, "rule", "add", "pref", "10", "lookup", "local"], check=True)
    subprocess.run(["ip", "-n", space, "rule", "del", "pref", "0"], check=True)
    subprocess.run(rule, check=True)
    try:
        result = probed(space, OK)
    finally:
        subprocess.run(["ip", "-n", space, "rule", "del", "pref", "1"], check=True)
    assert not result.passed
    assert probed(space, OK).passed


def key(number: int) -> ProbeKey:
    return ProbeKey(LOOPBACK, ip_address(f"10.0.0.{number}"), None, Check("http", 80))


def test_the_prober_keeps_its_rhythm(space: str) -> None:
    """Results come at the interval for as long as a target is set, and none after it is taken away."""

    async def story() -> tuple[int, int, int]:
        results: list[ProbeResult] = []
        enough = asyncio.Event()

        def on_result(_: Any, result: ProbeResult) -> None:
            results.append(result)
            if len(results) == 5:
                enough.set()

        prober = Prober(on_result)
        async with serving(OK) as port:
            prober.set({key(1): target(port, interval=0.05)})
            await enough.wait()
            prober.set({})
            before = len(results)
            await asyncio.sleep(0.2)
            await prober.close()
            return before, len(results), sum(r.passed for r in results)

    before, later, passed = inside(space, story)
    assert before == later == passed == 5


def test_a_changed_target_is_asked_at_once(space: str) -> None:
    """A new path is asked without waiting for the old interval; targets that stay keep their timers."""

    async def story() -> list[bytes]:
        seen: list[bytes] = []
        twice = asyncio.Event()
        prober = Prober(lambda *_: twice.set() if len(seen) > 1 else None)
        async with serving(OK, seen=seen) as port:
            prober.set({key(1): target(port, interval=60.0, path="/a")})
            while not seen:
                await asyncio.sleep(0.005)
            prober.set({key(1): target(port, interval=60.0, path="/a")})
            prober.set({key(1): target(port, interval=60.0, path="/b")})
            await twice.wait()
            await prober.close()
        return [asked.split()[1] for asked in seen]

    assert inside(space, story) == [b"/a", b"/b"]


def test_probes_under_way_are_bounded(space: str) -> None:
    """With room for 16, never more than 16 connections are open at once."""

    async def story() -> int:
        now, most, done = 0, 0, 0
        finished = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.02)
            now -= 1
            writer.write(OK)
            writer.close()

        def on_result(_: Any, result: ProbeResult) -> None:
            nonlocal done
            done += 1
            if done == 64:
                finished.set()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        prober = Prober(on_result, at_once=16)
        prober.set({key(n): target(port, interval=60.0, timeout=5.0) for n in range(64)})
        await finished.wait()
        await prober.close()
        server.close()
        return most

    assert 1 < inside(space, story) <= 16


def test_durations_read_well() -> None:
    """Tenths of milliseconds below one, milliseconds below a second, then tenths of seconds."""
    assert (after(0.00042), after(0.0124), after(1.44)) == ("after 0.4 ms", "after 12 ms", "after 1.4 s")


def test_a_request_never_breaks_on_odd_text() -> None:
    """Characters outside Latin-1 are replaced, not raised on."""
    assert b"GET /\xe4? HTTP/1.1" in request(Check(type="http", port=80, host="h", path="/\u00e4\u4e00"), LOOPBACK)


def test_a_loop_that_is_held_up_is_no_silence(space: str) -> None:
    """What holds the loop up for longer than a check's timeout takes nobody down: time in which nobody looked does not count."""

    async def story() -> list[ProbeResult]:
        results: list[ProbeResult] = []
        enough = asyncio.Event()

        def on_result(_: Any, result: ProbeResult) -> None:
            results.append(result)
            if len(results) == 3:
                enough.set()

        prober = Prober(on_result)
        with elsewhere(OK) as port:
            prober.set({key(1): target(port, interval=0.1, timeout=0.25)})
            while not enough.is_set():
                await asyncio.sleep(0)
                time.sleep(0.15)  # noqa: ASYNC251 - this is what is tried
            await prober.close()
        return results

    assert [r.says for r in inside(space, story) if not r.passed] == []


@contextmanager
def elsewhere(answer: bytes) -> Iterator[int]:
    """A server with a thread of its own, in this one's namespace; its answers come in two pieces, 0.2 seconds apart."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                taken, _ = server.accept()
                with taken, contextlib.suppress(OSError):
                    taken.recv(1000)
                    taken.sendall(answer[:20])
                    time.sleep(0.2)
                    taken.sendall(answer[20:])

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield int(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_probes_do_not_burst(space: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five hundred targets that come at once are to be asked for the second time all over their interval, not together again."""
    planned: dict[Any, list[float]] = {}
    at = Engine.at

    def noted(self: Engine, when: float, whom: Any) -> None:
        if hasattr(whom, "key"):
            planned.setdefault(whom.key, []).append(when)
        at(self, when, whom)

    monkeypatch.setattr(Engine, "at", noted)

    async def story() -> None:
        results: set[ProbeKey] = set()
        enough = asyncio.Event()

        def on_result(key: ProbeKey, _: ProbeResult) -> None:
            results.add(key)
            if len(results) == 500:
                enough.set()

        prober = Prober(on_result)
        refused = [replace(target(n % 2 + 1, interval=10.0), vip=ip_address(f"127.0.{n // 2}.1")) for n in range(500)]
        prober.set({ProbeKey(t.vip, t.backend, None, t.check): t for t in refused})
        await enough.wait()
        await prober.close()

    inside(space, story)
    second = [times[0] for times in planned.values()]
    tenths = [sum(n <= when - min(second) < n + 1 for when in second) for n in range(11)]
    assert max(tenths) < 150, f"500 within 10 seconds: 50 are expected in each; {tenths}"
