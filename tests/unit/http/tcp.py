"""The API over TCP in this process, with answers of the test's own, and a client that sends whatever octets it is told to."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

from fairlead.adapters.http import Call, Handlers, Question, Says, Server, Stream, Text, Word, application, table
from fairlead.adapters.http.protocol import Bounds
from fairlead.errors import Refused
from fairlead.model import Api, Status
from tests.unit.sample import STATUS

TOKEN = "a-token-of-24-characters"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
# Small and quick, so that each bound is reached.
BOUNDS = Bounds(
    connections=8,
    each=6,
    head=2048,
    headers=20,
    body=65536,
    head_within=0.4,
    body_within=0.4,
    idle=0.4,
    stalled=0.4,
    requests=5,
    look=0.05,
)
BIG = 16 << 20
WITHIN = 20.0  # seconds: for a machine that is busy


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


@dataclass
class Answer:
    code: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes | str) -> Client:
        self.writer.write(data.encode() if isinstance(data, str) else data)
        await self.writer.drain()
        return self

    async def answer(self, *, head: bool = False) -> Answer:
        """The next answer; EOFError or ConnectionError if the server hung up instead."""
        async with asyncio.timeout(WITHIN):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:]) if name}
            body = await self.reader.readexactly(0 if head else int(headers.get("content-length", 0)))
        return Answer(int(lines[0].split()[1]), headers, body)

    async def ended(self) -> bool:
        """Whether the server hangs up."""
        try:
            async with asyncio.timeout(WITHIN):
                while await self.reader.read(1 << 16):
                    pass
        except ConnectionError:
            pass
        except TimeoutError:
            return False
        return True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()


@dataclass
class Tcp:
    """A server that serves."""

    server: Server
    port: int
    refused: list[tuple[str, str]]
    asked: list[Question]
    path: Path

    async def connect(self, source: str = "127.0.0.1") -> Client:
        return Client(*await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0)))

    async def ask(self, target: str, method: str = "GET", headers: Mapping[str, str] | None = None, body: str = "") -> Answer:
        async with await self.connect() as client:
            await client.send(request(target, method, headers, body))
            return await client.answer(head=method == "HEAD")


def request(target: str, method: str = "GET", headers: Mapping[str, str] | None = None, body: str = "") -> str:
    said = {"Host": "localhost"} | ({"Content-Length": str(len(body))} if body else {}) | dict(headers or {})
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in said.items() if value)]
    return "\r\n".join(lines) + "\r\n\r\n" + body


def handlers(asked: list[Question], **more: Call) -> Handlers:
    async def status() -> Status:
        return STATUS

    async def done(*_: object) -> str:
        return "done"

    async def echo(question: Question) -> Says:
        asked.append(question)
        return Says(str(len(question.body)))

    async def big(_: Question) -> Text:
        return Text(b"x" * BIG)

    async def endless(_: Question) -> Stream:
        async def parts() -> AsyncIterator[bytes]:
            yield b"and so on"
            await asyncio.Event().wait()

        return Stream(parts())

    async def refuse(_: Question) -> Says:
        raise Refused(["no", "not at all"])

    calls = {
        "POST /v1/echo": Call(echo, "", words=(Word("n", "a number", int, low=1, high=9),), body="anything"),
        "POST /v1/touch": Call(echo, ""),
        "GET /v1/big": Call(big, "", str, media="text/plain"),
        "GET /v1/endless": Call(endless, "", str, media="text/event-stream"),
        "POST /v1/refuse": Call(refuse, ""),
        **{name.replace("_", " "): call for name, call in more.items()},
    }
    return Handlers(status, lambda _: [], done, done, done, done, calls)


@asynccontextmanager
async def tcp(home: Path, bounds: Bounds = BOUNDS, host: str = "127.0.0.1", **api: Any) -> AsyncIterator[Tcp]:
    """Serves on a port of its own, with a token unless `api` says otherwise."""
    token = home / "token"
    token.write_text(f"# the test's\n{TOKEN}\n")
    refused: list[tuple[str, str]] = []
    asked: list[Question] = []
    made = handlers(asked)
    public = [name.split()[1] for name, call in table(made).items() if call.public]
    server = Server(
        str(home / "api.sock"), application(made), public=public, told=lambda *said: refused.append(said), bounds=bounds
    )
    port = free_port(host)
    wanted = replace(Api(listen=((ip_address(host), port),), token_file=str(token)), **api)
    prepared = server.prepare(wanted)
    await server.start()
    await server.use(prepared)
    try:
        yield Tcp(server, port, refused, asked, home / "api.sock")
    finally:
        await server.close()


def certificate(home: Path, name: str = "one") -> tuple[str, str]:
    """Paths of a certificate for localhost and its key."""
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj".split()
    names = [f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    crt, key = str(home / f"{name}.crt"), str(home / f"{name}.key")
    subprocess.run(["openssl", *words, *names, "-keyout", key, "-out", crt], check=True, capture_output=True)
    return crt, key
