"""Each type of check against real servers, good and bad, over IPv4 and IPv6."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from fairlead.adapters.probes import Prober, probe
from fairlead.adapters.probes import https as https_module
from fairlead.adapters.probes.http import request
from fairlead.model import Check, ProbeKey, ProbeResult
from tests.unit.probing import LOOPBACKS, inside, run, serving, space, target

__all__ = ["space"]
pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="makes a network namespace")]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def served(space: str, answer: bytes, check: Check, *, keep: bool = False, **more: Any) -> ProbeResult:
    """What a check says of a server that gives this answer."""

    async def story() -> ProbeResult:
        async with serving(answer, keep=keep, **more) as port:
            return await probe(target(replace(check, port=port), more.get("host", "127.0.0.1")))

    result = inside(space, story)
    assert isinstance(result, ProbeResult)
    return result


# ------------------------------------------------------------------------------------------------------------------------ bodies


@pytest.mark.parametrize(
    ("body", "passed", "says"),
    [
        ("^o[k]$", True, "200 after"),
        ("fine", False, "200, but nothing in its body matches 'fine' after"),
    ],
)
def test_bodies_are_searched(space: str, body: str, passed: bool, says: str) -> None:
    """A pattern must match somewhere in the body."""
    result = served(space, OK, Check("http", 0, body=body))
    assert (result.passed, result.says.startswith(says)) == (passed, True), result.says


def test_only_64_kib_of_a_body_are_searched(space: str) -> None:
    """What comes later is not looked at, and not waited for."""
    late = b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * (64 << 10) + b"needle"
    assert not served(space, late, Check("http", 0, body="needle", timeout=0.5), keep=True).passed
    early = b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 60000 + b"needle" + b"x" * 6000
    assert served(space, early, Check("http", 0, body="needle", timeout=0.5), keep=True).passed


def test_a_hopeless_pattern_stalls_nothing(space: str) -> None:
    """A pattern that would need for ever on this answer fails within milliseconds, and then rests."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"a" * 59999 + b"!"
    check = Check("http", 0, body="(a+)+$", timeout=2)

    async def story() -> tuple[list[str], float]:
        worst, says = 0.0, []
        async with serving(answer) as port:
            for _ in range(3):
                asked = asyncio.create_task(probe(target(replace(check, port=port))))
                while not asked.done():
                    at = time.monotonic()
                    await asyncio.sleep(0)
                    worst = max(worst, time.monotonic() - at)
                says.append(asked.result().says)
        return says, worst

    says, worst = inside(space, story)
    assert {s.rpartition(" after ")[0] for s in says} == {"the pattern '(a+)+$' takes too long on this answer"}
    assert worst < 0.25, "a loop held up for as long as that by 60 kB is not bounded"


def test_headers_are_sent() -> None:
    """The check's own come beside ours or in their place; a line break makes no further header."""
    check = Check("http", 8080, headers=(("user-agent", "x"), ("X-A", "1\r\nX-B: 2")))
    lines = request(check, ip_address("fd00::1")).split(b"\r\n")
    assert b"Host: [fd00::1]:8080" in lines
    assert b"user-agent: x" in lines and not any(line.startswith(b"User-Agent") for line in lines)
    assert b"X-A: 1X-B: 2" in lines


# ----------------------------------------------------------------------------------------------------------------------- bad ones


