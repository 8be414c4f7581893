"""Hold, damping, panic and backups with real servers: who gets new connections, who keeps old ones, what status says."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.lab.kit import SEGMENT, VIPS, Lab, eventually

pytestmark = pytest.mark.root

QUICK = "path: /healthz, interval: 0.3, timeout: 0.3, rise: 2, fall: 2"
SERVERS = {version: [f"{front}{n}" for n in (21, 22, 23)] for version, front in SEGMENT.items()}
ANSWER = """
import http.client, sys
there = http.client.HTTPConnection(sys.argv[1], 80, timeout=5)
for line in sys.stdin:
    there.request("GET", "/")
    print(there.getresponse().read().decode().split()[0], flush=True)
"""


def configure(lab: Lab, rules: str, servers: list[str] | None = None, version: int = 4) -> None:
    """One service with its rules; servers as the configuration has them."""
    head = lab.config.partition("\npolicy:")[0]
    listed = ", ".join(servers or [f'"{s}"' for s in SERVERS[version]])
    policy = f"policy:\n  web: {{http: {{{QUICK}, {rules}}}}}\n"
    services = f'services:\n  - {{name: web, virtual: "{VIPS[version]}", servers: [{listed}], policy: web}}\n'
    lab.reload(f"{head}\n{policy}{services}")


@contextmanager
def sick(lab: Lab, *numbers: int) -> Iterator[None]:
    """Backends that refuse the balancer, and so its checks, but serve everybody else."""
    with ExitStack() as well:
        for number in numbers:
            asked = "ip saddr 192.0.2.11 tcp dport 80 reject with tcp reset"
            asked6 = f"ip6 saddr {SEGMENT[6]}11 tcp dport 80 reject with tcp reset"
            table = f"table inet sick {{ chain c {{ type filter hook input priority 0; {asked}; {asked6}; }}; }}"
            lab.run(f"backend{number}", "nft", table)
            well.callback(lab.run, f"backend{number}", "nft", "delete", "table", "inet", "sick")
        yield


def states(lab: Lab, version: int = 4) -> str:
    """Of the three backends, in order: `up up down`."""
    found = {b["address"]: b["state"] for s in lab.status()["services"] for b in s["backends"]}
    return " ".join(found[address] for address in SERVERS[version])


def answering(lab: Lab, version: int = 4, count: int = 40) -> set[str]:
    """Who answers so many new connections."""
    got = Counter(lab.get(VIPS[version]).split()[0] for _ in range(count))
    return set(got)


@contextmanager
def connection(lab: Lab, version: int = 4) -> Iterator[subprocess.Popen[str]]:
    """One connection that stays; `asked` uses it once more."""
    with lab.running("client1", "python3", "-c", ANSWER, VIPS[version]) as process:
        yield process


def asked(process: subprocess.Popen[str]) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


@pytest.mark.parametrize("version", [4, 6])
def test_backup(lab: Lab, version: int) -> None:
    """A backup gets connections only while the others are too few, and keeps those that it got."""
    first, second, third = (f'"{s}"' for s in SERVERS[version])
    configure(lab, "need: 2", [first, second, f"{{address: {third}, backup: true}}"], version)
    eventually(lambda: states(lab, version) == "up up drain", 10)
    assert lab.backend(SERVERS[version][2])["reason"] == "backup: gets new flows when fewer than 2 of the others can"
    assert answering(lab, version) == {"backend1", "backend2"}
    with sick(lab, 1):
        eventually(lambda: states(lab, version) == "down up up", 10)
        service = lab.service(VIPS[version])
        assert (service["backups"], service["available"]) == (True, 2)
        assert answering(lab, version) == {"backend2", "backend3"}
        with ExitStack() as held:
            kept = next(c for c in (held.enter_context(connection(lab, version)) for _ in range(40)) if asked(c) == "backend3")
            held.enter_context(well_again(lab, 1))
            eventually(lambda: states(lab, version) == "up up drain", 10)
            assert answering(lab, version) == {"backend1", "backend2"}
            assert asked(kept) == "backend3"
    names = {e["name"] for e in lab.events()}
    assert {"backups-used", "backups-rested"} <= names


@contextmanager
def well_again(lab: Lab, number: int) -> Iterator[None]:
    """For the time of the block a sick backend is well."""
    rules = lab.run(f"backend{number}", "nft", "list", "table", "inet", "sick")
    lab.run(f"backend{number}", "nft", "delete", "table", "inet", "sick")
    try:
        yield
    finally:
        lab.run(f"backend{number}", "nft", rules)


@pytest.mark.parametrize("version", [4, 6])
def test_panic(lab: Lab, version: int) -> None:
    """With fewer healthy backends than the share all get connections again, and with enough the sick ones get none."""
    configure(lab, "panic: 60%", version=version)
    eventually(lambda: states(lab, version) == "up up up", 10)
    began = time.time()
    with sick(lab, 1):
        eventually(lambda: states(lab, version) == "down up up", 10)
        assert not lab.service(VIPS[version])["panic"]
        assert answering(lab, version) == {"backend2", "backend3"}
        with sick(lab, 2):
            eventually(lambda: lab.service(VIPS[version])["panic"], 10)
            assert states(lab, version) == "up up up"
            reason = lab.backend(SERVERS[version][0])["reason"]
            assert reason.startswith(
                f"counts as up, for only 1 of 3 are healthy: http GET /healthz on {SERVERS[version][0]} for "
            )
            assert "connection refused" in reason
            assert answering(lab, version) == {"backend1", "backend2", "backend3"}
            with sick(lab, 3):
                eventually(lambda: not lab.backend(SERVERS[version][2])["checks"][0]["up"], 10)
                assert lab.route(VIPS[version]), "a VIP whose service panics stays announced"
                assert len(answering(lab, version)) == 3
        eventually(lambda: states(lab, version) == "down up up", 10)
    assert lab.event("panic-began", began)
    assert lab.event("panic-ended", began)


def test_damping(lab: Lab) -> None:
    """A backend that flaps keeps its connections and gets no new ones until its penalty has decayed, over a restart too."""
    address = SERVERS[4][0]
    configure(lab, "damping: {penalty: 1000, half-life: 15, suppress: 1500, reuse: 1000}")
    eventually(lambda: states(lab) == "up up up", 10)
    with ExitStack() as held:
        kept = next(c for c in (held.enter_context(connection(lab)) for _ in range(40)) if asked(c) == "backend1")
        for expected in ("up", "drain"):
            with sick(lab, 1):
                eventually(lambda: lab.backend(address)["state"] == "down", 10)
            found = eventually(lambda: (b := lab.backend(address))["state"] != "down" and b, 10)
            assert found["state"] == expected
        assert found["penalty"] > 1000
        assert found["reason"].startswith("went down too often (penalty 1")
        assert answering(lab) == {"backend2", "backend3"}
        assert asked(kept) == "backend1"
        lab.cli("kill", "balancer1")
        lab.cli("start", "balancer1")
        again = eventually(lambda: lab.backend(address), 15)
        assert again["state"] == "drain"
        assert 1000 < again["penalty"] <= found["penalty"]
        assert asked(kept) == "backend1"
    eventually(lambda: lab.backend(address)["state"] == "up", 20)
    assert lab.event("backend-released")
    assert "backend1" in answering(lab)


def test_hold(lab: Lab) -> None:
    """A VIP that comes up is announced after its hold, and one that goes down is withdrawn at once."""
    configure(lab, "hold: 3")
    eventually(lambda: lab.route(VIPS[4]), 10)
    with sick(lab, 1, 2, 3):
        eventually(lambda: not lab.route(VIPS[4]), 10)
        well = time.time()
    up = eventually(lambda: lab.event("vip-up", well), 10)["at"]
    vip = lab.status()["vips"][0]
    assert (vip["state"], vip["announced"]) == ("up", False)
    assert vip["reason"].endswith("of 3 s")
    eventually(lambda: lab.route(VIPS[4]), 10)
    announced = next(e["at"] for e in reversed(lab.events(up)) if e["text"].startswith("announce "))
    assert announced - up >= 2.9
    lab.cli("kill", "balancer1")
    lab.cli("start", "balancer1")
    eventually(lambda: lab.route(VIPS[4]), 10)
    started = eventually(lambda: lab.event("started"), 5)["at"]
    announced = next(e["at"] for e in lab.events() if e["text"].startswith("announce "))
    assert announced - started < 2.9, "what was up before a restart is not held again"


def test_one_probe_for_all_who_ask(lab: Lab) -> None:
    """Two services with the same question to the same backend cost one probe, and each judges by its own rules."""
    head = lab.config.partition("\npolicy:")[0]
    port = "{type: http, port: 80, path: /shared, expect: any}"
    lab.reload(
        f"{head}\npolicy:\n  web:\n    80/tcp: {{interval: 0.3, timeout: 0.3, rise: 2, checks: [{port}]}}\n"
        f"    443/tcp: {{interval: 0.3, timeout: 0.3, rise: 3, checks: [{port}]}}\n"
        f"services:\n  - {{name: web, virtual: {VIPS[4]}, servers: [192.0.2.21], policy: web}}\n"
    )
    eventually(lambda: {b["state"] for s in lab.status()["services"] for b in s["backends"]} == {"up"}, 10)
    log = "tcp dst port 80 and tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn"
    with lab.running("backend1", "timeout", "3", "tcpdump", "-lnni", "eth0", "-Q", "in", log, "and", "src", "192.0.2.11") as dump:
        seen = dump.communicate()[0].count("Flags [S]")
    assert 5 <= seen <= 13, "one probe every 0.3 s for both services, not two"
