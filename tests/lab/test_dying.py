"""The daemon dies between any two stores of an apply, or at any instant of its first start: traffic and successor do not mind."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.conftest import new_name
from tests.lab.hitless import Balancer, hitless_lab, traffic
from tests.lab.kit import FAIRLEAD, TOOLS, V4, eventually

pytestmark = [pytest.mark.root, pytest.mark.slow]

MOST = 400  # stores of one apply; far more than there are
FIRST_STARTS = 12
SEED = int(os.environ.get("FAIRLEAD_SEED", "4711"))


@pytest.fixture(scope="module")
def balancer() -> Iterator[Balancer]:
    with hitless_lab(new_name()) as made:
        yield made


def changed(config: str) -> str:
    """Another weight, a drained backend and a new service: what an apply does, short of breaking connections by intent."""
    servers = "servers: [192.0.2.21, 192.0.2.22, 192.0.2.23]"
    assert servers in config
    other = config.replace(servers, "servers: [{address: 192.0.2.21, weight: 3}, 192.0.2.22*, 192.0.2.23]")
    new = f"  - {{name: new, virtual: {V4}, servers: [192.0.2.21, 192.0.2.23], policy: {{9443/tcp*: }}}}\n"
    return re.sub(r"(?m)^services:\n", f"services:\n{new}", other)


@contextmanager
def dying(balancer: Balancer) -> Iterator[Path]:
    """What is started in the block dies after as many stores as the file says that comes out of it."""
    services, said = balancer.lab.directory / "services.json", balancer.lab.directory / "stores"
    was = services.read_text()
    found = json.loads(was)
    argv = found["balancer1"]["argv"]
    found["balancer1"]["argv"] = [sys.executable, str(TOOLS.with_name("dying.py")), str(said), *argv[1:]]
    services.write_text(json.dumps(found))
    try:
        yield said
    finally:
        services.write_text(was)


def settled(balancer: Balancer, config: str) -> str:
    """The hash of the tables that this configuration leads to."""
    balancer.lab.reload(config)
    seen: list[str] = []

    def same() -> bool:
        seen.append(balancer.status()["tables_hash"])
        return len(seen) > 10 and len(set(seen[-10:])) == 1

    eventually(same)
    return seen[-1]


def dies(balancer: Balancer, within: float) -> bool:
    """Whether the daemon dies in this time, in seconds."""
    until = time.monotonic() + within
    while balancer.state() == "running":
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    assert balancer.state() == "killed by SIGKILL"
    return True


def test_between_every_two_stores(balancer: Balancer) -> None:
    """Killed after the n-th store of a reload, for every n, under traffic: nothing is lost, and the next start completes it."""
    before = balancer.lab.config_path.read_text()
    configs = [before, changed(before)]
    hashes = [settled(balancer, config) for config in reversed(configs)][::-1]
    balancer.stop()
    with dying(balancer) as stores:
        stores.write_text("0")
        balancer.start()
        balancer.started()
        with traffic(balancer.lab) as report:
            for number in range(1, MOST):
                wanted = number % 2
                balancer.lab.config_path.write_text(configs[wanted])
                os.kill(balancer.lab.pid(), signal.SIGHUP)
                if not dies(balancer, 5):
                    break
                stores.write_text(str(number // 2))  # each number there and back
                balancer.start()
                balancer.started()
                eventually(lambda: balancer.status()["tables_hash"] == hashes[wanted], 20)  # noqa: B023 - asked at once
                assert balancer.status()["repairs"] == 0
            balancer.kill()
    balancer.lab.config_path.write_text(before)
    balancer.start()
    balancer.started()
    print(f"killed {number - 1} times, after each of {(number - 1) // 2} stores there and back: {report}")
    assert 20 < number < MOST - 1
    assert report.unharmed(), report


def test_first_start(balancer: Balancer) -> None:
    """SIGKILL at random instants of a first start, half-made pins and all: each next start is clean, and the last one serves."""
    chance = random.Random(SEED)
    lab = balancer.lab
    balancer.stop()
    for _ in range(FIRST_STARTS):
        lab.run("balancer1", FAIRLEAD, "detach")
        for _ in range(chance.choice((1, 1, 2))):  # sometimes the one who finds the pieces dies too
            balancer.start()
            time.sleep(chance.uniform(0.3, 1.1))
            balancer.kill()
        before = (lab.home("balancer1") / "log").stat().st_size
        balancer.start()
        balancer.started()
        log = (lab.home("balancer1") / "log").read_bytes()[before:].decode()
        assert "Traceback" not in log, log
        balancer.stop()
        generations = sorted(path.name for path in Path(lab.env()["FAIRLEAD_BPFFS"]).iterdir())
        assert [name.partition("-")[0] for name in generations] == ["gen", "links", "tables"], generations
    balancer.start()
    eventually(balancer.up, 20)
    with traffic(lab) as report:
        balancer.restart()
    assert report.unharmed(), report
