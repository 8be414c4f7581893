"""Labs behind a static route, under traffic that tells of every packet: what a restart, an upgrade or a crash costs."""

from __future__ import annotations

import base64
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairlead.cli import online
from fairlead.lab import supervisor
from tests.lab.kit import SEGMENT, TOOLS, VIPS, Lab, eventually

STREAMS = TOOLS.with_name("streams.py")
PORT = "9000"
RATE = {4: 1500, 6: 750}  # datagrams a second
FLOWS = 64
POUR = 2  # megabytes a second of each TCP transfer
HELD = 24  # silent connections that are used at the end
BACKENDS = ("backend1", "backend2", "backend3")
# Each lost packet is told of by the datagrams. TCP that shares two cores with everything else sends again what was merely late:
# this only bounds how often.
RETRANSMITS = 0.01
Known = dict[str, tuple[int, str, int]]  # of each backend of each service: its id, its state, its packets
_NOBODY = 65534
_CAPABILITIES = "-all,+bpf,+net_admin,+perfmon,+net_raw"  # those of systemd/fairlead.service
_ONLY_CAPABILITIES = (
    *("setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"),
    *(f"--{which}={_CAPABILITIES}" for which in ("inh-caps", "ambient-caps", "bounding-set")),
)


def quiet(config: str) -> str:
    """The topology's configuration without BGP, and with a service for the tests' own servers, which nobody checks.

    Its checks are patient: a backend that goes down because this machine is busy would be right to, but is not what is tested.
    """
    without = re.sub(r"(?m)^bgp:\n(  .*\n)+", "", config)
    without = re.sub(r"timeout: [\d.]+, rise: 2, fall: 2", "timeout: 3, rise: 2, fall: 4", without)
    return re.sub(r"(?m)^  web: \{", f"  web: {{{PORT}/tcp*: , {PORT}/udp*: , ", without)


@contextmanager
def behind_a_static_route(lab: Lab) -> Iterator[None]:
    """Nothing but the data plane decides what arrives: the router has static routes to the VIPs, and no BGP is spoken."""
    for version, vip in VIPS.items():
        lab.run("router", "ip", "route", "add", vip, "via", f"{SEGMENT[version]}11", "metric", "1")
    try:
        yield
    finally:
        for vip in VIPS.values():
            lab.run("router", "ip", "route", "del", vip, "metric", "1", check=False)


@dataclass
class Report:
    """What came of the traffic. `lost` is of each stream the numbers that never arrived."""

    sent: dict[str, int] = field(default_factory=dict)
    lost: dict[str, list[int]] = field(default_factory=dict)
    twice: int = 0
    transfers: list[dict[str, Any]] = field(default_factory=list)
    held: list[dict[str, Any]] = field(default_factory=list)
    link_events: list[str] = field(default_factory=list)

    def unharmed(self) -> bool:
        """Nothing lost or sent twice, no connection broken or moved, no link event."""
        whole = all(t["sent"] == t["sink"] and t["retransmits"] <= RETRANSMITS * t["segments"] + 5 for t in self.transfers)
        stayed = not any(each["broken"] for each in self.held)
        return not any(self.lost.values()) and not self.twice and whole and stayed and not self.link_events

    def __str__(self) -> str:
        lost = {name: f"{len(numbers)} lost: {numbers[:20]}" for name, numbers in self.lost.items() if numbers}
        again = sum(t["retransmits"] for t in self.transfers)
        megabytes = sum(int(t["sent"].split()[0]) for t in self.transfers) / 1e6
        return (
            f"{sum(self.sent.values())} datagrams, {sum(map(len, self.lost.values()))} lost, {self.twice} twice; "
            f"{len(self.transfers)} transfers of {megabytes:.0f} MB in all, {again} segments sent again, "
            f"{sum(t['sent'] != t['sink'] for t in self.transfers)} broken; {len(self.held) * HELD} connections held, "
            f"{sum(each['broken'] for each in self.held)} broken; "
            f"{len(self.link_events)} link events{' ' + str(lost) if lost else ''}"
        )


