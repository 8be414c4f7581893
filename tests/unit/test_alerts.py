"""Alerts on their way: posted over HTTP and TLS to a real receiver, tried again, given up, never in anybody's way."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from fairlead.adapters.alerts import Poster, judged
from fairlead.adapters.log import Log
from fairlead.adapters.troubles import Troubles
from fairlead.config import parse
from fairlead.events import SinkRecovered, SinkTroubled, VipDown, VipUp, Warned
from fairlead.model import Alert, Config, Delivery, Trouble
from fairlead.speaking.telling import Teller, names, tellers
from tests.receiver import Answer, Receiver

pytestmark = pytest.mark.live

VIP = ip_address("192.0.2.10")
DOWN, UP = VipDown(VIP, "no backend", "critical"), VipUp(VIP, "critical")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.end()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an authority of its own, for 127.0.0.1; the key lies beside it."""
    made = tmp_path_factory.mktemp("tls") / "receiver"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=receiver".split()
    names = ("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{made}.key", "-out", f"{made}.crt")
    subprocess.run(["openssl", *words, *names], check=True, capture_output=True)
    return made.with_suffix(".crt")


@pytest.fixture
def secure(certificate: Path) -> Iterator[Receiver]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    made = Receiver(tls=context)
    yield made
    made.end()


async def until(true: Callable[[], object], within: float = 10.0) -> None:
    """Poll until it is true; fails after so many seconds."""
    async with asyncio.timeout(within):
        while not true():
            await asyncio.sleep(0.005)


# ---------------------------------------------------------------------------------------------------------------- one request


async def test_post(receiver: Receiver, tmp_path: Path) -> None:
    """The body as it is, to the path of the URL, with the token of a file; query and all."""
    (tmp_path / "token").write_text("s3cret\n")
    rule = Alert("webhook", receiver.url, token_file=str(tmp_path / "token"))

    assert await Poster(rule).post(b'{"a":1}') == Delivery(200, "HTTP 200")
    (request,) = receiver.requests
    assert (request.path, request.body) == ("/hook?key=secret", b'{"a":1}')
    assert request.headers["content-type"] == "application/json; charset=utf-8"
    assert request.headers["authorization"] == "Bearer s3cret"


async def test_url_of_a_file(receiver: Receiver, tmp_path: Path) -> None:
    """Read for each message: what changes in it counts at once; what is no URL is said without showing it."""
    file = tmp_path / "url"
    poster = Poster(Alert("slack", url_file=str(file)))
    assert (await poster.post(b"{}")).says == f"cannot read {file}: No such file or directory"
    for text in ("", "hooks.example.net/secret", "https://a:secret@x.example/", "https:///secret", "https://x.example/secret\nb"):
        file.write_text(text)
        delivery = await poster.post(b"{}")
        assert delivery.status == 0
        assert "secret" not in delivery.says
    file.write_text(f"{receiver.url}\n")
    assert (await poster.post(b"{}")).status == 200


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(204, b""), Delivery(204, "HTTP 204")),
        (Answer(404, b"no_service\n"), Delivery(404, "HTTP 404: no_service")),
        (Answer(429, b"slow", {"Retry-After": "17"}), Delivery(429, "HTTP 429: slow", 17)),
        (Answer(302, b"", {"Location": "http://127.0.0.1:1/"}), Delivery(302, "HTTP 302")),
        (Answer(500, b"x" * 100_000), Delivery(500, f"HTTP 500: {'x' * 200}")),
        (Answer(raw=b"SSH-2.0-x\r\n"), Delivery(0, "not an HTTP answer (BadStatusLine)")),
        (Answer(raw=b""), Delivery(0, "the connection was closed without an answer")),
    ],
)
async def test_answers(receiver: Receiver, answer: Answer, expected: Delivery) -> None:
    """Whatever comes back is an answer or a reason; redirections are not followed."""
    receiver.usual = answer
    assert await Poster(Alert("slack", receiver.url)).post(b"{}") == expected


