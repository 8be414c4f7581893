"""From a topology to the text of `ip -batch` and the sysctls of each namespace. Pure.

The wire is veth pairs and a bridge. What a port that faces a balancer needs, and why (all of it measured):

- native: an XDP program on the switch's end, or XDP_TX frames are never flushed; transmit checksums off there, because a frame
  that becomes an xdp_frame loses its partial checksum; a pfifo of its own, because veth's ring has 256 entries and drops bursts.
- generic: two transmit queues on the switch's end against one receive queue on the balancer's. veth then refuses a native
  program, so Fairlead's own fall-back is what is tested; segmentation off, so that counters count the packets of the wire.
- either: no offload of tags, or XDP sees frames without theirs.

VLANs are emulated at tc (bpf/lab/vlan.bpf.c), where interface numbers say which VLAN is meant: see TRUNK and PORTS.
"""

from __future__ import annotations

from fairlead.lab.topology import Cable, Host, Role, Tag, Topology, Xdp

BRIDGE = "br0"
QUEUE = "pfifo limit 10000"
TRUNK = 1000  # the number of a trunk; the lower end of VLAN n's device has TRUNK + n, the upper one twice TRUNK + n
PORTS = 100  # access ports of VLAN n are numbered from PORTS * n
PLAIN_PORTS = 10  # and all others whose number matters to their cable's other end, from here


def namespace(lab: str, host: str) -> str:
    """The namespace of a host. Lab names have no hyphen, so no two labs can meet."""
    return f"{lab}-{host}"


def create(lab: str, topology: Topology) -> list[str]:
    """The lines for `ip -batch` that make the namespaces."""
    return [f"netns add {namespace(lab, host.name)}" for host in topology.hosts]


def cables(lab: str, topology: Topology, xdp: Xdp) -> dict[str, list[str]]:
    """The lines for `ip -n HOST -batch` that lay the cables, by the host they are run in."""
    lines: dict[str, list[str]] = {}
    for cable in topology.cables:
        lines.setdefault(cable.a[0], []).append(_cable(lab, topology, cable, xdp))
    return lines


def _cable(lab: str, topology: Topology, cable: Cable, xdp: Xdp) -> str:
    (host, name), (peer_host, peer_name) = cable.a, cable.b
    own = _mac(topology.host(host), name) + _number(topology.host(host), name)
    peer = _mac(topology.host(peer_host), peer_name)
    if any(tag.trunk == peer_name for tag in topology.host(peer_host).tags):
        peer += f" index {TRUNK}"
    queues, peer_queues = "", ""
    if xdp is Xdp.GENERIC and topology.host(peer_host).role is Role.BALANCER:
        queues, peer_queues = " numtxqueues 2 numrxqueues 1", " numtxqueues 1 numrxqueues 1"
    far = f"{peer}{peer_queues} netns {namespace(lab, peer_host)}"
    return f"link add {name}{own}{queues} type veth peer name {peer_name}{far}"


def _mac(host: Host, name: str) -> str:
    mac = host.interface(name).mac
    return f" address {mac}" if mac else ""


def _number(host: Host, name: str) -> str:
    """A number for a switch's port. A veth pair takes a number for its other end only together with one for this end."""
    if host.role is not Role.SWITCH:
        return ""
    port = host.interface(name)
    return f" index {(port.vlan * PORTS or PLAIN_PORTS) + host.interfaces.index(port)}"


def configure(host: Host) -> list[str]:
    """The lines for `ip -n HOST -batch` that bring its links up and give it addresses and routes."""
    lines = ["link set lo up"]
    lines += [f"addr add {a} dev lo{_no_dad(a)}" for a in host.loopback]
    if host.role is Role.SWITCH:
        lines += [f"link add {BRIDGE} type bridge stp_state 0 mcast_snooping 0 forward_delay 0", f"link set {BRIDGE} up"]
        lines += [f"link set {port.name} master {BRIDGE}" for port in host.interfaces]
    for interface in host.interfaces:
        lines += [f"addr add {a} dev {interface.name}{_no_dad(a)}" for a in interface.addresses]
        mtu = f" mtu {interface.mtu}" if interface.mtu else ""
        lines.append(f"link set {interface.name}{mtu} up")
    for tag in host.tags:
        lines += _tag(tag, _mac(host, tag.trunk))
    return lines + [f"route add {route}" for route in host.routes]


