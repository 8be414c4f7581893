"""Backends in another network, behind a second router: only a tunnel gets packets for a VIP there."""

from __future__ import annotations

from fairlead.lab.topologies.common import (
    CLIENT_CABLES,
    CLIENTS,
    PEERING,
    address,
    config,
    default,
    host,
    port,
    route,
    router,
    service,
)
from fairlead.lab.topology import Cable, Host, Interface, Role, Topology

DRAWING = """\
  client1 198.18.1.2 ---+
  client2 198.18.2.2 ---+--- router 192.0.2.1 (BIRD)
                                |
  ============ switch ==========+=========+
                  |                       |
              balancer1               gateway 192.0.2.2
              192.0.2.11                  | 198.51.100.1
                         ===== switch2 ===+=========+================+
                                    |               |                |
                                backend1        backend2         backend3
                                198.51.100.21   198.51.100.22    198.51.100.23

  203.0.113.1, fd1a:b:0:ff::1   GUE over the VIP's own family
  203.0.113.2, fd1a:b:0:ff::2   IPIP over the other family, tunnel-mtu 1400
"""

VIPS = ("203.0.113.1", "fd1a:b:0:ff::1", "203.0.113.2", "fd1a:b:0:ff::2")
_MEMBERS = (1, 2, 3)


def _servers(version: int) -> tuple[str, ...]:
    return tuple(address(20, 20 + n, version) for n in _MEMBERS)


_SERVICES = (
    service("gue4", VIPS[0], _servers(4), "tunnel-type: gue, tunnel-port: 6080")
    + service("gue6", VIPS[1], _servers(6), "tunnel-type: gue, tunnel-port: 6080")
    + service("narrow4", VIPS[2], _servers(6), "tunnel-type: ipip, tunnel-mtu: 1400")
    + service("narrow6", VIPS[3], _servers(4), "tunnel-type: ipip, tunnel-mtu: 1400")
)
_BALANCER = Host("balancer1", Role.BALANCER, (port("eth0", 10, 11),), routes=(*default(10), *route(20, 10, 2)))
_GATEWAY = Host("gateway", Role.GATEWAY, (port("eth0", 10, 2), port("eth1", 20, 1)), routes=default(10))
_BACKENDS = tuple(host(f"backend{n}", Role.BACKEND, 20, 20 + n, VIPS, decap=True) for n in _MEMBERS)

ROUTED = Topology(
    name="routed",
    title="backends behind a second router, reached through tunnels",
    drawing=DRAWING,
    hosts=(
        *CLIENTS,
        router(port("segment", 10, 1), routes=route(20, 10, 2)),
        Host("switch", Role.SWITCH, (Interface("router"), Interface("balancer1"), Interface("gateway"))),
        Host("switch2", Role.SWITCH, (Interface("gateway"), *(Interface(there.name) for there in _BACKENDS))),
        _BALANCER,
        _GATEWAY,
        *_BACKENDS,
    ),
    cables=(
        *CLIENT_CABLES,
        Cable(("switch", "router"), ("router", "segment")),
        Cable(("switch", "balancer1"), ("balancer1", "eth0")),
        Cable(("switch", "gateway"), ("gateway", "eth0")),
        Cable(("switch2", "gateway"), ("gateway", "eth1")),
        *(Cable(("switch2", there.name), (there.name, "eth0")) for there in _BACKENDS),
    ),
    vips=VIPS,
    peering=PEERING,
    config=config("routed", "eth0", _SERVICES),
)
