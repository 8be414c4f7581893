"""A balancer with two NICs: clients come in by one, half of the backends are behind the other (XDP_REDIRECT)."""

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
    router,
    service,
)
from fairlead.lab.topology import Cable, Host, Interface, Role, Topology

DRAWING = """\
  client1 198.18.1.2 ---+
  client2 198.18.2.2 ---+--- router (BIRD) ---+-------------------------------+
                                              | 192.0.2.1                     | 198.51.100.1
  ==== switch ============+===================+====    ==== switch2 ====+=====+==============+
        |                 |              |                   |          |                    |
    backend1          backend2       balancer1 eth0 ---- eth1 |       backend3            backend4
    192.0.2.21        192.0.2.22     192.0.2.11    198.51.100.11      198.51.100.23       198.51.100.24
"""

VIPS = ("203.0.113.1", "fd1a:b:0:ff::1")
_BACKENDS = {1: 10, 2: 10, 3: 20, 4: 20}
_BALANCER = Host("balancer1", Role.BALANCER, (port("eth0", 10, 11), port("eth1", 20, 11)), routes=default(10))


def _servers(version: int) -> tuple[str, ...]:
    return tuple(address(net, 20 + n, version) for n, net in _BACKENDS.items())


def _switch(name: str, net: int, *others: str) -> Host:
    ports = (*others, *(f"backend{n}" for n, at in _BACKENDS.items() if at == net))
    return Host(name, Role.SWITCH, tuple(Interface(there) for there in ports))


MULTINIC = Topology(
    name="multinic",
    title="a balancer with two NICs on two segments, two backends on each",
    drawing=DRAWING,
    hosts=(
        *CLIENTS,
        router(port("segment", 10, 1), port("segment2", 20, 1)),
        _switch("switch", 10, "router", "balancer1"),
        _switch("switch2", 20, "router", "balancer1"),
        _BALANCER,
        *(host(f"backend{n}", Role.BACKEND, net, 20 + n, VIPS) for n, net in _BACKENDS.items()),
    ),
    cables=(
        *CLIENT_CABLES,
        Cable(("switch", "router"), ("router", "segment")),
        Cable(("switch2", "router"), ("router", "segment2")),
        Cable(("switch", "balancer1"), ("balancer1", "eth0")),
        Cable(("switch2", "balancer1"), ("balancer1", "eth1")),
        *(Cable(("switch" if net == 10 else "switch2", f"backend{n}"), (f"backend{n}", "eth0")) for n, net in _BACKENDS.items()),
    ),
    vips=VIPS,
    peering=PEERING,
    config=config(
        "multinic", "eth0, eth1", "".join(service(f"web{v}", vip, _servers(v)) for v, vip in zip((4, 6), VIPS, strict=True))
    ),
)
