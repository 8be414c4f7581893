"""Small programs that lab tests run inside namespaces, standard library only: `python tools.py VERB ARGUMENT...`.

sink PORT                    take connections, answer each with bytes and SHA-256 of what came before its end
send ADDRESS PORT SECONDS MB/S   send random bytes at a pace, print {"sent", "digest", "sink", "retransmits"}
serve NAME PORT              a sink for TCP; UDP datagrams are sent back with NAME and their SHA-256 in front
upload ADDRESS PORT BYTES [SOURCE]   send random bytes as fast as it goes, from an address; print what `send` prints
ask ADDRESS PORT SIZE COUNT [SOURCE]   COUNT UDP datagrams of SIZE bytes, each from a port of its own and sent again until its
                             answer has come; print {"answers": {NAME: n}, "wrong": n, "lost": n, "sent": n}
hold ADDRESS COUNT           COUNT HTTP connections at once; each line read asks over all of them again and prints
                             {"moved", "broken", "backends"}
stream ADDRESS PORT RATE FLOWS   so many small UDP datagrams a second, from so many ports in turn, until a line is read; print
                             {"sent", "answers": {NAME: n}} when the last answers have come
revisit ADDRESS              one HTTP connection; after a line is read the next request on it, and then one on a new connection;
                             prints {"first", "error", "after", "second", "again"}, times in seconds
knock ADDRESS PORT KIND      try a tcp or udp port; print {"error", "after"}
storm PIN INTERFACE MAC_DST MAC_SRC VIP PORT KIND COUNT   live frames of the program pinned there: syn, ack or udp
flood INTERFACE MAC_DST MAC_SRC VIP COUNT   Ethernet frames with a SYN for VIP:80
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import socket
import struct
import sys
import threading
import time
from typing import Any

_RCVBUFFORCE, _LARGE = 33, 1 << 23  # socket(7): what comes while a busy machine lets us wait
_TCP_INFO_TOTAL_RETRANS = 100  # offset of tcpi_total_retrans in struct tcp_info (linux/tcp.h)


def sink(port: str) -> None:
    with socket.create_server(("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        print("ready", flush=True)
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_take, args=(connection,), daemon=True).start()


def _take(connection: socket.socket) -> None:
    digest, count = hashlib.sha256(), 0
    with connection:
        while data := connection.recv(1 << 18):
            digest.update(data)
            count += len(data)
        connection.sendall(f"{count} {digest.hexdigest()}".encode())


def send(address: str, port: str, seconds: str, rate: str) -> None:
    digest, sent = hashlib.sha256(), 0
    chunk_time = 0.01
    chunk = os.urandom(int(float(rate) * 1e6 * chunk_time))
    with socket.create_connection((address, int(port)), timeout=20) as connection:
        print("connected", flush=True)
        due = time.monotonic()
        end = due + float(seconds)
        while due < end:
            connection.sendall(chunk)
            digest.update(chunk)
            sent += len(chunk)
            due += chunk_time
            time.sleep(max(0.0, due - time.monotonic()))
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while data := connection.recv(1000):
            answer += data
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    retransmits = struct.unpack_from("I", info, _TCP_INFO_TOTAL_RETRANS)[0]
    found = {
        "sent": f"{sent} {digest.hexdigest()}",
        "sink": answer.decode(),
        "retransmits": retransmits,
        "segments": sent // 1448,
    }
    print(json.dumps(found), flush=True)


def serve(name: str, port: str) -> None:
    for family in (socket.AF_INET, socket.AF_INET6):
        threading.Thread(target=_echo, args=(name, family, int(port)), daemon=True).start()
    sink(port)


def _echo(name: str, family: int, port: int) -> None:
    """From the address that was asked, whatever the route back would choose: IP_PKTINFO (ip(7)), IPV6_PKTINFO (RFC 3542)."""
    level, option = (socket.IPPROTO_IP, 8) if family == socket.AF_INET else (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO)
    kind = 8 if family == socket.AF_INET else socket.IPV6_PKTINFO
    with socket.socket(family, socket.SOCK_DGRAM) as server:
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.setsockopt(level, option, 1)
        server.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, _LARGE)
        server.bind(("", port))
        while True:
            data, [(_, _, told)], _, client = server.recvmsg(65536, 256)
            own = b"\0" * 4 + told[8:12] * 2 if family == socket.AF_INET else told[:16] + b"\0" * 4
            says = f"{name} {hashlib.sha256(data).hexdigest()} ".encode() + data
            with contextlib.suppress(OSError):  # a path that has become too narrow for it: the client asks again
                server.sendmsg([says[: len(data)] if len(data) > 200 else says], [(level, kind, own)], 0, client)


def _from(source: tuple[str, ...], family: int, kind: int) -> socket.socket:
    """A socket with that source address, which the machine need not have on an interface (IP_FREEBIND, IPV6_FREEBIND)."""
    made = socket.socket(family, kind)
    if source:
        made.setsockopt(*((0, 15) if family == socket.AF_INET else (41, 78)), 1)
        made.bind((source[0], 0))
    return made


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def upload(address: str, port: str, count: str, *source: str) -> None:
    data = os.urandom(int(count))
    with _from(source, _family(address), socket.SOCK_STREAM) as connection:
        connection.settimeout(20)
        connection.connect((address, int(port)))
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(1000):
            answer += piece
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    found = {
        "sent": f"{len(data)} {hashlib.sha256(data).hexdigest()}",
        "sink": answer.decode(),
        "retransmits": struct.unpack_from("I", info, _TCP_INFO_TOTAL_RETRANS)[0],
    }
    print(json.dumps(found), flush=True)


def ask(address: str, port: str, size: str, count: str, *source: str) -> None:
    found: dict[str, Any] = {"answers": {}, "wrong": 0, "lost": 0, "sent": 0}
    for _ in range(int(count)):
        data = os.urandom(int(size))
        with _from(source, _family(address), socket.SOCK_DGRAM) as connection:
            connection.connect((address, int(port)))
            connection.settimeout(0.4)
            for _ in range(8):
                with contextlib.suppress(OSError):  # too large for what has just been learned of the path: EMSGSIZE
                    found["sent"] += 1
                    connection.send(data)
                    _sort(connection.recv(65536), data, found)
                    break
            else:
                found["lost"] += 1
    print(json.dumps(found), flush=True)


def _sort(answer: bytes, data: bytes, found: dict[str, Any]) -> None:
    name, digest, rest = answer.split(b" ", 2)
    right = digest.decode() == hashlib.sha256(data).hexdigest() and data.startswith(rest)
    found["wrong"] += not right
    found["answers"][name.decode()] = found["answers"].get(name.decode(), 0) + 1


def hold(address: str, count: str) -> None:
    connections = [socket.create_connection((address, 80), timeout=10) for _ in range(int(count))]
    request = f"GET / HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()
    first: list[str] = []
    while True:
        answers, broken = [], 0
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.sendall(request)
        for connection in connections:
            try:
                answers.append(_backend(connection))
            except OSError:
                answers.append("")
                broken += 1
        first = first or answers
        moved = sum(1 for was, now in zip(first, answers, strict=True) if was != now)
        backends = {name: answers.count(name) for name in sorted(set(answers))}
        print(json.dumps({"moved": moved, "broken": broken, "backends": backends}), flush=True)
        if not sys.stdin.readline():
            break


def _backend(connection: socket.socket) -> str:
    """The name in front of the body of nginx's answer, which comes in one segment."""
    answer = connection.recv(4096)
    if not answer:
        raise ConnectionResetError
    return answer.partition(b"\r\n\r\n")[2].split()[0].decode()


