"""Where the API listens: what a reload changes of it, TLS, and sockets that go to a successor."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from fairlead.adapters.http import Server, application
from fairlead.adapters.http.access import read_access
from fairlead.errors import Refused
from fairlead.model import Api
from tests.unit.http.tcp import BEARER, BOUNDS, TOKEN, Tcp, certificate, free_port, handlers, request, tcp

LOOPBACK, EVERYWHERE = ip_address("127.0.0.1"), ip_address("0.0.0.0")


async def curl(*words: str) -> tuple[int, str]:
    """Exit code of the real client, and what it printed."""
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "-m", "20", *words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


def api(served: Tcp, home: Path, **more: Any) -> Api:
    return replace(Api(listen=((LOOPBACK, served.port),), token_file=str(home / "token")), **more)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def follow(served: Tcp, wanted: Api) -> None:
    await served.server.use(served.server.prepare(wanted))


async def test_a_reload_moves_it(tmp_path: Path) -> None:
    """New places are served before old ones are left; who is connected stays; the token holds for all at once."""
    async with tcp(tmp_path, replace(BOUNDS, idle=20.0)) as served, await served.connect() as old:
        await old.send(request("/healthz"))
        assert (await old.answer()).code == 200
        other = free_port()
        (tmp_path / "token").write_text("another-token-of-some-length\n")
        await follow(served, api(served, tmp_path, listen=((LOOPBACK, other),)))
        assert served.server.endpoints() == (f"http://127.0.0.1:{other}",)
        with pytest.raises(ConnectionRefusedError):
            await served.connect()
        await old.send(request("/v1/status", headers=BEARER))
        assert (await old.answer()).code == 401, "the old token is none any more"
        served.port = other
        assert (await served.ask("/v1/status", headers={"Authorization": "Bearer another-token-of-some-length"})).code == 200
        await follow(served, api(served, tmp_path, listen=()))
        with pytest.raises(ConnectionRefusedError):
            await served.connect()


async def test_from_one_address_to_all_and_back(tmp_path: Path) -> None:
    """The wider endpoint takes the place of the narrower on the same port, and the other way round; nobody else can share it."""
    async with tcp(tmp_path) as served:
        for where in (EVERYWHERE, LOOPBACK, EVERYWHERE):
            await follow(served, api(served, tmp_path, listen=((where, served.port),)))
            assert (await served.ask("/healthz")).code == 200
            with pytest.raises(Refused, match="Address already in use"):
                Server("/nonexistent", application(handlers([]))).prepare(Api(listen=((LOOPBACK, served.port),)))


async def test_what_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    """Every reason is named, no socket is left over, and what was goes on."""
    async with tcp(tmp_path) as served:
        taken, free = free_port(), free_port()
        listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", taken)
        before = descriptors()
        with pytest.raises(Refused) as refused:
            served.server.prepare(Api(listen=((LOOPBACK, free), (LOOPBACK, taken)), token_file=str(tmp_path / "no")))
        assert len(refused.value.reasons) == 2
        assert f"127.0.0.1:{taken}: Address already in use" in str(refused.value)
        assert descriptors() == before
        served.server.prepare(Api(listen=((LOOPBACK, free),))).discard()
        assert descriptors() == before
        assert (await served.ask("/v1/status", headers=BEARER)).code == 200
        listener.close()


async def test_an_address_that_is_still_missing(tmp_path: Path) -> None:
    """The network may come up after Fairlead: that is no reason not to start."""
    async with tcp(tmp_path) as served:
        served.server.prepare(Api(listen=((ip_address("192.0.2.250"), 8080), (ip_address("2001:db8::250"), 8080)))).discard()


async def test_a_successor_takes_over(tmp_path: Path) -> None:
    """Clients that come while nobody serves wait, and are answered by the next one; what it does not want is closed."""
    asked: list[Any] = []
    async with tcp(tmp_path) as served:
        second = free_port()
        await follow(served, api(served, tmp_path, listen=((LOOPBACK, served.port), (LOOPBACK, second))))
        kept = await served.server.keep()
        await served.server.close()
        async with await served.connect() as waiting:
            await waiting.send(request("/healthz"))
            successor = Server(str(served.path), application(handlers(asked)), kept, public=["/healthz"])
            prepared = successor.prepare(api(served, tmp_path))
            await successor.start()
            await successor.use(prepared)
            assert (await waiting.answer()).code == 200
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", second)
        await successor.close()
        assert not served.path.exists()


async def test_a_stop_lets_requests_finish(tmp_path: Path) -> None:
    """What is asked is answered, and says that the connection ends; idle connections end at once."""
    async with (
        tcp(tmp_path, replace(BOUNDS, idle=20.0)) as served,
        await served.connect() as idle,
        await served.connect() as busy,
    ):
        await idle.send(request("/healthz"))
        await idle.answer()
        await busy.send(request("/v1/echo", "POST", {**BEARER, "Content-Length": "3"}) + "ab")
        await asyncio.sleep(0.05)
        closing = asyncio.create_task(served.server.close())
        assert await idle.ended()
        await busy.send("c")
        answer = await busy.answer()
        assert (answer.json, answer.headers["connection"]) == ({"says": "3"}, "close")
        await closing


# ------------------------------------------------------------------------------------------------------------------------- TLS


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
async def test_tls(tmp_path: Path) -> None:
    """TLS and nothing else, with the certificate of the file; a reload takes another without a restart."""
    crt, key = certificate(tmp_path, "one")
    async with tcp(tmp_path, replace(BOUNDS, head_within=20.0), certificate=crt, key=key) as served:
        url, token = f"https://localhost:{served.port}/v1/status", f"Authorization: Bearer {TOKEN}"
        ask = ("-o", "/dev/null", "-w", "%{http_code} %{ssl_verify_result}", "-H", token, url)
        assert await curl("--cacert", crt, *ask) == (0, "200 0")
        assert await curl("--cacert", crt, "--tls-max", "1.2", *ask) == (0, "200 0")
        assert (await curl("--cacert", crt, "--tls-max", "1.1", *ask))[0] == 35
        assert (await curl(url.replace("https", "http")))[0] != 0, "no answer in the clear"
        assert served.server.endpoints() == (f"https://127.0.0.1:{served.port}",)
        two, _ = certificate(tmp_path, "two")
        shutil.copy(two, crt)
        shutil.copy(tmp_path / "two.key", key)
        assert (await curl("--cacert", two, *ask))[0] == 60, "what is in the files holds from the next reload on"
        await follow(served, api(served, tmp_path, certificate=crt, key=key))
        assert await curl("--cacert", two, *ask) == (0, "200 0")
        await follow(served, api(served, tmp_path))
        assert (await served.ask("/v1/status", headers=BEARER)).code == 200, "without TLS from now on"


async def test_handshakes_take_a_place(tmp_path: Path) -> None:
    """Who connects and never shakes hands counts, and goes in time; others come in meanwhile."""
    crt, key = certificate(tmp_path)
    async with tcp(tmp_path, certificate=crt, key=key) as served:
        silent = [await served.connect() for _ in range(3)]
        async with asyncio.timeout(20):
            while served.server._outer._inside.total() < 3:
                await asyncio.sleep(0.01)
        code, out = await curl("--cacert", crt, f"https://localhost:{served.port}/healthz")
        assert (code, out) == (0, "ok\n")
        await silent[0].send(b"GET / HTTP/1.1\r\n\r\n")
        assert await silent[0].ended(), "no TLS spoken"
        for client in silent:
            client.writer.transport.abort()
        async with asyncio.timeout(20):
            while served.server._outer._inside:
                await asyncio.sleep(0.01)


def test_bad_certificates(tmp_path: Path) -> None:
    """What cannot be used is named, with what is wrong with it."""
    crt, key = certificate(tmp_path, "one")
    _, other = certificate(tmp_path, "two")
    locked, junk = str(tmp_path / "locked.key"), str(tmp_path / "junk")
    subprocess.run(["openssl", "pkey", "-in", key, "-aes256", "-passout", "pass:x", "-out", locked], check=True)
    Path(junk).write_text("junk")

    def says(certificate: str, key: str) -> str:
        with pytest.raises(Refused) as refused:
            read_access(Api(certificate=certificate, key=key))
        return str(refused.value)

    assert "does not belong to the first certificate" in says(crt, other)
    assert "is encrypted, and nobody is there to type a passphrase" in says(crt, locked)
    assert "holds no certificate in PEM" in says(junk, key)
    assert "holds no private key in PEM" in says(crt, junk)
    assert "No such file" in says(str(tmp_path / "no"), key)


def test_ports_that_need_a_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's EACCES is said in words that help."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("fairlead.adapters.http.server._tcp", lambda *_, **__: refuse())
    with pytest.raises(Refused, match=r"127\.0\.0\.1:443: a port below 1024 needs the capability CAP_NET_BIND_SERVICE"):
        Server(str(tmp_path / "x"), application(handlers([]))).prepare(Api(listen=((LOOPBACK, 443),)))
