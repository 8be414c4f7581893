"""Server-sent events: what happens, what changes, how a client goes on where it was, and how a stream ends."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from fairlead.adapters.http import Handlers, Question, Server, application
from fairlead.adapters.log import Log
from fairlead.core.deltas import delta
from fairlead.events import Stopped, Warned
from fairlead.model import Status
from fairlead.speaking import streaming
from tests.unit.http.tcp import WITHIN, Client, request
from tests.unit.sample import DNS, STATUS, WEB


@dataclass
class Live:
    """A log, a status that can be changed, and the stream of both behind a real socket."""

    log: Log
    server: Server
    path: Path
    now: Status = STATUS
    looks: int = 0
    clients: list[Client] = field(default_factory=list)

    async def status(self) -> Status:
        self.looks += 1
        return self.now

    async def open(self, query: str = "", **headers: str) -> Events:
        client = Client(*await asyncio.open_unix_connection(str(self.path)))
        self.clients.append(client)
        said = {name.replace("_", "-"): value for name, value in headers.items()}
        await client.send(request(f"/v1/events/stream{query}", headers=said))
        head = (await client.reader.readuntil(b"\r\n\r\n")).decode()
        assert "200 OK" in head
        assert "content-type: text/event-stream" in head
        return Events(client)


@dataclass
class Events:
    """What an EventSource would dispatch."""

    client: Client
    text: str = ""

    async def next(self) -> tuple[str, Any, str]:
        """Name, data and id; ("", None, "") at the end. Comments and `retry` are passed over."""
        async with asyncio.timeout(WITHIN):
            while True:
                while "\n\n" not in self.text:
                    size = (await self.client.reader.readline()).strip()
                    part = await self.client.reader.readexactly(int(size or b"0", 16) + 2 if size else 0)
                    if not part.strip() and size in {b"0", b""}:
                        return "", None, ""
                    self.text += part[:-2].decode()
                block, _, self.text = self.text.partition("\n\n")
                fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and line[0] != ":")
                if "data" in fields:
                    return fields["event"], json.loads(fields["data"]), fields.get("id", "")

    async def until(self, name: str, wanted: Callable[[Any], bool] = lambda _: True) -> Any:
        while True:
            found, data, _ = await self.next()
            assert found, "the stream has ended"
            if found == name and wanted(data):
                return data


@asynccontextmanager
async def live(home: Path) -> AsyncIterator[Live]:
    log = Log(io.StringIO())

    async def none(*_: object) -> str:
        return ""

    async def status() -> Status:
        return await made.status()

    stream = streaming.Streaming(log, status)
    handlers = Handlers(status, log.recent, none, none, none, none, stream.calls())
    server = Server(str(home / "api.sock"), application(handlers))
    made = Live(log, server, home / "api.sock")
    await server.start()
    try:
        yield made
    finally:
        log.end()
        await stream.close()
        await server.close()
        for client in made.clients:
            client.writer.transport.abort()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_LOOK_EVERY", 0.05)


async def test_events_as_they_happen(tmp_path: Path) -> None:
    """Each event with its id, as GET /v1/events has it, and in order."""
    async with live(tmp_path) as made:
        made.log(Warned("before"))
        events = await made.open("?status=false")
        await asyncio.sleep(0.1)
        for n in range(100):
            made.log(Warned(f"{n}"))
        found = [await events.next() for _ in range(100)]
        assert [data["text"] for _, data, _ in found] == [str(n) for n in range(100)]
        assert found == [("event", event, str(event["id"])) for event in made.log.recent()[1:]]
        assert made.looks == 0, "nobody wants the status"


async def test_going_on_where_it_was(tmp_path: Path) -> None:
    """`Last-Event-ID`, which browsers send by themselves, or `since`: what is kept after that event comes first."""
    async with live(tmp_path) as made:
        for n in range(10):
            made.log(Warned(f"{n}"))
        last = made.log.recent()[6]["id"]
        for events in (
            await made.open(f"?status=false&since={last}"),
            await made.open("?status=false&since=0", last_event_id=str(last)),
        ):
            assert [(await events.next())[1]["text"] for _ in range(3)] == ["7", "8", "9"]


async def test_changes_of_the_status(tmp_path: Path) -> None:
    """First all of it, then only what is another; laid over one another they give the status. One look serves all."""
    async with live(tmp_path) as made:
        streams = [await made.open() for _ in range(20)]
        for events in streams:
            whole = await events.until("status")
            assert whole["fields"]["version"] == STATUS.version
            assert len(whole["services"]) == len(STATUS.services)
        looks = made.looks
        assert looks < 20
        made.now = replace(STATUS, at=STATUS.at + 1, services=(replace(WEB, packets=WEB.packets + 1), *STATUS.services[1:]))
        for events in streams:
            change = await events.until("status")
            assert [service["packets"] for service in change["services"]] == [WEB.packets + 1]
            assert change["vips"] == []
            assert change["fields"].keys() <= {"at"}
        made.now = replace(made.now, services=(WEB,))
        gone = await streams[0].until("status", lambda data: data["gone"])
        assert "[2001:db8::53]:53/udp" in gone["gone"]


async def test_nothing_changes_nothing_is_sent(tmp_path: Path) -> None:
    """The clock and the daemon's own work are no news."""
    async with live(tmp_path) as made:
        events = await made.open()
        await events.until("status")
        for n in range(5):
            made.now = replace(STATUS, at=STATUS.at + n, work=replace(STATUS.work, passes=n))
            await asyncio.sleep(0.1)
        made.log(Warned("now"))
        assert (await events.next())[0] == "event", "no status came before it"


