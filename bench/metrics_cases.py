"""/metrics of a site with 10,000 series: what the text costs, a scrape of a daemon at work, and how late that makes its loop."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

from bench.control_cases import figure, timed
from bench.results import Figure
from bench.site_cases import everywhere
from fairlead import metrics
from fairlead.model import BackendStatus, CheckStatus, ServiceStatus, Status, VerdictStatus, VipStatus
from tests.lab.conftest import new_name
from tests.lab.kit import Lab, eventually

TEXT = "/metrics, 10,000 series as text"
SCRAPE = "/metrics, 10,000 series from a running daemon, look and flow table included"
LATE = "the daemon's event loop late, at most, under ten such scrapes a second"
SERVICES, BACKENDS = 72, 10


def site() -> Status:
    """As many services and backends, with one check each, as make 10,000 series."""
    checks = (CheckStatus("http GET /healthz port 80", True, "200 after 0.6 ms", 1e9, 0.0006),)
    backend = BackendStatus("10.1.0.1", 80, "up", 1e9, "200", 1, 123456789, 98765432100, 1234, 56789, 1, checks=checks)
    backends = tuple(replace(backend, address=f"10.1.0.{n + 1}") for n in range(BACKENDS))
    service = ServiceStatus("web", "", 80, "tcp", "up", "", 1, BACKENDS, 1021, backends, 1234567890, 987654321000, 12340, 567890)
    addresses = [f"203.0.113.{n + 1}" for n in range(SERVICES)]
    verdicts = {name: VerdictStatus(123456, 7890123, "drop") for name in "abcdefghijklmnopqrstuvwxyz"}
    return Status(
        version="0.1.0",
        started=1e9,
        config="/etc/fairlead.yaml",
        key_fingerprint="00",
        interfaces=(),
        vips=tuple(VipStatus(address, "up", True, "", 1234567890, 987654321000, 12340, 567890) for address in addresses),
        services=tuple(replace(service, vip=address, name=f"web{n}") for n, address in enumerate(addresses)),
        peers=(),
        verdicts=verdicts,
        tables=(),
        tables_hash="ab" * 16,
        repairs=0,
        warnings=(),
    )


def series(text: str) -> int:
    """Samples in a text."""
    return sum(not line.startswith("#") for line in text.splitlines())


def config() -> str:
    """The same site for a daemon in the lab `simple`: three of its ten backends are there."""
    servers = ", ".join(f"192.0.2.{21 + n}" for n in range(BACKENDS))
    services = "\n".join(f"  - {{name: web{n}, virtual: 203.0.113.{n + 1}, servers: all, policy: web}}" for n in range(SERVICES))
    return (
        "interfaces: [eth0]\naddress: 192.0.2.11\nhold: 0\nbgp: {as_number: 64512, hold_time: 9, peers: [192.0.2.1]}\n"
        f"servers: {{all: [{servers}]}}\npolicy:\n  web: {{http: {{path: /healthz, interval: 2, timeout: 0.5, rise: 2}}}}\n"
        f"services:\n{services}\n"
    )


class Door(http.client.HTTPConnection):
    """A connection to the daemon's unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        """To the socket, whatever the host is called."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)

    def get(self, path: str) -> str:
        """The body of an answer, each over a connection of its own: the daemon keeps none for long."""
        self.request("GET", path)
        body = self.getresponse().read().decode()
        self.close()
        return body


def scrapes(runs: int) -> Iterator[Figure]:
    """A daemon that checks 720 backends and forwards nothing is asked ten times a second."""
    lab = Lab(new_name())
    with everywhere():
        try:
            lab.up()
            for number in (1, 2, 3):
                lab.run(f"backend{number}", "ip", "route", "add", "local", "203.0.113.0/24", "dev", "lo")
            lab.reload(config())
            eventually(lambda: sum(v["announced"] for v in lab.status()["vips"]) == SERVICES, 30, 0.5)
            os.sched_setscheduler(lab.pid(), os.SCHED_FIFO, os.sched_param(30))  # what others do to it is not the question
            door = Door(lab.env()["FAIRLEAD_SOCKET"])
            assert series(door.get("/metrics")) > 10_000
            time.sleep(61)  # the figure of the loop is that of a minute: the reload is not to be in it
            times = []
            for _ in range(max(runs * 2, 40)):
                began = time.perf_counter()
                door.get("/metrics")
                times.append((time.perf_counter() - began) * 1000)
                time.sleep(max(0.1 - (time.perf_counter() - began), 0))
            late = json.loads(door.get("/v1/status"))["work"]["loop_delay"] * 1000
        finally:
            lab.down()
    yield figure(SCRAPE, times, 50, 100)
    yield Figure(LATE, "ms", late, late, late, 0, 10, 50)


def figures(runs: int, only: str) -> Iterator[Figure]:
    """All cases whose name contains `only`."""
    if only in TEXT:
        status = site()
        assert series("".join(metrics.exposition(status))) >= 10_000
        times = timed(lambda: "".join(metrics.exposition(status)), runs)
        yield figure(TEXT, times, 10, 20)
    if only in SCRAPE or only in LATE:
        yield from scrapes(runs)
