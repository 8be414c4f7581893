"""The smallest lab in which everything that matters happens: clients behind a router, one balancer, three backends, one segment.

Addresses are from the documentation and benchmarking ranges (RFC 5737, RFC 2544) and a ULA prefix; MACs are 02:1a:0b:00:NET:HOST.
Each client also owns a pool of addresses (198.19.0.0/17 and so on) that it may bind to without configuring them one by one.
"""

from __future__ import annotations

from fairlead.lab.topology import Cable, Host, Interface, Peering, Role, Topology

DRAWING = """\
  client1 198.18.1.2 ---+                            203.0.113.0/24 and fd1a:b:0:ff::/64 are VIPs:
                        |                            the router learns them by BGP from balancer1,
  client2 198.18.2.2 ---+                            the backends have them on their loopback
                        |
                     router 192.0.2.1 (BIRD, AS 64500)
                        |
  ======================+====== switch ===========+===============+===============+
        |                                         |               |               |
    balancer1 192.0.2.11                      backend1        backend2        backend3
    (fairlead, AS 64512)                      192.0.2.21      192.0.2.22      192.0.2.23
                                              (nginx)         (nginx)         (nginx)
"""

VIPS_4 = ("203.0.113.1",)
VIPS_6 = ("fd1a:b:0:ff::1",)

CONFIG = """\
# The balancer of the lab `simple`. Checks are quick, so that the lab shows changes quickly.
interfaces: [eth0]
address: 192.0.2.11
address6: fd1a:b:0:10::11

bgp:
  as_number: 64512
  hold_time: 9
  next_hop_6: fd1a:b:0:10::11
  peers: [192.0.2.1]

policy:
  web: {http: {path: /healthz, interval: 0.5, timeout: 0.5, rise: 2, fall: 2}}

services:
  - name: web
    virtual: 203.0.113.1
    servers: [192.0.2.21, 192.0.2.22, 192.0.2.23]
    policy: web
  - name: web6
    virtual: fd1a:b:0:ff::1
    servers: ["fd1a:b:0:10::21", "fd1a:b:0:10::22", "fd1a:b:0:10::23"]
    policy: web
"""


def _client(number: int, pool4: str, pool6: str) -> Host:
    net = f"198.18.{number}"
    net6 = f"fd1a:b:0:{number}"
    eth0 = Interface("eth0", f"02:1a:0b:00:0{number}:02", (f"{net}.2/24", f"{net6}::2/64"))
    routes = (f"default via {net}.1", f"default via {net6}::1", f"local {pool4} dev lo", f"local {pool6} dev lo")
    return Host(f"client{number}", Role.CLIENT, (eth0,), routes=routes)


def _on_segment(name: str, role: Role, number: int, loopback: tuple[str, ...] = ()) -> Host:
    eth0 = Interface("eth0", f"02:1a:0b:00:10:{number}", (f"192.0.2.{number}/24", f"fd1a:b:0:10::{number}/64"))
    return Host(name, role, (eth0,), loopback, ("default via 192.0.2.1", "default via fd1a:b:0:10::1"))


def _router() -> Host:
    interfaces = (
        Interface("client1", "02:1a:0b:00:01:01", ("198.18.1.1/24", "fd1a:b:0:1::1/64")),
        Interface("client2", "02:1a:0b:00:02:01", ("198.18.2.1/24", "fd1a:b:0:2::1/64")),
        Interface("segment", "02:1a:0b:00:10:01", ("192.0.2.1/24", "fd1a:b:0:10::1/64")),
    )
    routes = (
        "198.19.0.0/17 via 198.18.1.2",
        "198.19.128.0/17 via 198.18.2.2",
        "fd1a:b:c1::/48 via fd1a:b:0:1::2",
        "fd1a:b:c2::/48 via fd1a:b:0:2::2",
    )
    return Host("router", Role.ROUTER, interfaces, routes=routes)


_SEGMENT = (
    _on_segment("balancer1", Role.BALANCER, 11),
    *(
        _on_segment(f"backend{n}", Role.BACKEND, 20 + n, tuple(f"{v}/32" for v in VIPS_4) + tuple(f"{v}/128" for v in VIPS_6))
        for n in (1, 2, 3)
    ),
)
_PORTS = ("router", *(host.name for host in _SEGMENT))

SIMPLE = Topology(
    name="simple",
    title="two clients, a BIRD router, one balancer, three backends on one segment",
    drawing=DRAWING,
    hosts=(
        _client(1, "198.19.0.0/17", "fd1a:b:c1::/48"),
        _client(2, "198.19.128.0/17", "fd1a:b:c2::/48"),
        _router(),
        Host("switch", Role.SWITCH, tuple(Interface(port) for port in _PORTS)),
        *_SEGMENT,
    ),
    cables=(
        Cable(("client1", "eth0"), ("router", "client1")),
        Cable(("client2", "eth0"), ("router", "client2")),
        Cable(("switch", "router"), ("router", "segment")),
        *(Cable(("switch", host.name), (host.name, "eth0")) for host in _SEGMENT),
    ),
    vips=(*VIPS_4, *VIPS_6),
    peering=Peering(64500, 64512, ("203.0.113.0/24", "fd1a:b:0:ff::/64")),
    config=CONFIG,
)
