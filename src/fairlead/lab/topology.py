"""The values a topology is written in. A topology is data: hosts, their addresses, the cables between them, and a drawing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Role(Enum):
    """What a host is for; it decides its sysctls and the daemon it runs."""

    CLIENT = "client"
    ROUTER = "router"
    GATEWAY = "gateway"  # forwards between two networks and speaks no BGP
    SWITCH = "switch"
    BALANCER = "balancer"
    BACKEND = "backend"


class Xdp(Enum):
    """How the balancers' interfaces take an XDP program: by their driver, or only by the generic hook."""

    NATIVE = "native"
    GENERIC = "generic"


class Software(Enum):
    """What the router runs."""

    BIRD = "bird"
    FRR = "frr"
    GOBGP = "gobgp"


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface: its name, fixed MAC ("" for any) and addresses with prefix length.

    A switch's port with a `vlan` is an access port of it; one without carries everything as it is.
    """

    name: str
    mac: str = ""
    addresses: tuple[str, ...] = ()
    mtu: int = 0  # 0: as cables come, 1500
    vlan: int = 0


@dataclass(frozen=True, slots=True)
class Tag:
    """A VLAN of a host, by the device v<id> over its trunk."""

    id: int
    trunk: str
    addresses: tuple[str, ...] = ()

    @property
    def device(self) -> str:
        """The name of the device that has the addresses."""
        return f"v{self.id}"


@dataclass(frozen=True, slots=True)
class Host:
    """A namespace. `loopback` are addresses on lo, `routes` what follows `ip route add` (the family shows in the text).

    `decap` names the interfaces on which tunnels end.
    """

    name: str
    role: Role
    interfaces: tuple[Interface, ...] = ()
    loopback: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    tags: tuple[Tag, ...] = ()
    decap: tuple[str, ...] = ()

    def interface(self, name: str) -> Interface:
        """The interface of that name; KeyError if there is none."""
        for interface in self.interfaces:
            if interface.name == name:
                return interface
        raise KeyError(f"{self.name} has no interface {name}")

    def address(self, version: int) -> str:
        """The first address of that IP version on an interface or a VLAN, without its prefix length; "" if there is none."""
        for address in self.addresses():
            if (":" in address) == (version == 6):
                return address.partition("/")[0]
        return ""

    def addresses(self) -> tuple[str, ...]:
        """Every address on interfaces and VLANs, with prefix lengths."""
        own = [address for interface in self.interfaces for address in interface.addresses]
        return (*own, *(address for tag in self.tags for address in tag.addresses))


@dataclass(frozen=True, slots=True)
class Cable:
    """A veth pair; each end is (host, interface)."""

    a: tuple[str, str]
    b: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Peering:
    """The BGP session between the router and the balancers, as the router's configuration needs it."""

    router_as: int
    balancer_as: int
    prefixes: tuple[str, ...]  # what the router accepts, the more specific parts included
    software: Software = Software.BIRD


@dataclass(frozen=True, slots=True)
class Topology:
    """A whole lab. `vips` are asked for over HTTP before the lab counts as up.

    `config` is the first balancer's YAML; the others' differ by their own addresses.
    """

    name: str
    title: str
    drawing: str
    hosts: tuple[Host, ...]
    cables: tuple[Cable, ...]
    vips: tuple[str, ...]
    peering: Peering
    config: str

    def host(self, name: str) -> Host:
        """The host of that name; KeyError if there is none."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(f"{self.name} has no host {name}")

    def of(self, role: Role) -> tuple[Host, ...]:
        """Every host of a role, in the order of the data."""
        return tuple(host for host in self.hosts if host.role is role)
