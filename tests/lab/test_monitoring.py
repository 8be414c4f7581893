"""Debian's Prometheus scrapes two balancers with the rules that are shipped, and each alert fires for what it is made for.

How long a thing must last is shortened (`tests.prometheus.hurried`), and how far back rates look; nothing else.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.conftest import new_name
from tests.lab.kit import FAIRLEAD, TOOLS, V4, Lab, eventually
from tests.prometheus import ROOT, alerts, hurried, program, promtool

pytestmark = [pytest.mark.root, pytest.mark.slow]

TOKEN = "a-token-of-the-lab"
BALANCERS = ("192.0.2.11:8080", "192.0.2.12:8080")
BASE = """\
interfaces: [eth0]
address: 192.0.2.11
address6: fd1a:b:0:10::11
hold: 0
listen: "0.0.0.0:8080"
token-file: {token}
compat: vc5
limits: {{services: 64, destinations: 1024, slots: 72000, flows: 65536}}
bgp: {{as_number: 64512, hold_time: 9, drain_time: 600, next_hop_6: "fd1a:b:0:10::11", peers: [192.0.2.1]}}
policy:
  web: {{http: {{path: /healthz, interval: 0.5, timeout: 0.5, rise: 2, fall: 2}}}}
services:
  - {{name: web, virtual: 203.0.113.1, servers: [192.0.2.21, 192.0.2.22, 192.0.2.23], policy: web}}
  - {{name: web6, virtual: "fd1a:b:0:ff::1", servers: ["fd1a:b:0:10::21", "fd1a:b:0:10::22", "fd1a:b:0:10::23"], policy: web}}
"""
# Everything at once that an operator should not have.
TROUBLED = """\
interfaces: [eth0]
address: 192.0.2.11
hold: 0
listen: "0.0.0.0:8080"
token-file: {token}
limits: {{services: 8, destinations: 1024, slots: 72000, flows: 65536}}
bgp: {{as_number: 64512, hold_time: 9, drain_time: 600, peers: [192.0.2.1]}}
logging:
  webhook: {{url: "http://192.0.2.1:8900/", level: debug, group: 1}}
  elasticsearch: {{addresses: ["http://192.0.2.99:9200"], queue: 100}}
policy:
  web: {{http: {{path: /healthz, interval: 0.5, timeout: 0.5, rise: 2, fall: 2}}}}
services:
  - {{name: web, virtual: 203.0.113.1, servers: [192.0.2.21, 192.0.2.22, 192.0.2.23], policy: web}}
  - {{name: panics, virtual: 203.0.113.2, servers: [192.0.2.21, 192.0.2.22, 192.0.2.23], policy: web, panic: 50%}}
  - {{name: spare, virtual: 203.0.113.3, servers: [192.0.2.21, {{address: 192.0.2.23, backup: true}}], policy: web}}
  - {{name: flaps, virtual: 203.0.113.4, servers: [192.0.2.21, 192.0.2.23], policy: web,
     damping: {{penalty: 1000, half-life: 60, suppress: 500, reuse: 100}}}}
  - {{name: held, virtual: 203.0.113.5, servers: [192.0.2.23], policy: web, hold: 600}}
  - {{name: tunnelled, virtual: 203.0.113.6, servers: [192.0.2.23], policy: web, tunnel-type: ipip}}
  - {{name: large, virtual: 203.0.113.7, servers: [192.0.2.22, 192.0.2.23], policy: web, table-size: 65537}}
  - {{name: six, virtual: "fd1a:b:0:ff::1", servers: ["fd1a:b:0:10::23"], policy: web}}
"""
# Refuses whatever is posted to it.
REFUSING = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_error(403)
HTTPServer(("192.0.2.1", 8900), Handler).serve_forever()
"""


