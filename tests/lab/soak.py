"""A long life: `python -m tests.lab.soak [SECONDS] [SEED]`, an hour if nothing is said; a minute of it is in `make test`.

Seven tenths of the time one daemon lives on while servers die and come back, services come and go by reload, operators override,
programs are replaced, readers leave in the middle of an answer, and those who take events (an Elasticsearch protocol server, a
webhook) are silent, odd or away. Now and then all comes to rest, and the daemon is weighed: memory, descriptors, threads, pins,
files. In the rest of the time it is restarted, stopped and killed, half of the times by SIGKILL at a random instant. All of it is
under traffic that tells of every packet, and with an eye on the event loop.

It ends with exit code 1 at a packet lost, a connection broken, a link event, an event that did not arrive, a loop that is late,
and at anything that grew.
"""

from __future__ import annotations

import os
import random
import sys
import time
from dataclasses import dataclass, field

from tests.lab.churn import PLACES, Churn, Outside
from tests.lab.conftest import new_name
from tests.lab.hitless import Balancer, deaths, hitless_lab, traffic
from tests.lab.kit import eventually
from tests.lab.watch import Rest, Watch, grown, rest

HOUR = 3600.0
ONE_LIFE = 0.7  # of the time
STRETCH = 120.0  # seconds of traffic that are counted at once
ACTS = {False: 1, True: 2}  # before and during an outage, each; by whether there is time
RESTS = 6  # at least, or nothing can be said of growth
PATIENT = 600.0  # seconds from which on receivers may be silent, too
BETWEEN = 60.0  # seconds that an answer may take which waits for the next daemon
DEATHS = 4  # between two looks


@dataclass
class Soak:
    """One run. `wrong` is empty if all is well."""

    balancer: Balancer
    churn: Churn
    began: float = field(default_factory=time.monotonic)
    rests: list[Rest] = field(default_factory=list)
    packets: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def says(self, text: str) -> None:
        print(f"{time.monotonic() - self.began:7.0f} s  {text}", flush=True)

    def live(self, until: float) -> None:
        """One life: act upon act, at rest in between, until a moment of the steady clock; six rests at least."""
        while not self.wrong and (time.monotonic() < until or len(self.rests) < RESTS):
            with traffic(self.balancer.lab) as report:
                stretch = min(until, time.monotonic() + STRETCH)
                self._act()
                while time.monotonic() < stretch:
                    self._act()
            self.packets += sum(report.sent.values())
            self.says(f"{dict(sorted(self.churn.done.items()))}: {report}")
            if not report.unharmed():
                self.wrong.append(f"harmed: {report}")
        if len(self.rests) >= RESTS:
            self.wrong += grown(self.rests)
        self.wrong += self.churn.lost()

    def _act(self) -> None:
        acts = ACTS[self.churn.patient]
        self.churn.some(acts)
        self.churn.outage(acts)
        self.churn.calm()
        self.rests.append(self._rest())
        self.says(f"at rest: {self.rests[-1]}")

    def _rest(self) -> Rest:
        lab = self.balancer.lab
        bpffs, state = lab.directory / "bpffs" / "balancer1", lab.home("balancer1") / "state"
        return rest(lab.pid(), bpffs, state, time.monotonic() - self.began)

    def die(self, until: float, chance: random.Random) -> None:
        """Life after life; a daemon that inherits must not have more descriptors than the one before."""
        had = max(each.descriptors for each in self.rests)
        while not self.wrong and (time.monotonic() < until or not self.ends):
            with traffic(self.balancer.lab) as report:
                done = deaths(self.balancer, DEATHS, chance)
                self.churn.some(1)
            self.churn.calm()
            self.packets += sum(report.sent.values())
            self.ends = {name: self.ends.get(name, 0) + number for name, number in done.items()}
            now = self._rest()
            self.says(f"{self.ends}, {now.descriptors} descriptors: {report}")
            if not report.unharmed():
                self.wrong.append(f"harmed: {report}")
            if now.descriptors > had:
                self.wrong.append(f"descriptors are inherited: {had}, then {now.descriptors}")


def soak(seconds: float, seed: int) -> list[str]:
    """What was wrong, in words."""
    chance = random.Random(seed)
    with hitless_lab(new_name()) as balancer:
        balancer.lab.reload(balancer.lab.config_path.read_text() + PLACES)
        outside = Outside(balancer)
        try:
            outside.start()
            made = Soak(balancer, Churn(balancer, outside, chance, patient=seconds >= PATIENT))
            made.churn.warm_up()
            with Watch(balancer.status) as watch:
                made.live(made.began + ONE_LIFE * seconds)
            with Watch(balancer.status, slow=BETWEEN) as dying:
                made.die(made.began + seconds, chance)
            made.wrong += [*watch.wrong(), *dying.wrong()]
            if odd := outside.odd():
                made.wrong.append(f"not of the protocol: {odd}")
            eventually(lambda: outside.documents() and outside.messages())
            made.says(f"{made.packets} datagrams, {outside.documents()} events stored, {outside.messages()} alerts; {watch}")
        finally:
            outside.stop()
        if made.wrong:
            print(f"seed {seed}; the lab's log:\n{(balancer.lab.home('balancer1') / 'log').read_text()[-5000:]}")
    return made.wrong


def main() -> int:
    """The exit code."""
    if os.geteuid():
        print("the soak needs root: network namespaces and BPF")
        return 1
    seconds = float(sys.argv[1]) if sys.argv[1:] else HOUR
    wrong = soak(seconds, int(sys.argv[2]) if sys.argv[2:] else random.randrange(1 << 16))
    print("\n".join(wrong) or "nothing lost, nothing broken, nothing grown")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
