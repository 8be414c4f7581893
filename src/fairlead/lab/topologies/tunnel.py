"""Every tunnel there is, to the same three backends: a VIP for each kind, VIP family and outer family.

A VIP's last number is KIND, then OUTER: 203.0.113.46 goes by GUE over IPv6. Kinds: 1 IPIP, 2 GRE, 3 FOU, 4 GUE, 5 GUE without
checksum.
"""

from __future__ import annotations

from fairlead.lab.topologies.common import CLIENT_CABLES, CLIENTS, PEERING, address, config, host, port, router, service
from fairlead.lab.topology import Cable, Host, Interface, Role, Topology

DRAWING = """\
  client1 198.18.1.2 ---+                       VIPs: 203.0.113.KO and fd1a:b:0:ff::KO, where
                        |                       K is 1 IPIP, 2 GRE, 3 FOU, 4 GUE, 5 GUE without checksum,
  client2 198.18.2.2 ---+                       O is 4 or 6, the IP version of the outer header
                        |
                     router 192.0.2.1 (BIRD)    all links have an MTU of 1500, so that large packets do not
                        |                       fit their tunnel, and clients have to be told
  ======================+====== switch ===========+===============+===============+
        |                                         |               |               |
    balancer1 192.0.2.11                      backend1        backend2        backend3
    (fairlead, AS 64512)                      192.0.2.21      192.0.2.22      192.0.2.23
"""

KINDS = {1: "ipip", 2: "gre", 3: "fou", 4: "gue", 5: "gue"}
_MEMBERS = (1, 2, 3)


def vip(kind: int, outer: int, version: int) -> str:
    """The VIP of a kind of tunnel, the outer IP version, and its own."""
    return f"203.0.113.{kind}{outer}" if version == 4 else f"fd1a:b:0:ff::{kind}{outer}"


def _keys(kind: int, version: int) -> str:
    port = {3: 5555 if version == 4 else 5556, 4: 6080, 5: 6080}.get(kind)
    words = [f"tunnel-type: {KINDS[kind]}", *([f"tunnel-port: {port}"] if port else [])]
    return ", ".join(words + (["tunnel-no-checksum: true"] if kind == 5 else []))


_ALL = [(kind, outer, version) for version in (4, 6) for kind in KINDS for outer in (4, 6)]
VIPS = tuple(vip(*one) for one in _ALL)
_SERVICES = "".join(
    service(
        f"{KINDS[kind]}{kind}-{version}in{outer}",
        vip(kind, outer, version),
        tuple(address(10, 20 + n, outer) for n in _MEMBERS),
        _keys(kind, version),
    )
    for kind, outer, version in _ALL
)
_SEGMENT = (
    host("balancer1", Role.BALANCER, 10, 11),
    *(host(f"backend{n}", Role.BACKEND, 10, 20 + n, VIPS, decap=True) for n in _MEMBERS),
)

TUNNEL = Topology(
    name="tunnel",
    title="every kind of tunnel over IPv4 and IPv6, a VIP for each, to three backends",
    drawing=DRAWING,
    hosts=(
        *CLIENTS,
        router(port("segment", 10, 1)),
        Host("switch", Role.SWITCH, tuple(Interface(name) for name in ("router", *(there.name for there in _SEGMENT)))),
        *_SEGMENT,
    ),
    cables=(
        *CLIENT_CABLES,
        Cable(("switch", "router"), ("router", "segment")),
        *(Cable(("switch", there.name), (there.name, "eth0")) for there in _SEGMENT),
    ),
    vips=VIPS,
    peering=PEERING,
    config=config("tunnel", "eth0", _SERVICES, 1),
)
