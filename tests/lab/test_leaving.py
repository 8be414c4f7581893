"""A balancer leaves its routers and comes back: `drain self`, `undrain`, `stop_time`, as BIRD sees it and clients feel it."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.kit import FAIRLEAD, V4, V6, VIPS, WELL_OR_NOT, Lab, eventually

pytestmark = pytest.mark.root

MARKED = "(65535,0)"  # as BIRD prints the community of RFC 8326
DRAIN_TIME = 4.0  # seconds


def said(lab: Lab, *words: str, fine: Collection[int] = (0,)) -> str:
    done = lab.try_run("balancer1", FAIRLEAD, *words, within=60)
    assert done.returncode in fine, done.stdout + done.stderr
    return done.stdout


def bgp(lab: Lab, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said(lab, "bgp", *words, "--json", fine=WELL_OR_NOT))
    return found


def seen(lab: Lab, vip: str) -> str:
    """All that BIRD says of the route to a VIP, "" where it has none."""
    prefix = f"{vip}/{128 if ':' in vip else 32}"
    text = lab.run("router", str(lab.home("router") / "bin/birdc"), "show", "route", "all", "protocol", "balancer1")
    return next((part for part in text.replace("\nTable", "\n\nTable").split("\n\n") if prefix in part), "")


def marked(lab: Lab) -> bool:
    return all(MARKED in seen(lab, vip) for vip in VIPS.values())


def gone(lab: Lab) -> bool:
    return not any(lab.route(vip) for vip in VIPS.values())


def since(lab: Lab) -> float:
    """When the session came up; it must be up."""
    (peer,) = bgp(lab)["peers"]
    assert peer["state"] == "Established"
    return float(peer["since"])


@pytest.fixture
def calm(lab: Lab) -> Iterator[Lab]:
    """The native lab with times of leaving; afterwards nothing is left of them."""
    lab.reload(lab.config.replace("  hold_time: 9\n", f"  hold_time: 9\n  drain_time: {DRAIN_TIME:g}\n"))
    eventually(lab.all_up)
    yield lab
    if not running(lab):
        lab.cli("start", "balancer1")
    eventually(lambda: said(lab, "undrain"))


def running(lab: Lab) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{lab.pid()}/status").read_text()
    except OSError:
        return False


def test_drain_self(calm: Lab) -> None:
    """First routes are marked (RFC 8326) and packets flow on, then they go, and the session stays; undrain brings all back."""
    began, session = time.monotonic(), since(calm)
    assert "carry the graceful shutdown community for 4 s" in said(calm, "drain", "self")
    eventually(lambda: marked(calm), 2)
    assert calm.get(V4).startswith("backend")
    assert bgp(calm)["leaving"]
    eventually(lambda: gone(calm), DRAIN_TIME)

    assert time.monotonic() - began >= DRAIN_TIME - 0.1
    found = calm.status()
    assert found["drained"].startswith("drained by root since 20")
    assert not found["leaving"]
    assert {(v["state"], v["announced"], v["reason"]) for v in found["vips"]} == {("up", False, found["drained"])}
    assert "already" in said(calm, "drain", "self")
    assert "# this balancer is drained by root" in said(calm, "status", fine=(3,))

    said(calm, "undrain")
    eventually(calm.all_up, 3)
    assert MARKED not in seen(calm, V4)
    assert since(calm) == session
    assert said(calm, "undrain") == "this balancer is not drained\n"


def test_drained_outlives_the_daemon(calm: Lab) -> None:
    """After SIGKILL and after a restart in place nothing is announced, until undrain says so; packets that come are forwarded."""
    said(calm, "drain", "self", "--wait", "--timeout", "30")
    assert gone(calm)
    drained = calm.status()["drained"]

    calm.cli("kill", "--signal", "KILL", "balancer1")
    eventually(lambda: not running(calm))
    calm.cli("start", "balancer1")
    eventually(lambda: {s["state"] for s in calm.status()["services"]} == {"up"})
    assert calm.status()["drained"] == drained
    said(calm, "restart")
    eventually(lambda: {s["state"] for s in calm.status()["services"]} == {"up"})
    assert calm.status()["drained"] == drained
    assert gone(calm)

    said(calm, "undrain")
    eventually(calm.all_up, 5)


def test_drain_while_it_leaves_survives(calm: Lab) -> None:
    """A daemon killed between the mark and the withdrawal goes on where it was: it marks, and withdraws in time."""
    calm.reload(calm.config.replace("  hold_time: 9\n", "  hold_time: 9\n  drain_time: 12\n"))
    said(calm, "drain", "self")
    eventually(lambda: marked(calm), 2)
    calm.cli("kill", "--signal", "KILL", "balancer1")
    eventually(lambda: not running(calm))
    calm.cli("start", "balancer1")
    eventually(lambda: gone(calm), 14)
    assert "drained by root" in calm.status()["drained"]


def test_a_stop_marks_the_routes_first(calm: Lab) -> None:
    """Unsaid, `stop_time` is a second: long enough for the router to have the community before the withdrawal."""
    command = (str(calm.home("router") / "bin/birdc"), "show", "route", "all", "protocol", "balancer1")
    began, marks = time.monotonic(), 0
    os.kill(calm.pid(), signal.SIGTERM)
    while calm.route(V4):
        marks += MARKED in calm.run("router", *command)
    assert marks
    assert time.monotonic() - began >= 0.9
    eventually(lambda: not running(calm))


def test_stop_time(calm: Lab) -> None:
    """With `stop_time` SIGTERM marks the routes first and the daemon ends that much later; a second signal cuts it short."""
    calm.reload(calm.config.replace("  hold_time: 9\n", "  hold_time: 9\n  stop_time: 5\n"))
    began, pid = time.monotonic(), calm.pid()
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: marked(calm), 2)
    assert calm.get(V6).startswith("backend")
    eventually(lambda: gone(calm), 8)
    assert time.monotonic() - began >= 4.9

    eventually(lambda: not running(calm))
    calm.cli("start", "balancer1")
    eventually(calm.all_up)
    calm.reload(calm.config.replace("  hold_time: 9\n", "  hold_time: 9\n  stop_time: 60\n"))
    os.kill(calm.pid(), signal.SIGTERM)
    eventually(lambda: marked(calm), 2)
    os.kill(calm.pid(), signal.SIGTERM)
    eventually(lambda: gone(calm) and not running(calm), 5)


def test_bgp_shows_the_session(calm: Lab) -> None:
    """`fairlead bgp` in a line, `fairlead bgp PEER` in full: ends, timers, capabilities, routes with what is said of them."""
    table = said(calm, "bgp")
    assert table.startswith("BGP router 192.0.2.11, not listening\n")
    assert "192.0.2.1" in table
    text = said(calm, "bgp", "192.0.2.1")
    for words in (
        "BGP peer 192.0.2.1, AS 64500, eBGP; we are AS 64512",
        "Established for ",
        "our end 192.0.2.11",
        "hold time 9 s, keepalive every 3 s",
        "  capabilities",
        "  routes sent: 2",
        f"    {V4}/32 via 192.0.2.11 ",
        f"    {V6}/128 via fd1a:b:0:10::11 ",
    ):
        assert words in text, text
    refused = calm.try_run("balancer1", FAIRLEAD, "bgp", "10.9.9.9")
    assert (refused.returncode, "there is no BGP peer 10.9.9.9; there are: 192.0.2.1" in refused.stderr) == (1, True)


def test_a_new_address_waits_for_the_next_start(calm: Lab, tmp_path: Path) -> None:
    """It is the router id, which no session can change: `plan` and a warning say so until a restart, or its end."""
    session, path = since(calm), tmp_path / "new.yaml"
    path.write_text(re.sub(r"(?m)^address: .*$", "address: 192.0.2.111", calm.config))
    later = "192.0.2.11 stays the BGP router id until the next start, then it is the new `address`, 192.0.2.111"
    assert "set address 192.0.2.111; the BGP router id follows with the next start" in said(calm, "plan", str(path), fine=(4,))
    calm.reload(path.read_text())
    assert later in calm.status()["warnings"]
    calm.reload(calm.config)
    assert later not in calm.status()["warnings"]
    assert since(calm) == session

    calm.reload(path.read_text())
    said(calm, "restart")
    eventually(lambda: said(calm, "bgp", fine=WELL_OR_NOT).startswith("BGP router 192.0.2.111,"))
    eventually(calm.all_up)
    assert later not in calm.status()["warnings"]
    calm.reload(calm.config)
    said(calm, "restart")
    eventually(lambda: said(calm, "bgp", fine=WELL_OR_NOT).startswith("BGP router 192.0.2.11,"))


def test_policy_changes_without_a_reset(calm: Lab) -> None:
    """Rules, communities, filters and aggregates of a reload reach the router in the session that there is."""
    session = since(calm)
    rules = "rules: [{services: [web], communities: [no-export, 64512:7], med: 5}]\n  med: 9\n  aggregates: [203.0.113.0/24]"
    calm.reload(calm.config.replace("  hold_time: 9\n", f"  hold_time: 9\n  {rules}\n"))
    eventually(lambda: "(64512,7)" in seen(calm, V4), 2)
    assert "BGP.med: 5" in seen(calm, V4)
    assert "BGP.med: 9" in seen(calm, V6)
    (peer,) = bgp(calm)["peers"]
    assert sorted(peer["routes"]) == ["203.0.113.0/24", f"{V4}/32", f"{V6}/128"]

    calm.reload(calm.config.replace("  hold_time: 9\n", "  hold_time: 9\n  reject: [203.0.113.0/24]\n"))
    eventually(lambda: not calm.route(V4), 2)
    assert calm.route(V6)
    assert "BGP.med" not in seen(calm, V6)
    (peer,) = bgp(calm)["peers"]
    assert peer["withheld"] == [f"{V4}/32: rejected by the filter of this peer"]
    assert since(calm) == session


def test_a_killed_daemon_keeps_its_routes(calm: Lab) -> None:
    """SIGKILL and a new start: the router keeps the routes (RFC 4724), none leaves its kernel before somebody asks for that."""
    with calm.running("router", "ip", "monitor", "route") as monitor:
        calm.cli("kill", "--signal", "KILL", "balancer1")
        eventually(lambda: not running(calm))
        assert calm.get(V4).startswith("backend")
        calm.cli("start", "balancer1")
        eventually(calm.all_up)
        eventually(lambda: since(calm))
        assert "graceful restart 120 s (restarting, IPv4 and IPv6 forwarding kept)" in said(calm, "bgp", "192.0.2.1")
        said(calm, "drain", "self", "--wait", "--timeout", "30")
        eventually(lambda: gone(calm))
        monitor.terminate()
        assert monitor.stdout is not None
        deleted = [line for line in monitor.stdout.read().splitlines() if line.startswith("Deleted")]
    assert [sum(vip in line for line in deleted) for vip in (V4, V6)] == [1, 1]
