"""`fairlead explain` beside real traffic: what it says happens, and asking leaves no trace in counters or flows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from tests.lab.kit import BALANCER_MAC, CLIENT, FAIRLEAD, ROUTER_MAC, SEGMENT, V4, VIPS, Lab, eventually
from tests.lab.traffic import site

pytestmark = pytest.mark.root


def explained(lab: Lab, *words: str) -> Any:
    return json.loads(lab.run("balancer1", FAIRLEAD, "explain", *words, "--json"))


def place(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def of_connection(lab: Lab, version: int, port: int, flags: str = "syn") -> Any:
    return explained(lab, place(CLIENT[version], port), f"{place(VIPS[version], 80)}/tcp", "--flags", flags)


def answered_by(lab: Lab, version: int, port: int) -> str:
    """The backend that answers a connection from this port of client1."""
    url = f"http://{place(VIPS[version], 80)}/"
    return lab.run("client1", "curl", "-sS", "-g", "-f", "-m", "5", "--local-port", str(port), url).strip()


def counts(lab: Lab) -> dict[str, Any]:
    """What packets for VIPs change; health checks and the rest of the machine's traffic are left out."""
    status = lab.status()
    mine = {name: each for name, each in status["verdicts"].items() if not name.startswith("not_")}
    return {"verdicts": mine, "services": [[s["packets"], s["bytes"], s["flows"]] for s in status["services"]]}


@contextmanager
def nothing_counted(lab: Lab) -> Iterator[None]:
    before = counts(lab)
    yield
    assert counts(lab) == before


@pytest.mark.parametrize("version", [4, 6])
def test_what_it_says_happens(either: Lab, version: int) -> None:
    """For one source port after the other: the backend that it names is the one that answers."""
    lab = either
    ports = range(41000 + 100 * version, 41008 + 100 * version)  # each family its own: curl binds to both
    with nothing_counted(lab):
        said = {port: of_connection(lab, version, port) for port in ports}
    assert {each["verdict"] for each in said.values()} <= {"forwarded"}
    names = {address: f"backend{n}" for n in (1, 2, 3) for address in (f"{SEGMENT[version]}2{n}",)}
    assert len({each["backend"]["address"] for each in said.values()}) > 1
    for port, each in said.items():
        assert names[each["backend"]["address"]] in answered_by(lab, version, port)


def test_a_live_connection(lab: Lab) -> None:
    """While it lasts its entry says where to, with state and age; once it has ended it is closing."""
    before = of_connection(lab, 4, 42000)
    assert before["flow"]["state"] == ""
    backend = before["backend"]
    assert answered_by(lab, 4, 42000)
    after = of_connection(lab, 4, 42000, "ack")
    assert (after["backend"], after["flow"]["followed"], after["flow"]["slot"]) == (backend, True, None)
    assert after["flow"]["state"] in {"closing", "established", "embryonic"}
    assert 0 <= after["flow"]["age"] <= after["flow"]["timeout"]
    assert after["service"] == {"service": f"{V4}:80/tcp", "name": "web"}


def test_a_backend_on_its_way_out(lab: Lab) -> None:
    """Drained, it keeps its flows and gets no new ones, and both are said."""
    first = of_connection(lab, 4, 43000)["backend"]["address"]
    assert answered_by(lab, 4, 43000)
    lab.run("balancer1", FAIRLEAD, "drain", first)
    try:
        known = eventually(lambda: (e := of_connection(lab, 4, 43000, "ack"))["backend"]["state"] == "drain" and e)
        fresh = of_connection(lab, 4, 43000)
        assert known["backend"]["address"] == first
        assert known["flow"]["followed"]
        assert fresh["backend"]["address"] != first
        assert fresh["flow"]["backend"] == first
    finally:
        lab.run("balancer1", FAIRLEAD, "clear", "--all")


