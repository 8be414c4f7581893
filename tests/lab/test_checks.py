"""Every type of check against real servers on the VIP, on one segment and through every tunnel, over both protocols."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.lab import servers
from tests.lab.kit import SEGMENT, V4, V6, Lab, eventually
from tests.lab.test_tunnel import KINDS, WAYS, vip
from tests.lab.traffic import site

pytestmark = pytest.mark.root

FLOW = "interval: 0.5, timeout: 0.4, rise: 2, fall: 2, hold: 0"
QUICK = "".join(f"{word.strip()}\n      " for word in FLOW.split(","))
POLICY = f"""
  all:
    80/tcp:
      {QUICK}
      checks: [{{type: http, path: /healthz, body: "^ok$"}}, {{type: tcp}}, {{type: syn}}, {{type: icmp}}]
    443/tcp:
      {QUICK}
      checks: [{{type: https, host: www.example.org, headers: {{X-Check: hello}}, body: "for www.example.org, told hello"}}]
    53/tcp: {{{FLOW}, checks: [{{type: dns, name: ns.example.org, rcode: NOERROR}}]}}
    53/udp:
      {QUICK}
      checks: [{{type: dns, name: no.example.org, record: AAAA, rcode: NXDOMAIN}}, {{type: dns, name: ., rcode: REFUSED}}]
    9100/udp: {{{FLOW}, checks: [{{type: udp, payload: hello, answer: "^echo hello$"}}]}}
"""
PORTS = {(80, "tcp"), (443, "tcp"), (53, "tcp"), (53, "udp"), (9100, "udp")}


def config(base: str, services: str, policy: str = POLICY) -> str:
    """The topology's configuration with other services."""
    head = base.partition("\npolicy:")[0]
    return f"{head}\n\npolicy:{policy}\nservices:\n{services}"


def service(name: str, address: str, backends: list[str], more: str = "", policy: str = "all") -> str:
    listed = ", ".join(f'"{backend}"' for backend in backends)
    return f'  - {{name: {name}, virtual: "{address}", servers: [{listed}], policy: {policy}{more}}}\n'


def backends(version: int) -> list[str]:
    return [f"{SEGMENT[version]}{n}" for n in (21, 22, 23)]


def reasons(lab: Lab, *, up: bool = False) -> dict[tuple[str, int, str, str], tuple[str, ...]]:
    """What the checks of all backends say that are down (or up): by VIP, port, protocol and backend."""
    return {
        (s["vip"], s["port"], s["protocol"], b["address"]): tuple(c["says"] for c in b["checks"] if c["up"] == up)
        for s in lab.status()["services"]
        for b in s["backends"]
        if (b["state"] == "up") == up
    }


def all_pass(lab: Lab) -> bool:
    """Nothing is down, and the last answer to every check was a good one: a new service on an announced VIP starts up."""
    checks = [
        (s["name"], s["port"], b["address"], c) for s in lab.status()["services"] for b in s["backends"] for c in b["checks"]
    ]
    bad = [f"{name} {port} {on}: {c['says']}" for name, port, on, c in checks if not (c["up"] and c["at"] and not c["failures"])]
    assert checks and not bad, "\n".join(bad)
    return True


@pytest.fixture(scope="module")
def extra() -> Iterator[dict[int, ExitStack]]:
    """What runs beside nginx on each backend, so that a test may end it and start it again."""
    stacks = {number: ExitStack() for number in (1, 2, 3)}
    yield stacks
    for stack in stacks.values():
        stack.close()


@pytest.fixture(scope="module")
def segment(extra: dict[int, ExitStack]) -> Iterator[Lab]:
    """The simple lab with checks of all types on all backends."""
    with site("simple", "native") as lab:
        for number, stack in extra.items():
            stack.enter_context(servers.good(lab, f"backend{number}", [V4, V6]))
        lab.reload(config(lab.config, service("v4", V4, backends(4)) + service("v6", V6, backends(6))))
        eventually(lambda: all_pass(lab), 10)
        yield lab


# ------------------------------------------------------------------------------------------------------------------- one segment


@pytest.mark.parametrize("address", [V4, V6])
def test_what_passes_says_how(segment: Lab, address: str) -> None:
    """Each check of each type passes on all three backends, and shows the answer that it got."""
    eventually(lambda: all_pass(segment), 5)
    said = reasons(segment, up=True)
    assert {key[1:3] for key in said if key[0] == address} == PORTS
    for (at, port, protocol, _), each in said.items():
        if at == address:
            wanted = {80: ["200", "connected", "SYN answered", "echo"], 443: ["200"], 9100: ["answered"]}
            expected = wanted.get(port, ["NOERROR"] if protocol == "tcp" else ["NXDOMAIN", "REFUSED"])
            assert [re.sub(r" after [\d.]+ m?s$", "", says) for says in each] == expected


