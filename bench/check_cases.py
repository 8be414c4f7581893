"""Health checks a second: the daemon's prober and core on one core, through the probe program, against nginx on another one.

The servers' side of the cable is handled by the other core as well (receive packet steering): its work is not ours. Asked is for
more than can be done, so that the rate is what one core can do; results go where the daemon sends them, into the reconciler.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from ipaddress import IPv4Address
from pathlib import Path as File

from bench.results import Figure
from fairlead.adapters import plumbing
from fairlead.adapters.probes import Prober
from fairlead.model import Geometry, Link, Path, ProbeKey, ProbeResult
from tests.bpf.plane import Plane

OURS, THEIRS, SPACE = "checks0", "checks1", f"flbench{os.getpid()}"
BACKENDS = 100
NGINX = File(__file__).parents[1] / ".tools/nginx/usr/sbin/nginx"
# type -> goal and must, checks a second; DESIGN says 6,000 and 4,000, of no type: HTTP is what most are
TYPES = {"http": (6000, 4000), "tcp": (0, 0), "syn": (0, 0), "https": (0, 0)}


def inside(*command: str) -> None:
    """Run a command in the servers' namespace."""
    subprocess.run(["ip", "netns", "exec", SPACE, *command], check=True, capture_output=True)


@contextmanager
def servers(directory: str) -> Iterator[Link]:
    """A cable to a namespace where nginx serves every VIP on every backend's address; our end of it."""
    subprocess.run(["ip", "netns", "add", SPACE], check=True)
    nginx = None
    try:
        subprocess.run(["ip", "link", "add", OURS, "type", "veth", "peer", "name", THEIRS, "netns", SPACE], check=True)
        subprocess.run(["ip", "addr", "add", "10.70.255.1/16", "dev", OURS], check=True)
        subprocess.run(["ip", "link", "set", OURS, "up"], check=True)
        other = min(os.sched_getaffinity(1))
        for words in (
            f"ip addr add 10.70.255.2/16 dev {THEIRS}",
            f"ip link set {THEIRS} up",
            "ip link set lo up",
            "ip route add local 198.18.0.0/15 dev lo",
            f"ip route add local 10.70.0.0/17 dev {THEIRS}",
        ):
            inside(*words.split())
        inside("sh", "-c", f"echo {1 << other:x} >/sys/class/net/{THEIRS}/queues/rx-0/rps_cpus")
        nginx = _nginx(File(directory), other)
        yield Link(_index(OURS), OURS, _mac(OURS), True, 1500)
    finally:
        if nginx is not None:
            nginx.terminate()
            nginx.wait(10)
        subprocess.run(["ip", "link", "del", OURS], check=False, capture_output=True)  # at once; a namespace goes when it likes
        subprocess.run(["ip", "netns", "del", SPACE], check=True)


