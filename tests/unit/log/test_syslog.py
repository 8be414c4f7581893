"""Syslog as it arrives: read by a grammar of its own, over each transport, and over a server that dies."""

from __future__ import annotations

import asyncio
import os
import pathlib
import re
import socket
from collections.abc import Callable
from ipaddress import ip_address

from fairlead.adapters.log import SyslogSink
from fairlead.adapters.log.outbox import ROOM
from fairlead.events import BackendDown, Event, Warned
from fairlead.model import Protocol, ServiceKey, Syslog
from fairlead.records import Record

# RFC 5424 section 6
_NAME = r"[!#-<>-\\^-~]{1,32}"  # PRINTUSASCII without = ] and "
_ELEMENT = rf'\[({_NAME})((?: {_NAME}="(?:[^"\\\]]|\\["\\\]])*")*)\]'
HEADER = re.compile(
    rf"<([0-9]{{1,3}})>1 (\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{{1,6}})?(?:Z|[+-]\d\d:\d\d)) "
    rf"([!-~]{{1,255}}) ([!-~]{{1,48}}) ([!-~]{{1,128}}) ([!-~]{{1,32}}) {_ELEMENT}(?: (.*))?",
    re.DOTALL,
)
DOWN = BackendDown(ServiceKey(ip_address("192.0.2.10"), 80, Protocol.TCP), ip_address("10.1.0.11"), 'said "no" [a\\b]')


def read(message: bytes) -> tuple[int, str, dict[str, str], str]:
    """(PRI, MSGID, parameters, text) of one message."""
    match = HEADER.fullmatch(message.decode())
    assert match, message
    parameters = dict(re.findall(rf' ({_NAME})="((?:[^"\\\]]|\\.)*)"', match[8]))
    assert match[4] == "fairlead"
    assert match[5] == str(os.getpid())
    return int(match[1]), match[6], {n: re.sub(r"\\(.)", r"\1", v) for n, v in parameters.items()}, match[9]


def frames(data: bytes) -> list[bytes]:
    """Octet counting, RFC 6587 section 3.4.1."""
    found = []
    while data:
        count, _, data = data.partition(b" ")
        assert re.fullmatch(rb"[1-9][0-9]*", count)
        assert len(data) >= int(count), "a whole frame"
        found.append(data[: int(count)])
        data = data[int(count) :]
    return found


def record(event: Event, number: int = 1) -> Record:
    return Record(number, 1_700_000_000.123456, event)


async def until(true: Callable[[], object], within: float = 10) -> None:
    async with asyncio.timeout(within):
        while not true():
            await asyncio.sleep(0.01)


async def test_over_udp() -> None:
    """Severity and facility, time, type and every field; text that is not ASCII is marked as UTF-8; one line."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        said = Syslog(f"127.0.0.1:{server.getsockname()[1]}", "udp", facility=19)
        sink = SyslogSink(said, "balancer 1", lambda _: None)
        sink(record(DOWN))
        sink(record(Warned("zwölf\nBoxkämpfer")))
        priority, kind, fields, text = read(server.recv(65536))
        assert (priority, kind) == (19 * 8 + 5, "backend-down")
        assert fields == {"number": "1", "service": "192.0.2.10:80/tcp", "backend": "10.1.0.11", "says": DOWN.says}
        assert text == str(DOWN)
        second = server.recv(65536)
        assert second.count("\ufeff".encode()) == 1
        assert read(second)[3] == "\ufeffzwölf Boxkämpfer"
        assert sink.status().sent == 2
        await sink.close(1)


async def test_over_tcp_and_its_death() -> None:
    """Framed by octets; while the server is away messages wait, in order, and trouble is told once, and its end."""
    told: list[str | None] = []
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    sink = SyslogSink(Syslog(f"127.0.0.1:{port}", "tcp"), "balancer1", told.append)
    sink(record(DOWN, 1))
    connection, _ = await asyncio.to_thread(server.accept)
    await until(lambda: sink.status().sent == 1)
    assert [read(frame)[2]["number"] for frame in frames(connection.recv(65536))] == ["1"]
    connection.close()
    server.close()
    await asyncio.sleep(0.1)
    for number in range(2, 100):
        sink(record(DOWN, number))
    await until(lambda: told)
    with socket.create_server(("127.0.0.1", port)) as server:
        connection, _ = await asyncio.to_thread(server.accept)
        await until(lambda: len(told) == 2 and not sink.status().queued)
        data = b""
        await sink.close(2)
        with connection:
            while part := connection.recv(65536):
                data += part
    assert [int(read(frame)[2]["number"]) for frame in frames(data)] == list(range(2, 100))
    assert told[1] is None
    assert sink.status().dropped == 0


async def test_to_this_machine(tmp_path: pathlib.Path) -> None:
    """Datagrams to the path; its own form where that is asked for; a reader that stops holds up nobody."""
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        server.settimeout(5)
        local = SyslogSink(Syslog(path, "unix", "local"), "x", lambda _: None)
        local(record(DOWN))
        assert re.fullmatch(rb"<29>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d fairlead\[\d+\]: backend .*", server.recv(65536))
        told: list[str | None] = []
        sink = SyslogSink(Syslog(path), "x", told.append)
        for number in range(1, ROOM + 500):
            sink(record(DOWN, number))
        await until(lambda: told)
        assert told == [f"it takes nothing: {ROOM} messages wait for it"]
        status = sink.status()
        assert status.queued == ROOM
        assert status.sent + status.queued + status.dropped == ROOM + 499
        numbers: list[int] = []
        while len(numbers) < ROOM + status.sent:
            numbers.append(int(read(await asyncio.to_thread(server.recv, 65536))[2]["number"]))
        assert numbers == list(range(1, len(numbers) + 1))
        await until(lambda: sink.status().queued == 0)
        await until(lambda: len(told) == 2)
        assert told[1] is None
        await sink.close(1)
        await local.close(1)


async def test_nobody_there(tmp_path: pathlib.Path) -> None:
    """Without a syslog on this machine events wait; once it is there they arrive."""
    told: list[str | None] = []
    path = tmp_path / "log"
    sink = SyslogSink(Syslog(str(path)), "x", told.append)
    sink(record(DOWN))
    await until(lambda: told)
    assert "No such file" in str(told[0])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        server.settimeout(10)
        assert read(await asyncio.to_thread(server.recv, 65536))[1] == "backend-down"
    await sink.close(1)
    missing = SyslogSink(Syslog(str(tmp_path / "none")), "x", told.append)
    missing(record(DOWN))
    await missing.close(0.2)
    assert missing.status().dropped == 1
