"""Small programs that lab tests run inside namespaces, standard library only: `python tools.py VERB ARGUMENT...`.

sink PORT                    take connections, answer each with bytes and SHA-256 of what came before its end
send ADDRESS PORT SECONDS MB/S   send random bytes at a pace, print {"sent", "digest", "sink", "retransmits"}
flood INTERFACE MAC_DST MAC_SRC VIP COUNT   Ethernet frames with a SYN for VIP:80
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import sys
import threading
import time

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
    {"sink": sink, "send": send, "flood": flood}[sys.argv[1]](*sys.argv[2:])