def test_half_open_leaves_nothing(segment: Lab) -> None:
    """No backend holds a half-made connection once the probes are over, and no stray reset reached the router."""
    rules = "table inet f { chain c { type filter hook prerouting priority 0; tcp sport 61000-65095 counter; }; }"
    segment.run("router", "nft", rules)
    before = segment.config_path.read_text()
    segment.run("backend1", "nft", rules.replace("inet f", "inet g").replace("61000-65095", "61000-65095 tcp flags & syn == syn"))
    try:
        eventually(lambda: counted(segment, "backend1", "g") >= 6, 10)
        segment.reload(before.replace(", {type: syn}", ""))
        for number in (1, 2, 3):
            left = segment.run(f"backend{number}", "ss", "-Htan", "state", "syn-recv")
            assert not left.strip(), left
        assert counted(segment, "router", "f") == 0
    finally:
        segment.run("router", "nft", "delete", "table", "inet", "f")
        segment.run("backend1", "nft", "delete", "table", "inet", "g")
        segment.reload(before)


def counted(lab: Lab, host: str, table: str) -> int:
    found = re.search(r"counter packets (\d+)", lab.run(host, "nft", "list", "table", "inet", table))
    assert found is not None
    return int(found[1])


def test_a_frozen_server(segment: Lab) -> None:
    """A stopped process still gets connections from its kernel: only what asks the application sees it."""
    pid = segment.pid("backend3")
    os.kill(pid, signal.SIGSTOP)
    try:
        down = eventually(lambda: (r := reasons(segment)) and len(r) == 2 and r, 10)
        assert set(down.values()) == {("connected, but no answer within 0.4 s",)}
        assert {key[1:] for key in down} == {(80, "tcp", f"{SEGMENT[version]}23") for version in (4, 6)}
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: all_pass(segment), 10)


def test_dead_servers(segment: Lab, extra: dict[int, ExitStack]) -> None:
    """Ports that nobody serves are refused, and the words say so."""
    segment.cli("kill", "backend3")
    extra[3].close()
    try:
        wanted = {80: "connection refused", 443: "connection refused", 9100: "port unreachable"}
        down = eventually(lambda: (r := reasons(segment)) and len(r) == 10 and r, 10)
        for (_, port, protocol, _), each in down.items():
            says = {re.sub(r" after [\d.]+ m?s$", "", one) for one in each}
            assert says == {wanted.get(port, "port unreachable" if protocol == "udp" else "connection refused")}, down
    finally:
        segment.cli("start", "backend3")
        extra[3].enter_context(servers.good(segment, "backend3", [V4, V6]))
    eventually(lambda: all_pass(segment), 10)


@pytest.mark.parametrize("version", [4, 6])
def test_vip_missing_is_told_from_down(segment: Lab, version: int) -> None:
    """A host that answers itself but not for the VIP, and one that does not answer at all, are told apart."""
    address, length = {4: (V4, "32"), 6: (V6, "128")}[version]
    key = (address, 80, "tcp", f"{SEGMENT[version]}22")
    segment.run("backend2", "ip", "addr", "del", f"{address}/{length}", "dev", "lo")
    try:
        missing = f"no answer within 0.4 s; {key[3]} itself answers: is {address} on its loopback?"
        eventually(lambda: says_all(segment, key, missing), 10)
        assert says_any(segment, key, (f" on {key[3]} for ",))
    finally:
        segment.run("backend2", "ip", "addr", "add", f"{address}/{length}", "dev", "lo", *(["nodad"] if version == 6 else []))
    rule = "table netdev f { chain c { type filter hook ingress device eth0 priority 0; meta protocol {ip, ip6} drop; }; }"
    eventually(lambda: key not in reasons(segment), 10)
    segment.run("backend2", "nft", rule.replace("{ip, ip6}", "ip") if version == 4 else rule.replace("{ip, ip6}", "ip6"))
    try:
        gone = f"no answer within 0.4 s; and {key[3]} itself does not answer either (no answer within 1 s)"
        eventually(lambda: says_any(segment, key, (gone, "no neighbour")), 20)
    finally:
        segment.run("backend2", "nft", "delete", "table", "netdev", "f")
    eventually(lambda: key not in reasons(segment), 10)


def says_all(lab: Lab, key: Any, text: str) -> bool:
    said = reasons(lab).get(key, ())
    assert said and all(text in one for one in said), said
    return True


def says_any(lab: Lab, key: Any, texts: tuple[str, ...]) -> bool:
    reason = next(
        b["reason"]
        for s in lab.status()["services"]
        for b in s["backends"]
        if (s["vip"], s["port"], s["protocol"], b["address"]) == key
    )
    assert any(text in reason for text in texts), reason
    return True


