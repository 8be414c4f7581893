"""To syslog: a socket of this machine, UDP, or TCP with octet counting (RFC 5424, 5426, 6587)."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable

from fairlead.adapters.log.outbox import Outbox
from fairlead.model import Probes, SinkStatus, Syslog
from fairlead.records import Record
from fairlead.records.syslog import framed, local, rfc5424

_UNHEARD = 60_000  # milliseconds after which one that acknowledges nothing is taken for dead: TCP_USER_TIMEOUT
_ON_ITS_WAY = frozenset((errno.EINPROGRESS, errno.EAGAIN))


class SyslogSink:
    """Events as messages. `tell` as `Outbox` has it."""

    def __init__(self, said: Syslog, host: str, tell: Callable[[str | None], None]) -> None:
        self.probes: Probes = said.probes
        self._said = said
        self._host = host
        self._stream = said.transport == "tcp"
        name = f"syslog {said.address}" + (f" over {said.transport}" if said.transport != "unix" else "")
        self._outbox = Outbox(name, self._connect, tell)

    def _connect(self) -> socket.socket:
        said = self._said
        if said.transport == "unix":
            return self._local()
        host, _, port = said.address.rpartition(":")
        kind = socket.SOCK_STREAM if self._stream else socket.SOCK_DGRAM
        flags = socket.AI_NUMERICHOST  # it never waits for a name server
        family, _, _, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=kind, flags=flags)[0]
        return _joined(family, kind, where)

    def _local(self) -> socket.socket:
        """Datagrams where the other side takes them, else a stream: syslog-ng and others listen so."""
        try:
            return _joined(socket.AF_UNIX, socket.SOCK_DGRAM, self._said.address)
        except OSError as e:
            if e.errno != errno.EPROTOTYPE:
                raise
        return _joined(socket.AF_UNIX, socket.SOCK_STREAM, self._said.address)

    def __call__(self, record: Record) -> None:
        """Take one event."""
        if record.event.severity > 6 and self.probes != "all":
            return
        said, process = self._said, os.getpid()
        if said.format == "local":
            message = local(record, facility=said.facility, process=process)
        else:
            message = rfc5424(record, facility=said.facility, host=self._host, process=process)
        self._outbox.put(framed(message) if self._stream else message)

    def status(self) -> SinkStatus:
        """How it fares."""
        return self._outbox.status()

    async def close(self, within: float) -> None:
        """Send what waits."""
        await self._outbox.close(within)


def _joined(family: int, kind: int, where: object) -> socket.socket:
    out = socket.socket(family, kind)
    out.setblocking(False)
    if kind == socket.SOCK_STREAM and family != socket.AF_UNIX:
        out.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNHEARD)
    code = out.connect_ex(where)  # type: ignore[arg-type]  # as getaddrinfo gave it
    if code and code not in _ON_ITS_WAY:
        with contextlib.closing(out):
            raise OSError(code, os.strerror(code))
    return out
