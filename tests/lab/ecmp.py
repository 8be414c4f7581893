"""An `ecmp` lab: several balancers, each asked for itself, the router that spreads flows over them, and cables that are cut."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fairlead.lab import supervisor
from tests.lab.conftest import new_name
from tests.lab.kit import FAIRLEAD, TOOLS, V4, VIPS, WELL_OR_NOT, Lab, eventually
from tests.lab.traffic import PORT


class Site:
    """An ecmp lab and its balancers, each asked for itself."""

    def __init__(self, lab: Lab, balancers: int) -> None:
        self.lab = lab
        self.balancers = tuple(f"balancer{n}" for n in range(1, balancers + 1))

    def said(self, balancer: str, *words: str) -> str:
        own = [f"{name}={value}" for name, value in self.lab.env(balancer).items() if name.startswith("FAIRLEAD_")]
        return self.lab.run(balancer, "env", *own, FAIRLEAD, *words, fine=WELL_OR_NOT)

    def status(self, balancer: str) -> dict[str, Any]:
        return json.loads(self.said(balancer, "status", "--json"))

    def runs(self, balancer: str) -> bool:
        return supervisor.ask(self.lab.directory, do="status")["hosts"][balancer]["state"] == "running"

    def forwarded(self) -> dict[str, int]:
        """Packets to backends so far, by balancer."""
        return {b: self.status(b)["verdicts"]["forwarded"]["packets"] for b in self.balancers}

    def hashes(self) -> set[str]:
        return {self.status(b)["tables_hash"] for b in self.balancers}

    def next_hops(self, vip: str = V4) -> set[str]:
        """The balancers to which the router's kernel spreads a VIP."""
        text = self.lab.run("router", "ip", "-6" if ":" in vip else "-4", "route", "show", vip)
        tail = "fd1a:b:0:10::1" if ":" in vip else "192.0.2.1"
        return {b for b in self.balancers if f"via {tail}{b.removeprefix('balancer')} " in text}

    def shared(self, *balancers: str) -> bool:
        return all(self.next_hops(vip) == set(balancers) for vip in VIPS.values())

    def all_up(self) -> bool:
        states = {b["state"] for each in self.balancers for s in self.status(each)["services"] for b in s["backends"]}
        return states == {"up"} and self.shared(*self.balancers) and len(self.hashes()) == 1

    def established(self, balancer: str) -> bool:
        return [p["state"] for p in json.loads(self.said(balancer, "bgp", "--json"))["peers"]] == ["Established"]

    @contextmanager
    def unmoved(self) -> Iterator[None]:
        """No route of a VIP leaves the router's kernel, or loses a next hop, while the block lasts, for however short a time."""
        end = "198.51.100.1"
        with self.lab.running("router", "ip", "-o", "monitor", "route") as monitor:
            eventually(lambda: f" {monitor.pid} " in self.lab.run("router", "cat", "/proc/net/netlink"))
            yield
            self.lab.run("router", "ip", "route", "replace", "blackhole", end)
            told: list[str] = []
            while end not in (line := monitor.stdout.readline()):
                told.append(line)
        about = [line for line in told if any(vip in line.split()[:2] for vip in VIPS.values())]
        assert all("Deleted" not in line and line.count("via ") == len(self.balancers) for line in about), about

    @contextmanager
    def cut(self, balancer: str) -> Iterator[None]:
        """Nothing reaches it and nothing comes from it, and no link goes down."""
        drops = f'oifname "{balancer}" drop; iifname "{balancer}" drop;'
        self.lab.run("switch", "nft", f"table bridge cut {{ chain c {{ type filter hook forward priority 0; {drops} }}; }}")
        try:
            yield
        finally:
            self.lab.run("switch", "nft", "delete table bridge cut")


@contextmanager
def built(balancers: int, *options: str) -> Iterator[Site]:
    lab = Lab(new_name(), topology="ecmp")
    try:
        lab.up("--balancers", str(balancers), *options)
        servers = [lab.running(f"backend{n}", "python3", str(TOOLS), "serve", f"backend{n}", PORT) for n in (1, 2, 3)]
        with servers[0] as a, servers[1] as b, servers[2] as c:
            assert [each.stdout.readline() for each in (a, b, c)] == ["ready\n"] * 3
            yield Site(lab, balancers)
    finally:
        lab.down()
