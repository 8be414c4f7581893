"""The story that `make demo` tells: real HTTP over a real data plane, a backend dies, and it comes back.

It claims nothing that it has not just measured, and exits 0 only if every claim held:

1. several thousand requests over fresh connections, IPv4 and IPv6, without one error, shared evenly by the backends;
2. a backend is killed under load: requests fail only between the kill and the moment the balancer's check says `down`; the
   clients never retry, so each failure is counted; the others take over;
3. the backend is started again: it gets its share again, and nothing fails.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from fairlead.lab import life, ready
from fairlead.lab.client import Failure
from fairlead.lab.life import Lab
from fairlead.lab.load import Load
from fairlead.lab.namespaces import LabError
from fairlead.lab.topologies import TOPOLOGIES
from fairlead.lab.topology import Role, Xdp

REQUESTS = 6000
VICTIM = "backend2"
# each backend's share of the requests may differ from an even one by this much: Maglev is even to a percent or so, chance is not
UNEVEN = 0.25
# the tables change a moment after the `down` event is written: the pass that it wakes has to run
PASS = 0.05
DEGRADED = 3  # exit code of `fairlead status`


class Story:
    """What is told, and whether it was so."""

    def __init__(self) -> None:
        self.held = True
        self.live = sys.stdout.isatty()
        self._began = time.monotonic()
        self._told = 0.0

    def say(self, text: str = "") -> None:
        """One line for good."""
        print(f"\r\x1b[K{text}" if self.live else text, flush=True)

    def chapter(self, title: str) -> None:
        """A heading with the time since the start."""
        self.say(f"\n[{time.monotonic() - self._began:4.1f} s] {title}")

    def claim(self, holds: bool, text: str) -> None:
        """A claim and whether it holds."""
        self.held = self.held and holds
        self.say(f"  {'yes ' if holds else 'NO! '} {text}")

    def progress(self, load: Load, total: int = 0) -> None:
        """How far a load is: on one line of a terminal, else once a second."""
        now = time.monotonic()
        if not self.live and now - self._told < 1:
            return
        self._told = now
        shares = "  ".join(f"{name} {count}" for name, count in sorted(load.by_backend().items()))
        of = f" of {total}" if total else ""
        text = f"  {load.done():>5}{of} requests, {len(load.failures)} failed   {shares}"
        print(f"\r\x1b[K{text}" if self.live else text, end="" if self.live else "\n", flush=True)


class Balancer:
    """The balancer of the lab as an operator sees it: through the `fairlead` command, and the API's event log."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.name = lab.topology.of(Role.BALANCER)[0].name

    def status(self) -> dict[str, Any]:
        """`fairlead status --json`."""
        found: dict[str, Any] = json.loads(run(self.lab, self.name, "fairlead", "status", "--json", fine=(0, DEGRADED)))
        return found

    def events(self, name: str, since: float) -> dict[str, float]:
        """Service -> when it first had an event of that name about the victim's addresses, since that Unix time."""
        socket = self.lab.environment(self.lab.topology.host(self.name))["FAIRLEAD_SOCKET"]
        log = json.loads(run(self.lab, self.name, "curl", "-sS", "--unix-socket", socket, "http://localhost/v1/events"))
        host = self.lab.topology.host(VICTIM)
        victims = {host.address(4), host.address(6)}
        found: dict[str, float] = {}
        for event in log:
            if event["name"] == name and event["at"] >= since and victims & set(event["text"].split()):
                found.setdefault(event["about"], event["at"])
        return found


