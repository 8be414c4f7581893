"""A strict stand-in for Elasticsearch and OpenSearch: a process of its own that can be killed at any moment.

    python elastic.py PORT DIRECTORY KIND [USER:PASSWORD | key:APIKEY] [CERTIFICATE KEY]

It takes what the bulk API's documentation allows and Fairlead is to send, and nothing else: anything odd is answered with 400 and
written to `odd`. Documents are in the file `documents` before they are acknowledged, so that what was said to be taken is there
after a SIGKILL. The file `script` says how the next bulk requests fare, a word each; what is done is taken from it:

    429 503 401 whole requests        item429 item503 item400  every third document
    hang  says nothing                reset  closes the connection, nothing stored       lost  stores, then closes it
    slow  answers after a second      page   answers 200 with HTML
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import pathlib
import socket
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LARGEST = 6 << 20  # octets of a body, unpacked
HERE = {"elasticsearch": "Elasticsearch", "opensearch": ""}


class Odd(Exception):
    """A request that the protocol does not know."""


class Store:
    """Documents by data stream; those of a run before are there again."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.lock = threading.Lock()
        self.directory = directory
        self.path = directory / "documents"
        text = self.path.read_bytes() if self.path.exists() else b""
        whole = text[: text.rfind(b"\n") + 1]
        if len(whole) < len(text):
            os.truncate(self.path, len(whole))
        self.ids = {json.loads(line)["_id"] for line in whole.splitlines()}
        self.file = self.path.open("ab", buffering=0)
        found = directory / "templates"
        self.templates = json.loads(found.read_text()) if found.exists() else {}

    def put_template(self, name: str, body: dict[str, object]) -> None:
        if "data_stream" not in body or not body.get("index_patterns"):
            raise Odd("a template of no data stream")
        mappings = body["template"]["mappings"]["properties"]  # type: ignore[index]
        if mappings["@timestamp"]["type"] != "date":
            raise Odd("@timestamp must be a date")
        with self.lock:
            self.templates[name] = body
            (self.directory / "templates").write_text(json.dumps(self.templates))

    def fields(self, stream: str) -> set[str]:
        for body in self.templates.values():
            if stream in body["index_patterns"]:
                return set(_leaves(body["template"]["mappings"]["properties"]))
        raise Odd(f"no template is for the data stream {stream}")

    def create(self, stream: str, name: str, document: dict[str, object]) -> int:
        if name in self.ids:
            return 409
        self.file.write(json.dumps({"_id": name, "stream": stream, "document": document}).encode() + b"\n")
        self.ids.add(name)
        return 201

    def next(self) -> str:
        """How the next request fares."""
        path = self.directory / "script"
        words = path.read_text().split() if path.exists() else []
        if not words:
            return "ok"
        if words[0] != "for-ever":
            path.write_text(" ".join(words[1:]))
            return words[0]
        return words[1]

    def odd(self, says: str) -> None:
        with (self.directory / "odd").open("a") as file:
            file.write(says + "\n")


