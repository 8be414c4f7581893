"""Many TCP connections at once; runs inside namespaces, standard library only: `python crowd.py VERB ARGUMENT...`.

serve NAME PORT   answer whatever comes over a connection with NAME; several processes may share the port
hold ADDRESS PORT SOURCE SOURCES COUNT
                  COUNT connections from so many addresses in a row, each used once, and for each line of input all are used once
                  more. Prints {"open": n, "moved": n, "broken": n} each time: moved were answered by another server than at
                  first, broken by an error, or by nobody within WAIT seconds
"""

from __future__ import annotations

import contextlib
import json
import resource
import select
import socket
import sys
import time
from collections.abc import Iterable
from ipaddress import ip_address

WAIT = 30.0
AT_ONCE = 400  # questions in the air: a veth's ring is short
_BIND_ADDRESS_NO_PORT = 24  # ip(7): the port is chosen by connect(), when the far end is known


def many_files() -> None:
    """As many descriptors as may be."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def serve(name: str, port: str) -> None:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("", int(port)))
    listener.listen(4096)
    listener.setblocking(False)
    poll, connections = select.epoll(), {}
    poll.register(listener, select.EPOLLIN)
    print("ready", flush=True)
    while True:
        for number, _ in poll.poll():
            if number == listener.fileno():
                with contextlib.suppress(BlockingIOError):
                    while True:
                        one, _ = listener.accept()
                        connections[one.fileno()] = one
                        poll.register(one, select.EPOLLIN)
                continue
            try:
                came = connections[number].recv(64)
                if came:
                    connections[number].send(name.encode())
            except OSError:
                came = b""
            if not came:
                connections.pop(number).close()


class Crowd:
    """The connections, and who answered each at first."""

    def __init__(self, address: str, port: str) -> None:
        self.to = address, int(port)
        self.first: dict[socket.socket, bytes] = {}
        self.moved = self.broken = 0

    def open(self, source: str, sources: int, count: int) -> None:
        """Connect and ask once."""
        base = ip_address(source)
        self._each(self._connected(str(base + n % sources)) for n in range(count))

    def again(self) -> None:
        """Ask over each connection."""
        self._each(self._asked(one) for one in list(self.first))

    def _connected(self, source: str) -> socket.socket:
        one = socket.socket()
        one.setsockopt(socket.SOL_IP, _BIND_ADDRESS_NO_PORT, 1)
        one.bind((source, 0))
        one.setblocking(False)
        one.connect_ex(self.to)
        return one

    def _asked(self, one: socket.socket) -> socket.socket:
        with contextlib.suppress(OSError):  # an error is found when its answer is looked for
            one.send(b"?")
        return one

    def _each(self, begun: Iterable[socket.socket]) -> None:
        poll, waiting, source, more = select.epoll(), {}, iter(begun), True
        while more or waiting:
            while more and len(waiting) < AT_ONCE:
                one = next(source, None)
                if one is None:
                    more = False
                    break
                waiting[one.fileno()] = one, time.monotonic()
                poll.register(one, select.EPOLLIN if one in self.first else select.EPOLLOUT)
            for number, _ in poll.poll(1):
                if self._happened(waiting[number][0], poll):
                    poll.unregister(number)
                    del waiting[number]
            self._give_up(poll, waiting)

    def _happened(self, one: socket.socket, poll: select.epoll) -> bool:
        """Whether this one is done with for now."""
        try:
            if one not in self.first:
                if error := one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise OSError(error, "connect")
                self.first[one] = b""
                one.send(b"?")
                poll.modify(one, select.EPOLLIN)
                return False
            answer = one.recv(64)
            if not answer:
                raise ConnectionResetError
            self.moved += answer != (self.first[one] or answer)
            self.first[one] = self.first[one] or answer
        except OSError:
            self._lost(one)
        return True

    def _lost(self, one: socket.socket) -> None:
        self.broken += 1
        self.first.pop(one, None)

    def _give_up(self, poll: select.epoll, waiting: dict[int, tuple[socket.socket, float]]) -> None:
        for number, (one, since) in list(waiting.items()):
            if time.monotonic() - since < WAIT:
                return
            poll.unregister(number)
            del waiting[number]
            self._lost(one)


def hold(address: str, port: str, source: str, sources: str, count: str) -> None:
    crowd = Crowd(address, port)
    crowd.open(source, int(sources), int(count))
    while True:
        print(json.dumps({"open": len(crowd.first), "moved": crowd.moved, "broken": crowd.broken}), flush=True)
        if not sys.stdin.readline():
            return
        crowd.again()


if __name__ == "__main__":
    many_files()
    {"serve": serve, "hold": hold}[sys.argv[1]](*sys.argv[2:])
