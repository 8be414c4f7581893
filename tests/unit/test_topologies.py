"""Topologies are data: what must be true of each of them, and of what is made from them."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import PurePosixPath

import pytest

from fairlead.lab import fib, plan, services
from fairlead.lab.client import BadAnswerError, backend_of
from fairlead.lab.topologies import TOPOLOGIES, find
from fairlead.lab.topology import Role, Software, Topology, Xdp

PROGRAMS = services.Programs("/bird", "/birdc", "/nginx", "/fairlead")


@pytest.fixture(params=sorted(TOPOLOGIES))
def topology(request: pytest.FixtureRequest) -> Topology:
    return TOPOLOGIES[request.param]


def test_every_interface_has_one_cable(topology: Topology) -> None:
    """Each interface of each host is the end of exactly one cable."""
    ends = Counter(end for cable in topology.cables for end in (cable.a, cable.b))
    interfaces = [(host.name, interface.name) for host in topology.hosts for interface in host.interfaces]
    assert ends == Counter(interfaces)
    assert set(ends.values()) == {1}


def test_addresses_are_unique(topology: Topology) -> None:
    """No MAC and no address stands on two interfaces; the VIPs, which are on every backend's loopback, excepted."""
    interfaces = [interface for host in topology.hosts for interface in host.interfaces]
    macs = [interface.mac for interface in interfaces if interface.mac]
    addresses = [ip_interface(address).ip for interface in interfaces for address in interface.addresses]
    assert len(set(macs)) == len(macs)
    assert len(set(addresses)) == len(addresses)


def test_vips_are_on_every_loopback_and_in_the_prefixes(topology: Topology) -> None:
    """Every VIP stands on the loopback of every backend, and the router accepts it from BGP."""
    for vip in map(ip_address, topology.vips):
        for host in topology.of(Role.BACKEND):
            assert vip in {ip_interface(address).ip for address in host.loopback}
        networks = [ip_network(prefix) for prefix in topology.peering.prefixes]
        assert any(vip in network for network in networks if network.version == vip.version)


def test_drawing_shows_every_host(topology: Topology) -> None:
    """The drawing names every host, in lines that fit a terminal."""
    assert not [host.name for host in topology.hosts if host.name not in topology.drawing]
    assert all(len(line) <= 118 for line in topology.drawing.splitlines())


def test_only_the_port_that_faces_a_balancer_is_prepared() -> None:
    """Of all switch ports just the balancer's is prepared for native XDP."""
    assert plan.balancer_ports(TOPOLOGIES["simple"]) == [("switch", "balancer1")]


@pytest.mark.parametrize(("xdp", "queues"), [(Xdp.NATIVE, ""), (Xdp.GENERIC, " numtxqueues 2 numrxqueues 1")])
def test_generic_is_made_by_queues(xdp: Xdp, queues: str) -> None:
    """For generic mode the switch's end has more transmit queues than the balancer's end takes: veth refuses native XDP."""
    lines = plan.cables("x", TOPOLOGIES["simple"], xdp)["switch"]
    line = next(line for line in lines if "x-balancer1" in line)
    assert line.startswith(f"link add balancer1 index 11{queues} type veth peer name eth0 address 02:1a:0b:00:10:11")
    assert ("numrxqueues 1 netns x-balancer1" in line) == bool(queues)


def test_daemons_stay_in_the_foreground(topology: Topology) -> None:
    """Routers, balancers and backends run one daemon each, in the foreground; clients and switches none."""
    for host in topology.hosts:
        found = services.service(topology, host, PurePosixPath("/etc"), PROGRAMS, {"FAIRLEAD_SOCKET": "/s"})
        match host.role:
            case Role.ROUTER:
                assert found is not None
                assert found.argv[:2] == ("/bird", "-f")
            case Role.BACKEND:
                assert found is not None
                assert "daemon off;" in found.files["nginx.conf"]
            case Role.BALANCER:
                assert found is not None
                assert found.argv == ("/fairlead", "run", "/etc/fairlead.yaml")
                assert found.env == {"FAIRLEAD_SOCKET": "/s"}
            case _:
                assert found is None


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"", "after 0 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "after 27 bytes"),
        (b"HTTP/1.1 503 Sorry\r\nContent-Length: 0\r\n\r\n", "503 Sorry"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "3 of 5 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\nabc", "3 of None bytes"),
    ],
)
def test_half_an_answer_is_none(answer: bytes, says: str) -> None:
    """The client takes nothing for an answer that is not a whole one with status 200."""
    with pytest.raises(BadAnswerError, match=says):
        backend_of(answer)


