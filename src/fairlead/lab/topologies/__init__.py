"""The topologies there are, one module each."""

from __future__ import annotations

from fairlead.lab.topologies.mixed import MIXED
from fairlead.lab.topologies.multinic import MULTINIC
from fairlead.lab.topologies.routed import ROUTED
from fairlead.lab.topologies.simple import SIMPLE
from fairlead.lab.topologies.tunnel import TUNNEL
from fairlead.lab.topologies.vlan import VLAN
from fairlead.lab.topology import Topology

TOPOLOGIES: dict[str, Topology] = {topology.name: topology for topology in (SIMPLE, VLAN, MULTINIC, TUNNEL, ROUTED, MIXED)}
