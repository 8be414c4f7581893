"""Runs inside a virtual machine: what its kernel has and the machine that runs the tests has not, under `fairlead run`.

The stock kernel's own ends of our tunnels: tunl0, sit0 and gre0 for IPv4 outside, ip6tnl0 and ip6gre0 for IPv6, `ip fou` for UDP.
A veth whose number of queues changes. A bond whose members are attached one after the other.

    client ---+
    b1 -------+--- switch --- balancer, 10.10.0.1 and fd10::1
"""

from __future__ import annotations

import http.server
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.kernels import devices
from tests.kernels.devices import ip, on

KINDS = ("ipip", "gre", "fou", "gue")
GUE_PORT, FOU_PORTS = 6080, {4: 5555, 6: 5556}
OUTER = {4: "10.10.0.11", 6: "fd10::11"}
WAYS = [(kind, outer, inner) for kind in KINDS for outer in (4, 6) for inner in (4, 6)]
HOSTS = ("switch", "balancer", "client", "b1")
DEVICES = ("tunl0", "sit0", "gre0", "ip6tnl0", "ip6gre0")
DELAY = 4  # seconds
SERVICE = """
  - name: {name}
    virtual: "{vip}"
    servers: ["{server}"]
    tunnel-type: {kind}
{port}    interval: 5
    timeout: 20
    rise: 1
    policy:
      http:
"""


def vip(kind: str, outer: int, inner: int) -> str:
    number = KINDS.index(kind) + 1
    return f"192.0.2.{number}{outer}" if inner == 4 else f"2001:db8:80::{number}{outer}"


def name_of(kind: str, outer: int, inner: int) -> str:
    return f"{kind}-{inner}-in-{outer}"


def config() -> str:
    """A service, checked through its tunnel, for each way."""
    text = "address: 10.10.0.1\naddress6: fd10::1\nservices:\n"
    for kind, outer, inner in WAYS:
        port = {"fou": FOU_PORTS[inner], "gue": GUE_PORT}.get(kind)
        line = f"    tunnel-port: {port}\n" if port else ""
        text += SERVICE.format(
            name=name_of(kind, outer, inner), vip=vip(kind, outer, inner), server=OUTER[outer], kind=kind, port=line
        )
    return text


class Dual(http.server.ThreadingHTTPServer):
    """Both address families."""

    address_family = socket.AF_INET6


def serve(name: str) -> None:
    devices.Handler.name = name
    Dual(("::", 80), devices.Handler).serve_forever()


def receive() -> None:
    """The server's side, as examples/tunnel.yaml and the reference say."""
    ip("b1", *(f"link set {device} up" for device in DEVICES))
    on("b1", "ip", "-6", "tunnel", "change", "ip6tnl0", "mode", "any")  # at first it takes IPv6 inside only
    off = [f"net.ipv4.conf.{name}.rp_filter=0" for name in ("all", "default", "eth0", "tunl0", "gre0", "ip6tnl0", "ip6gre0")]
    on("b1", "sysctl", "-qw", *off)
    for family in ("-4", "-6"):
        on("b1", "ip", family, "fou", "add", "port", str(FOU_PORTS[4]), "ipproto", "4")
        on("b1", "ip", family, "fou", "add", "port", str(FOU_PORTS[6]), "ipproto", "41")
        on("b1", "ip", family, "fou", "add", "port", str(GUE_PORT), "gue")
    for way in WAYS:
        on("b1", "ip", "addr", "add", vip(*way) + ("/32" if way[2] == 4 else "/128"), "dev", "lo")


def build(queues: int) -> None:
    """One segment, with so many queues at the balancer."""
    for host in HOSTS:
        devices.run("ip", "netns", "add", host)
    ip("switch", "link set lo up", "link add br0 type bridge", "link set br0 up")
    for host, number in (("balancer", 1), ("client", 2), ("b1", 11)):
        ours, theirs = ("", "")
        if host == "balancer" and queues > 1:
            ours, theirs = f"numrxqueues {queues} numtxqueues {queues}", f"numrxqueues {queues} numtxqueues 2"
        ip("switch", f"link add eth0 netns {host} {ours} type veth peer name to-{host} netns switch {theirs}")
        addresses = [f"addr add 10.10.0.{number}/24 dev eth0", f"addr add fd10::{number}/64 dev eth0 nodad"]
        ip(host, "link set lo up", "link set eth0 up", *addresses)
        ip("switch", f"link set to-{host} master br0 up")
    on("b1", "sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.arp_announce=2")
    ip("client", "route add 192.0.2.0/24 via 10.10.0.1", "route add 2001:db8:80::/64 via fd10::1")
    devices.prepare_port("to-balancer")