async def test_nobody_reads_nobody_looks(tmp_path: Path) -> None:
    """The status costs something: it is looked at while somebody reads, and not after."""
    async with live(tmp_path) as made:
        events = await made.open()
        await events.until("status")
        events.client.writer.transport.abort()
        async with asyncio.timeout(WITHIN):
            while made.log._readers:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        looks = made.looks
        await asyncio.sleep(0.3)
        assert made.looks == looks


async def test_the_last_word(tmp_path: Path) -> None:
    """When the daemon stops, its last event comes, and then the stream ends as it should."""
    async with live(tmp_path) as made:
        events = await made.open("?status=false")
        await asyncio.sleep(0.1)
        made.log(Stopped("SIGTERM"))
        made.log.end()
        assert (await events.next())[1]["name"] == "stopped"
        assert await events.next() == ("", None, "")


async def test_slow_readers_are_told_what_they_missed() -> None:
    """A stream that is not read keeps the last thousand events and says how many it lost, and no delta that means nothing."""
    log = Log(io.StringIO())
    now = STATUS

    async def status() -> Status:
        return now

    made = streaming.Streaming(log, status)
    parts = (await made.stream(Question({}, "", ""))).parts
    assert (await anext(parts)).startswith(b"retry")
    assert b"event: status" in await anext(parts)
    for n in range(1500):
        log(Warned(f"{n}"))
    for n in range(3):
        now = replace(now, repairs=n + 10)
        await asyncio.sleep(0.12)
    found = [await anext(parts) for _ in range(1002)]
    text = b"".join(found).decode()
    assert text.count("event: event\n") == 1000
    missed = [json.loads(part.split(b"data: ")[1])["events"] for part in found if part.startswith(b"event: missed")]
    assert missed == [500]
    for part in found:
        if part.startswith(b"event: status"):
            told = json.loads(part.split(b"data: ")[1])
            assert len(told["services"]) == len(STATUS.services), "a whole one"
    await parts.aclose()  # type: ignore[attr-defined]
    await made.close()


async def test_head_and_nonsense(tmp_path: Path) -> None:
    """HEAD does not hang; an id that is none is a 400."""
    async with live(tmp_path) as made:
        for method, headers, expected in (("HEAD", {}, b"200"), ("GET", {"Last-Event-ID": "x"}, b"400")):
            reader, writer = await asyncio.open_unix_connection(str(made.path))
            writer.write(request("/v1/events/stream", method, {**headers, "Connection": "close"}).encode())
            assert expected in await asyncio.wait_for(reader.readline(), WITHIN)
            await asyncio.wait_for(reader.read(), WITHIN)
            writer.close()


def test_deltas_give_the_status() -> None:
    """Against nothing it is everything; against itself it is nothing."""
    assert delta(STATUS, STATUS) is None
    whole = delta(None, STATUS)
    assert whole is not None
    assert (whole.services, whole.vips, whole.peers, whole.gone) == (STATUS.services, STATUS.vips, STATUS.peers, ())
    fewer = delta(STATUS, replace(STATUS, services=(DNS,), vips=(), peers=()))
    assert fewer is not None
    assert len(fewer.gone) == len(STATUS.services) - 1 + len(STATUS.vips) + len(STATUS.peers)
