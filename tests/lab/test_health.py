"""Checks ask the VIP on the real backend, and one change touches one service."""

from __future__ import annotations

import time

import pytest

from tests.lab.kit import SEGMENT, VIPS, Lab, eventually

pytestmark = pytest.mark.root

MANY = 100
OURS = 10  # of the hundred services, those that backend1 serves


@pytest.mark.parametrize("version", [4, 6])
def test_vip_missing_on_loopback(either: Lab, version: int) -> None:
    """A backend whose real address answers but whose VIP is missing on its loopback is shown down, with a reason."""
    vip, address = VIPS[version], f"{SEGMENT[version]}23"
    length = "32" if version == 4 else "128"
    either.run("backend3", "ip", "addr", "del", f"{vip}/{length}", "dev", "lo")
    try:
        found = eventually(lambda: (b := either.backend(address))["state"] == "down" and b, 8)
        assert found["reason"]
        assert either.get(address, client="router").startswith("backend3"), "its real address answers"
        assert {either.get(vip).split()[0] for _ in range(20)} == {"backend1", "backend2"}
    finally:
        either.run("backend3", "ip", "addr", "add", f"{vip}/{length}", "dev", "lo", *(["nodad"] if version == 6 else []))
    eventually(lambda: either.backend(address)["state"] == "up", 8)


def many_services() -> str:
    """A hundred VIPs; backend1 serves the first ten, the others all."""
    head = """\
interfaces: [eth0]
address: 192.0.2.11
hold: 0
bgp: {as_number: 64512, hold_time: 9, peers: [192.0.2.1]}
policy:
  web: {http: {path: /healthz, interval: 1, timeout: 0.5, rise: 2, fall: 2}}
services:
"""
    lines = []
    for number in range(1, MANY + 1):
        servers = "192.0.2.21, 192.0.2.22, 192.0.2.23" if number <= OURS else "192.0.2.22, 192.0.2.23"
        lines.append(f"  - {{name: s{number}, virtual: 203.0.113.{number}, servers: [{servers}], policy: web}}\n")
    return head + "".join(lines)


def test_one_change_touches_its_own_services(lab: Lab) -> None:
    """With 100 services, one backend's health change shows, in the event log, operations on its own services only."""
    for number in (1, 2, 3):
        lab.run(f"backend{number}", "ip", "route", "add", "local", "203.0.113.0/24", "dev", "lo")
    try:
        lab.reload(many_services())
        eventually(lambda: [v["announced"] for v in lab.status()["vips"]] == [True] * MANY and lab.states() == {"up"}, 20, 0.3)
        own = {f"203.0.113.{n}:80/tcp" for n in range(1, OURS + 1)}
        at = time.time()
        lab.cli("kill", "backend1")
        eventually(lambda: {e["about"] for e in lab.events(at) if e["name"] == "backend-down"} >= own, 10, 0.3)
        eventually(lambda: lab.service("203.0.113.1")["available"] == 2)
        operations = [e for e in lab.events(at) if e["name"] == "operated"]
        assert {e["about"] for e in operations} == own
        texts = [e["text"] for e in operations if e["about"] == "203.0.113.3:80/tcp"]
        assert any(text.startswith("set destination") and text.endswith("down") for text in texts), texts
        assert any(text.startswith("fill ") for text in texts), texts
        assert any(text.startswith("point ") for text in texts), texts
    finally:
        for number in (1, 2, 3):
            lab.run(f"backend{number}", "ip", "route", "del", "local", "203.0.113.0/24", "dev", "lo")


def test_half_loss(lab: Lab) -> None:
    """A backend that the network has cut off is down within seconds, though nothing ever answers its probes."""
    rule = "table netdev f { chain c { type filter hook ingress device eth0 priority 0; drop; }; }"
    lab.run("backend2", "nft", rule)
    try:
        found = eventually(lambda: (b := lab.backend("192.0.2.22"))["state"] == "down" and b, 8)
        assert found["reason"]
    finally:
        lab.run("backend2", "nft", "delete", "table", "netdev", "f")
    eventually(lambda: lab.backend("192.0.2.22")["state"] == "up", 10)


def test_probe_rules_come_back(lab: Lab) -> None:
    """A rule of the probes that a network manager deletes is put back, and nobody is shown down for it."""
    at = time.time()
    lab.run("balancer1", "ip", "rule", "del", "pref", "7070")
    eventually(lambda: "7070:" in lab.run("balancer1", "ip", "rule"), 10)
    assert not [e for e in lab.events(at) if e["name"] == "backend-down"]
