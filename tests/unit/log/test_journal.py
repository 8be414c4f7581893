"""What journald would read: its native protocol, decoded as its documentation says."""

from __future__ import annotations

import array
import os
import pathlib
import socket
import struct
from ipaddress import ip_address

from fairlead.adapters.log import Journal, connected
from fairlead.events import BackendDown, Event, Warned
from fairlead.model import Protocol, ServiceKey
from fairlead.records import Record

DOWN = BackendDown(ServiceKey(ip_address("2001:db8::10"), 80, Protocol.TCP), ip_address("2001:db8:1::1"), "x")


def entry(data: bytes) -> dict[str, str]:
    found = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (size,) = struct.unpack("<Q", data[:8])
            value, data = data[8 : 8 + size], data[9 + size :]
        assert name.decode().isupper()
        found[name.decode()] = value.decode()
    return found


def received(server: socket.socket) -> dict[str, str]:
    data, ancillary, _, _ = server.recvmsg(1 << 20, 64)
    for _, kind, payload in ancillary:
        assert kind == socket.SCM_RIGHTS
        (file,) = array.array("i", payload)
        with os.fdopen(file, "rb") as found:
            return entry(found.read() or os.pread(file, 1 << 24, 0))
    return entry(data)


async def test_fields(tmp_path: pathlib.Path) -> None:
    """Message, severity, type, and each of the event's own fields; text of several lines stays whole, however long it is."""
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        server.settimeout(5)
        journal = Journal(lambda _: None, path=path)
        long = "two\nlines " + "x" * (1 << 20)
        events: list[Event] = [DOWN, Warned("two\nlines"), Warned(long)]
        found = []
        for number, event in enumerate(events, 1):
            journal(Record(number, 1.5, event))
            found.append(received(server))
        assert found[0] == {
            "MESSAGE": str(DOWN),
            "PRIORITY": "5",
            "SYSLOG_IDENTIFIER": "fairlead",
            "SYSLOG_TIMESTAMP": "1.500000",
            "FAIRLEAD_EVENT": "backend-down",
            "FAIRLEAD_NUMBER": "1",
            "FAIRLEAD_SERVICE": "[2001:db8::10]:80/tcp",
            "FAIRLEAD_BACKEND": "2001:db8:1::1",
            "FAIRLEAD_SAYS": "x",
        }
        assert found[1]["MESSAGE"] == "two\nlines"
        assert found[2]["MESSAGE"] == long
        assert journal.status().sent == 3
        await journal.close(1)


def test_where_standard_error_leads(tmp_path: pathlib.Path) -> None:
    """JOURNAL_STREAM names the journal's stream; a daemon whose output was sent elsewhere is not fooled by it."""
    path = tmp_path / "file"
    with path.open("w") as file:
        found = os.fstat(file.fileno())
        mine = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        assert connected(mine, file.fileno())
        assert not connected({"JOURNAL_STREAM": "1:2"}, file.fileno())
        assert not connected({}, file.fileno())
