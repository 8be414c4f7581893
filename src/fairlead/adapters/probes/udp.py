"""UDP: a datagram, and an answer that matches; "port unreachable" is heard, silence is not."""

from __future__ import annotations

import errno
import socket

from fairlead.adapters.probes.attempt import SocketAttempt
from fairlead.adapters.probes.engine import READABLE
from fairlead.adapters.probes.patterns import pattern
from fairlead.adapters.probes.words import Failed
from fairlead.model import Address, Check

LARGEST = 1 << 16  # bytes of a datagram
PIECES = 16  # datagrams in one turn: who sends more is heard at the next


class Datagram(SocketAttempt):
    """One question in one datagram, from a socket that hears only the VIP. Answers that are not ours are passed over."""

    __slots__ = ()
    kind = socket.SOCK_DGRAM
    events = READABLE

    def start(self) -> None:
        """Ask."""
        super().start()
        assert self.socket is not None
        self.socket.send(self.question())

    def go_on(self, _: int) -> None:
        """From the engine, level-triggered; who sends a flood is heard a little in each turn, until the deadline."""
        for _ in range(PIECES):
            if self.socket is None:
                return
            try:
                data = self.socket.recv(LARGEST)
            except ConnectionRefusedError:
                raise Failed("port unreachable") from None
            except OSError as e:
                if e.errno == errno.EMSGSIZE:
                    continue
                raise
            self.received(data)

    def question(self) -> bytes:
        """The datagram that asks."""
        return self.ask.question(payload)

    def received(self, data: bytes) -> None:
        """A datagram from the VIP."""
        self.heard("answers, but not as expected,")
        if not self.ask.check.answer or pattern(self.ask.check.answer).found_in(data):
            self.passed("answered")


def payload(check: Check, _: Address) -> bytes:
    """What the check says."""
    return check.payload