@dataclass
class Site:
    """The lab and its Prometheus; `seen` are the alerts that have fired."""

    lab: Lab
    directory: Path
    seen: set[str] = field(default_factory=set)

    def config(self, text: str) -> str:
        return text.format(token=self.directory / "token")

    def ask(self, path: str) -> Any:
        found = json.loads(self.lab.run("router", "curl", "-sS", f"http://127.0.0.1:9090/api/v1/{path}"))
        assert found["status"] == "success", found
        return found["data"]

    def query(self, words: str) -> list[dict[str, Any]]:
        """What an expression of PromQL gives now."""
        url = "http://127.0.0.1:9090/api/v1/query"
        found = json.loads(self.lab.run("router", "curl", "-sS", "-G", "--data-urlencode", f"query={words}", url))
        assert found["status"] == "success", (words, found)
        return found["data"]["result"]

    def firing(self) -> set[str]:
        """The names of what fires now. Its words must be whole."""
        found = [alert for alert in self.ask("alerts")["alerts"] if alert["state"] == "firing"]
        for alert in found:
            words = " ".join(alert["annotations"].values())
            assert "<no value>" not in words and "<error" not in words, alert
        names = {alert["labels"]["alertname"] for alert in found}
        self.seen |= names
        return names

    def fire(self, *names: str, within: float = 15) -> None:
        """Wait until all of them have."""

        def fired() -> bool:
            self.firing()
            assert set(names) <= self.seen, f"silent: {set(names) - self.seen}"
            return True

        eventually(fired, within, 0.3)

    def calm(self, *names: str, within: float = 30) -> None:
        """Wait until none of them does any more."""

        def quiet() -> bool:
            still = self.firing() & set(names)
            assert not still, f"still firing: {still}"
            return True

        eventually(quiet, within, 0.3)

    def fairlead(self, *words: str, on: str = "balancer1") -> str:
        own = [f"{name}={value}" for name, value in self.lab.env(on).items() if name.startswith("FAIRLEAD_")]
        return self.lab.run(on, "env", *own, FAIRLEAD, *words)

    def pinned(self, table: str, on: str = "balancer2") -> str:
        (path,) = (self.lab.directory / "bpffs" / on).glob(table)
        return str(path)