def test_what_teams_means() -> None:
    """A connector's 200 with an error in its text is that error; dates and rubbish in Retry-After."""
    text = b"Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ContextId x"
    assert judged(200, text, None, 0).status == 429
    assert judged(200, b"1", None, 0).status == 200
    assert judged(429, b"", "Thu, 01 Jan 1970 00:01:30 GMT", 30.0).wait == 60
    assert judged(429, b"", "soon", 0).wait is None
    assert judged(429, b"", "9" * 400, 0).wait == 999999999


async def test_nobody_there() -> None:
    """A closed port and a name that nobody has are reasons."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert (await Poster(Alert("slack", f"http://127.0.0.1:{port}/")).post(b"{}")).says == "Connection refused"
    assert (await Poster(Alert("slack", "http://nobody.invalid/")).post(b"{}")).status == 0


@pytest.mark.parametrize(
    "answer", [Answer(late=30), Answer(raw=b"HTTP/1.1 200 OK\r\nX: " + b"y" * 3000)], ids=["silent", "dripping"]
)
async def test_time_is_limited(receiver: Receiver, answer: Answer) -> None:
    """A receiver that is silent or drips byte by byte costs so much time and no more, and its thread ends."""
    receiver.usual = answer
    began = time.monotonic()
    delivery = await Poster(Alert("slack", receiver.url), within=0.3).post(b"{}")
    assert delivery == Delivery(0, "no answer within 0.3 s")
    assert time.monotonic() - began < 2
    await until(lambda: not any(thread.name == "alert slack" for thread in threading.enumerate()))


async def test_tls(secure: Receiver, certificate: Path) -> None:
    """The certificate is verified: of whom the file says, else of whom the system trusts."""
    trusting = Poster(Alert("webhook", secure.url, ca_file=str(certificate)))
    assert (await trusting.post(b"{}")).status == 200
    assert (await Poster(Alert("webhook", secure.url)).post(b"{}")).says.startswith("its certificate is not valid: self")
    elsewhere = secure.url.replace("127.0.0.1", "localhost")
    assert "localhost" in (await Poster(Alert("webhook", elsewhere, ca_file=str(certificate))).post(b"{}")).says
    plain = secure.url.replace("https", "http")
    assert (await Poster(Alert("webhook", plain)).post(b"{}")).status == 0
    missing = Alert("webhook", secure.url, ca_file="/nowhere")
    assert (await Poster(missing).post(b"{}")).says == "No such file or directory"
    assert len(secure.requests) == 1


async def test_tls_that_does_not_answer() -> None:
    """Neither a handshake that nobody answers takes longer than it may."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        poster = Poster(Alert("webhook", f"https://127.0.0.1:{silent.getsockname()[1]}/"), within=0.2)
        assert (await poster.post(b"{}")).says == "no answer within 0.2 s"


