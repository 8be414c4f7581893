"""Clients that send too much, too slowly, or come in too great numbers; and those that read nothing. Bounds are small here."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.http.tcp import BEARER, BIG, BOUNDS, TOKEN, WITHIN, Client, Tcp, request, tcp

pytestmark = pytest.mark.live

SLOW_ANSWER = 5 * WITHIN / 10  # seconds after which "in time" cannot be said any more


async def taken(client: Client, part: str) -> int:
    """How many octets of parts without an end a server takes before it hangs up."""
    sent, parts = 0, part * (1 + 10_000 // len(part))
    with contextlib.suppress(ConnectionError):
        while sent < BIG:
            await client.send(parts)
            sent += len(parts)
    return sent


async def still_serves(served: Tcp) -> None:
    assert (await served.ask("/v1/status", headers=BEARER)).code == 200


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/" + "a" * 4000, {}),
        ("/v1/status", {"X-Long": "a" * 3000}),
        ("/v1/status", {f"X-{n}": "a" for n in range(30)}),
        ("/v1/status", {f"X-{n}": "a" * 200 for n in range(15)}),
        ("/v1/status?" + "a" * 100_000, {}),
    ],
)
async def test_large_heads(tmp_path: Path, target: str, headers: dict[str, str]) -> None:
    """431, before anything else is looked at, and the connection ends."""
    async with tcp(tmp_path) as served:
        answer = await served.ask(target, headers=headers)
        assert (answer.code, answer.headers["connection"]) == (431, "close")
        assert answer.json["error"].startswith("the head of a request is 2048 octets")
        await still_serves(served)


async def test_a_head_without_an_end(tmp_path: Path) -> None:
    """What comes in small pieces is bounded too, before its end is seen."""
    async with tcp(tmp_path, replace(BOUNDS, head_within=WITHIN)) as served, await served.connect() as client:
        await client.send("GET / HTTP/1.1\r\nX-Endless: ")
        for _ in range(6):
            await client.send("a" * 500)
            await asyncio.sleep(0.01)
        assert (await client.answer()).code == 431
        assert await client.ended()


async def test_a_head_behind_an_answer_without_an_end(tmp_path: Path) -> None:
    """The next request's head is bounded while the answer to the one before is still being sent."""
    async with tcp(tmp_path) as served, await served.connect() as client:
        await client.send(request("/v1/endless", headers=BEARER) + "GET / HTTP/1.1\r\n")
        await client.reader.readuntil(b"and so on")
        assert await taken(client, "X-Many: " + "a" * 500 + "\r\n") < BIG
        await still_serves(served)


async def test_requests_ahead_of_their_answers(tmp_path: Path) -> None:
    """Some may wait for the answers to those before; who sends thousands keeps the loop from its work, and is cut off."""
    bounds = replace(BOUNDS, requests=10_000, stalled=WITHIN, head_within=WITHIN)
    async with tcp(tmp_path, bounds) as served:
        async with await served.connect() as client:
            await client.send(request("/v1/status", headers=BEARER) * 60)
            for _ in range(60):
                assert (await client.answer()).code == 200
        async with await served.connect() as client:
            assert await taken(client, request("/v1/touch", "POST", BEARER)) < BIG
        assert len(served.asked) < 100
        await still_serves(served)


@pytest.mark.parametrize("part", ["X-Trailer: 1\r\n", "X-Endless-" + "a" * 100, "1;x=" + "a" * 100 + "\r\nx\r\n", "1\r\nx\r\n"])
async def test_octets_beside_a_body(tmp_path: Path, part: str) -> None:
    """What chunked coding takes, its trailers included, is bounded as the body is: nobody needs a token for `/healthz`."""
    start = "0\r\n" if part.startswith("X") else ""
    bounds = replace(BOUNDS, body_within=WITHIN, idle=WITHIN)
    async with tcp(tmp_path, bounds, public_read=True) as served, await served.connect() as client:
        await client.send(request("/v1/status", headers={"Transfer-Encoding": "chunked"}) + start)
        assert (await client.answer()).code == 200
        assert await taken(client, part) < BIG
        await still_serves(served)


async def test_what_follows_a_body_is_passed_over(tmp_path: Path) -> None:
    """A few trailers do no harm, to this request and to the next."""
    async with tcp(tmp_path) as served, await served.connect() as client:
        for _ in range(2):
            await client.send(request("/v1/echo", "POST", {**BEARER, "Transfer-Encoding": "chunked"}))
            await client.send("5\r\nhello\r\n0\r\nAuthorization: none\r\nX-Sum: 1\r\n\r\n")
            assert (await client.answer()).json == {"says": "5"}


