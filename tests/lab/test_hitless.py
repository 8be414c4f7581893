"""Restart, crash, upgrade and downgrade under traffic that tells of every packet: nothing is lost, broken or seen on the link."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from tests.lab.conftest import new_name
from tests.lab.hitless import Balancer, deaths, hitless_lab, traffic

pytestmark = [pytest.mark.root, pytest.mark.slow]

RESTARTS = int(os.environ.get("FAIRLEAD_RESTARTS", "100"))
QUARTERS = 4  # so that no test takes minutes
REPLACEMENTS = 25
UNPRIVILEGED_RESTARTS = 8
SEED = int(os.environ.get("FAIRLEAD_SEED", "4711"))


@pytest.fixture(scope="module")
def balancer() -> Iterator[Balancer]:
    with hitless_lab(new_name()) as made:
        yield made


@pytest.mark.parametrize("quarter", range(QUARTERS))
def test_restarts(balancer: Balancer, quarter: int) -> None:
    """A hundred restarts, half of them by SIGKILL at random instants: not a packet, a connection or a link event.

    Each time destination ids, counters and health are at once what they were.
    """
    with traffic(balancer.lab) as report:
        done = deaths(balancer, RESTARTS // QUARTERS, random.Random(SEED + quarter))
    print(f"{done}: {report}")
    assert report.unharmed(), report


def test_replacements(balancer: Balancer) -> None:
    """The program replaced 25 times, by reloads that change a constant of it: nothing is lost, and each time it is another."""
    programs = set()
    with traffic(balancer.lab) as report:
        for _ in range(REPLACEMENTS):
            balancer.replace_program()
            programs.add(balancer.program()["id"])
    print(f"{len(programs)} programs: {report}")
    assert len(programs) == REPLACEMENTS
    assert report.unharmed(), report


def test_unprivileged(balancer: Balancer) -> None:
    """The same as a user who has nothing but capabilities, in a private mount namespace."""
    balancer.stop()
    with balancer.unprivileged():
        balancer.start()
        balancer.started()
        with traffic(balancer.lab) as report:
            done = deaths(balancer, UNPRIVILEGED_RESTARTS, random.Random(SEED))
            balancer.replace_program()
            assert balancer.user() == 65534
        balancer.stop()
    balancer.start()
    balancer.started()
    print(f"{done}: {report}")
    assert report.unharmed(), report
