"""Elasticsearch and OpenSearch through their official clients: whatever a strict stand-in does, every event is counted."""

from __future__ import annotations

import asyncio
import pathlib
import random
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.search.kit import KINDS, Cluster, Telling, search, until

pytest.importorskip("elasticsearch")
pytest.importorskip("opensearchpy")


@pytest.fixture(params=KINDS)
def cluster(tmp_path: pathlib.Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    found = Cluster(tmp_path / "cluster", request.param)
    try:
        yield found.start()
    finally:
        found.kill()


async def all_there(telling: Telling, cluster: Cluster, within: float = 20) -> None:
    """Every event once, in order, and nothing that the protocol does not know."""
    await until(lambda: telling.sink.status().sent == telling.number, within)
    assert cluster.numbers() == list(range(1, telling.number + 1))
    assert cluster.odd() == ""
    status = telling.sink.status()
    assert (status.dropped, status.refused, status.queued, status.spooled) == (0, 0, 0, 0)


async def test_events_arrive(cluster: Cluster, tmp_path: pathlib.Path) -> None:
    """As documents by the schema, in a data stream whose template was put before; order kept, and nothing said about it."""
    telling = Telling(search(cluster), tmp_path)
    telling.send(2500)
    await all_there(telling, cluster)
    found = cluster.documents()[0]
    assert found["stream"] == "logs-fairlead-default"
    document = found["document"]
    assert isinstance(document, dict)
    assert document["event.action"] == "backend-down"
    assert document["destination.ip"] == "192.0.2.10"
    assert document["server.ip"] == "10.1.0.11"
    probe = cluster.documents()[1]["document"]
    assert isinstance(probe, dict)
    assert (probe["event.duration"], probe["event.outcome"]) == (12_000_000, "success")
    assert telling.told == []
    await telling.sink.close(2)


@pytest.mark.parametrize("word", ["429", "503", "401", "item429", "item503", "reset", "lost", "page"])
async def test_trouble_costs_nothing(cluster: Cluster, tmp_path: pathlib.Path, word: str) -> None:
    """Busy, refused, cut off before or after it was stored, not even its own: each event is sent until it is there, once."""
    cluster.script(f"{word} {word}")
    telling = Telling(search(cluster), tmp_path)
    telling.send(90)
    await until(lambda: telling.sink.status().sent == 90, 20)
    assert cluster.done()
    assert sorted(cluster.numbers()) == list(range(1, 91))
    if not word.startswith("item"):
        assert cluster.numbers() == list(range(1, 91))
    await until(lambda: len(telling.told) == 2, 5)
    assert [says is None for says, _ in telling.told] == [False, True], telling.told
    assert cluster.odd() == ""
    await telling.sink.close(2)


async def test_what_waits_is_behind_what_is_tried_again(cluster: Cluster, tmp_path: pathlib.Path) -> None:
    """While a few documents of a request are refused for now, none that came later overtakes them."""
    cluster.script("item429 item429 item429")
    telling = Telling(search(cluster), tmp_path)
    telling.send(30)
    await until(lambda: telling.sink.status().sent > 0, 10)
    telling.send(30)
    await until(lambda: telling.sink.status().sent == 60, 20)
    numbers = cluster.numbers()
    assert max(numbers.index(n) for n in range(1, 31)) < min(numbers.index(n) for n in range(31, 61))
    await telling.sink.close(2)


async def test_what_is_never_taken(cluster: Cluster, tmp_path: pathlib.Path) -> None:
    """A document that the cluster finds wrong is counted as refused, said, and does not hold up the others."""
    cluster.script("item400")
    telling = Telling(search(cluster), tmp_path)
    telling.send(30)
    await until(lambda: telling.sink.status().refused > 0, 10)
    telling.send(10)
    await until(lambda: telling.sink.status().sent + telling.sink.status().refused == 40, 10)
    assert len(cluster.numbers()) == telling.sink.status().sent
    assert "refused for good: 400" in str(telling.told[0][0])
    await telling.sink.close(2)


async def test_nobody_waits(cluster: Cluster, tmp_path: pathlib.Path) -> None:
    """A cluster that hangs holds up neither the loop nor, beyond its own time, the events."""
    cluster.script("hang")
    telling = Telling(search(cluster, queue=2000), tmp_path)
    telling.send(10)
    await asyncio.sleep(1)
    worst = 0.0
    for _ in range(150):
        began = time.perf_counter()
        telling.send(20)
        await asyncio.sleep(0.01)
        worst = max(worst, time.perf_counter() - began - 0.01)
    assert worst < 0.5
    assert telling.sink.status().spooled > 0, "what memory has no room for is on disk"
    await all_there(telling, cluster, 30)
    await telling.sink.close(2)


async def test_it_dies_again_and_again(cluster: Cluster, tmp_path: pathlib.Path) -> None:
    """Killed at any moment, some twenty times: no event is lost, none is there twice, and they are in order."""
    chance = random.Random(6)
    telling = Telling(search(cluster), tmp_path)
    deadline = time.monotonic() + 8
    while time.monotonic() < deadline:
        for _ in range(chance.randrange(1, 8)):
            telling.send(chance.randrange(1, 200))
            await asyncio.sleep(chance.random() * 0.1)
        cluster.kill()
        telling.send(chance.randrange(1, 50))
        await asyncio.sleep(chance.random() * 0.2)
        cluster.start()
    await all_there(telling, cluster, 60)
    await telling.sink.close(2)


async def test_a_restart_while_it_is_away(cluster: Cluster, tmp_path: pathlib.Path) -> None:
    """What has not arrived when we end waits on disk, and goes first when we are there again."""
    cluster.kill()
    first = Telling(search(cluster), tmp_path)
    first.send(1500)
    await until(lambda: first.sink.status().spooled > 0, 10)
    first.send(10)
    await first.sink.close(1)
    assert first.sink.status().dropped == 0
    cluster.start()
    second = Telling(search(cluster), tmp_path)
    second.number = first.number
    second.send(100)
    await until(lambda: second.sink.status().sent == 1610, 20)
    assert cluster.numbers() == list(range(1, 1611))
    await second.sink.close(2)


async def test_the_spool_is_bounded(cluster: Cluster, tmp_path: pathlib.Path) -> None:
    """A cluster that is away for too long costs the oldest, and exactly so many as are counted."""
    cluster.kill()
    telling = Telling(search(cluster, spool=1 << 20), tmp_path)
    for _ in range(30):
        telling.send(200)
        await asyncio.sleep(0.05)
    await until(lambda: telling.sink.status().dropped > 0 and telling.sink.status().queued == 0, 20)
    assert telling.sink.status().spooled <= 1 << 20
    size = sum(path.stat().st_size for path in (tmp_path / "cluster").glob("*.ndjson"))
    assert size <= 1 << 20
    cluster.start()
    await until(lambda: telling.sink.status().spooled == 0, 40)
    status, numbers = telling.sink.status(), cluster.numbers()
    assert status.sent + status.dropped == telling.number
    assert len(numbers) == status.sent
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == telling.number, "the youngest are there"
    await telling.sink.close(2)


async def test_no_disk(cluster: Cluster, tmp_path: pathlib.Path) -> None:
    """Where nothing can be written memory is all there is: what it has no room for is counted, and the reason is shown."""
    cluster.kill()
    (tmp_path / "file").write_text("")
    telling = Telling(search(cluster, queue=500), tmp_path / "file")
    telling.send(800)
    await until(lambda: "no spool" in telling.sink.status().last_error, 10)
    status = telling.sink.status()
    assert 0 < status.dropped <= 300
    assert status.queued == 800 - status.dropped, "the queue, and what was on its way"
    cluster.start()
    await until(lambda: telling.sink.status().sent == status.queued, 20)
    assert telling.sink.status().dropped == status.dropped
    await telling.sink.close(2)


async def test_the_second_address(cluster: Cluster, tmp_path: pathlib.Path) -> None:
    """Where one address of the cluster is dead, the other is asked, and nothing waits."""
    said = search(cluster)
    dead = Cluster(tmp_path / "dead", cluster.kind).start()
    dead.kill()
    telling = Telling(type(said)(kind=said.kind, addresses=(dead.url, cluster.url)), tmp_path)
    for _ in range(4):
        telling.send(50)
        await asyncio.sleep(0.6)
    await all_there(telling, cluster)
    assert telling.told == []
    await telling.sink.close(2)


async def test_another_configuration(cluster: Cluster, tmp_path: pathlib.Path) -> None:
    """Events that waited for a wrong address go to the right one after a reload, none is lost."""
    dead = Cluster(tmp_path / "dead", cluster.kind).start()
    dead.kill()
    telling = Telling(search(dead), tmp_path)
    telling.send(300)
    await until(lambda: telling.told != [], 10)
    telling.sink.renew(search(cluster))
    telling.send(10)
    await all_there(telling, cluster)
    await telling.sink.close(2)


def certify(certificate: pathlib.Path, key: pathlib.Path) -> None:
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    words += ["-subj", "/CN=cluster", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(words, check=True, capture_output=True)


@pytest.mark.parametrize("login", ["fairlead:geheim", "key:Zm9vOmJhcg=="])
async def test_who_we_are(tmp_path: pathlib.Path, login: str) -> None:
    """Name and password, or an API key, each from a file; over TLS, whose certificate is looked at."""
    certificate, key = tmp_path / "tls.pem", tmp_path / "tls.key"
    certify(certificate, key)
    cluster = Cluster(tmp_path / "cluster", "elasticsearch", login, (str(certificate), str(key))).start()
    try:
        name, _, secret = login.partition(":")
        (tmp_path / "secret").write_text(secret + "\n")
        who = {"api_key_file": str(tmp_path / "secret")} if name == "key" else {
            "username": name, "password_file": str(tmp_path / "secret")
        }  # fmt: skip
        stranger = Telling(search(cluster, **who), tmp_path, "stranger")
        stranger.send(1)
        await until(lambda: stranger.told != [], 10)
        assert "certificate" in str(stranger.told[0][0]).lower()
        telling = Telling(search(cluster, ca_file=str(certificate), **who), tmp_path)
        telling.send(20)
        await all_there(telling, cluster)
        await telling.sink.close(2)
        await stranger.sink.close(0)
    finally:
        cluster.kill()