@contextmanager
def segment(queues: int = 1) -> Iterator[None]:
    """The network with its server."""
    with devices.place(HOSTS):
        build(queues)
        command = ["ip", "netns", "exec", "b1", sys.executable, __file__, "serve", "b1"]
        server = subprocess.Popen(command)
        try:
            yield
        finally:
            server.kill()
            server.wait()


def states() -> dict[str, str]:
    return {s["name"]: s["backends"][0]["state"] for s in devices.status()["services"]}


def tunnelled() -> dict[str, Any]:
    """Uploads with segments that do not fit at first, through every tunnel to the kernel's own end of it."""
    with segment():
        receive()
        with devices.daemon("eth0", config(), servers=len(WAYS)):
            uploads = {name_of(*way): devices.answers(devices.start_upload(1, 40_000, 1, vip(*way))) for way in WAYS}
            received = {d: packets(on("b1", "ip", "-s", "-o", "link", "show", d)) for d in DEVICES}
            found = {"uploads": uploads, "states": states(), "received": received, "status": devices.status()}
        return found | {"left": devices.left(["eth0"])}


def packets(shown: str) -> int:
    """Received packets, from `ip -s -o link`."""
    match = re.search(r"RX: +bytes +packets[^\\]*\\ +\d+ +(\d+)", shown)
    assert match, shown
    return int(match[1])


def channels(rx: int, tx: int) -> dict[str, Any]:
    """`ethtool -L`, and the device a second later."""
    command = ["ip", "netns", "exec", "balancer", "ethtool", "-L", "eth0", "rx", str(rx), "tx", str(tx)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    time.sleep(1)
    shown = on("balancer", "ip", "-d", "-o", "link", "show", "eth0")
    return {"code": done.returncode, "says": done.stderr.strip(), "attached": "name balancer" in shown}


PLAIN = """
services:
  - name: web
    virtual: 192.0.2.10
    servers: [10.10.0.11]
    interval: 5
    timeout: 20
    rise: 1
    policy:
      http:
"""


def queues() -> dict[str, Any]:
    """The number of the balancer's queues changes while uploads run; below what its peer sends by, veth refuses."""
    with segment(queues=4):
        on("b1", "ip", "addr", "add", "192.0.2.10/32", "dev", "lo")
        with devices.daemon("eth0", PLAIN, servers=1):
            uploads = devices.start_upload(4, 100_000, 20, "192.0.2.10")
            time.sleep(4)
            changes = [channels(2, 2), channels(4, 4), channels(1, 1), channels(4, 4)]
            found = {"changes": changes, "answers": devices.answers(uploads), "events": devices.api("/v1/events")}
            found["status"] = devices.status()
        return found | {"left": devices.left(["eth0"])}


def attached_at() -> list[tuple[str, float]]:
    """(interface, time) of every attachment so far."""
    events = [event for event in devices.api("/v1/events") if event["name"] == "attached"]
    return [(next(m for m in ("m0", "m1") if f" {m} " in event["text"]), event["at"]) for event in events]


def staggered() -> dict[str, Any]:
    """A bond's members get the program one after the other; so do they when it is named in `fairlead reattach`."""
    with devices.hosts(bond=True):
        with devices.daemon("bond0", f"attach-delay: {DELAY}\n{devices.CONFIG}", servers=2):
            first = attached_at()
            devices.run(*devices.fairlead("reattach", "bond0"), env=devices.environment())
            found = {
                "first": first,
                "again": attached_at()[len(first) :],
                "answers": devices.answers(devices.start_upload(4, 20_000, 1)),
            }
        return found | {"left": devices.left(["m0", "m1"])}


if __name__ == "__main__":
    serve(sys.argv[2])
