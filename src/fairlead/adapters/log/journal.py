"""To journald, by its native protocol: fields instead of lines."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping

from fairlead.adapters.log.outbox import Outbox
from fairlead.model import Probes, SinkStatus
from fairlead.records import Record
from fairlead.records.journal import datagram

SOCKET = "/run/systemd/journal/socket"


def connected(environment: Mapping[str, str], descriptor: int) -> bool:
    """Whether a descriptor leads to the journal: JOURNAL_STREAM names device and inode of what does (systemd.exec(5))."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class Journal:
    """Events as entries with fields. `tell` as `Outbox` has it."""

    def __init__(
        self, tell: Callable[[str | None], None], *, probes: Probes = "changes", path: str = SOCKET, quietest: int = 6
    ) -> None:  # fmt: skip
        self.probes = probes
        self._quietest = 7 if probes == "all" else quietest
        self._path = path
        self._outbox = Outbox("journal", self._connect, tell, files=True)

    def _connect(self) -> socket.socket:
        out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        out.setblocking(False)
        try:
            out.connect(self._path)
        except OSError:
            out.close()
            raise
        return out

    def __call__(self, record: Record) -> None:
        """Take one event."""
        if record.event.severity <= self._quietest:
            self._outbox.put(datagram(record))

    def status(self) -> SinkStatus:
        """How it fares."""
        return self._outbox.status()

    async def close(self, within: float) -> None:
        """Send what waits."""
        await self._outbox.close(within)