def run(lab: Lab, host: str, *argv: str, fine: Collection[int] = (0,)) -> str:
    """Run a command on a host and return its output; LabError with its words if its exit code is not `fine`."""
    line, env = life.command(lab, host, argv)
    done = subprocess.run(line, env=env, capture_output=True, text=True, check=False)
    if done.returncode not in fine:
        raise LabError(f"on {host}: {' '.join(argv)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def until(seen: Callable[[], bool], what: str, within: float, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Return when it is seen; LabError after `within` seconds."""
    deadline = time.monotonic() + within
    while not seen():
        if time.monotonic() > deadline:
            raise LabError(f"waited {within:g} s in vain for: {what}")
        meanwhile()
        time.sleep(0.1)


# -------------------------------------------------------------------------------------------------------------------- the story


def tell(lab: Lab, story: Story) -> None:
    """The three chapters."""
    balancer = Balancer(lab)
    _everything_works(lab, balancer, story)
    _a_backend_dies_and_returns(lab, balancer, story)


def _everything_works(lab: Lab, balancer: Balancer, story: Story) -> None:
    clients = len(lab.topology.of(Role.CLIENT))
    story.chapter(f"{REQUESTS} HTTP requests to {' and '.join(lab.topology.vips)}, each over a connection of its own")
    before = balancer.status()
    with Load(lab, lab.topology.vips, "--requests", str(REQUESTS // clients)) as load:
        while load.running():
            story.progress(load, REQUESTS)
            time.sleep(0.1)
    after = balancer.status()
    _tables(lab, load, after, story)
    story.claim(not load.failures and load.done() == REQUESTS, f"{load.done()} requests, {len(load.failures)} errors")
    even = REQUESTS / len(lab.topology.of(Role.BACKEND))
    shares = load.by_backend().values()
    fair = len(shares) * even == REQUESTS and all(abs(share - even) <= UNEVEN * even for share in shares)
    story.claim(fair, f"every backend had its share of about {even:.0f}")
    forwarded = _verdict(after, "forwarded") - _verdict(before, "forwarded")
    # at the least SYN, ACK, the request and a FIN go through the balancer; the replies do not
    story.claim(forwarded >= 4 * REQUESTS, f"the balancer forwarded {forwarded} packets from clients")


def _verdict(status: dict[str, Any], name: str) -> int:
    return int(status["verdicts"].get(name, {"packets": 0})["packets"])


def _tables(lab: Lab, load: Load, status: dict[str, Any], story: Story) -> None:
    modes = ", ".join(f"{i['name']} {i['mode']}" for i in status["interfaces"])
    packets = {backend["address"]: backend["packets"] for service in status["services"] for backend in service["backends"]}
    head = [f"requests to {vip}" for vip in lab.topology.vips]
    story.say(f"\n  {'BACKEND':<10}" + "".join(f"{title.upper():>28}" for title in head) + f"{'PACKETS':>12}")
    for host in lab.topology.of(Role.BACKEND):
        counts = "".join(f"{load.answers[vip, host.name]:>28}" for vip in lab.topology.vips)
        story.say(f"  {host.name:<10}{counts}{sum(packets.get(host.address(v), 0) for v in (4, 6)):>12}")
    story.say(f"\n  verdicts of {lab.topology.of(Role.BALANCER)[0].name} ({modes}):")
    for name, counted in sorted(status["verdicts"].items(), key=lambda item: -item[1]["packets"]):
        if counted["packets"]:
            story.say(f"  {name:<24}{counted['packets']:>10} packets{counted['bytes']:>12} bytes")
    story.say("\n  routes that the router learned by BGP:")
    for family in ("-4", "-6"):
        for line in run(lab, "router", "ip", family, "route", "show", "proto", "bird").splitlines():
            story.say(f"  {line}")
    story.say()


def _a_backend_dies_and_returns(lab: Lab, balancer: Balancer, story: Story) -> None:
    story.chapter(f"{VICTIM} is killed while requests go on")
    with Load(lab, lab.topology.vips, "--rate", "300") as load:
        until(lambda: load.by_backend()[VICTIM] > 50, f"answers of {VICTIM}", 10, lambda: story.progress(load))
        killed = float(life.ask(lab, do="kill", host=VICTIM, signal=9)["at"])
        down = _both(lab, balancer, "backend-down", killed, story, load)
        moved, calm = load.by_backend(), load.done()
        until(lambda: load.done() > calm + 300, "more requests", 10, lambda: story.progress(load))
        took = load.by_backend() - moved
        dead = list(load.failures)
        _judge_death(story, load, dead, killed, down)
        others = {host.name for host in lab.topology.of(Role.BACKEND)} - {VICTIM}
        story.claim(set(took) == others, f"then the others answered: {', '.join(f'{n} {c}' for n, c in sorted(took.items()))}")

        story.chapter(f"{VICTIM} is started again")
        returned = time.time()
        life.ask(lab, do="start", host=VICTIM)
        _both(lab, balancer, "backend-up", returned, story, load)
        served = moved[VICTIM]
        until(lambda: load.by_backend()[VICTIM] > served + 50, f"{VICTIM} to answer", 10, lambda: story.progress(load))
        load.finish()
    late = load.failures[len(dead) :]
    story.claim(load.by_backend()[VICTIM] > served, f"{VICTIM} answers again: {load.by_backend()[VICTIM] - served} requests")
    story.claim(not late, f"{len(late)} requests failed after the traffic had moved, {load.done()} in all")


def _both(lab: Lab, balancer: Balancer, name: str, since: float, story: Story, load: Load) -> dict[str, float]:
    """Wait until every service has had the event; service -> when."""
    found: dict[str, float] = {}

    def seen() -> bool:
        found.update(balancer.events(name, since))
        return len(found) == len(lab.topology.vips)

    until(seen, f"a {name} event of every service", 20, lambda: story.progress(load))
    for service, at in sorted(found.items()):
        story.say(f"  {service}: {name} {at - since:.2f} s later")
    return found


def _judge_death(story: Story, load: Load, dead: Sequence[Failure], killed: float, down: dict[str, float]) -> None:
    def when_down(target: str) -> float:
        return down[f"[{target}]:80/tcp" if ":" in target else f"{target}:80/tcp"]

    outside = [f for f in dead if f.ended < killed or f.began > when_down(f.target) + PASS]
    story.say(f"  {len(dead)} of {load.done()} requests failed; the clients do not retry")
    if dead:
        first, last = min(f.ended for f in dead), max(f.ended for f in dead)
        story.say(f"  the gap: from {first - killed:.3f} s to {last - killed:.3f} s after the kill; {dead[0].says}")
    story.claim(not outside, "every failure falls between the kill and the `down` event of the service's check")
    for failure in outside[:5]:
        story.say(f"       {failure.target} began {failure.began - killed:+.3f} s, ended {failure.ended - killed:+.3f} s")


# ------------------------------------------------------------------------------------------------------------------- around it


def _command() -> str:
    """How to call `fairlead` from here."""
    path = Path(life.find("fairlead"))
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _explore(lab: Lab, story: Story) -> None:
    call = f"{_command()} lab exec" + (f" --name {lab.name}" if lab.name != "lab" else "")
    vip = lab.topology.vips[0]
    story.say("\nThe lab stays up. Three ways to look around:\n")
    story.say(f"  {call} balancer1 fairlead status")
    story.say(f"  {call} client1 curl -s http://{vip}/")
    story.say(f"  {call} backend1 tcpdump -i eth0 -e -n -v -c 4 host {vip}")
    story.say("\n`make demo DOWN=1` takes it down.")


def demo(name: str, xdp: Xdp, *, down: bool) -> int:
    """Build the lab anew, tell the story; 0 only if everything was as claimed."""
    story = Story()
    if name in life.names():
        life.down(name)
        story.say(f"lab {name}, which was still up, is gone")
        if down:
            return 0
    topology = TOPOLOGIES["simple"]
    story.say(f"{topology.title}:\n\n{topology.drawing}")
    lab = life.up(name, topology, xdp)
    ready.wait(lab, 30)
    story.chapter("the lab is up: every client reaches every VIP")
    tell(lab, story)
    story.say("\nEverything was as it should be." if story.held else "\nNot everything was as it should be: see NO! above.")
    if down:
        life.down(name)
        story.say(f"lab {name} is gone")
    else:
        _explore(lab, story)
    return 0 if story.held else 1


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Fairlead at work in a lab of network namespaces", prog="fairlead.lab.demo")
    parser.add_argument("--name", default="lab", help="the lab to use; it is built anew")
    parser.add_argument("--xdp", default="native", choices=[mode.value for mode in Xdp])
    parser.add_argument(
        "--down", action="store_true", help="take down the lab that is up; if none is, that of this run at its end"
    )
    options = parser.parse_args()
    try:
        sys.exit(demo(life.check_name(options.name), Xdp(options.xdp), down=options.down))
    except LabError as error:
        print(f"\nfairlead.lab.demo: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
