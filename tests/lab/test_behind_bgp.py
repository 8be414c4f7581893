"""The restarts of test_hitless behind BGP: the router's only route to the VIPs is what the daemon announces."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pytest

from tests.lab.conftest import new_name
from tests.lab.hitless import Balancer, quiet, traffic
from tests.lab.kit import VIPS, Lab, eventually

pytestmark = [pytest.mark.root, pytest.mark.slow]

DEATHS = 8
SEED = 4711


@pytest.fixture
def balancer() -> Iterator[Balancer]:
    lab = Lab(new_name())
    try:
        lab.up()
        (bgp,) = re.findall(r"(?m)^bgp:\n(?:  .*\n)+", lab.config)
        lab.reload(f"{bgp}{quiet(lab.config)}")
        balancer = Balancer(lab)
        eventually(lambda: balancer.up() and announced(lab), 20)
        yield balancer
    finally:
        lab.down()


def announced(lab: Lab) -> bool:
    return all(lab.route(vip) for vip in VIPS.values())


def established(lab: Lab) -> bool:
    return "Established" in lab.run("router", f"{lab.home('router')}/bin/birdc", "show", "protocols", "balancer1")


def test_restarts(balancer: Balancer) -> None:
    """Killed at random instants and restarted in turn: no packet, no connection, no route is lost, and the session comes back."""
    chance, lab = random.Random(SEED), balancer.lab
    with lab.running("router", "ip", "monitor", "route") as monitor:
        with traffic(lab) as report:
            for number in range(DEATHS):
                _die(balancer, by_kill=number % 2 == 0)
                if chance.random() < 0.5:  # the next one finds the session still on its way back
                    eventually(lambda: established(lab), 20)
            eventually(lambda: established(lab) and announced(lab), 20)
        monitor.terminate()
        seen = monitor.communicate(timeout=10)[0].splitlines()
    assert not [line for line in seen if line.startswith("Deleted ") and any(vip in line for vip in VIPS.values())]
    print(report)
    assert report.unharmed(), report


def _die(balancer: Balancer, *, by_kill: bool) -> None:
    if not by_kill:
        balancer.restart()
        return
    balancer.kill()
    assert announced(balancer.lab)
    balancer.start()
    balancer.started()
