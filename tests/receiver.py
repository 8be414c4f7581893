"""A receiver of webhooks for the tests: real HTTP over TCP or TLS, which keeps what came and answers as it is told to.

Alone it is a program for a lab: `python receiver.py ADDRESS PORT FILE` appends a JSON line for each request to FILE.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar


@dataclass
class Answer:
    """What a request is answered with; `late` seconds after it came, `raw` instead of everything else."""

    status: int = 200
    body: bytes = b"ok"
    headers: dict[str, str] = field(default_factory=dict)
    late: float = 0.0
    raw: bytes | None = None


@dataclass
class Request:
    """What came. `at` is of a clock that nobody sets."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Receiver(ThreadingHTTPServer):
    """Listens at once, on a port of its own choice unless one is given. `answers` are for the next requests, then `usual`."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, at: tuple[str, int] = ("127.0.0.1", 0), tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self.requests: list[Request] = []
        self.answers: list[Answer] = []
        self.usual = Answer()
        self.told: Callable[[Request], None] = lambda _request: None
        self._over = threading.Event()
        super().__init__(at, _Handler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.server_address[1]}/hook?key=secret"

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the thread of the request: a handshake that never ends holds up nobody else."""
        if self.tls is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(5)
        with self.tls.wrap_socket(request, server_side=True) as wrapped:
            super().finish_request(wrapped, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left is what some tests are about."""

    def next_answer(self) -> Answer:
        return self.answers.pop(0) if self.answers else self.usual

    def wait(self, seconds: float) -> None:
        """As long as that, or until the receiver ends."""
        self._over.wait(seconds)

    def end(self) -> None:
        self._over.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver
    error_content_type: ClassVar[str] = "text/plain"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = Request(self.path, {name.lower(): value for name, value in self.headers.items()}, body, time.monotonic())
        self.server.requests.append(request)
        self.server.told(request)
        answer = self.server.next_answer()
        self.server.wait(answer.late)
        if answer.raw is not None:
            self._drip(answer.raw)
            return
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def _drip(self, raw: bytes) -> None:
        """A byte now and then, as a receiver that never gets anywhere."""
        for index in range(len(raw)):
            self.wfile.write(raw[index : index + 1])
            self.server.wait(0.02)
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing on the terminal."""


def _program(address: str, port: str, file: str) -> None:
    """Keep what comes in a file, for a lab; ends with its standard input."""
    Receiver.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = Receiver((address, int(port)))
    with open(file, "a", encoding="utf-8") as kept:  # noqa: PTH123

        def told(request: Request) -> None:
            kept.write(json.dumps({"path": request.path, "body": request.json}) + "\n")
            kept.flush()

        made.told = told
        print("ready", flush=True)
        sys.stdin.read()
    made.end()


if __name__ == "__main__":
    _program(*sys.argv[1:4])