@contextmanager
def traffic(lab: Lab) -> Iterator[Report]:
    """Datagrams at a constant rate, TCP transfers and idle connections over both VIPs, until the end of the block.

    The report is complete after the block.
    """
    report = Report()
    with ExitStack() as stack:
        takers = [stack.enter_context(_ready(lab, name, "take", PORT)) for name in BACKENDS]
        watch = stack.enter_context(lab.running("balancer1", "ip", "monitor", "link"))
        streams, pours, held = {}, [], []
        for version, vip in VIPS.items():
            name = f"udp{version}"
            words = ("stream", name, vip, PORT, str(RATE[version]), str(FLOWS))
            streams[name] = stack.enter_context(_ready(lab, "client1", *words))
            pours.append(stack.enter_context(_ready(lab, "client2", "pour", vip, PORT, str(POUR))))
            held.append(stack.enter_context(_ready(lab, "client2", "hold", vip, PORT, str(HELD))))
        yield report
        report.held = [json.loads(_ended(each)) for each in held]
        report.transfers = [json.loads(_ended(each)) for each in pours]
        report.sent = {name: json.loads(_ended(each))["sent"] for name, each in streams.items()}
        _count(report, takers)
        watch.terminate()
        report.link_events = [line for line in watch.communicate()[0].splitlines() if "eth0" in line]


def _count(report: Report, takers: list[subprocess.Popen[str]]) -> None:
    """Ask the servers what came until all did, or what was still on its way has had the time."""
    until = time.monotonic() + 2
    while True:
        told = [json.loads(_asked(taker)) for taker in takers]
        report.twice = sum(of["twice"] for each in told for of in each.values())
        for name, sent in report.sent.items():
            came = 0
            for each in told:
                packed = each.get(name, {"came": ""})["came"]
                came |= int.from_bytes(zlib.decompress(base64.b64decode(packed)), "little") if packed else 0
            report.lost[name] = [n for n in range(sent) if not came >> n & 1] if came != (1 << sent) - 1 else []
        if not any(report.lost.values()) or time.monotonic() > until:
            return
        time.sleep(0.1)