async def test_large_bodies(tmp_path: Path) -> None:
    """413: by what the head says, and where it says nothing by what comes; of what fits all arrives."""
    async with tcp(tmp_path, replace(BOUNDS, body_within=WITHIN)) as served:
        full = {**BEARER, "Content-Length": "65536"}
        assert (await served.ask("/v1/echo", "POST", full, "x" * 65536)).json == {"says": "65536"}
        announced = await served.ask("/v1/echo", "POST", {**BEARER, "Content-Length": str(1 << 40)})
        assert (announced.code, announced.headers["connection"]) == (413, "close")
        async with await served.connect() as client:
            await client.send(request("/v1/echo", "POST", {**BEARER, "Transfer-Encoding": "chunked"}))
            for _ in range(17):
                await client.send(b"1000\r\n" + b"x" * 4096 + b"\r\n")
            assert (await client.answer()).code == 413
        assert len(served.asked) == 1
        await still_serves(served)


async def test_no_body_is_read_without_the_token(tmp_path: Path) -> None:
    """Who may not ask cannot have megabytes kept for them: the answer comes before the body."""
    async with tcp(tmp_path) as served, await served.connect() as client:
        await client.send(request("/v1/echo", "POST", {"Content-Length": "60000", "Expect": "100-continue"}))
        answer = await client.answer()
        assert (answer.code, answer.headers["connection"]) == (401, "close")
        assert await client.ended()


@pytest.mark.parametrize("start", ["", "G", "GET / HTTP/1.1\r\nHost: local", "GET / HTTP/1.1\r\nHost: localhost\r\n"])
async def test_slow_heads(tmp_path: Path, start: str) -> None:
    """A head must have come within its time, however it trickles: 408."""
    async with tcp(tmp_path) as served, await served.connect() as client:
        began = time.monotonic()
        await client.send(start)
        answer = await client.answer()
        assert answer.code == 408
        assert BOUNDS.head_within * 0.9 < time.monotonic() - began < SLOW_ANSWER
        assert await client.ended()


async def test_a_trickle(tmp_path: Path) -> None:
    """One octet now and then does not prolong anything (the "slow loris")."""
    async with tcp(tmp_path) as served, await served.connect() as client:
        sent = 0
        with contextlib.suppress(ConnectionError):
            for octet in "GET /v1/status HTTP/1.1\r\nX: " + "a" * 1000:
                await client.send(octet)
                sent += 1
                await asyncio.sleep(0.02)
        assert sent < 500


async def test_slow_bodies(tmp_path: Path) -> None:
    """A body must have come within its time; its application is not left waiting."""
    async with tcp(tmp_path) as served, await served.connect() as client:
        await client.send(request("/v1/echo", "POST", {**BEARER, "Content-Length": "1000"}) + "x" * 10)
        answer = await client.answer()
        assert (answer.code, answer.json["error"]) == (408, "the request took too long to arrive")
        assert await client.ended()
        assert not served.asked
        await still_serves(served)


async def test_idle_connections(tmp_path: Path) -> None:
    """Between two requests a connection may be quiet for a while, not for ever."""
    async with tcp(tmp_path) as served, await served.connect() as client:
        assert (await (await client.send(request("/healthz"))).answer()).code == 200
        began = time.monotonic()
        assert await client.ended()
        assert BOUNDS.idle * 0.9 < time.monotonic() - began < SLOW_ANSWER


async def test_the_second_head_is_bounded_too(tmp_path: Path) -> None:
    """A connection that was good once may not be slow afterwards."""
    async with tcp(tmp_path, replace(BOUNDS, idle=WITHIN * 2)) as served, await served.connect() as client:
        assert (await (await client.send(request("/healthz"))).answer()).code == 200
        await client.send("GET /he")
        assert (await client.answer()).code == 408


async def test_requests_over_one_connection(tmp_path: Path) -> None:
    """So many, and the last answer says that it was the last."""
    async with tcp(tmp_path, replace(BOUNDS, idle=WITHIN)) as served, await served.connect() as client:
        said = []
        for _ in range(BOUNDS.requests):
            await client.send(request("/healthz"))
            said.append((await client.answer()).headers.get("connection"))
        assert said == [None] * (BOUNDS.requests - 1) + ["close"]
        assert await client.ended()


async def test_who_reads_nothing(tmp_path: Path) -> None:
    """An answer of which nothing is taken is given up, and its memory with it; one that is read slowly is not."""
    async with tcp(tmp_path, replace(BOUNDS, stalled=2.0)) as served:
        async with await served.connect() as client:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(request("/v1/big", headers=BEARER))
            async with asyncio.timeout(WITHIN):
                while served.server._outer._inside.total():
                    await asyncio.sleep(0.02)
        async with await served.connect() as client:
            await client.send(request("/v1/big", headers=BEARER))
            taken = 0
            while part := await client.reader.read(1 << 20):
                taken += len(part)
                if taken > BIG:
                    break
                await asyncio.sleep(0.005)
            assert taken > BIG
        await still_serves(served)