def _tag(tag: Tag, mac: str) -> list[str]:
    lower = f"{tag.device}p"
    return [
        f"link add {tag.device}{mac} index {2 * TRUNK + tag.id} type veth peer name {lower} index {TRUNK + tag.id}",
        *(f"addr add {a} dev {tag.device}{_no_dad(a)}" for a in tag.addresses),
        f"link set {lower} up",
        f"link set {tag.device} up",
    ]


def programs(host: Host) -> list[str]:
    """The lines for `tc -n HOST -batch` that give its interfaces the lab's programs; {objects} stands for their directory."""
    ports = [port.name for port in host.interfaces if port.vlan]
    wanted = [(port, way, "vlan", f"tc/access_{end}") for port in ports for way, end in (("ingress", "in"), ("egress", "out"))]
    wanted += [(trunk, "ingress", "vlan", "tc/trunk_in") for trunk in dict.fromkeys(tag.trunk for tag in host.tags)]
    wanted += [(f"{tag.device}p", "ingress", "vlan", "tc/trunk_out") for tag in host.tags]
    wanted += [(interface, "ingress", "decap", "tc") for interface in host.decap]
    lines = [f"qdisc add dev {interface} clsact" for interface in dict.fromkeys(interface for interface, *_ in wanted)]
    return lines + [
        f"filter add dev {interface} {way} bpf da object-file {{objects}}/{name}.bpf.o section {section}"
        for interface, way, name, section in wanted
    ]


def _no_dad(address: str) -> str:
    return " nodad" if ":" in address else ""


def balancer_ports(topology: Topology) -> list[tuple[str, str]]:
    """The (switch, port) pairs that face a balancer."""
    return [cable.a for cable in topology.cables if topology.host(cable.b[0]).role is Role.BALANCER]


# a new namespace takes some of these from the machine's own (docker, for one, turns forwarding on there): all are set here
_EVERY = {
    "net/ipv4/ip_forward": "0",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/all/arp_ignore": "0",
    "net/ipv4/conf/all/arp_announce": "0",
    "net/ipv6/conf/all/disable_ipv6": "0",
    "net/ipv6/conf/default/disable_ipv6": "0",
    "net/ipv6/conf/all/accept_dad": "0",
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/all/accept_ra": "0",
    "net/ipv6/conf/default/accept_ra": "0",
    "net/ipv6/conf/default/router_solicitations": "0",
}
_FORWARDS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    "net/ipv4/fib_multipath_hash_policy": "1",
    "net/ipv6/fib_multipath_hash_policy": "1",
}
_BY_ROLE = {
    # a client may bind to any address of its pool: IPv4 lets it because of the route, IPv6 wants to be told
    Role.CLIENT: {"net/ipv4/ip_local_port_range": "10000 65000", "net/ipv6/ip_nonlocal_bind": "1"},
    Role.ROUTER: _FORWARDS,
    Role.GATEWAY: _FORWARDS,
    # the switch speaks no IP: its own router solicitations and MLD reports would only blur captures
    Role.SWITCH: {"net/ipv6/conf/default/disable_ipv6": "1", "net/ipv6/conf/all/disable_ipv6": "1"},
    Role.BALANCER: {},
    # the VIPs stand on lo; without these every backend would answer ARP for them
    Role.BACKEND: {"net/ipv4/conf/all/arp_ignore": "1", "net/ipv4/conf/all/arp_announce": "2"},
}


def sysctls(host: Host) -> dict[str, str]:
    """Path under /proc/sys -> value; all belong to the namespace. To be set before the links come up."""
    return _EVERY | _BY_ROLE[host.role]


# bbr, a possible default, needs the fq queue that a lab has not: the first of these that the kernel allows is taken
CONGESTION_CONTROLS = ("cubic", "reno")
