"""Traffic that tells of every packet: runs inside namespaces, standard library only: `python streams.py VERB ARGUMENT...`.

take PORT                    note the number of every UDP datagram, digest every TCP connection; on a line of input print which
                             numbers came: {STREAM: {"came": base64 of a bitmap, zlib, "twice": n}}
stream NAME ADDRESS PORT RATE FLOWS   numbered datagrams at a constant rate, from so many ports in turn; when input ends print
                             {"sent": n, "late": seconds}. After a pause of its own it goes on at its rate: no burst
pour ADDRESS PORT MB/S       one TCP connection with random bytes at a pace; when input ends print
                             {"sent", "sink": count and SHA-256 of either end, "retransmits", "segments"}
hold ADDRESS PORT COUNT      COUNT connections that are silent until input ends, and then used; print {"broken": n}
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import selectors
import socket
import struct
import sys
import threading
import time
import zlib

_HEAD = struct.Struct("!8sQ")
_RCVBUFFORCE = 33  # socket(7): beyond rmem_max, root may
_TCP_INFO_TOTAL_RETRANS = 100  # offset of tcpi_total_retrans in struct tcp_info (linux/tcp.h)


class Notes:
    """Which numbers of each stream came."""

    def __init__(self) -> None:
        self.came: dict[str, bytearray] = {}
        self.twice: dict[str, int] = {}
        self.lock = threading.Lock()

    def note(self, name: str, number: int) -> None:
        with self.lock:
            marks = self.came.setdefault(name, bytearray())
            if len(marks) <= number >> 3:
                marks.extend(bytes((number >> 3) + 4096 - len(marks)))
            bit = 1 << (number & 7)
            if marks[number >> 3] & bit:
                self.twice[name] = self.twice.get(name, 0) + 1
            marks[number >> 3] |= bit

    def told(self) -> str:
        with self.lock:
            packed = {name: base64.b64encode(zlib.compress(bytes(marks))).decode() for name, marks in self.came.items()}
            return json.dumps({name: {"came": text, "twice": self.twice.get(name, 0)} for name, text in packed.items()})


def take(port: str) -> None:
    notes = Notes()
    selector = selectors.DefaultSelector()
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        made = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 32 << 20)
        made.bind((address, int(port)))
        selector.register(made, selectors.EVENT_READ)
    threading.Thread(target=_sink, args=(int(port),), daemon=True).start()
    selector.register(sys.stdin, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                if not sys.stdin.readline():
                    return
                print(notes.told(), flush=True)
            else:
                name, number = _HEAD.unpack_from(key.fileobj.recv(2048))  # type: ignore[union-attr]
                notes.note(name.rstrip(b"\0").decode(), number)


def _sink(port: int) -> None:
    with socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        print("ready", flush=True)
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_digest, args=(connection,), daemon=True).start()


def _digest(connection: socket.socket) -> None:
    digest, count = hashlib.sha256(), 0
    with connection:
        while data := connection.recv(1 << 18):
            digest.update(data)
            count += len(data)
        connection.sendall(f"{count} {digest.hexdigest()}".encode())


def _until_input_ends() -> threading.Event:
    over = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=wait, daemon=True).start()
    return over


def stream(name: str, address: str, port: str, rate: str, flows: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sockets = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(int(flows))]
    for each in sockets:
        each.connect((address, int(port)))
    over, pause, number, late = _until_input_ends(), 1 / float(rate), 0, 0.0
    head = name.encode()
    print("ready", flush=True)
    due = time.monotonic()
    while not over.is_set():
        sockets[number % len(sockets)].send(_HEAD.pack(head, number))
        number += 1
        due += pause
        behind = time.monotonic() - due
        if behind < 0:
            time.sleep(-behind)
        elif behind > 16 * pause:
            late += behind
            due += behind
    print(json.dumps({"sent": number, "late": late}), flush=True)


def pour(address: str, port: str, rate: str) -> None:
    over, digest, sent, step = _until_input_ends(), hashlib.sha256(), 0, 0.02
    chunk = os.urandom(int(float(rate) * 1e6 * step))
    with socket.create_connection((address, int(port)), timeout=30) as connection:
        print("ready", flush=True)
        due = time.monotonic()
        while not over.is_set():
            connection.sendall(chunk)
            digest.update(chunk)
            sent += len(chunk)
            due = max(due + step, time.monotonic() - step)
            time.sleep(max(0.0, due - time.monotonic()))
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while data := connection.recv(1000):
            answer += data
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    again = struct.unpack_from("I", info, _TCP_INFO_TOTAL_RETRANS)[0]
    told = {"sent": f"{sent} {digest.hexdigest()}", "sink": answer.decode(), "retransmits": again, "segments": sent // 1428}
    print(json.dumps(told), flush=True)


def hold(address: str, port: str, count: str) -> None:
    connections = [socket.create_connection((address, int(port)), timeout=30) for _ in range(int(count))]
    print("ready", flush=True)
    sys.stdin.read()
    broken = 0
    for connection in connections:
        data = os.urandom(3000)
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            broken += connection.recv(1000).decode() != f"{len(data)} {hashlib.sha256(data).hexdigest()}"
        except OSError:
            broken += 1
    print(json.dumps({"broken": broken}), flush=True)


if __name__ == "__main__":
    {"take": take, "stream": stream, "pour": pour, "hold": hold}[sys.argv[1]](*sys.argv[2:])