@asynccontextmanager
async def dripping(data: bytes, every: float) -> Any:
    """A server that says this over and over, a piece at a time, for as long as somebody listens."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            while True:
                writer.write(data)
                await writer.drain()
                await asyncio.sleep(every)
        except (ConnectionError, asyncio.CancelledError):
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(
    ("data", "every", "says"),
    [
        (b"H", 0.02, "the answer is not HTTP after"),
        (b"X-A: b\r\n", 0.01, "the answer is not HTTP after"),
        (b"\0\xff" * 4096, 0, "the answer is not HTTP after"),
    ],
)
def test_garbage_is_named(space: str, data: bytes, every: float, says: str) -> None:
    """Whatever comes, slowly or fast, the probe ends in words."""

    async def story() -> ProbeResult:
        async with dripping(data, every) as port:
            return await probe(target(Check("http", port, timeout=0.5)))

    result = inside(space, story)
    assert (result.passed, result.says.startswith(says)) == (False, True), result.says


@pytest.mark.parametrize("kind", ["http", "dns"])
def test_a_dripping_answer_ends_with_the_timeout(space: str, kind: Any) -> None:
    """A byte now and then keeps no probe alive: the timeout is for the whole answer."""

    async def story() -> ProbeResult:
        head = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" if kind == "http" else b"\xff\xff")
            while not head.is_set() and not writer.is_closing():
                writer.write(b"x")
                await asyncio.sleep(0.01)
            writer.transport.abort()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        result = await probe(target(Check(kind, port, method="GET" if kind == "http" else "tcp", timeout=0.3)))
        head.set()
        server.close()
        return result

    result = inside(space, story)
    assert (result.passed, result.says) == (False, "connected, but no answer within 0.3 s")
    assert result.took < 0.6


def test_hanging_servers_cost_their_slot_only(space: str) -> None:
    """Twenty servers that take connections and say nothing do not delay the checks of one that answers."""

    async def story() -> tuple[list[float], set[str]]:
        took: list[float] = []
        hung: set[str] = set()
        enough = asyncio.Event()

        def on_result(key: ProbeKey, result: ProbeResult) -> None:
            if key.check.path == "/":
                took.append(result.took)
            else:
                hung.add(result.says)
            if len(took) >= 20 and hung:
                enough.set()

        prober = Prober(on_result)
        async with serving(OK) as good, serving(b"", keep=True) as bad:
            checks = [Check("http", good, interval=0.05)]
            checks += [Check("http", bad, path=f"/{n}", interval=0.1, timeout=0.5) for n in range(20)]
            prober.set({ProbeKey(t.vip, t.backend, None, t.check): t for t in map(target, checks)})
            await enough.wait()
            await prober.close()
        return took, hung

    took, hung = inside(space, story)
    assert max(took) < 0.2
    assert hung == {"connected, but no answer within 0.5 s"}


# --------------------------------------------------------------------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for www.example.org, signed by itself."""
    made = tmp_path_factory.mktemp("tls") / "both.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=www.example.org".split()
    names = ["-addext", "subjectAltName=DNS:www.example.org"]
    subprocess.run(["openssl", *words, *names, "-keyout", f"{made}.key", "-out", f"{made}.crt"], check=True, capture_output=True)
    made.write_bytes(Path(f"{made}.key").read_bytes() + Path(f"{made}.crt").read_bytes())
    return made


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine trusts that certificate."""
    monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
    https_module.context.cache_clear()
    yield
    https_module.context.cache_clear()


def tls(certificate: Path, names: list[str] | None = None) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificate)
    if names is not None:
        made.sni_callback = lambda _socket, name, _context: names.append(name)
    return made


@pytest.mark.parametrize("vip", LOOPBACKS)
def test_https_with_sni(space: str, certificate: Path, vip: str) -> None:
    """The name of the check is what the server is asked for; without `verify` any certificate will do."""
    names: list[str] = []
    check = Check("https", 0, host="www.example.org:443", body="ok")
    result = served(space, OK, check, host=vip, port=0, ssl=tls(certificate, names))
    assert (result.passed, names) == (True, ["www.example.org"]), result.says


def test_certificates_are_verified(space: str, certificate: Path) -> None:
    """With `verify` a certificate that nobody vouches for fails, by name."""
    result = served(space, OK, Check("https", 0, host="www.example.org", verify=True), ssl=tls(certificate))
    assert not result.passed
    assert result.says.startswith("its certificate is not good: self-signed certificate after ")


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(("host", "passed"), [("www.example.org", True), ("other.example.org", False), ("", False)])
def test_names_are_verified(space: str, certificate: Path, host: str, passed: bool) -> None:
    """A good certificate for another name fails; with no host the VIP itself would have to be in it."""
    result = served(space, OK, Check("https", 0, host=host, verify=True), ssl=tls(certificate))
    assert result.passed == passed, result.says
    assert passed or ("its certificate is not good: " in result.says and "mismatch" in result.says), result.says


def test_no_tls_is_named(space: str) -> None:
    """A plain server behind a check for https, garbage, and one that closes."""
    assert served(space, OK, Check("https", 0, timeout=0.3)).says.startswith("connected, but TLS was not set up within")
    assert "TLS: " in served_garbage(space, b"hello\r\n").says
    assert served_garbage(space, b"").says.startswith("closed while TLS was set up after")


def served_garbage(space: str, data: bytes) -> ProbeResult:
    async def story() -> ProbeResult:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1000)
            writer.write(data)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        result = await probe(target(Check("https", server.sockets[0].getsockname()[1], timeout=0.5)))
        server.close()
        return result

    result = inside(space, story)
    assert isinstance(result, ProbeResult)
    return result


# ----------------------------------------------------------------------------------------------------------------- TCP, SYN, ICMP


@contextmanager
def listening(address: str) -> Iterator[int]:
    """A port whose connections nobody takes from the kernel."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family, backlog=512) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("vip", LOOPBACKS)
