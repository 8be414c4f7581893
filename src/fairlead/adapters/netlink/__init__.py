"""Links, addresses, routes and neighbours as the kernel has them, and from them the path to each backend."""

from __future__ import annotations

from fairlead.adapters.netlink.messages import PROTOCOL, RTN_LOCAL, RouteAnswer
from fairlead.adapters.netlink.network import Network

__all__ = ["PROTOCOL", "RTN_LOCAL", "Network", "RouteAnswer"]