def stream(address: str, port: str, rate: str, flows: str) -> None:
    sockets = [socket.socket(_family(address), socket.SOCK_DGRAM) for _ in range(int(flows))]
    answers: dict[str, int] = {}
    for each in sockets:
        each.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, _LARGE)
        each.connect((address, int(port)))
        each.setblocking(False)
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
    sent, began = 0, time.monotonic()
    print("ready", flush=True)
    while not stop.is_set():
        time.sleep(max(0.0, began + sent / float(rate) - time.monotonic()))
        sockets[sent % len(sockets)].send(sent.to_bytes(8, "big"))
        sent += 1
        _collect(sockets, answers)
    until = time.monotonic() + 10
    while sum(answers.values()) < sent and time.monotonic() < until:
        time.sleep(0.05)
        _collect(sockets, answers)
    print(json.dumps({"sent": sent, "answers": answers}), flush=True)


def _collect(sockets: list[socket.socket], answers: dict[str, int]) -> None:
    for each in sockets:
        with contextlib.suppress(BlockingIOError):
            while True:
                name = each.recv(2048).split(b" ")[0].decode()
                answers[name] = answers.get(name, 0) + 1


def revisit(address: str) -> None:
    request = f"GET / HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()
    connection = socket.create_connection((address, 80), timeout=10)
    connection.sendall(request)
    found: dict[str, Any] = {"first": _backend(connection)}
    print(json.dumps(found), flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    try:
        connection.sendall(request)
        found["error"] = f"answered by {_backend(connection)}"
    except OSError as error:
        found["error"] = type(error).__name__
    found["after"] = time.monotonic() - began
    began = time.monotonic()
    with socket.create_connection((address, 80), timeout=10) as fresh:
        fresh.sendall(request)
        found["second"] = _backend(fresh)
    found["again"] = time.monotonic() - began
    print(json.dumps(found), flush=True)


def knock(address: str, port: str, kind: str) -> None:
    began, error = time.monotonic(), "none"
    with socket.socket(_family(address), socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as made:
        made.settimeout(10)
        try:
            made.connect((address, int(port)))
            if kind == "udp":
                made.send(b"who is there?")
                made.recv(100)
        except OSError as e:
            error = type(e).__name__
    print(json.dumps({"error": error, "after": time.monotonic() - began}), flush=True)


_OBJ_GET, _PROG_TEST_RUN, _LIVE_FRAMES, _SYS_BPF = 7, 10, 2, 321  # linux/bpf.h; the system call's number on x86-64
_BURST, _PAUSE = 1 << 14, 0.005  # frames at once, and seconds for others' packets to pass: a veth's ring has 256 places


def storm(pin: str, interface: str, to: str, source: str, vip: str, port: str, kind: str, count: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    path = ctypes.create_string_buffer(pin.encode())
    attributes = ctypes.create_string_buffer(struct.pack("QII", ctypes.addressof(path), 0, 0), 128)
    program = libc.syscall(_SYS_BPF, _OBJ_GET, attributes, 128)
    packet = _storm_packet(socket.if_nametoindex(interface), to, source, vip, int(port), kind)
    data = ctypes.create_string_buffer(packet, len(packet))
    run = struct.pack(
        "IIIIQQIIIIQQIII", program, 0, len(packet), 0, ctypes.addressof(data), 0, _BURST, 0, 0, 0, 0, 0, _LIVE_FRAMES, 0, 64
    )
    for _ in range(int(count) // _BURST):
        attributes = ctypes.create_string_buffer(run, 128)
        if libc.syscall(_SYS_BPF, _PROG_TEST_RUN, attributes, 128):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        time.sleep(_PAUSE)


def _storm_packet(ifindex: int, to: str, source: str, vip: str, port: int, kind: str) -> bytes:
    flags = {"syn": 0x02, "ack": 0x10}.get(kind, 0)
    tcp = struct.pack("!HHIIBBHHH", 0, port, 1, 1, 5 << 4, flags, 64240, 0, 0)
    l4 = struct.pack("!HHHH", 0, port, 20, 0) + bytes(12) if kind == "udp" else tcp
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 40, ifindex, 0, 64, 17 if kind == "udp" else 6, 0, bytes(4), socket.inet_aton(vip)
    )
    mac = bytes.fromhex(to.replace(":", ""))
    return mac + bytes.fromhex(source.replace(":", "")) + b"\x08\x00" + head + l4 + mac  # a copy: see flood.bpf.c


def flood(interface: str, to: str, source: str, vip: str, count: str) -> None:
    ethernet = bytes.fromhex(to.replace(":", "") + source.replace(":", ""))
    tcp = struct.pack("!HHIIBBHHH", 40000, 80, 1, 0, 5 << 4, 2, 64240, 0, 0)
    if ":" in vip:
        head = struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64)
        packet = b"\x86\xdd" + head + socket.inet_pton(socket.AF_INET6, "fd1a:b:0:1::2") + socket.inet_pton(socket.AF_INET6, vip)
    else:
        addresses = socket.inet_aton("198.18.1.2") + socket.inet_aton(vip)
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0)
        total = sum(struct.unpack("!10H", head + addresses))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        packet = b"\x08\x00" + head[:10] + struct.pack("!H", total ^ 0xFFFF) + addresses
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((interface, 0))
        for _ in range(int(count)):
            wire.send(ethernet + packet + tcp)


if __name__ == "__main__":
    verbs = {
        "sink": sink,
        "send": send,
        "serve": serve,
        "upload": upload,
        "ask": ask,
        "hold": hold,
        "stream": stream,
        "revisit": revisit,
        "knock": knock,
        "storm": storm,
        "flood": flood,
    }
    verbs[sys.argv[1]](*sys.argv[2:])
