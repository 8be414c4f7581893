"""What a real client gets: a reset from a server that is down, a refusal from a port without service, every port of `any/tcp`;
and not one packet lost while other services come and go.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.lab.kit import TOOLS, VIPS, Lab, eventually
from tests.lab.traffic import PORT, site, tool, verdicts

pytestmark = pytest.mark.root

CHECK = "interval: 0.5, timeout: 0.5, rise: 2, fall: 2"
NAMES = ("backend1", "backend2", "backend3")
ELSEWHERE = "23456"  # any port: nobody has a service of its own there
AT_ONCE = 1.0  # second; without an answer a client would try again after one, two, four ... seconds
RATE, FLOWS, RELOADS = 500, 48, 8
BOTH = pytest.mark.parametrize("version", [4, 6])


@pytest.fixture(scope="module", params=["native", "generic"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with site("simple", request.param) as found:
        yield found


def policy(lab: Lab, text: str) -> None:
    """Give both services another policy, and wait until all is up by it."""
    head, rest = lab.config.split("policy:\n  web: ", 1)
    lab.reload(f"{head}policy:\n  web: {text}\n{rest.split(chr(10), 1)[1]}")
    eventually(lab.all_up, 15)


@BOTH
def test_a_reset_ends_what_would_hang(lab: Lab, version: int) -> None:
    """A connection to a server that fails its checks is reset at its next packet, and the client is served by another at once."""
    for name in NAMES:
        (lab.home(name) / "www" / "alive").write_text("yes")
    policy(lab, f"{{http: {{path: /alive, on-down: reset, {CHECK}}}}}")
    before = verdicts(lab)["reset"]
    with lab.running("client1", "python3", str(TOOLS), "revisit", VIPS[version]) as client:
        assert client.stdout is not None
        assert client.stdin is not None
        first = json.loads(client.stdout.readline())["first"]
        (lab.home(first) / "www" / "alive").unlink()
        service = VIPS[version]
        eventually(lambda: [b["state"] for b in lab.service(service)["backends"]].count("down") == 1)
        client.stdin.write("now\n")
        client.stdin.flush()
        told = json.loads(client.stdout.readline())
    assert told["error"] == "ConnectionResetError", told
    assert told["second"] in set(NAMES) - {first}, told
    assert max(told["after"], told["again"]) < AT_ONCE, told
    assert verdicts(lab)["reset"] > before


@BOTH
def test_a_refusal_is_quick(lab: Lab, version: int) -> None:
    """A port of the VIP that no service has refuses the client at once: TCP by a reset, UDP by an ICMP error."""
    policy(lab, f"{{http: {{path: /healthz, reject: unreachable, {CHECK}}}}}")
    for kind in ("tcp", "udp"):
        told = tool(lab, "client1", "knock", VIPS[version], ELSEWHERE, kind)
        assert told["error"] == "ConnectionRefusedError", (kind, told)
        assert told["after"] < AT_ONCE, (kind, told)


@BOTH
def test_every_port(lab: Lab, version: int) -> None:
    """A service of every port is reached on one that nobody named, whole; the port with a service of its own stays with that."""
    policy(lab, f"{{any/tcp: {{checks: []}}, http: {{path: /healthz, {CHECK}}}}}")
    with listening(lab):
        told = tool(lab, "client1", "upload", VIPS[version], ELSEWHERE, "100000")
    assert told["sink"] == told["sent"]
    assert lab.get(VIPS[version]).split()[0] in NAMES
    counted = {(s["vip"], s["port"]): s["packets"] for s in lab.status()["services"]}
    assert counted[VIPS[version], 0] >= 100_000 // 1460


@contextmanager
def listening(lab: Lab) -> Iterator[None]:
    """A server of the tests' own behind the port that nobody named, on every backend."""
    with ExitStack() as stack:
        for name in NAMES:
            server = stack.enter_context(lab.running(name, "python3", str(TOOLS), "sink", ELSEWHERE))
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
        yield


def others(turn: int) -> str:
    """Services on other VIPs: each turn has some more, some less, and other backends."""
    lines = []
    for number in range(10 + turn % 3, 40 - turn % 4 * 5):
        servers = ", ".join(f"192.0.2.{20 + n}" for n in (1, 2, 3) if (number + turn) % 4 != n)
        port = 80 if number % 2 else 80 + turn
        lines.append(f"  - {{virtual: 203.0.113.{number}, servers: [{servers}], policy: {{{port}/tcp*: , {port}/udp*: }}}}")
    return "\n".join(lines) + "\n"


@BOTH
def test_reloads_of_other_services_lose_nothing(lab: Lab, version: int) -> None:
    """A stream of datagrams to one service gets every single answer while reloads add, change and remove dozens of others."""
    policy(lab, f"{{{PORT}/udp: , http: {{path: /healthz, {CHECK}}}}}")
    base = lab.config_path.read_text()
    words = ("python3", str(TOOLS), "stream", VIPS[version], PORT, str(RATE), str(FLOWS))
    with lab.running("client1", *words) as client:
        assert client.stdout is not None
        assert client.stdin is not None
        assert client.stdout.readline() == "ready\n"
        for turn in range(RELOADS):
            lab.reload(base + others(turn))
        lab.reload(base)
        client.stdin.write("enough\n")
        client.stdin.flush()
        told = json.loads(client.stdout.readline())
    assert told["sent"] > RATE
    assert sum(told["answers"].values()) == told["sent"], told
    assert set(told["answers"]) == set(NAMES)
