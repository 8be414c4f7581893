"""The watchdog's beat: given while passes end or move on, withheld when they do not."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from contextlib import closing
from pathlib import Path

import pytest

from fairlead.adapters import system
from fairlead.pulse import LISTEN, Pulse, interval, listen


class Patient:
    """A daemon without the daemon: what it is asked for and what it says."""

    def __init__(self) -> None:
        self.asked = 0
        self.position = 0.0
        self.said: list[str] = []
        self.pulse = Pulse(self.ask, lambda: self.position, self.said.append)

    def ask(self) -> None:
        self.asked += 1


def test_a_pass_that_ends_is_life() -> None:
    """Each beat asks for a pass, and the next one is given if it has ended."""
    patient = Patient()
    patient.pulse.once()
    for _ in range(3):
        patient.pulse.passed()
        patient.pulse.once()
    assert patient.asked == 4
    assert patient.said == ["WATCHDOG=1"] * 3


def test_a_pass_that_stands_still_is_none() -> None:
    """A pass that neither ends nor moves is not covered up for, though the loop turns; when it moves again, the beat is back."""
    patient = Patient()
    patient.position = 1.0
    patient.pulse.once()
    assert patient.said == ["WATCHDOG=1"], "it moves"
    for _ in range(5):
        patient.pulse.once()
    assert patient.said == ["WATCHDOG=1"]
    patient.position = 2.0
    patient.pulse.once()
    assert patient.said == ["WATCHDOG=1"] * 2


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 10.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 10.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_interval(environment: dict[str, str], seconds: float | None) -> None:
    """A third of what the service manager allows; nothing where it wants no beats, or those of another process."""
    assert interval(environment) == seconds


async def test_without_a_watchdog_nothing_beats() -> None:
    """Where nobody counts, no pass is asked for."""
    patient = Patient()
    await patient.pulse.beat(None)
    assert not patient.asked


def test_a_deaf_service_manager_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full queue costs a beat nothing and any other word a second at most."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        began = time.monotonic()
        for _ in range(2000):
            system.notify("WATCHDOG=1")
        system.notify("READY=1")
        assert time.monotonic() - began < 10
        assert manager.recv(100) == b"WATCHDOG=1"


async def test_a_loop_that_is_held_up_is_late() -> None:
    """Whoever holds the loop up makes it late by as long, and nobody else does for that long."""
    found: list[float] = []
    listening = asyncio.create_task(listen(lambda by, _: found.append(by)))
    await asyncio.sleep(3 * LISTEN)
    time.sleep(0.5)  # noqa: ASYNC251 - that is what it is about
    await asyncio.sleep(2 * LISTEN)
    listening.cancel()

    assert max(found) >= 0.5 - LISTEN
