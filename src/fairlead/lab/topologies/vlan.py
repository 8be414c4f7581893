"""One trunk, three VLANs: clients come in tagged with one, backends are in two others; tags are rewritten on the way."""

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
    router,
    service,
)
from fairlead.lab.topology import Cable, Host, Interface, Role, Tag, Topology

DRAWING = """\
  client1 198.18.1.2 ---+
  client2 198.18.2.2 ---+--- router (BIRD)
                               | trunk: VLAN 10 192.0.2.1, VLAN 20 198.51.100.1, VLAN 30 198.18.30.1
  ========== switch ===========+==============+=================+================+================+
                  | trunk                     | VLAN 20         | VLAN 20        | VLAN 30        | VLAN 30, tagged
              balancer1                   backend1          backend2         backend3         backend4
              VLAN 10 192.0.2.11          198.51.100.21     198.51.100.22    198.18.30.23     198.18.30.24
              VLAN 20 198.51.100.11
              VLAN 30 198.18.30.11
"""

VIPS = ("203.0.113.1", "fd1a:b:0:ff::1")
_BACKENDS = {1: 20, 2: 20, 3: 30, 4: 30}
_TAGGED = 4  # this backend has its VLAN's tag itself
_VLANS = """
vlans: {10: 192.0.2.1/24, 20: 198.51.100.1/24, 30: 198.18.30.1/24}
vlans6: {10: "fd1a:b:0:10::1/64", 20: "fd1a:b:0:20::1/64", 30: "fd1a:b:0:30::1/64"}
"""


def _tags(trunk: str, number: int) -> tuple[Tag, ...]:
    return tuple(Tag(net, trunk, addresses(net, number)) for net in (10, 20, 30))


def _router() -> Host:
    plain = router(Interface("trunk", "02:1a:0b:00:10:01"))
    return Host("router", Role.ROUTER, plain.interfaces, routes=plain.routes, tags=_tags("trunk", 1))


def _backend(n: int, net: int) -> Host:
    untagged = host(f"backend{n}", Role.BACKEND, net, 20 + n, VIPS)
    if n != _TAGGED:
        return untagged
    (eth0,) = untagged.interfaces
    tag = Tag(net, "eth0", eth0.addresses)
    return Host(untagged.name, Role.BACKEND, (Interface("eth0", eth0.mac),), untagged.loopback, untagged.routes, (tag,))


def _servers(version: int) -> tuple[str, ...]:
    return tuple(address(net, 20 + n, version) for n, net in _BACKENDS.items())


VLAN = Topology(
    name="vlan",
    title="a balancer on a trunk: clients in one VLAN, backends in two others",
    drawing=DRAWING,
    hosts=(
        *CLIENTS,
        _router(),
        Host(
            "switch",
            Role.SWITCH,
            (
                Interface("router"),
                Interface("balancer1"),
                *(Interface(f"backend{n}", vlan=0 if n == _TAGGED else net) for n, net in _BACKENDS.items()),
            ),
        ),
        Host(
            "balancer1",
            Role.BALANCER,
            (Interface("eth0", "02:1a:0b:00:10:11"),),
            routes=default(10),
            tags=_tags("eth0", 11),
        ),
        *(_backend(n, net) for n, net in _BACKENDS.items()),
    ),
    cables=(
        *CLIENT_CABLES,
        Cable(("switch", "router"), ("router", "trunk")),
        Cable(("switch", "balancer1"), ("balancer1", "eth0")),
        *(Cable(("switch", f"backend{n}"), (f"backend{n}", "eth0")) for n in _BACKENDS),
    ),
    vips=VIPS,
    peering=PEERING,
    config=config(
        "vlan",
        "eth0",
        "".join(service(f"web{v}", vip, _servers(v)) for v, vip in zip((4, 6), VIPS, strict=True)),
        extra=_VLANS,
    ),
)
