"""All ways at once: a backend on the NIC the clients come in by, one behind a trunk on another NIC, one behind a router."""

from __future__ import annotations

from fairlead.lab.topologies.common import (
    CLIENT_CABLES,
    CLIENTS,
    PEERING,
    address,
    addresses,
    config,
    default,
    host,
    port,
    route,
    router,
    service,
)
from fairlead.lab.topology import Cable, Host, Interface, Role, Tag, Topology

DRAWING = """\
  client1 198.18.1.2 ---+
  client2 198.18.2.2 ---+--- router (BIRD) ----------------------------------------+
                               | 192.0.2.1                                         | 198.51.100.1
  =========== switch =====+====+=====+================+       ==== switch2 ========+===============+
                          |          |                |            | trunk         VLAN 20         | VLAN 20
                     backend1     gateway         balancer1 eth0 - eth1                        backend2
                     192.0.2.21   192.0.2.2       192.0.2.11       VLAN 20 198.51.100.11       198.51.100.22
                                     | 198.18.30.1
                     ===== switch3 ==+===+
                                         |
                                     backend3 198.18.30.23

  203.0.113.1, fd1a:b:0:ff::1   backend1 and backend2, no tunnel: MAC rewrite, or another NIC and a tag
  203.0.113.2                   all three by GUE over IPv4
  fd1a:b:0:ff::2                all three by IPIP over IPv4
  203.0.113.3                   all three by GRE over IPv6
"""

VIPS = ("203.0.113.1", "fd1a:b:0:ff::1", "203.0.113.2", "fd1a:b:0:ff::2", "203.0.113.3")
_NETS = {1: 10, 2: 20, 3: 30}
_VLANS = """
# 10 is a label only, eth0 is untagged; the gateway in its host part leads to all that is in neither subnet
vlans: {10: 192.0.2.2/24, 20: 198.51.100.0/24}
vlans6: {10: "fd1a:b:0:10::2/64", 20: "fd1a:b:0:20::/64"}
"""


def _servers(version: int, members: tuple[int, ...] = (1, 2, 3)) -> tuple[str, ...]:
    return tuple(address(_NETS[n], 20 + n, version) for n in members)


_SERVICES = (
    service("near4", VIPS[0], _servers(4, (1, 2)))
    + service("near6", VIPS[1], _servers(6, (1, 2)))
    + service("gue4", VIPS[2], _servers(4), "tunnel-type: gue, tunnel-port: 6080")
    + service("ipip6", VIPS[3], _servers(4), "tunnel-type: ipip")
    + service("gre4", VIPS[4], _servers(6), "tunnel-type: gre")
)
_BALANCER = Host(
    "balancer1",
    Role.BALANCER,
    (port("eth0", 10, 11), Interface("eth1", "02:1a:0b:00:20:11")),
    routes=(*default(10), *route(30, 10, 2)),
    tags=(Tag(20, "eth1", addresses(20, 11)),),
)
_GATEWAY = Host("gateway", Role.GATEWAY, (port("eth0", 10, 2), port("eth1", 30, 1)), routes=default(10))

MIXED = Topology(
    name="mixed",
    title="one backend on the same segment, one behind a trunk on a second NIC, one behind a router; with and without tunnels",
    drawing=DRAWING,
    hosts=(
        *CLIENTS,
        router(port("segment", 10, 1), port("segment2", 20, 1), routes=route(30, 10, 2)),
        Host("switch", Role.SWITCH, tuple(Interface(name) for name in ("router", "balancer1", "gateway", "backend1"))),
        Host("switch2", Role.SWITCH, (Interface("router", vlan=20), Interface("balancer1"), Interface("backend2", vlan=20))),
        Host("switch3", Role.SWITCH, (Interface("gateway"), Interface("backend3"))),
        _BALANCER,
        _GATEWAY,
        *(host(f"backend{n}", Role.BACKEND, net, 20 + n, VIPS, decap=True) for n, net in _NETS.items()),
    ),
    cables=(
        *CLIENT_CABLES,
        Cable(("switch", "router"), ("router", "segment")),
        Cable(("switch2", "router"), ("router", "segment2")),
        Cable(("switch", "balancer1"), ("balancer1", "eth0")),
        Cable(("switch2", "balancer1"), ("balancer1", "eth1")),
        Cable(("switch", "gateway"), ("gateway", "eth0")),
        Cable(("switch3", "gateway"), ("gateway", "eth1")),
        Cable(("switch", "backend1"), ("backend1", "eth0")),
        Cable(("switch2", "backend2"), ("backend2", "eth0")),
        Cable(("switch3", "backend3"), ("backend3", "eth0")),
    ),
    vips=VIPS,
    peering=PEERING,
    config=config("mixed", "eth0, eth1", _SERVICES, extra=_VLANS),
)