def test_whole_answer() -> None:
    """A whole answer names its backend."""
    assert backend_of(b"HTTP/1.1 200 OK\r\nX-Backend: backend2\r\nContent-Length: 3\r\n\r\nabc") == "backend2"


def test_each_balancer_has_its_own_addresses() -> None:
    """Of several balancers each gets the first one's configuration with its own addresses, and nothing else changes."""
    topology = find("ecmp", 3)
    text = "address: 192.0.2.11\naddress6: fd1a:b:0:10::11\nother: [192.0.2.110, 192.0.2.1, 'fd1a:b:0:10::111']\n"
    first, _, third = topology.of(Role.BALANCER)

    assert services.balancer_config(topology, first, text) == text
    assert services.balancer_config(topology, third, text) == text.replace("11\n", "13\n")


@pytest.mark.parametrize(("name", "balancers"), [("ecmp", 9), ("ecmp", -1), ("simple", 2)])
def test_sizes_that_cannot_be(name: str, balancers: int) -> None:
    """Only `ecmp` has a choice of balancers, and it ends at eight."""
    with pytest.raises(ValueError, match="balancers"):
        find(name, balancers)


def test_gobgp_expects_every_balancer() -> None:
    """GoBGP's configuration has a session for each balancer; it takes VIPs alone, and all their paths."""
    topology = find("ecmp", 4, Software.GOBGP)
    found = services.service(topology, topology.host("router"), PurePosixPath("/etc"), PROGRAMS, {})
    assert found is not None
    said = tomllib.loads(found.files["gobgp.toml"])
    assert [n["config"]["neighbor-address"] for n in said["neighbors"]] == [f"192.0.2.{n}" for n in (11, 12, 13, 14)]
    taken = [s["conditions"]["match-prefix-set"]["prefix-set"] for s in said["policy-definitions"][0]["statements"]]
    assert taken == [s["prefix-set-name"] for s in said["defined-sets"]["prefix-sets"]]
    assert said["global"]["apply-policy"]["config"]["default-import-policy"] == "reject-route"
    assert said["global"]["use-multiple-paths"]["config"]["enabled"]


def test_what_gobgp_says_becomes_routes() -> None:
    """All paths of a prefix are one route; a withdrawal takes it away; nothing said is nothing done."""
    reach = {"type": 14, "nexthop": "fd00::11", "afi": 2, "safi": 1}
    said = [
        {"nlri": {"prefix": "203.0.113.1/32"}, "attrs": [{"type": 1, "value": 0}, {"type": 3, "nexthop": "192.0.2.12"}]},
        {"nlri": {"prefix": "203.0.113.1/32"}, "attrs": [{"type": 3, "nexthop": "192.0.2.11"}]},
        {"nlri": {"prefix": "fd00::1/128"}, "attrs": [reach], "withdrawal": True},
    ]
    found = fib.hops(json.dumps(said))
    assert found == {"203.0.113.1/32": ["192.0.2.12", "192.0.2.11"], "fd00::1/128": []}
    assert [" ".join(fib.command(*each)) for each in found.items()] == [
        "ip -4 route replace 203.0.113.1/32 proto bgp nexthop via 192.0.2.11 nexthop via 192.0.2.12",
        "ip -6 route del fd00::1/128 proto bgp",
    ]
    assert fib.hops("[]") == {}


def test_frr_expects_every_balancer() -> None:
    """FRR's configuration has a session for each balancer, in both families, that takes VIPs alone."""
    topology = find("ecmp", 4, Software.FRR)
    found = services.service(topology, topology.host("router"), PurePosixPath("/etc"), PROGRAMS, {})
    assert found is not None
    for n in (11, 12, 13, 14):
        assert found.files["frr.conf"].count(f"neighbor 192.0.2.{n} prefix-list VIPS in\n") == 2
