"""A server that answers wrongly, standard library only: `python wrong.py PORT KIND`.

error      503 to every request          garbage    bytes that are no HTTP
silent     takes connections, says nothing, reads nothing
closing    takes connections and closes them
"""

from __future__ import annotations

import socket
import sys

ANSWERS = {
    "error": b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "garbage": bytes(range(1, 256)) * 4,
}


def main(port: str, kind: str) -> None:
    kept = []
    with socket.create_server(("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64) as server:
        print("ready", flush=True)
        while True:
            connection, _ = server.accept()
            if kind == "silent":
                kept.append(connection)
                continue
            with connection:
                if kind in ANSWERS:
                    connection.recv(4096)
                    connection.sendall(ANSWERS[kind])


if __name__ == "__main__":
    main(*sys.argv[1:])
