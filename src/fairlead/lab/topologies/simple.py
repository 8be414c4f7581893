"""The smallest lab in which everything that matters happens: clients, a router, one balancer, three backends on one segment."""

from __future__ import annotations

from fairlead.lab.topologies.common import CLIENT_CABLES, CLIENTS, PEERING, host, port, router
from fairlead.lab.topology import Cable, Host, Interface, Role, Topology

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
hold: 0   # announce at once; on a real site leave a new VIP its 5 s

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


_SEGMENT = (
    host("balancer1", Role.BALANCER, 10, 11),
    *(host(f"backend{n}", Role.BACKEND, 10, 20 + n, (*VIPS_4, *VIPS_6)) for n in (1, 2, 3)),
)
_PORTS = ("router", *(there.name for there in _SEGMENT))

SIMPLE = Topology(
    name="simple",
    title="two clients, a BIRD router, one balancer, three backends on one segment",
    drawing=DRAWING,
    hosts=(
        *CLIENTS,
        router(port("segment", 10, 1)),
        Host("switch", Role.SWITCH, tuple(Interface(name) for name in _PORTS)),
        *_SEGMENT,
    ),
    cables=(
        *CLIENT_CABLES,
        Cable(("switch", "router"), ("router", "segment")),
        *(Cable(("switch", there.name), (there.name, "eth0")) for there in _SEGMENT),
    ),
    vips=(*VIPS_4, *VIPS_6),
    peering=PEERING,
    config=CONFIG,
)
