"""Alerts from a lab: a server dies, then all of them, the daemon is replaced, and they come back; who is told what."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import receiver
from tests.lab.kit import SEGMENT, V4, V6, Lab, eventually

pytestmark = pytest.mark.root

HOOK = f"http://{SEGMENT[4]}1:8090"
PLACES = f"""
logging:
  slack: {{url: {HOOK}/slack, group: 500ms}}
  teams: {{url: {HOOK}/teams, level: error, group: 500ms}}
  webhook: {{url: {HOOK}/hook, level: notice, priorities: critical, group: 500ms}}
"""


class Inbox:
    """What came to the receiver on the router."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def of(self, place: str) -> list[Any]:
        found = [json.loads(line) for line in self._path.read_text().splitlines()]
        return [each["body"] for each in found if each["path"] == f"/{place}"]

    def events(self) -> list[tuple[str, bool, str]]:
        """(type, over, service, VIP or peer) of all that the webhook was told."""
        return [
            (event["name"], event["resolved"], event["about"] or event["facts"].get("vip", ""))
            for message in self.of("hook")
            for event in message["events"]
        ]


@pytest.fixture
def inbox(lab: Lab) -> Iterator[Inbox]:
    """A receiver on the router, three places that tell it, and IPv4's service alone with a priority."""
    file = lab.directory / "inbox"
    file.write_text("")
    with lab.running("router", sys.executable, receiver.__file__, f"{SEGMENT[4]}1", "8090", str(file)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        config = lab.config.replace(f"virtual: {V4}\n", f"virtual: {V4}\n    priority: critical\n")
        assert "priority" in config
        lab.reload(config + PLACES)
        yield Inbox(file)
        lab.restore()


def test_a_story(lab: Lab, inbox: Inbox) -> None:
    """Each place hears what it asked for, once, and the end of it from the daemon that comes after."""
    lab.cli("kill", "backend1")
    eventually(lambda: ("backend-down", False, f"{V4}:80/tcp") in inbox.events(), 15)
    assert V6 not in str(inbox.of("hook")), "its service has no priority"
    assert inbox.of("slack") == inbox.of("teams") == []

    lab.cli("kill", "backend2")
    lab.cli("kill", "backend3")
    eventually(lambda: ("vip-down", False, V4) in inbox.events(), 15)
    told = eventually(lambda: [text for body in inbox.of("slack") if V6 in (text := str(body))], 15)
    eventually(lambda: "🔴" in str(inbox.of("teams")))
    assert V6 not in str(inbox.of("teams")), "without a priority a VIP that is down is a warning"
    assert any("is down" in text for text in told)

    lab.run("balancer1", str(Path(sys.executable).with_name("fairlead")), "restart")
    for number in (1, 2, 3):
        lab.cli("start", f"backend{number}")
    eventually(lambda: ("vip-up", True, V4) in inbox.events(), 20)
    eventually(lambda: any(f"VIP {V6} is up" in str(body) for body in inbox.of("slack")), 15)
    eventually(lambda: any("🟢" in str(body) for body in inbox.of("teams")), 15)
    eventually(lambda: sum(name == "backend-up" for name, over, _ in inbox.events() if over) == 3, 15)
    assert sum(name == "vip-down" for name, _, _ in inbox.events()) == 1

    places = {sink["name"]: sink for sink in lab.status()["sinks"]}
    assert {"slack", "teams", "webhook"} <= set(places)
    assert all(not places[name]["dropped"] and not places[name]["refused"] for name in ("slack", "teams", "webhook"))
    assert HOOK not in str(places), "whoever reads the status need not know where to post"
