"""Lays a lab's namespaces, cables, addresses and the programs on its ports, as plan.py says."""

from __future__ import annotations

from pathlib import Path

from fairlead.lab import namespaces, plan
from fairlead.lab.topology import Topology, Xdp

_OBJECTS = Path(__file__).parents[1] / "_objects"
OBJECTS_NEEDED = tuple(_OBJECTS / f"{name}.bpf.o" for name in ("pass", "vlan", "decap"))


def lay(lab: str, topology: Topology, xdp: Xdp) -> None:
    """Make the namespaces, cables, links and routes."""
    hosts = {plan.namespace(lab, host.name): host for host in topology.hosts}
    namespaces.batch(plan.create(lab, topology))
    for name, host in hosts.items():
        namespaces.set_sysctls(name, plan.sysctls(host))
        namespaces.set_first(name, "net/ipv4/tcp_congestion_control", plan.CONGESTION_CONTROLS)
    laid = plan.cables(lab, topology, xdp)
    namespaces.batches({plan.namespace(lab, host): lines for host, lines in laid.items()})
    namespaces.batches({name: plan.configure(host) for name, host in hosts.items()})


def prepare(lab: str, topology: Topology, xdp: Xdp) -> None:
    """Give ports that face a balancer what plan.py says they need, and hosts the programs that stand for VLANs and tunnels."""
    for host, port in plan.balancer_ports(topology):
        name = plan.namespace(lab, host)
        if xdp is Xdp.NATIVE:
            namespaces.batch([f"link set dev {port} xdpdrv object {_OBJECTS}/pass.bpf.o section xdp.frags"], name)
            namespaces.run(name, "ethtool", "-K", port, "tx", "off", "txvlan", "off")
            namespaces.run(name, "tc", "qdisc", "replace", "dev", port, "root", *plan.QUEUE.split())
        else:
            namespaces.run(name, "ethtool", "-K", port, "tso", "off", "gso", "off", "txvlan", "off")
    for host_ in topology.hosts:
        lines = [line.format(objects=_OBJECTS) for line in plan.programs(host_)]
        namespaces.batch(lines, plan.namespace(lab, host_.name), program="tc")
