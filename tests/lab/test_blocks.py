"""`fairlead block` under real traffic: who is kept out, for how long, across restarts and crashes; and who sends most."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.kit import CLIENT, FAIRLEAD, SEGMENT, V4, V6, Lab, eventually

pytestmark = pytest.mark.root
LEAVES = f"{SEGMENT[4]}23"


@pytest.fixture
def open_lab(lab: Lab) -> Iterator[Lab]:
    """The native lab with nobody blocked, before and after."""
    yield lab
    if not Path("/proc", str(lab.pid())).exists():
        lab.cli("start", "balancer1")
    eventually(lambda: shell(lab, "unblock", "--all").returncode == 0)


def shell(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    return lab.try_run("balancer1", FAIRLEAD, *words, within=60)


def said(lab: Lab, *words: str) -> str:
    done = shell(lab, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(lab: Lab, *words: str) -> str:
    done = shell(lab, *words)
    assert done.returncode == 1, done.stdout
    return done.stderr


def listed(lab: Lab) -> dict[str, dict[str, Any]]:
    return {each["prefix"]: each for each in json.loads(said(lab, "block", "--json"))}


def asked(lab: Lab, path: str) -> tuple[int, Any]:
    """Status code and body of a request to the API."""
    socket = lab.env()["FAIRLEAD_SOCKET"]
    text = lab.run("balancer1", "curl", "-sS", "-w", "\n%{http_code}", "--unix-socket", socket, f"http://x{path}")
    body, code = text.rsplit("\n", 1)
    return int(code), json.loads(body)


def answered(lab: Lab, version: int, client: str = "client1") -> bool:
    """Whether a new connection of this client to the VIP of that family gets through."""
    vip = f"[{V6}]" if version == 6 else V4
    return lab.try_run(client, "curl", "-sS", "-g", "-f", "-m", "1", f"http://{vip}/").returncode == 0


def dropped(lab: Lab) -> int:
    return lab.status()["verdicts"]["blocked"]["packets"]


def kill(lab: Lab) -> None:
    lab.cli("kill", "--signal", "KILL", "balancer1")


@contextmanager
def asking(lab: Lab, client: str) -> Iterator[list[str]]:
    """Requests of a client one after the other beside the block; the list holds what went wrong."""
    wrong: list[str] = []
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            done = lab.try_run(client, "curl", "-sS", "-f", "-m", "5", f"http://{V4}/")
            if done.returncode:
                wrong.append(done.stderr)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield wrong
    finally:
        stop.set()
        thread.join()


def more(lab: Lab, prefix: str, packets: int, let_in: list[str]) -> dict[str, Any] | None:
    """The block, once it has dropped more than that; `let_in` names it if it does not hold meanwhile."""
    if answered(lab, 4):
        let_in.append(prefix)
    found = listed(lab)[prefix]
    return found if found["packets"] > packets else None


@pytest.mark.parametrize("version", [4, 6])
def test_who_is_blocked_gets_nothing(open_lab: Lab, version: int) -> None:
    """The client's packets for VIPs are dropped and counted, those of others and those for the balancer itself are not."""
    lab, before = open_lab, dropped(open_lab)
    prefix = f"{CLIENT[version]}/{32 if version == 4 else 128}"
    assert answered(lab, version)

    with asking(lab, "client2") as wrong:
        assert f"{prefix} is blocked until it is taken back" in said(lab, "block", CLIENT[version], "--why", "a test")
        assert not answered(lab, version)
        assert answered(lab, 10 - version), "the other family is not concerned"
        found = listed(lab)[prefix]
        assert (found["who"], found["why"], found["until"], found["applied"]) == ("root", "a test", 0, True)
        assert 0 < found["packets"] <= dropped(lab) - before
        lab.run("client1", "ping", "-c1", "-W2", f"{SEGMENT[version]}11")
        assert prefix in said(lab, "block")
        assert lab.status()["blocks"] == 1
        assert f"{prefix} is not blocked any more" in said(lab, "unblock", prefix)
        assert answered(lab, version)
    assert not wrong, "the programs were replaced twice, and nobody else noticed"
    assert said(lab, "block") == "nothing is blocked\n"


def test_ping_and_fragments_too(open_lab: Lab) -> None:
    """Whatever is for a VIP is dropped before it is looked at: a ping is not answered."""
    lab = open_lab
    said(lab, "block", "198.18.1.0/24")
    assert lab.try_run("client1", "ping", "-c2", "-i0.2", "-W1", V4).returncode == 1
    said(lab, "unblock", "198.18.1.0/24")
    lab.run("client1", "ping", "-c1", "-W2", V4)


def test_a_block_outlives_the_daemon(open_lab: Lab) -> None:
    """It holds while the daemon is dead, after its next start, and after a restart without a gap; and its counters go on."""
    lab, prefix = open_lab, f"{CLIENT[4]}/32"
    let_in: list[str] = []
    said(lab, "block", prefix, "--why", "for good", "--for", "1d")
    first = listed(lab)[prefix]
    kill(lab)
    assert not answered(lab, 4), "the data plane knows without the daemon"
    lab.cli("start", "balancer1")
    eventually(lab.status, 15)
    again = eventually(lambda: more(lab, prefix, first["packets"], let_in), 15)  # the route may have been gone for a while
    assert {k: again[k] for k in ("who", "since", "until", "why")} == {k: first[k] for k in ("who", "since", "until", "why")}
    said(lab, "restart")
    eventually(lambda: more(lab, prefix, again["packets"], let_in), 15)
    eventually(lab.all_up, 15)
    assert not let_in
    said(lab, "unblock", "--all")
    assert answered(lab, 4)