async def test_many_connections(tmp_path: Path) -> None:
    """Beyond the bound they are turned away at once with 503; the unix socket, and those that are in, do not notice."""
    async with tcp(tmp_path, replace(BOUNDS, each=100, head_within=WITHIN, idle=WITHIN)) as served:
        clients = [await served.connect() for _ in range(BOUNDS.connections)]
        await eventually(lambda: served.server._outer._inside.total() == BOUNDS.connections)
        async with await served.connect() as another:
            assert (await another.answer()).code == 503
            assert await another.ended()
        reader, writer = await asyncio.open_unix_connection(str(served.path))
        writer.write(request("/healthz").encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        assert (await (await clients[0].send(request("/healthz"))).answer()).code == 200
        for client in clients:
            client.writer.transport.abort()
        await eventually(lambda: not served.server._outer._inside)
        await still_serves(served)
        assert served.server._outer.turned_away == 1


async def test_many_connections_from_one_address(tmp_path: Path) -> None:
    """One client cannot take all places: another address, and another IPv6 network, still comes in."""
    async with tcp(tmp_path, replace(BOUNDS, head_within=WITHIN), host="0.0.0.0") as served:
        clients = [await served.connect() for _ in range(BOUNDS.each)]
        await eventually(lambda: served.server._outer._inside["127.0.0.1"] == BOUNDS.each)
        async with await served.connect() as another:
            assert (await another.answer()).code == 503
        async with await served.connect(source="127.0.0.2") as other:
            assert (await (await other.send(request("/healthz"))).answer()).code == 200
        for client in clients:
            client.writer.transport.abort()


async def test_a_storm(tmp_path: Path) -> None:
    """A thousand clients that come, send anything and go leave nothing behind."""
    chance = random.Random(7)
    good = request("/healthz").encode()
    async with tcp(tmp_path, replace(BOUNDS, connections=100, each=100)) as served:

        async def one(number: int) -> None:
            try:
                async with await served.connect() as client:
                    kind = number % 4
                    noise = chance.randbytes(chance.randrange(2000))
                    await client.send((good, good[: chance.randrange(len(good))], noise, good + noise)[kind])
                    if kind == 0:
                        await client.answer()
            except (OSError, EOFError, TimeoutError):
                pass

        async with asyncio.timeout(4 * WITHIN):
            for first in range(0, 1000, 50):
                await asyncio.gather(*(one(first + n) for n in range(50)))
        await eventually(lambda: not served.server._outer._inside)
        await still_serves(served)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET http:// HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n\x81\x05hello",
        b"GET / HTTP/1.1\r\n Host: folded\r\n\r\n",
        b"GET /%ff%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    ],
)
async def test_nonsense(tmp_path: Path, sent: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    """What is no request is a 4xx and no word on standard error; two requests are never made of one (request smuggling)."""
    async with tcp(tmp_path) as served:
        async with await served.connect() as client:
            await client.send(sent)
            assert 400 <= (await client.answer()).code < 500
        await still_serves(served)
        assert not served.asked
    assert capfd.readouterr().err == ""


async def test_pipelined_requests(tmp_path: Path) -> None:
    """Answers come in order, also where all were sent at once."""
    async with tcp(tmp_path) as served, await served.connect() as client:
        body = {"Authorization": f"Bearer {TOKEN}", "Content-Length": "3"}
        await client.send(request("/v1/echo", "POST", body, "abc") + request("/healthz") + request("/nowhere", headers=BEARER))
        assert [(await client.answer()).code for _ in range(3)] == [200, 200, 404]


async def eventually(seen) -> None:  # type: ignore[no-untyped-def]
    async with asyncio.timeout(WITHIN):
        while not seen():
            await asyncio.sleep(0.01)


async def test_a_flood_leaves_the_loop_its_time(tmp_path: Path) -> None:
    """Clients that are turned away as fast as they come do not hold up what else the daemon does, its BGP sessions for one."""
    async with tcp(tmp_path, replace(BOUNDS, connections=1, head_within=10 * WITHIN)) as served:
        hold = await served.connect()
        stop = asyncio.Event()
        turns = 0

        async def count() -> None:
            nonlocal turns
            while not stop.is_set():
                turns += 1
                await asyncio.sleep(0)

        def flood() -> None:
            for _ in range(500):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", served.port), 5):
                    pass

        counting = asyncio.create_task(count())
        await asyncio.to_thread(flood)
        stop.set()
        await counting
        await eventually(lambda: served.server._outer.turned_away > 400)
        assert turns > 400, "a turn of the loop for each"
        hold.writer.transport.abort()
