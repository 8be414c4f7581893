"""The topologies there are, one module each."""

from __future__ import annotations

from fairlead.lab.topologies.simple import SIMPLE
from fairlead.lab.topology import Topology

TOPOLOGIES: dict[str, Topology] = {topology.name: topology for topology in (SIMPLE,)}