def _nginx(home: File, cpu: int) -> subprocess.Popen[bytes]:
    (home / "tmp").mkdir()
    temporary = " ".join(f"{kind}_temp_path tmp/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=www.example.org".split()
    subprocess.run(["openssl", *words, "-keyout", home / "key", "-out", home / "crt"], check=True, capture_output=True)
    (home / "nginx.conf").write_text(f"""\
daemon off; master_process off; pid {home}/pid; error_log stderr crit; worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
	{temporary} access_log off;
	server {{
		listen 80 backlog=8192; listen 443 ssl backlog=8192;
		ssl_certificate {home}/crt; ssl_certificate_key {home}/key;
		location / {{ return 200 "ok\\n"; }}
	}}
}}
""")
    argv = [str(NGINX), "-e", "stderr", "-p", str(home), "-c", f"{home}/nginx.conf"]
    return subprocess.Popen(["ip", "netns", "exec", SPACE, "taskset", "-c", str(cpu), *argv])


def _index(name: str) -> int:
    return int(File(f"/proc/self/net/dev_snmp6/{name}").read_text().split()[1])


def _mac(name: str, *front: str) -> bytes:
    shown = subprocess.run([*front, "ip", "-o", "link", "show", name], check=True, capture_output=True, text=True).stdout
    return bytes.fromhex(shown.partition("link/ether ")[2].split()[0].replace(":", ""))


def text(services: int, policy: str, first: int = 0) -> str:
    """Services with a VIP each, all on the same backends."""
    vips = (f"198.18.{n // 250}.{n % 250 + 1}" for n in range(first, services))
    return "\n".join(f"  - {{virtual: {vip}, servers: all, policy: {{{policy}}}}}" for vip in vips)


def head() -> str:
    """What every configuration here begins with."""
    listed = ", ".join(f"10.70.{i // 100}.{i % 100 + 1}" for i in range(BACKENDS))
    return f"address: 10.70.255.1\nhold: 0\nservers: {{all: [{listed}]}}\nservices:\n"


def policy(kind: str, interval: float) -> str:
    """One entry with one check."""
    port = {"https": "443/https"}.get(kind, "80/tcp")
    return f"{port}: {{checks: [{{type: {kind}, interval: {interval}}}]}}"


class Bench:
    """A plane whose paths lead over the cable, and a prober that counts."""

    def __init__(self, plane: Plane, link: Link) -> None:
        self.plane, self.link = plane, link
        self.passed = self.failed = 0
        self.says = ""
        self._server = _mac(THEIRS, "ip", "netns", "exec", SPACE)
        plane.reconciler.set_links([link])
        plane.kernel.attach(link)

    def result(self, key: ProbeKey, result: ProbeResult) -> None:
        """What the daemon does with it, and a count."""
        self.plane.reconciler.probed(key, result)
        self.passed += result.passed
        self.failed += not result.passed
        self.says = self.says if result.passed else result.says

    def take(self, configuration: str) -> None:
        """A configuration, and the paths to its backends; no pass."""
        from fairlead import config

        parsed = config.parse(configuration, "bench.yaml")
        path = Path(self.link.ifindex, self._server, self.link.mac, 1500, IPv4Address("10.70.255.1"))
        self.plane.reconciler.set_config(parsed)
        self.plane.reconciler.set_paths({b.address: path for s in parsed.services for b in s.backends})
        self.probe_config = parsed.probe

    @asynccontextmanager
    async def probing(self, configuration: str) -> AsyncIterator[Prober]:
        """The daemon's part: one pass, what the mark needs of routing, and probes."""
        self.take(configuration)
        await self.plane.reconciler.run_pass()
        await plumbing.ensure(self.probe_config, self.link.ifindex, [4])
        prober = Prober(self.result)
        prober.set(self.plane.reconciler.targets())
        try:
            yield prober
        finally:
            await prober.close()

    async def rates(self, kind: str, seconds: int) -> list[float]:
        """Passes in each second, once every question has been asked for the first time."""
        found = []
        async with self.probing(head() + text(20, policy(kind, 0.1))):  # 20 x 100 at 10 a second
            await asyncio.sleep(1.5)
            for _ in range(seconds):
                before, at = self.passed, time.perf_counter()
                await asyncio.sleep(1)
                found.append((self.passed - before) / (time.perf_counter() - at))
        if self.failed:
            raise RuntimeError(f"{self.failed} of the {kind} checks failed: {self.says}")
        return found

    async def beside_a_cold_start(self) -> tuple[float, float, float]:
        """2,000 checks a second while 1,000 services come: share of checks that ran, longest hold-up, the apply; %, ms, ms."""
        gaps = [0.0]
        small = head() + text(8, policy("http", 0.4))
        async with self.probing(small) as prober:
            await asyncio.sleep(1)
            watch = asyncio.create_task(_gaps(gaps))
            before, at = self.passed, time.perf_counter()
            await asyncio.sleep(2)
            usual = (self.passed - before) / (time.perf_counter() - at)
            gaps[0], before, at = 0.0, self.passed, time.perf_counter()
            self.take(small + "\n" + text(1008, "81/tcp*: ", 8))
            while (await self.plane.reconciler.run_pass()).postponed:
                await self.plane.reconciler.collect()
            prober.set(self.plane.reconciler.targets())
            took = time.perf_counter() - at
            during = (self.passed - before) / took
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
        return 100 * during / usual, gaps[0] * 1000, took * 1000


async def _gaps(longest: list[float]) -> None:
    while True:
        at = time.perf_counter()
        await asyncio.sleep(0.001)
        longest[0] = max(longest[0], time.perf_counter() - at - 0.001)


@contextmanager
def bench() -> Iterator[Bench]:
    """Everything, in the network namespace that this process has already."""
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryDirectory() as home:
        subprocess.run(["mount", "-t", "bpf", "fairlead-bench", directory], check=True)
        try:
            with servers(home) as link, Plane(f"{directory}/fairlead", f"{head()} []", Geometry(slots=1 << 21)) as plane:
                yield Bench(plane, link)
        finally:
            subprocess.run(["umount", "-l", directory], check=True)


def figures(runs: int, only: str) -> Iterator[Figure]:
    """Every figure whose name contains `only`."""
    names = {kind: f"health checks, {kind}, one core" for kind in TYPES}
    beside = "health checks beside a cold start of 1,000 x 100"
    if not any(only in name for name in (*names.values(), beside)):
        return
    for kind, name in names.items():
        if only in name:
            with bench() as b:
                rates = b.plane._loop.run_until_complete(b.rates(kind, max(3, runs // 3)))  # noqa: SLF001
            goal, must = TYPES[kind]
            yield Figure(name, "/s", statistics.median(rates), min(rates), max(rates), 0.0, goal, must)
    if only in beside:
        with bench() as b:
            share, gap, took = b.plane._loop.run_until_complete(b.beside_a_cold_start())  # noqa: SLF001
            if b.failed:
                raise RuntimeError(f"{b.failed} checks failed: {b.says}")
        yield Figure(f"{beside}: of what is usual", "%", share, share, share, 0.0, 0, 0)
        yield Figure(f"{beside}: longest hold-up", "ms", gap, gap, gap, 0.0, 0, 0)
        yield Figure(f"{beside}: the apply", "ms", took, took, took, 0.0, 0, 0)