def test_a_capture(lab: Lab, tmp_path: Path) -> None:
    """Each frame of a file in a line: a new connection, a ping of nobody, a port that no service has."""
    path = tmp_path / "a.pcap"
    to = Ether(dst=BALANCER_MAC, src=ROUTER_MAC) / IP(src=CLIENT[4], dst=V4)
    frames = [
        to / TCP(sport=44000, dport=80),
        to / TCP(sport=44000, dport=81),
        Ether(dst="ff:ff:ff:ff:ff:ff", type=0x0806) / bytes(46),
    ]
    wrpcap(str(path), frames)
    with nothing_counted(lab):
        text = lab.run("balancer1", FAIRLEAD, "explain", "--pcap", str(path))
        found = explained(lab, "--pcap", str(path))

    assert [line.split()[1] for line in text.splitlines()[1:]] == ["forwarded", "no_service", "not_mine"]
    assert [each["verdict"] for each in found] == ["forwarded", "no_service", "not_mine"]
    assert found[0]["frame"] == bytes(frames[0]).hex()
    assert found[2]["bytes"] == found[2]["frame"]


def test_questions_that_cannot_be_asked(lab: Lab) -> None:
    """Each is refused in a sentence, by the command and by the API."""
    for words, says in (
        ((f"{CLIENT[4]}:1", f"{V4}:80/tcp", "--interface", "eth9"), "eth9 is no interface that Fairlead forwards on"),
        ((f"{CLIENT[4]}:1", f"{V4}:80"), "say the protocol"),
        ((f"{CLIENT[4]}:1", f"{V4}:80/tcp", "--size", "9000"), "a frame of 9014 bytes cannot be tried"),
    ):
        done = lab.try_run("balancer1", FAIRLEAD, "explain", *words)
        assert (done.returncode, done.stdout) == (1, "")
        assert says in done.stderr
    for method, query, body, code in (
        ("GET", "", "", 400),
        ("GET", "?frame=0102", "", 400),
        ("GET", "?frame=xyz", "", 400),
        ("GET", f"?frame={'00' * 14}", "", 200),
        ("POST", "", "{}", 400),
        ("POST", "", '{"frames": []}', 400),
        ("POST", "", '{"frames": ["zz"]}', 400),
        ("POST", "", json.dumps({"frames": ["00" * 60] * 1001}), 400),
        ("POST", "", json.dumps({"frames": ["00" * 60] * 1000}), 200),
    ):
        socket, file = lab.env()["FAIRLEAD_SOCKET"], lab.directory / "body"
        file.write_text(body)
        done = lab.run(
            "balancer1",
            "curl",
            "-sS",
            "-X",
            method,
            "--data-binary",
            f"@{file}",
            "-w",
            "\n%{http_code}",
            "--unix-socket",
            socket,
            f"http://x/v1/explain{query}",
        )
        assert done.rsplit("\n", 1)[1] == str(code), (method, query, done[:300])


def test_tunnels() -> None:
    """The outer header as it leaves; a segment that does not fit is answered, and with what."""
    with site("tunnel") as lab:
        said = explained(lab, f"{CLIENT[4]}:40000", "203.0.113.44:80/tcp", "--flags", "ack")
        tunnel = said["next_hop"]["tunnel"]
        assert (said["verdict"], tunnel["kind"], tunnel["overhead"]) == ("encapsulated", "gue", 32)
        outer = Ether(bytes.fromhex(said["bytes"]))
        assert (outer[IP].dst, outer[IP].proto, len(outer[IP])) == (said["backend"]["address"], 17, 72)
        fits = explained(lab, f"{CLIENT[4]}:40000", "203.0.113.44:80/tcp", "--size", "1468")
        large = explained(lab, f"{CLIENT[4]}:40000", "203.0.113.44:80/tcp", "--size", "1469")
        assert (fits["verdict"], large["verdict"]) == ("encapsulated", "too_big")
        told = Ether(bytes.fromhex(large["bytes"]))
        assert re.search(r"nexthopmtu=1468|unused=1468", repr(told)), repr(told)