def test_a_block_ends_by_itself(open_lab: Lab) -> None:
    """When its time is over, also if the daemon was not there then; and it is said so."""
    lab, prefix, at = open_lab, f"{CLIENT[4]}/32", time.time()
    said(lab, "block", prefix, "--for", "3s")
    assert not answered(lab, 4)
    eventually(lambda: lab.event("source-unblocked", at))
    assert answered(lab, 4)
    assert json.loads((Path(lab.env()["FAIRLEAD_STATE"]) / "blocks.json").read_text())["blocks"] == []

    said(lab, "block", prefix, "--for", "1s")
    kill(lab)
    until = time.time() + 1
    eventually(lambda: time.time() > until)
    lab.cli("start", "balancer1")
    eventually(lab.status, 15)
    eventually(lambda: answered(lab, 4))
    assert said(lab, "block") == "nothing is blocked\n"


def test_what_we_live_by_is_refused(open_lab: Lab) -> None:
    """The router, which is the BGP peer, a backend, an own address, nearly everybody: only with --force."""
    lab = open_lab
    assert "the backend " + LEAVES in refused(lab, "block", LEAVES)
    assert "192.0.2.1" in refused(lab, "block", "192.0.2.1")
    assert "this balancer's own address" in refused(lab, "block", f"{SEGMENT[4]}11")
    assert "wider than a /8" in refused(lab, "block", "0.0.0.0/0")
    assert "is no prefix" in refused(lab, "block", "elsewhere")
    assert "write 198.51.100.0/24" in refused(lab, "block", "198.51.100.9/24")
    assert "is no time" in refused(lab, "block", "198.51.100.9", "--for", "soon")
    assert said(lab, "block") == "nothing is blocked\n"

    said(lab, "block", "0.0.0.0/0", "--force")
    assert not answered(lab, 4, "client2")
    assert answered(lab, 6)
    eventually(lab.all_up)  # the answers to checks are not for a VIP
    assert "lies in 0.0.0.0/0" in refused(lab, "unblock", "198.51.100.0/24")
    said(lab, "unblock", "0.0.0.0/0")
    assert answered(lab, 4, "client2")
    assert "is not blocked" in refused(lab, "unblock", "0.0.0.0/0")


def test_the_configuration_blocks_and_counts(open_lab: Lab) -> None:
    """`block` and `count-prefixes` come and go with a reload, and say what they do beforehand."""
    lab = open_lab
    assert asked(lab, "/prefixes.json")[0] == 404
    assert "count-prefixes: true" in said(lab, "sources")
    text = f"{lab.config}\nblock: [{CLIENT[4]}/32]\ncount-prefixes: true\n"
    lab.config_path.write_text(text)
    plan = shell(lab, "plan", str(lab.config_path))
    assert plan.returncode == 4
    assert f"block {CLIENT[4]}/32" in plan.stdout
    lab.reload(text)
    assert not answered(lab, 4)
    for client in ("client1", "client2"):
        assert answered(lab, 6, client)
    assert answered(lab, 4, "client2")
    assert "take it out of `block` there" in refused(lab, "unblock", CLIENT[4])
    assert listed(lab)[f"{CLIENT[4]}/32"]["who"] == "the configuration"

    code, counts = asked(lab, "/prefixes.json")
    assert (code, len(counts)) == (200, 1 << 20)
    (row,) = [row for row, packets in enumerate(counts) if packets]
    assert row == (198 << 24 | 18 << 16) >> 12
    found = json.loads(said(lab, "sources", "--json"))
    assert found["counted"]
    assert [each["prefix"] for each in found["ipv4"]] == ["198.18.0.0/20"]
    assert found["ipv4"][0]["packets"] >= counts[row] > 4
    assert [each["prefix"] for each in found["ipv6"]] == ["fd1a:b::/48"]
    assert "198.18.0.0/20" in said(lab, "sources")
    said(lab, "restart")
    assert json.loads(said(lab, "sources", "--json"))["ipv4"][0]["packets"] >= found["ipv4"][0]["packets"]

    lab.reload(lab.config)
    assert answered(lab, 4)
    assert asked(lab, "/prefixes.json")[0] == 404
    assert not list(lab.directory.glob("bpffs/balancer1/*/sources*"))


def test_a_damaged_file_opens_no_door(open_lab: Lab) -> None:
    """Who is blocked stays so when the file cannot be read, and it is said."""
    lab, prefix = open_lab, f"{CLIENT[4]}/32"
    said(lab, "block", prefix)
    kill(lab)
    (Path(lab.env()["FAIRLEAD_STATE"]) / "blocks.json").write_text("{")
    lab.cli("start", "balancer1")
    status = eventually(lab.status, 15)
    assert any("blocks stay as they are" in text for text in status["warnings"])
    assert not answered(lab, 4)
    said(lab, "unblock", prefix)
    assert answered(lab, 4)
    assert not any("blocks stay as they are" in text for text in lab.status()["warnings"])
