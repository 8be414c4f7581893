"""What topologies share: the two clients, the router, and how hosts, MACs and networks are numbered.

Addresses are from the documentation and benchmarking ranges (RFC 5737, RFC 2544) and a ULA prefix; MACs are 02:1a:0b:00:NET:HOST.
Each client also owns a pool of addresses (198.19.0.0/17 and so on) that it may bind to without configuring them one by one.
"""

from __future__ import annotations

from fairlead.lab.topology import Cable, Host, Interface, Peering, Role

PEERING = Peering(64500, 64512, ("203.0.113.0/24", "fd1a:b:0:ff::/64"))
CLIENT_CABLES = (Cable(("client1", "eth0"), ("router", "client1")), Cable(("client2", "eth0"), ("router", "client2")))
# network number -> prefix of its IPv4 /24; the IPv6 /64 is fd1a:b:0:NUMBER::
NETWORKS = {1: "198.18.1", 2: "198.18.2", 10: "192.0.2", 20: "198.51.100", 30: "198.18.30"}


def addresses(net: int, number: int) -> tuple[str, str]:
    """Both addresses of a host in a network; the host's number reads the same in both."""
    return f"{NETWORKS[net]}.{number}/24", f"fd1a:b:0:{net}::{number}/64"


def port(name: str, net: int, number: int) -> Interface:
    """An interface in a network."""
    return Interface(name, f"02:1a:0b:00:{net:02}:{number:02}", addresses(net, number))


def default(net: int, number: int = 1) -> tuple[str, str]:
    """Default routes via a host of a network."""
    return f"default via {NETWORKS[net]}.{number}", f"default via fd1a:b:0:{net}::{number}"


def route(to: int, net: int, number: int) -> tuple[str, str]:
    """Routes to network `to` via a host of network `net`."""
    return (
        f"{NETWORKS[to]}.0/24 via {NETWORKS[net]}.{number}",
        f"fd1a:b:0:{to}::/64 via fd1a:b:0:{net}::{number}",
    )


def host(name: str, role: Role, net: int, number: int, vips: tuple[str, ...] = (), *, decap: bool = False) -> Host:
    """A host with one interface in a network, whose default route is the network's host 1; `vips` stand on its loopback."""
    loopback = tuple(f"{vip}/128" if ":" in vip else f"{vip}/32" for vip in vips)
    return Host(name, role, (port("eth0", net, number),), loopback, default(net), decap=("eth0",) if decap else ())


def router(*ports: Interface, routes: tuple[str, ...] = ()) -> Host:
    """The router: the clients on one side, `ports` on the other."""
    pools = (
        "198.19.0.0/17 via 198.18.1.2",
        "198.19.128.0/17 via 198.18.2.2",
        "fd1a:b:c1::/48 via fd1a:b:0:1::2",
        "fd1a:b:c2::/48 via fd1a:b:0:2::2",
    )
    clients = (port("client1", 1, 1), port("client2", 2, 1))
    return Host("router", Role.ROUTER, (*clients, *ports), routes=(*pools, *routes))


def _client(number: int, pool4: str, pool6: str) -> Host:
    routes = (*default(number), f"local {pool4} dev lo", f"local {pool6} dev lo")
    return Host(f"client{number}", Role.CLIENT, (port("eth0", number, 2),), routes=routes)


CLIENTS = (_client(1, "198.19.0.0/17", "fd1a:b:c1::/48"), _client(2, "198.19.128.0/17", "fd1a:b:c2::/48"))


def config(title: str, interfaces: str, services: str, interval: float = 0.5, *, extra: str = "") -> str:
    """A balancer's YAML: its BGP session with the router, a policy `web` (HTTP with checks, ports for a test's own servers)."""
    return f"""\
# The balancer of the lab `{title}`. Checks are quick, so that the lab shows changes quickly.
interfaces: [{interfaces}]
address: 192.0.2.11
address6: fd1a:b:0:10::11
hold: 0
{extra}
bgp:
  as_number: 64512
  hold_time: 9
  next_hop_6: fd1a:b:0:10::11
  peers: [192.0.2.1]

policy:
  web:
    http: {{path: /healthz, interval: {interval}, timeout: 0.5, rise: 2, fall: 2}}
    9000/tcp*:
    9000/udp:

services:
{services}"""


def service(name: str, vip: str, servers: tuple[str, ...], more: str = "") -> str:
    """One item of `services`; `more` are further keys."""
    listed = ", ".join(f'"{server}"' for server in servers)
    return f'  - {{name: {name}, virtual: "{vip}", servers: [{listed}], policy: web{more and ", " + more}}}\n'


def address(net: int, number: int, version: int) -> str:
    """A host's address in a network, without prefix length."""
    return addresses(net, number)[version == 6].partition("/")[0]
