"""The topologies there are, one module each."""

from __future__ import annotations

from dataclasses import replace

from fairlead.lab.topologies.ecmp import MOST, ecmp
from fairlead.lab.topologies.mixed import MIXED
from fairlead.lab.topologies.multinic import MULTINIC
from fairlead.lab.topologies.routed import ROUTED
from fairlead.lab.topologies.simple import SIMPLE
from fairlead.lab.topologies.tunnel import TUNNEL
from fairlead.lab.topologies.vlan import VLAN
from fairlead.lab.topology import Software, Topology

ECMP = ecmp()
TOPOLOGIES: dict[str, Topology] = {topology.name: topology for topology in (SIMPLE, VLAN, MULTINIC, TUNNEL, ROUTED, MIXED, ECMP)}
LARGEST = ecmp(MOST)  # has every host that any lab of it may have


def find(name: str, balancers: int = 0, software: Software = Software.BIRD) -> Topology:
    """A topology with so many balancers (0: as it comes) and that router. KeyError: it is unknown, ValueError: not so many."""
    topology = TOPOLOGIES[name]
    if balancers and topology is not ECMP:
        raise ValueError(f"the topology {name!r} has its own number of balancers; `ecmp` takes --balancers")
    if balancers and not 1 <= balancers <= MOST:
        raise ValueError(f"from 1 to {MOST} balancers, not {balancers}")
    built = ecmp(balancers) if balancers else topology
    return replace(built, peering=replace(built.peering, software=software))