@pytest.mark.parametrize(("kind", "says"), [("tcp", "connected after "), ("syn", "SYN answered after ")])
def test_ports_that_are_open(space: str, vip: str, kind: Any, says: str) -> None:
    """A connection that is taken passes, and so does half of one."""

    async def story() -> ProbeResult:
        with listening(vip) as port:
            return await probe(target(Check(kind, port), vip))

    result = inside(space, story)
    assert (result.passed, result.says.startswith(says)) == (True, True), result.says


@pytest.mark.parametrize("vip", LOOPBACKS)
@pytest.mark.parametrize("kind", ["tcp", "syn", "http", "https"])
def test_ports_that_are_closed(space: str, vip: str, kind: Any) -> None:
    """Refused, over both protocols, with the time it took."""
    result = run(space, Check(kind, 1), vip)
    assert (result.passed, result.says.startswith("connection refused after ")) == (False, True), result.says


@pytest.mark.parametrize("vip", LOOPBACKS)
def test_echo(space: str, vip: str) -> None:
    """The loopback answers."""
    result = run(space, Check("icmp", 0), vip)
    assert (result.passed, result.says.startswith("echo after ")) == (True, True), result.says


def test_many_at_once(space: str) -> None:
    """Half-open and echo probes share a socket, and each gets its own answer."""

    async def story() -> list[bool]:
        results: list[bool] = []
        done = asyncio.Event()

        def on_result(_: ProbeKey, result: ProbeResult) -> None:
            results.append(result.passed)
            if len(results) == 400:
                done.set()

        prober = Prober(on_result)
        with listening("0.0.0.0") as port:
            checks = [Check("syn", port, interval=60), Check("icmp", 0, interval=60)]
            vips = [f"127.0.{n}.1" for n in range(200)]
            wanted = [target(check, vip) for check in checks for vip in vips]
            prober.set({ProbeKey(t.vip, t.backend, None, t.check): t for t in wanted})
            await done.wait()
            await prober.close()
        return results

    assert inside(space, story).count(True) == 400


# ---------------------------------------------------------------------------------------------------------------------- diagnosis


@pytest.fixture
def silent(space: str) -> Iterator[str]:
    """An address that swallows everything."""
    vip = "10.9.9.9"
    subprocess.run(["ip", "-n", space, "addr", "add", f"{vip}/32", "dev", "lo"], check=True)
    rules = f"table ip f {{ chain c {{ type filter hook input priority 0; ip daddr {vip} drop; }}; }}"
    subprocess.run(["ip", "netns", "exec", space, "nft", rules], check=True)
    yield vip
    subprocess.run(["ip", "netns", "exec", space, "nft", "delete", "table", "ip", "f"], check=True)
    subprocess.run(["ip", "-n", space, "addr", "del", f"{vip}/32", "dev", "lo"], check=True)


@pytest.mark.parametrize(
    ("kind", "backend", "says"),
    [
        ("http", "127.0.0.1", "no answer within 0.2 s; 127.0.0.1 itself answers: is 10.9.9.9 on its loopback?"),
        ("icmp", "127.0.0.2", "no answer within 0.2 s; 127.0.0.2 itself answers: is 10.9.9.9 on its loopback?"),
        ("syn", "127.0.0.9", "no answer within 0.2 s; 127.0.0.9 itself is there: is 10.9.9.9 on its loopback?"),
        ("tcp", "10.9.9.9", "no answer within 0.2 s; and 10.9.9.9 itself does not answer either (no answer within 1 s)"),
    ],
)
def test_a_silent_vip_is_told_from_a_dead_backend(space: str, silent: str, kind: Any, backend: str, says: str) -> None:
    """The backend's own address is asked as well; the next failures say what it said."""

    async def story() -> list[str]:
        heard: list[str] = []
        enough = asyncio.Event()

        def on_result(_: ProbeKey, result: ProbeResult) -> None:
            heard.append(result.says)
            if ";" in result.says:
                enough.set()

        prober = Prober(on_result)
        async with serving(OK) as port:
            one = target(Check(kind, 0 if kind == "icmp" else port, interval=0.1, timeout=0.2), silent, backend)
            prober.set({ProbeKey(one.vip, one.backend, None, one.check): one})
            await enough.wait()
            await prober.close()
        return heard

    heard = inside(space, story)
    assert heard[0] == "no answer within 0.2 s"
    assert heard[-1] == says