def _leaves(properties: dict[str, dict[str, object]], above: str = "") -> list[str]:
    found = []
    for name, value in properties.items():
        inner = value.get("properties")
        found += _leaves(inner, f"{above}{name}.") if inner else [above + name]  # type: ignore[arg-type]
    return found


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: Store
    kind: str
    login: str

    def log_message(self, *_: object) -> None:
        pass

    def body(self) -> bytes:
        if self.headers.get("transfer-encoding"):
            raise Odd("no length")
        data = self.rfile.read(int(self.headers.get("content-length", "0")))
        return gzip.decompress(data) if self.headers.get("content-encoding") == "gzip" else data

    def allowed(self) -> bool:
        if not self.login:
            return "authorization" not in self.headers
        scheme, _, secret = self.login.partition(":")
        if scheme == "key":
            return self.headers.get("authorization") == f"ApiKey {secret}"
        return self.headers.get("authorization") == "Basic " + base64.b64encode(self.login.encode()).decode()

    def answer(self, status: int, value: object, kind: str = "application/json") -> None:
        data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        if self.kind == "elasticsearch" and kind == "application/json":
            kind = "application/vnd.elasticsearch+json;compatible-with=9"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if HERE[self.kind]:
            self.send_header("X-elastic-product", HERE[self.kind])
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def error(self, status: int, kind: str, says: str) -> None:
        cause = {"type": kind, "reason": says}
        self.answer(status, {"error": {**cause, "root_cause": [cause]}, "status": status})

    def do_PUT(self) -> None:
        self.guarded(self.post if self.path.endswith("/_bulk") else self.put)

    def do_POST(self) -> None:
        self.guarded(self.post)

    def do_GET(self) -> None:
        self.guarded(lambda _: self.odd(f"GET {self.path}"))

    def odd(self, says: str) -> None:
        raise Odd(says)

    def guarded(self, act: object) -> None:
        try:
            data = self.body()
            if not self.allowed():
                self.error(401, "security_exception", "missing authentication credentials")
            else:
                act(data)  # type: ignore[operator]
        except Odd as e:
            self.store.odd(str(e))
            self.error(400, "illegal_argument_exception", str(e))

    def put(self, data: bytes) -> None:
        top, _, name = self.path.strip("/").partition("/")
        if top != "_index_template" or not name or "/" in name:
            raise Odd(f"PUT {self.path}")
        self.content("json")
        body = json.loads(data)
        if extra := body.keys() - {"index_patterns", "data_stream", "priority", "template", "_meta", "version"}:
            raise Odd(f"a template has no {extra}")
        self.store.put_template(name, body)
        self.answer(200, {"acknowledged": True})

    def content(self, kind: str) -> None:
        plain = "x-ndjson" if kind == "ndjson" else kind
        wanted = {f"application/{plain}", f"application/vnd.elasticsearch+{plain}; compatible-with=9"}
        if kind == "ndjson" and self.kind == "opensearch":
            wanted.add("application/json")  # its client says so of bulk requests, too
        if self.headers.get("content-type") not in wanted:
            raise Odd(f"content type {self.headers.get('content-type')}")

    def post(self, data: bytes) -> None:
        stream, _, verb = self.path.strip("/").partition("/")
        if verb != "_bulk" or not stream:
            raise Odd(f"POST {self.path}")
        if len(data) > LARGEST:
            self.error(413, "content_too_long_exception", "entity content is too long")
            return
        with self.store.lock:
            word = self.store.next()
            if word.isdigit():
                self.error(int(word), "es_rejected_execution_exception", "rejected execution of coordinating operation")
                return
            if word in ("hang", "reset"):
                self.vanish(word)
                return
            items = [self.item(word, place, stream, *pair) for place, pair in enumerate(self.pairs(stream, data))]
        if word == "lost":
            self.vanish("reset")
        elif word == "page":
            self.answer(200, "<html>welcome</html>", "text/html")
        else:
            time.sleep(1.0 if word == "slow" else 0)
            failed = any(item["create"]["status"] >= 300 for item in items)
            self.answer(200, {"took": 1, "errors": failed, "items": items})

    def vanish(self, how: str) -> None:
        """Say nothing for long, or go without a word."""
        if how == "hang":
            self.store.lock.release()
            time.sleep(12)
            self.store.lock.acquire()
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.connection.shutdown(socket.SHUT_RDWR)

    def pairs(self, stream: str, data: bytes) -> list[tuple[str, dict[str, object]]]:
        self.content("ndjson")
        if not data.endswith(b"\n"):
            raise Odd("a bulk request ends with a line feed")
        lines = data[:-1].split(b"\n")
        if len(lines) % 2:
            raise Odd("an odd number of lines")
        fields, found = self.store.fields(stream), []
        for action, source in zip(lines[::2], lines[1::2], strict=True):
            said, document = json.loads(action), json.loads(source)
            if list(said) != ["create"] or said["create"].keys() != {"_id"}:
                raise Odd(f"no create with an id: {said}")
            if "@timestamp" not in document or not document["@timestamp"].endswith("Z"):
                raise Odd("no @timestamp in UTC")
            if unknown := document.keys() - fields:
                raise Odd(f"fields that the template does not know: {unknown}")
            found.append((said["create"]["_id"], document))
        return found

    def item(self, word: str, place: int, stream: str, name: str, document: dict[str, object]) -> dict[str, dict[str, object]]:
        status = int(word[4:]) if word.startswith("item") and place % 3 == 1 else 0
        if status:
            error = {"type": "es_rejected_execution_exception", "reason": "rejected execution of primary operation"}
            return {"create": {"_index": stream, "_id": name, "status": status, "error": error}}
        status = self.store.create(stream, name, document)
        found: dict[str, object] = {"_index": f".ds-{stream}-000001", "_id": name, "status": status}
        if status == 409:
            found["error"] = {"type": "version_conflict_engine_exception", "reason": f"[{name}]: document already exists"}
        return {"create": found}


def main() -> None:
    """Serve until killed."""
    port, directory, kind, login, *tls = sys.argv[1:]
    Handler.store, Handler.kind, Handler.login = Store(pathlib.Path(directory)), kind, login
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
    server.daemon_threads = True
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    (pathlib.Path(directory) / "port").write_text(str(server.server_address[1]))
    server.serve_forever()


if __name__ == "__main__":
    main()
