"""Several balancers behind one router, which spreads flows over them (ECMP): how Fairlead is scaled out."""

from __future__ import annotations

from itertools import zip_longest

from fairlead.lab.topologies.common import CLIENT_CABLES, CLIENTS, PEERING, address, config, host, port, router, service
from fairlead.lab.topology import Cable, Host, Interface, Role, Topology

MOST = 8  # balancers; their addresses end in 11 to 18
VIPS = ("203.0.113.1", "fd1a:b:0:ff::1")
_MEMBERS = (1, 2, 3)

_DRAWING = """\
  client1 198.18.1.2 ---+                            203.0.113.1 and fd1a:b:0:ff::1 are VIPs: the router
                        |                            learns them by BGP from each balancer and spreads flows
  client2 198.18.2.2 ---+                            over all of them by addresses and ports
                        |
                     router 192.0.2.1 (AS 64500)
                        |
  ======================+====== switch ===========+===============+===============+
        |                                         |               |               |
{balancers}
"""
_BESIDE = ("backend1        backend2        backend3", "192.0.2.21      192.0.2.22      192.0.2.23")


def _drawing(balancers: int) -> str:
    left = [f"    balancer{n} 192.0.2.1{n} (AS 64512)" for n in range(1, balancers + 1)]
    lines = [f"{one:<46}{two}".rstrip() for one, two in zip_longest(left, _BESIDE, fillvalue="")]
    return _DRAWING.format(balancers="\n".join(lines))


def _config() -> str:
    """Of every balancer: only the addresses of its own differ (see `services.balancer_config`)."""
    services = (
        service(f"web{v}", vip, tuple(address(10, 20 + n, v) for n in _MEMBERS)) for v, vip in zip((4, 6), VIPS, strict=True)
    )
    return config("ecmp", "eth0", "".join(services)).replace("hold_time: 9\n", "hold_time: 6\n  drain_time: 2\n")


def ecmp(balancers: int = 2) -> Topology:
    """The lab with so many balancers, 1 to MOST."""
    segment = (
        *(host(f"balancer{n}", Role.BALANCER, 10, 10 + n) for n in range(1, balancers + 1)),
        *(host(f"backend{n}", Role.BACKEND, 10, 20 + n, VIPS) for n in _MEMBERS),
    )
    return Topology(
        name="ecmp",
        title="several balancers (--balancers), over which the router spreads flows",
        drawing=_drawing(balancers),
        hosts=(
            *CLIENTS,
            router(port("segment", 10, 1)),
            Host("switch", Role.SWITCH, tuple(Interface(name) for name in ("router", *(there.name for there in segment)))),
            *segment,
        ),
        cables=(
            *CLIENT_CABLES,
            Cable(("switch", "router"), ("router", "segment")),
            *(Cable(("switch", there.name), (there.name, "eth0")) for there in segment),
        ),
        vips=VIPS,
        peering=PEERING,
        config=_config(),
    )
