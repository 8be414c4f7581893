"""What the hitless tests do, for longer: `python -m tests.lab.soak [N] [SEED]`.

N replacements of the program by reload, a tenth as many deaths of the daemon among them, half of those by SIGKILL at random
instants, all of it under traffic that tells of every packet. In rounds: after each it is said what came of it, and the first
loss, broken connection or link event ends it with exit code 1. It gives up after five seconds for each of the N.
"""

from __future__ import annotations

import os
import random
import sys
import time

from tests.lab.conftest import new_name
from tests.lab.hitless import Balancer, Report, deaths, hitless_lab, traffic

ROUND = 50  # replacements
EACH = 5.0  # seconds that one may take, deaths included


def one_round(balancer: Balancer, replacements: int, chance: random.Random) -> tuple[Report, dict[str, int]]:
    """So many replacements and a tenth as many deaths, under traffic."""
    with traffic(balancer.lab) as report:
        for _ in range(replacements):
            balancer.replace_program()
        done = deaths(balancer, max(replacements // 10, 1), chance)
        balancer.require_continued()
    return report, done


def soak(count: int, seed: int) -> int:
    """The exit code."""
    began, replaced, chance = time.monotonic(), 0, random.Random(seed)
    ends = {"killed": 0, "restarted": 0, "stopped": 0}
    packets = 0
    with hitless_lab(new_name()) as balancer:
        while replaced < count:
            if time.monotonic() - began > count * EACH + 60:
                print(f"out of time: {replaced} of {count} programs replaced")
                return 1
            report, done = one_round(balancer, min(ROUND, count - replaced), chance)
            replaced += min(ROUND, count - replaced)
            ends = {name: number + done[name] for name, number in ends.items()}
            packets += sum(report.sent.values())
            print(f"{time.monotonic() - began:7.0f} s  {replaced} programs replaced, {ends}: {report}", flush=True)
            if not report.unharmed():
                print(f"seed {seed}; the lab's log:\n{(balancer.lab.home('balancer1') / 'log').read_text()[-5000:]}")
                return 1
    print(f"{replaced} programs replaced, {ends}, {packets} datagrams: nothing lost, nothing broken, no link event")
    return 0


if __name__ == "__main__":
    if os.geteuid():
        sys.exit("the soak needs root: network namespaces and BPF")
    sys.exit(soak(int(sys.argv[1]) if sys.argv[1:] else 1000, int(sys.argv[2]) if sys.argv[2:] else random.randrange(1 << 16)))
