"""A router that sends a full table: a program of its own, run in its own namespace by test_full_table.

`python router.py ADDRESS PREFIXES`: listen on port 179, be AS 64500, send that many IPv4 prefixes, five to an UPDATE, each UPDATE
with attributes of its own as in the Internet's table; print `sent`, and then one line for each UPDATE that comes; KEEPALIVEs
throughout.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address

from fairlead.bgp.capabilities import offer
from fairlead.bgp.wire import Keepalive, Update, encode, messages, our_open

PER_UPDATE = 5
BATCH = 1000  # UPDATEs between two looks at what came


def attributes(number: int) -> bytes:
    path = struct.pack(">BB4I", 2, 4, 64500, number % 70000 + 1, number % 9999 + 1, number % 777 + 1)
    communities = struct.pack(">4H", 64500, number % 65000, 64500, number % 13)
    return (
        bytes.fromhex("40010100")
        + bytes([0x40, 2, len(path)])
        + path
        + bytes.fromhex("4003040a630002")
        + bytes([0xC0, 8, len(communities)])
        + communities
    )


def table(prefixes: int) -> Iterator[bytes]:
    """Batches of messages."""
    for first in range(0, prefixes // PER_UPDATE, BATCH):
        batch = []
        for number in range(first, min(first + BATCH, prefixes // PER_UPDATE)):
            nlri = b"".join(
                b"\x18" + struct.pack(">I", (number * PER_UPDATE + each + (1 << 16)) << 8)[:3] for each in range(PER_UPDATE)
            )
            batch.append(encode(Update(attributes=attributes(number), nlri=nlri)))
        yield encode(Keepalive()) + b"".join(batch)


class Router:
    """One session with whoever dials."""

    def __init__(self, address: str) -> None:
        listener = socket.create_server((address, 179))
        print("listening", flush=True)
        self._link, _ = listener.accept()
        self._heard = bytearray()

    def run(self, prefixes: int) -> None:
        self._link.sendall(encode(our_open(64500, 90, IPv4Address("10.99.0.2"), offer())) + encode(Keepalive()))
        for batch in table(prefixes):
            self._link.sendall(batch)
            self._hear(0.0)
        print("sent", flush=True)
        while self._hear(5.0):
            self._link.sendall(encode(Keepalive()))

    def _hear(self, seconds: float) -> bool:
        """Print what came; False when the peer is gone."""
        if select.select([self._link], [], [], seconds)[0]:
            data = self._link.recv(65536)
            if not data:
                return False
            self._heard += data
            for message in messages(self._heard):
                if isinstance(message, Update):
                    print("update", message.nlri.hex(), flush=True)
        return True


if __name__ == "__main__":
    Router(sys.argv[1]).run(int(sys.argv[2]))
