"""Checks of every type on hosts with a strict firewall, strict reverse-path filters, and both, as the guide has them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab import servers
from tests.lab.kit import V4, V6, VIPS, Lab, eventually
from tests.lab.test_checks import all_pass, backends, config, reasons, service
from tests.lab.traffic import site

pytestmark = pytest.mark.root

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "firewall.md"


def rules(name: str) -> str:
    """A ruleset of the guide, by the name in the comment before it."""
    found = re.search(rf"<!-- tested: {name} -->\n```\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def segment() -> Iterator[Lab]:
    """The simple lab with checks of all types, on IPv4 and IPv6, on one backend that has all the servers."""
    with site("simple") as lab, servers.good(lab, "backend1", [V4, V6]):
        services = service("v4", V4, backends(4)[:1]) + service("v6", V6, backends(6)[:1])
        lab.reload(config(lab.config, services))
        eventually(lambda: all_pass(lab), 15)
        yield lab


@contextmanager
def firewall(lab: Lab, *rulesets: str) -> Iterator[None]:
    """These rules, from here on; nothing has been tracked before, as no rule asked for it."""
    for number, text in enumerate(rulesets):
        path = lab.home("balancer1") / f"rules{number}.nft"
        path.write_text(text)
        lab.run("balancer1", "nft", "-f", str(path))
    try:
        yield
    finally:
        lab.run("balancer1", "nft", "flush", "ruleset")


@contextmanager
def filters(lab: Lab, **values: int) -> Iterator[None]:
    """rp_filter of these interfaces."""
    names = {name: f"net.ipv4.conf.{name}.rp_filter" for name in values}
    before = {name: lab.run("balancer1", "sysctl", "-n", key).strip() for name, key in names.items()}
    try:
        for name, key in names.items():
            lab.run("balancer1", "sysctl", "-q", "-w", f"{key}={values[name]}")
        yield
    finally:
        for name, key in names.items():
            lab.run("balancer1", "sysctl", "-q", "-w", f"{key}={before[name]}")


def checked_again(lab: Lab) -> None:
    """Every check passes, by a result of after this moment."""
    now = max(c["at"] for s in lab.status()["services"] for b in s["backends"] for c in b["checks"])

    def newer() -> bool:
        found = [c for s in lab.status()["services"] for b in s["backends"] for c in b["checks"]]
        return all(c["at"] > now + 1 for c in found) and all_pass(lab)

    eventually(newer, 10)


def filtering(lab: Lab) -> bool:
    """The firewall is one: what nobody allowed does not get in."""
    return lab.try_run("router", "ping", "-c", "1", "-W", "1", "192.0.2.11").returncode != 0


@pytest.mark.parametrize("strict", [0, 1], ids=["", "rp_filter=1"])
def test_policy_drop(segment: Lab, strict: int) -> None:
    """Policy drop in all directions, ct state established: every check of every type passes, and traffic flows."""
    with firewall(segment, rules("balancer")), filters(segment, all=strict, eth0=strict):
        assert filtering(segment)
        checked_again(segment)
        assert [v["announced"] for v in segment.status()["vips"]] == [True, True]
        assert all(segment.get(vip).startswith("backend1") for vip in VIPS.values())
        assert not [w for w in segment.status()["warnings"] if "rp_filter" in w]


def test_filters_of_both_families(segment: Lab) -> None:
    """The reverse-path rule of firewalld for IPv6 beside the kernel's for IPv4."""
    with firewall(segment, rules("rpfilter")), filters(segment, all=1, eth0=1):
        checked_again(segment)


def test_without_established(segment: Lab) -> None:
    """Input that is never an answer: down, and said as the guide says it; with the rule back, up again."""
    closed = rules("balancer").replace("\t\tct state established,related accept\n", "", 1)
    with firewall(segment, closed):
        eventually(lambda: len(reasons(segment)) == 10, 15)
        said = [text for each in reasons(segment).values() for text in each]
        assert all("no answer" in text for text in said), said
    eventually(lambda: all_pass(segment), 15)


def test_without_the_mark(segment: Lab) -> None:
    """Probes that may not leave say so."""
    mark = "\t\tmeta mark & 0xfff00000 == 0xfa100000 accept\n"
    assert mark in rules("balancer")
    closed = rules("balancer").replace(mark, "")
    with firewall(segment, closed):
        eventually(lambda: len(reasons(segment)) == 10, 15)
        said = {text.partition(" after")[0] for each in reasons(segment).values() for text in each}
        wanted = "not permitted to send the probe (CAP_NET_ADMIN, CAP_NET_RAW, or a firewall's output rule)"
        assert wanted in said, said
    eventually(lambda: all_pass(segment), 15)


def test_several_interfaces() -> None:
    """Strict on the second interface: answers from behind it are swallowed; status names it, and what it advises mends it."""
    with site("multinic") as lab:
        far = {"198.51.100.23", "198.51.100.24"}
        with filters(lab, all=0, eth0=1, eth1=1):
            eventually(lambda: _down(lab) == far, 15)
            warned = eventually(lambda: [w for w in lab.status()["warnings"] if "rp_filter on eth1 is strict" in w], 5)
            assert "eth0" not in warned[0]
            advice = re.search(r"sysctl -w (net\.ipv4\.conf\.eth1\.rp_filter=0)", warned[0])
            assert advice, warned
            lab.run("balancer1", "sysctl", "-q", "-w", advice[1])
            eventually(lambda: _down(lab) == set(), 15)
            eventually(lambda: not [w for w in lab.status()["warnings"] if "rp_filter" in w], 5)
        with filters(lab, all=0, eth0=1, eth1=2):  # loose: the default route is enough
            eventually(lambda: _down(lab) == set(), 5)
            assert lab.all_up()


def _down(lab: Lab) -> set[str]:
    return {b["address"] for s in lab.status()["services"] for b in s["backends"] if b["state"] == "down"}


def test_tunnels() -> None:
    """Every kind of tunnel: the answers come as they are, by the short way, and are known for answers."""
    with site("tunnel") as lab, firewall(lab, rules("balancer")), filters(lab, all=1, eth0=1):
        assert filtering(lab)
        at = lab.status()["services"][0]["backends"][0]["checks"][0]["at"]
        eventually(lambda: all(c["at"] > at + 3 and c["up"] and not c["failures"] for c in _checks(lab)), 20)
        assert lab.states() == {"up"}


def _checks(lab: Lab) -> list[dict[str, float]]:
    return [c for s in lab.status()["services"] for b in s["backends"] for c in b["checks"]]