@contextmanager
def scraping(lab: Lab, directory: Path) -> Iterator[None]:
    """Prometheus beside the router: it knows the token, and the rules in a hurry."""
    (directory / "rules.yml").write_text(hurried())
    said = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(directory / "rules.yml")],
        "scrape_configs": [
            {
                "job_name": "fairlead",
                "authorization": {"credentials_file": str(directory / "token")},
                "static_configs": [{"targets": list(BALANCERS)}],
            },
        ],
    }
    (directory / "prometheus.yml").write_text(yaml.safe_dump(said))
    promtool("check", "config", str(directory / "prometheus.yml"))
    own = ("--web.listen-address=127.0.0.1:9090", "--log.level=error")
    where = (f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data")
    with lab.running("router", program("prometheus"), *own, *where):
        yield


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("monitoring")
    (directory / "token").write_text(f"{TOKEN}\n")
    (directory / "token").chmod(0o600)
    site = Site(Lab(new_name(), topology="ecmp"), directory)
    (directory / "fairlead.yaml").write_text(site.config(BASE))
    with ExitStack() as stack:
        stack.callback(site.lab.down)
        site.lab.up("--config", str(directory / "fairlead.yaml"))
        for number in (1, 2, 3):
            site.lab.run(f"backend{number}", "ip", "route", "add", "local", "203.0.113.0/24", "dev", "lo")
        stack.enter_context(scraping(site.lab, directory))
        eventually(lambda: [t["health"] for t in site.ask("targets")["activeTargets"]] == ["up", "up"], 15)
        yield site


def test_scraped_as_served(site: Site) -> None:
    """Nothing for promtool to say about what a balancer serves; Prometheus reads all of it, and nothing fires."""
    text = site.lab.run("router", "curl", "-sSf", "-H", f"Authorization: Bearer {TOKEN}", f"http://{BALANCERS[0]}/metrics")
    own = "".join(line for line in text.splitlines(keepends=True) if re.match(r"(?:# \w+ )?fairlead_", line))
    assert promtool("check", "metrics", text=own) == ""
    series = site.query('count({job="fairlead",instance="192.0.2.11:8080"})')[0]["value"][1]
    lines = len([line for line in text.splitlines() if not line.startswith("#")])
    assert int(series) >= lines, "what Prometheus adds itself comes on top"
    kinds = {(m["metric"], m["type"]) for m in site.ask("targets/metadata?limit=10000")}
    assert {("fairlead_packets_total", "counter"), ("vc5_sessions", "gauge")} <= kinds
    time.sleep(3)  # three rounds in which something could fire
    assert site.firing() == {"FairleadWarns"}, "the token goes over the network unencrypted here, and that is said"


def test_dashboard_has_data(site: Site) -> None:
    """Every query of the dashboard is one that Prometheus understands, and finds something but where nothing is amiss."""
    board = json.loads((ROOT / "deploy/grafana/fairlead.json").read_text())
    site.lab.get(V4)
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            _finds(site, panel["title"], target)


def _finds(site: Site, title: str, target: dict[str, Any]) -> None:
    """One query of a panel; those that ask for trouble find none. Its legend names labels that there are."""
    expression = target["expr"].replace("$__rate_interval", "20s")
    for name in ("$job", "$instance", "$service"):
        expression = expression.replace(name, ".*")
    quiet = title in ("Not up, and why", "Tunnel errors") or expression.endswith("> 0")

    def found() -> bool:
        series = site.query(expression)
        assert series or quiet, f"{title}: nothing for {expression}"
        labels = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert all(labels <= set(each["metric"]) for each in series), title
        return True

    eventually(found)


def test_reading_needs_the_token(site: Site) -> None:
    """Without it there is nothing to scrape."""
    answer = site.lab.run("router", "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", f"http://{BALANCERS[0]}/metrics")
    assert answer == "401"


def test_backends_die(site: Site) -> None:
    """One after the other: down, none to spare, the service down; and packets that come all the same are lost."""
    lab = site.lab
    lab.cli("kill", "backend1")
    site.fire("FairleadBackendDown")
    lab.cli("kill", "backend2")
    site.fire("FairleadNoSpareBackend")
    lab.cli("kill", "backend3")
    site.fire("FairleadServiceDown")
    lab.run("router", "ip", "route", "add", V4, "via", "192.0.2.11")  # withdrawn by BGP, of course
    with streaming(lab, 80):
        site.fire("FairleadManyDrops")  # UDP to a port that only TCP has
    with lab.running(
        "client1", "sh", "-c", f"while :; do for n in 1 2 3 4 5; do curl -s -m 1 http://{V4}/ & done; sleep 1; done"
    ):
        site.fire("FairleadPacketsLost")
    lab.run("router", "ip", "route", "del", V4, "via", "192.0.2.11")
    for number in (1, 2, 3):
        lab.cli("start", f"backend{number}")
    site.calm("FairleadBackendDown", "FairleadServiceDown", "FairleadNoSpareBackend", "FairleadPacketsLost", "FairleadManyDrops")


@contextmanager
def streaming(lab: Lab, port: int) -> Iterator[None]:
    """A thousand datagrams a second for the VIP."""
    with lab.running("client1", os.sys.executable, str(TOOLS), "stream", V4, str(port), "1000", "16"):
        yield


def test_operators_and_configurations(site: Site) -> None:
    """A configuration with a bit of everything: backups, panic, flapping, limits, sinks that take no events; balancers differ."""
    lab = site.lab
    lab.reload(site.config(TROUBLED))
    eventually(lambda: lab.service("203.0.113.5")["state"] == "up", 15)
    site.fire("FairleadDisagree", "FairleadVipNotAnnounced", "FairleadRoutesWithheld", "FairleadTunnelErrors")
    site.fire("FairleadLimitNear", "FairleadEventsWait")
    site.fairlead("drain", "192.0.2.22")
    site.fire("FairleadOverridden", "FairleadNotApplied")
    site.fairlead("clear", "192.0.2.22")
    lab.cli("kill", "backend1")
    site.fire("FairleadBackupsUsed")
    with lab.running("router", os.sys.executable, "-c", REFUSING):
        lab.cli("kill", "backend2")
        site.fire("FairleadPanic", "FairleadEventsLost")
    lab.cli("start", "backend1")
    lab.cli("start", "backend2")
    site.fire("FairleadBackendFlaps")
    lab.reload(site.config(BASE))
    site.calm("FairleadDisagree", "FairleadEventsWait", "FairleadRoutesWithheld")


def test_routers(site: Site) -> None:
    """A session that is cut, and a balancer that is sent away."""
    birdc = f"{site.lab.home('router')}/bin/birdc"
    site.lab.run("router", birdc, "disable", "balancer1")
    site.fire("FairleadBgpPeerDown", "FairleadNoBgpPeer")
    site.lab.run("router", birdc, "enable", "balancer1")
    site.fairlead("drain", "self")
    site.fire("FairleadDrained")
    site.fairlead("undrain")
    site.calm("FairleadBgpPeerDown", "FairleadDrained", within=40)


def _little(number: int) -> list[str]:
    return [str(octet) for octet in number.to_bytes(4, "little")]


def test_damage(site: Site) -> None:
    """Somebody writes into a table. What becomes of it shows within a minute (test_repaired); others go on meanwhile."""
    table = ("pinned", site.pinned("tables-*/slots"))
    rows = json.loads(site.lab.run("balancer2", "bpftool", "-j", "map", "dump", *table))
    used = [row["key"] for row in rows if any(int(octet, 16) for octet in row["value"])]
    for key in used[:: max(len(used) // 100, 1)]:
        site.lab.run(
            "balancer2", "bpftool", "map", "update", *table, "key", "hex", *_hex(key), "value", *["7", "0", "0", "0"] * 16
        )


def _hex(octets: list[str]) -> list[str]:
    return [octet.removeprefix("0x") for octet in octets]


def test_daemon_stands_still(site: Site) -> None:
    """Stopped for two seconds: it says so itself once it goes on."""
    os.kill(site.lab.pid(), signal.SIGSTOP)
    time.sleep(2.5)  # that is the thing to notice
    os.kill(site.lab.pid(), signal.SIGCONT)
    site.fire("FairleadLoopLate")


def test_restarts(site: Site) -> None:
    """Three times in a row, each seen by a scrape."""
    for _ in range(3):
        before = _started(site)
        site.fairlead("restart")
        eventually(lambda: _started(site) != before, 15)  # noqa: B023 - of this round
    site.fire("FairleadRestarts")


def _started(site: Site) -> str:
    return site.query('fairlead_start_time_seconds{instance="192.0.2.11:8080"}')[0]["value"][1]


def test_broken_program(site: Site) -> None:
    """The programs behind tail calls are taken away: a ping ends in a verdict that nobody should ever see."""
    lab = site.lab
    for index in range(8):
        lab.try_run("balancer2", "bpftool", "map", "delete", "pinned", site.pinned("gen-*/tails"), "key", *_little(index))
    lab.run("router", "ip", "route", "add", V4, "via", "192.0.2.12")
    with lab.running("client1", "ping", "-q", "-i", "0.2", V4):
        site.fire("FairleadBroken")
    lab.run("router", "ip", "route", "del", V4, "via", "192.0.2.12")


def test_repaired(site: Site) -> None:
    """What test_repairs has damaged."""
    site.fire("FairleadRepairs", within=60)


def test_daemon_gone(site: Site) -> None:
    """Killed: nobody answers."""
    site.lab.cli("kill", "--signal", "KILL", "balancer2")
    site.fire("FairleadGone")


def test_every_alert_was_seen(site: Site) -> None:
    """No alert is shipped that a live site has not made fire."""
    assert site.seen == set(alerts())