async def test_proxy(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's proxy is asked with the whole URL; `no_proxy` is honoured."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{receiver.server_address[1]}")
    poster = Poster(Alert("slack", "http://hooks.invalid/a?b"))
    assert (await poster.post(b"{}")).status == 200
    assert receiver.requests[0].path == "http://hooks.invalid/a?b"
    assert receiver.requests[0].headers["host"] == "hooks.invalid"
    monkeypatch.setenv("no_proxy", "hooks.invalid")
    assert (await poster.post(b"{}")).status == 0


async def test_proxy_of_tls(secure: Receiver, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS goes through a tunnel, and the certificate is still the receiver's."""
    asked: list[bytes] = []

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", secure.server_address[1])
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            sink.write(data)
        sink.close()

    async with await asyncio.start_server(tunnel, "127.0.0.1") as proxy:
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
        url = f"https://127.0.0.1:{secure.server_address[1]}/x"
        assert (await Poster(Alert("webhook", url, ca_file=str(certificate))).post(b"{}")).status == 200
    assert asked[0].startswith(f"CONNECT 127.0.0.1:{secure.server_address[1]} HTTP/1".encode())
    assert secure.requests[0].path == "/x"


# ------------------------------------------------------------------------------------------------------------------ one place


def configured(text: str) -> Config:
    services = "services: [{virtual: 192.0.2.10, priority: critical, servers: [10.1.0.11], policy: {80: }}]"
    return parse(f"{services}\nlogging: {{{text}}}", "x")


class Daemon:
    """The log with the sinks of a configuration, as `sinks.py` uses them."""

    def __init__(self, state: Path) -> None:
        self.log = Log()
        self.log.use(())
        self.state = state

    def follow(self, text: str) -> list[Teller]:
        made = tellers(configured(text), self.log.sinks, str(self.state), "lb1", self.log)
        self.log.use(made)
        return made

    def events(self) -> list[str]:
        return [str(event["text"]) for event in self.log.recent() if str(event["name"]).startswith("sink")]


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    return Daemon(tmp_path)


async def test_told(daemon: Daemon, receiver: Receiver) -> None:
    """Down and up again, two messages; what was told is counted, and what is not over is remembered."""
    (teller,) = daemon.follow(f"webhook: {{url: '{receiver.url}', group: 20ms}}")
    daemon.log(DOWN)
    await until(lambda: teller.status().sent == 1)
    await until(lambda: "VipDown 192.0.2.10" in Troubles(str(daemon.state)).load("webhook"))
    daemon.log(UP)
    await until(lambda: teller.status().sent == 2)
    first, second = (request.json for request in receiver.requests)
    assert [event["name"] for event in first["events"]] == ["vip-down"]
    assert (first["resolved"], second["resolved"]) == (False, True)
    assert first["id"] != second["id"]
    assert first["host"] == "lb1"
    await teller.close(1)
    assert Troubles(str(daemon.state)).load("webhook") == {}
    assert not daemon.events()


async def test_tried_again(daemon: Daemon, receiver: Receiver) -> None:
    """500, then rubbish, then it works: the same message, once; trouble and recovery are each said once, and not to itself."""
    receiver.answers = [Answer(503, b""), Answer(raw=b"x")]
    (teller,) = daemon.follow(f"slack: {{url: '{receiver.url}', group: 0}}")
    daemon.log(DOWN)
    await until(lambda: teller.status().sent == 1)
    status = teller.status()
    assert (status.dropped, status.refused, status.queued) == (0, 0, 0)
    assert status.last_error == "not an HTTP answer (BadStatusLine)"
    assert len({request.body for request in receiver.requests}) == 1
    assert len(receiver.requests) == 3
    assert daemon.events() == ["log to slack: HTTP 503; it is tried again", "log to slack: it takes events again, 0 have waited"]
    await teller.close(1)
    assert len(receiver.requests) == 3


async def test_retry_after(daemon: Daemon, receiver: Receiver) -> None:
    """429 with a time: not before it."""
    receiver.answers = [Answer(429, b"", {"Retry-After": "2"})]
    (teller,) = daemon.follow(f"slack: {{url: '{receiver.url}', group: 0}}")
    daemon.log(DOWN)
    await until(lambda: teller.status().sent == 1)
    first, second = receiver.requests
    assert 2 <= second.at - first.at < 4
    await teller.close(1)


async def test_given_up(daemon: Daemon, receiver: Receiver) -> None:
    """A receiver that refuses is asked once for each message; those that follow are sent."""
    receiver.answers = [Answer(404, b"no_service")]
    (teller,) = daemon.follow(f"slack: {{url: '{receiver.url}', group: 0}}")
    daemon.log(DOWN)
    await until(lambda: teller.status().refused == 1)
    assert teller.status().last_error == "HTTP 404: no_service"
    daemon.log(UP)
    await until(lambda: teller.status().sent == 1)
    assert daemon.events()[0] == "log to slack: HTTP 404: no_service; 1 events are not told"
    await teller.close(1)


async def test_while_nobody_answers(daemon: Daemon, receiver: Receiver) -> None:
    """Events gather in bounded memory while the receiver hangs, and each takes no time; closing takes what it was given."""
    receiver.usual = Answer(late=60)
    (teller,) = daemon.follow(f"webhook: {{url: '{receiver.url}', group: 0, level: debug}}")
    daemon.log(DOWN)
    await until(lambda: receiver.requests)
    began = time.monotonic()
    for number in range(20_000):
        daemon.log(Warned(f"{number}"))
    assert (time.monotonic() - began) / 20_000 < 0.001
    assert teller.status().queued == 20_001
    began = time.monotonic()
    await teller.close(0.2)
    assert time.monotonic() - began < 2
    assert teller.status().dropped == 20_001


async def test_files_that_lead_nowhere(daemon: Daemon, receiver: Receiver, tmp_path: Path) -> None:
    """What can be seen before anything happens is said at once, and mended without a reload."""
    file = tmp_path / "url"
    (teller,) = daemon.follow(f"slack: {{url-file: {file}, group: 0}}")
    assert daemon.events() == [f"log to slack: cannot read {file}: No such file or directory; nothing can be told"]
    assert teller.status().troubled
    file.write_text(receiver.url)
    daemon.log(DOWN)
    await until(lambda: teller.status().sent == 1)
    assert not teller.status().troubled
    assert len(daemon.events()) == 2
    await teller.close(1)
    for words in ("token-file: /nowhere", "ca-file: /nowhere", f"ca-file: {file}"):
        (teller,) = Daemon(tmp_path).follow(f"webhook: {{url: '{receiver.url}', {words}}}")
        assert teller.status().last_error
        await teller.close(0)


async def test_last_words(daemon: Daemon, receiver: Receiver) -> None:
    """What waits for its group is sent when the daemon ends."""
    (teller,) = daemon.follow(f"teams: {{url: '{receiver.url}', group: 1h}}")
    daemon.log(DOWN)
    await teller.close(5)
    assert teller.status().sent == 1
    assert receiver.requests[0].json["type"] == "message"


async def test_the_end_after_a_restart(daemon: Daemon, receiver: Receiver, tmp_path: Path) -> None:
    """A trouble that was told by the daemon before ends with the next one, and only then."""
    said = f"slack: {{url: '{receiver.url}', group: 0}}"
    (teller,) = daemon.follow(said)
    daemon.log(DOWN)
    await until(lambda: teller.status().sent == 1)
    await teller.close(1)
    after = Daemon(tmp_path)
    (teller,) = after.follow(said)
    after.log(UP)
    await until(lambda: teller.status().sent == 1)
    assert "VIP 192.0.2.10 is up" in receiver.requests[1].json["text"]
    await teller.close(1)


async def test_reload(daemon: Daemon, receiver: Receiver) -> None:
    """A place that stays as it is goes on with what waits; a new one knows what the old one told of."""
    said = f"slack: {{url: '{receiver.url}', group: 1h}}"
    (old,) = daemon.follow(said)
    daemon.log(DOWN)
    slack, webhook = daemon.follow(f"{said}, webhook: {receiver.url}/2")
    assert slack is old
    assert slack.status().queued == 1
    assert webhook.status().queued == 0
    (new,) = daemon.follow(f"slack: {{url: '{receiver.url}', group: 0}}")
    await asyncio.gather(old.close(5), webhook.close(5))
    daemon.log(UP)
    await until(lambda: new.status().sent == 1)
    assert ["is down" in request.json["text"] for request in receiver.requests] == [True, False]
    await new.close(1)


def test_names() -> None:
    """By kind and number: the URL of Slack is a secret."""
    rules = tuple(Alert(kind, f"https://x.example/{n}") for n, kind in enumerate(("slack", "webhook", "slack", "slack")))
    assert names(rules) == ["slack", "webhook", "slack 2", "slack 3"]


def test_troubles_in_a_file(tmp_path: Path) -> None:
    """There and back; what is damaged is nothing, what cannot be written is said."""
    kept = Troubles(str(tmp_path / "state"))
    found = {"VipDown x": Trouble("VIP x is down", 1.5, (("vip", "x"),))}
    assert kept.load("slack 2") == {}
    assert kept.save("slack 2", found) == ""
    assert kept.load("slack 2") == found
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["alerts-slack-2.json"]
    for text in ("", "[]", "{", '{"a": 1}', '{"a": ["b", "c", {}]}', '{"a": ["b", 1, []]}'):
        (tmp_path / "state" / "alerts-slack-2.json").write_text(text)
        assert kept.load("slack 2") == {}
    (tmp_path / "file").write_text("")
    assert "file" in Troubles(str(tmp_path / "file" / "below")).save("slack", found)


def test_events_of_sinks_are_pairs() -> None:
    """What the log says of its sinks has the words that alerts show."""
    assert str(SinkTroubled("slack", "x")) == "log to slack: x"
    assert SinkRecovered("slack", 3).sink == "slack"