@contextmanager
def _ready(lab: Lab, host: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    with lab.running(host, "python3", str(STREAMS), *words) as process:
        assert _line(process) == "ready\n", f"{host}: {words}"
        yield process


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _asked(process: subprocess.Popen[str]) -> str:
    """The line that answers a line."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return _line(process)


def _ended(process: subprocess.Popen[str]) -> str:
    """The last line of one whose input ends."""
    assert process.stdin is not None
    process.stdin.close()
    return _line(process)


# ------------------------------------------------------------------------------------------------------------------ the daemon


class Balancer:
    """The daemon on balancer1, as whoever tests it lets it live and die."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.socket = lab.env()["FAIRLEAD_SOCKET"]
        self._known: Known | None = None
        self._mark = 0

    def status(self) -> dict[str, Any]:
        """What the daemon says; OSError or NoDaemon while there is none."""
        code, body = online.ask(self.socket, "GET", "/v1/status")
        assert code == 200, body
        return json.loads(body)

    def up(self) -> bool:
        """It answers, and every backend is up."""
        try:
            status = self.status()
        except online.NoDaemon:
            return False
        return {b["state"] for s in status["services"] for b in s["backends"]} == {"up"}

    def start(self) -> None:
        """Start it; returns at once."""
        supervisor.ask(self.lab.directory, do="start", host="balancer1")

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        os.kill(self.lab.pid(), signal.SIGKILL)
        self.gone()

    def stop(self) -> None:
        """SIGTERM, and wait until it is gone."""
        os.kill(self.lab.pid(), signal.SIGTERM)
        self.gone()

    def gone(self) -> None:
        eventually(lambda: self.state() != "running", every=0.01)

    def state(self) -> str:
        found: str = supervisor.ask(self.lab.directory, do="status")["hosts"]["balancer1"]["state"]
        return found

    def restart(self) -> dict[str, Any]:
        """`fairlead restart` without a new process for the question; the status of the successor."""
        before = self.status()["started"]
        code, body = online.ask(self.socket, "POST", "/v1/restart")
        assert code == 200, body
        found: dict[str, Any] = eventually(lambda: (now := self.status())["started"] != before and now, every=0.02)
        return found

    def started(self) -> dict[str, Any]:
        """The status, once it answers."""
        found = eventually(self._answers, 20, every=0.02)
        assert found is not None
        return found

    def require_continued(self) -> None:
        """What the daemon says is what the one before it said: ids, states, and counters that go on. To be asked now and then."""
        before, now = self._known, _known(self.started())
        self._known = now
        if before is not None:
            for name, (number, state, packets) in now.items():
                assert (number, state) == before[name][:2], f"{name}: {before[name]}, then {now[name]}"
                assert packets >= before[name][2], f"{name} lost packets from its counter: {before[name]}, then {now[name]}"

    def program(self) -> dict[str, Any]:
        """What bpftool says of the program that the link on eth0 runs."""
        (link,) = Path(self.lab.env()["FAIRLEAD_BPFFS"], "links").glob("xdp-*")
        number = json.loads(_bpftool("link", "show", "pinned", str(link)))["prog_id"]
        found: dict[str, Any] = json.loads(_bpftool("prog", "show", "id", str(number)))
        return found

    def replace_program(self) -> None:
        """A reload with another probe mark, which is a constant of the programs; returns once the new ones run."""
        before = self.program()["id"]
        self._mark = 0xF00 + (self._mark + 1) % 256
        config = re.sub(r"(?m)^probe:.*\n", "", self.lab.config_path.read_text())
        self.lab.config_path.write_text(f"probe: {{mark: {self._mark}}}\n{config}")
        code, body = online.ask(self.socket, "POST", "/v1/reload")
        assert code == 200, body
        assert self.program()["id"] != before

    @contextmanager
    def unprivileged(self) -> Iterator[None]:
        """What is started in the block has another user, and of root's rights the four capabilities that Fairlead needs."""
        services = self.lab.directory / "services.json"
        was = services.read_text()
        found = json.loads(was)
        found["balancer1"]["argv"] = [
            "unshare",
            "--mount",
            "sh",
            "-ec",
            _opened(),
            "sh",
            *_ONLY_CAPABILITIES,
            *found["balancer1"]["argv"],
        ]
        services.write_text(json.dumps(found))
        home, pins = self.lab.home("balancer1"), self.lab.directory / "bpffs"
        mine = [home, *home.rglob("*"), pins, *pins.rglob("*")]
        owners = [(path, path.stat().st_uid) for path in mine]
        for path in mine:
            os.chown(path, _NOBODY, _NOBODY)
        try:
            yield
        finally:
            services.write_text(was)
            for path, owner in owners:
                with suppress(FileNotFoundError):
                    os.chown(path, owner, owner)

    def user(self) -> int:
        """The user that the daemon runs as."""
        return Path(f"/proc/{self.lab.pid()}").stat().st_uid

    def _answers(self) -> dict[str, Any] | None:
        try:
            return self.status()
        except online.NoDaemon:
            assert self.state() == "running", (self.lab.home("balancer1") / "log").read_text()[-3000:]
            return None


def deaths(balancer: Balancer, count: int, chance: random.Random) -> dict[str, int]:
    """So many ends of the daemon: half of them SIGKILL at a random instant, the others restarts and stops.

    Of four in turn the second one is killed while it works, the third while it starts: adopts, loads, replaces, cleans up.
    """
    done = {"killed": 0, "restarted": 0, "stopped": 0}
    for number in range(count):
        if number % 4 in {1, 2}:
            time.sleep(chance.uniform(0, 1.2))
            balancer.kill()
            balancer.start()
            done["killed"] += 1
            continue
        balancer.require_continued()
        if number % 8:
            balancer.restart()
            done["restarted"] += 1
        else:
            balancer.stop()
            balancer.start()
            balancer.started()
            done["stopped"] += 1
        balancer.require_continued()
    balancer.require_continued()
    return done


def _opened() -> str:
    """A shell script that runs its arguments where everybody may go to the interpreter and to this package.

    A directory that others may not enter is covered by an empty one, into which only what is needed is mounted again.
    """
    needed: dict[Path, set[str]] = {}
    for path in {
        Path(sys.base_prefix).resolve(),
        Path(sys.prefix).resolve(),
        *(Path(each).resolve() for each in sys.path if each),
    }:
        for parent in reversed(path.parents):
            if parent.exists() and not parent.stat().st_mode & 1:
                needed.setdefault(parent, set()).add(path.relative_to(parent).parts[0])
                break
    lines = []
    for parent, names in needed.items():
        lines += [f"mount --bind {parent} /mnt", f"mount -t tmpfs -o mode=755 none {parent}"]
        lines += [f"mkdir {parent}/{name}; mount --bind /mnt/{name} {parent}/{name}" for name in sorted(names)]
        lines.append("umount -l /mnt")
    return "\n".join([*lines, 'exec "$@"'])


def _known(status: dict[str, Any]) -> Known:
    found = {}
    for service in status["services"]:
        name = f"{service['vip']} {service['port']}/{service['protocol']}"
        found |= {f"{name} {b['address']}": (b["destination"], b["state"], b["packets"]) for b in service["backends"]}
    return found


def _bpftool(*words: str) -> str:
    return subprocess.run(["bpftool", "-j", *words], check=True, capture_output=True, text=True).stdout


@contextmanager
def hitless_lab(name: str) -> Iterator[Balancer]:
    """A lab behind a static route whose daemon speaks no BGP, everything up."""
    lab = Lab(name)
    try:
        lab.up()
        lab.reload(quiet(lab.config))
        balancer = Balancer(lab)
        with behind_a_static_route(lab):
            eventually(balancer.up, 20)
            yield balancer
    finally:
        lab.down()