def test_certificates_and_wrong_answers(segment: Lab) -> None:
    """Answers that came and are not good: the words say what was wrong with each."""
    before = segment.config_path.read_text()
    policy = f"""
  all:
    80/tcp: {{{FLOW}, checks: [{{type: http, path: /nothing}}]}}
    443/tcp: {{{FLOW}, checks: [{{type: https, host: www.example.org, verify: true}}]}}
    53/tcp: {{{FLOW}, checks: [{{type: dns, name: no.example.org, rcode: NOERROR}}]}}
    53/udp: {{{FLOW}, checks: [{{type: dns, name: example.com, rcode: NOERROR}}]}}
    9100/udp: {{{FLOW}, checks: [{{type: udp, payload: hello, answer: "^goodbye"}}]}}
"""
    wanted = {
        (80, "tcp"): "404",
        (443, "tcp"): "its certificate is not good: self-signed certificate",
        (53, "tcp"): "NXDOMAIN",
        (53, "udp"): "REFUSED",
        (9100, "udp"): "answers, but not as expected, within 0.4 s",
    }
    services = service("v4", V4, backends(4)[:1]) + service("v6", V6, backends(6)[:1])
    segment.reload(config(segment.config, services, policy))
    try:
        down = eventually(
            lambda: (
                (r := reasons(segment)) and len(r) == 10 and all("after" in v[0] or "within" in v[0] for v in r.values()) and r
            ),
            10,
        )
        assert {key[1:3]: re.sub(r" after [\d.]+ m?s$", "", says) for key, (says,) in down.items()} == wanted
    finally:
        segment.reload(before)


def test_servers_that_behave_badly(segment: Lab) -> None:
    """Hanging, dripping, endless, garbage, closing: each ends in words and in time, and what is good stays up all the while."""
    before = segment.config_path.read_text()
    ports = {how: 7000 + number for number, how in enumerate(servers.BAD)}
    entries = "".join(f"    {port}/tcp: {{{FLOW}, checks: [{{type: http}}]}}\n" for port in ports.values())
    entries += f"    80/tcp: {{{FLOW}, checks: [{{type: http, path: /healthz}}]}}\n"
    with servers.bad(segment, "backend1", 7000, [V4, V6]):
        segment.reload(
            config(
                segment.config, service("v4", V4, backends(4)[:1]) + service("v6", V6, backends(6)[:1]), f"\n  all:\n{entries}"
            )
        )
        try:
            down = eventually(
                lambda: (
                    (r := reasons(segment)) and len(r) == 8 and all(v and v[0] != "not checked yet" for v in r.values()) and r
                ),
                10,
            )
            said = {(key[0], key[1]): says for key, (says,) in down.items()}
            for address in (V4, V6):
                assert said[address, ports["hangs"]] == "connected, but no answer within 0.4 s"
                assert said[address, ports["drips"]] == "connected, but no answer within 0.4 s"
                assert said[address, ports["garbage"]].startswith("the answer is not HTTP after ")
                assert said[address, ports["closes"]].startswith(("closed without an answer after ", "connection reset after "))
            assert {s["port"] for s in segment.status()["services"] if s["state"] == "up"} == {80, ports["endless"]}
        finally:
            segment.reload(before)


# ----------------------------------------------------------------------------------------------------------------------- tunnels


@pytest.fixture(scope="module")
def tunnels() -> Iterator[Lab]:
    """The lab with every tunnel; backend1 serves all ports on all VIPs."""
    with site("tunnel", "native") as lab:
        everything = [vip(*way) for way in WAYS]
        with servers.good(lab, "backend1", everything):
            lab.reload(config(lab.config, "".join(_tunnelled(*way) for way in WAYS)))
            yield lab


def _tunnelled(kind: int, outer: int, version: int) -> str:
    port = {3: 5555 if version == 4 else 5556, 4: 6080, 5: 6080}.get(kind)
    words = f", tunnel-type: {KINDS[kind].partition(' ')[0]}" + (f", tunnel-port: {port}" if port else "")
    words += ", tunnel-no-checksum: true" if kind == 5 else ""
    return service(f"k{kind}o{outer}v{version}", vip(kind, outer, version), backends(outer)[:1], words)


def test_every_type_through_every_tunnel(tunnels: Lab) -> None:
    """A hundred services, 160 checks: all types over both protocols in all tunnels pass on the real VIP."""
    eventually(lambda: len(tunnels.status()["services"]) == len(WAYS) * len(PORTS), 10)
    eventually(lambda: all_pass(tunnels), 15)
