"""A stream of datagrams, each a flow of its own, so that it shows where new flows go at every millisecond.

As a program inside a client, standard library only: `python newflows.py ADDRESS PORT RATE`. It sends until a line of input comes,
waits for late answers and prints, for each datagram, when it was sent (CLOCK_MONOTONIC, which all processes of a machine share)
and which backend answered, "" for none: one JSON list of pairs. For tests: `streaming`, and what to read out of it.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

LATE = 0.7  # seconds an answer may take


def stream(address: str, port: str, rate: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    every, due = 1 / float(rate), time.monotonic()
    sent: list[tuple[float, str]] = []
    waiting: dict[int, tuple[socket.socket, int]] = {}
    poll = select.poll()
    poll.register(sys.stdin, select.POLLIN)
    print("ready", flush=True)
    end = 0.0
    while not end or time.monotonic() < end:
        now = time.monotonic()
        if not end and now >= due:
            due = max(due + every, now)
            one = socket.socket(family, socket.SOCK_DGRAM)
            with contextlib.suppress(OSError):
                one.connect((address, int(port)))
                one.send(b"?")
            waiting[one.fileno()] = one, len(sent)
            sent.append((now, ""))
            poll.register(one, select.POLLIN)
        for number, _ in poll.poll(0 if end else max(0.0, (due - time.monotonic()) * 1000)):
            if number == 0:
                poll.unregister(sys.stdin)
                end = time.monotonic() + LATE
            else:
                _answered(poll, waiting, sent, number)
        _give_up(poll, waiting, sent)
    print(json.dumps(sent), flush=True)


def _answered(poll: select.poll, waiting: dict[int, Any], sent: list[tuple[float, str]], number: int) -> None:
    one, at = waiting.pop(number)
    with contextlib.suppress(OSError):
        sent[at] = sent[at][0], one.recv(2000).split()[0].decode()
    poll.unregister(one)
    one.close()


def _give_up(poll: select.poll, waiting: dict[int, Any], sent: list[tuple[float, str]]) -> None:
    """The oldest comes first in a dictionary."""
    while waiting:
        number, (one, at) = next(iter(waiting.items()))
        if sent[at][0] > time.monotonic() - LATE:
            return
        del waiting[number]
        poll.unregister(one)
        one.close()


class Stream:
    """What became of the datagrams: pairs of when and who, once the block has ended."""

    def __init__(self) -> None:
        self.sent: list[tuple[float, str]] = []

    def lost(self, since: float, until: float = float("inf")) -> float:
        """Seconds from `since` to the last datagram, before `until`, that nobody answered; 0 if all were answered."""
        return max((when - since for when, who in self.sent if since <= when < until and not who), default=0.0)

    def first(self, who: str, at: float) -> float:
        """Seconds from `at` to the first datagram that this backend answered."""
        return next(when - at for when, name in self.sent if when >= at and name == who)

    def last(self, who: str, before: float) -> float:
        """When this backend answered the last datagram that was sent before then."""
        return max(when for when, name in self.sent if when < before and name == who)


@contextmanager
def streaming(lab: Any, address: str, rate: int = 500, port: str = "9000", client: str = "client1") -> Iterator[Stream]:
    """Send beside the block; its results are there after it."""
    found = Stream()
    with lab.running(client, "python3", __file__, address, port, str(rate)) as process:
        assert process.stdout.readline() == "ready\n"
        yield found
        said, _ = process.communicate("\n", timeout=60)
        found.sent = [(float(when), str(who)) for when, who in json.loads(said)]


def timed(change: Callable[[], object]) -> float:
    """Make the change; the moment before it, so that what is measured from there is no less than what it took."""
    at = time.monotonic()
    change()
    return at


if __name__ == "__main__":
    stream(*sys.argv[1:])
