"""Links, addresses and neighbours as the kernel last said: read once, then kept by events. No socket here, no conclusion."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from fairlead.adapters.netlink import wire
from fairlead.adapters.netlink.messages import NUD_FAILED, PROTOCOL, Device, Interface, Neighbour, NeighbourKey, device_of

Prefix = tuple[int, int, int]  # IP version, length, network as a number without its host bits


@dataclass(frozen=True, slots=True)
class News:
    """What an event is about: a neighbour, routes to a prefix, or, with neither, something that any path may rest on.

    `lost`: the neighbour's entry is not there any more; `ours`: it was one of ours; `silent`: it was asked in vain.
    """

    neighbour: NeighbourKey | None = None
    prefix: Prefix | None = None
    lost: bool = False
    ours: bool = False
    silent: bool = False


class Picture:
    """Everything by interface index; neighbours by index and address."""

    def __init__(self) -> None:
        self.devices: dict[int, Device] = {}
        self.addresses: dict[int, set[Interface]] = {}
        self.neighbours: dict[NeighbourKey, Neighbour] = {}

    def read(self, ask: wire.Asker) -> None:
        """Everything anew. OSError."""
        self.read_links(ask)
        self.addresses = {}
        for message in ask.dump(wire.GET_ADDR):
            self._take_address(message, gone=False)
        found = map(wire.neighbour_of, ask.dump(wire.GET_NEIGH))
        self.neighbours = {key: self._remembered(key, entry) for key, entry in filter(None, found)}

    def read_links(self, ask: wire.Asker) -> None:
        """The links anew: the event of one that was made a moment ago may still be on its way. OSError."""
        links = [_link(message) for message in ask.dump(wire.GET_LINK)]
        self.devices = {device.link.ifindex: device for device in links if device is not None}

    def take(self, message: wire.Message) -> News | None:
        """One event: what it says is kept. None where it is of no consequence for any path."""
        match message.kind:
            case wire.NEW_NEIGH | wire.DEL_NEIGH:
                return self._take_neighbour(message)
            case wire.NEW_ROUTE | wire.DEL_ROUTE:
                prefix = wire.prefix_of(message)
                return None if prefix is None else News(prefix=prefix)
            case wire.NEW_LINK | wire.DEL_LINK:
                return self._take_link(message)
            case wire.NEW_ADDR | wire.DEL_ADDR:
                self._take_address(message, gone=message.kind == wire.DEL_ADDR)
        return News()

    def _take_neighbour(self, message: wire.Message) -> News | None:
        found = wire.neighbour_of(message)
        if found is None:
            return None
        key, entry = found
        if message.kind == wire.NEW_NEIGH:
            self.neighbours[key] = self._remembered(key, entry)
            return News(key, silent=bool(entry.state & NUD_FAILED))
        self.neighbours.pop(key, None)
        return News(key, lost=True, ours=entry.protocol == PROTOCOL)

    def _remembered(self, key: NeighbourKey, entry: Neighbour) -> Neighbour:
        """The entry with the MAC that it had, while it has none: the kernel forgets that when it asks in vain."""
        before = self.neighbours.get(key)
        return entry if entry.mac or before is None else replace(entry, last=before.mac or before.last)

    def _take_link(self, message: wire.Message) -> News | None:
        device = _link(message)
        if device is None:
            return None
        if message.kind == wire.NEW_LINK:
            self.devices[device.link.ifindex] = device
        else:
            self.devices.pop(device.link.ifindex, None)
        return News()

    def _take_address(self, message: wire.Message, *, gone: bool) -> None:
        found = wire.address_of(message)
        if found is not None:
            mine = self.addresses.setdefault(found[0], set())
            (mine.discard if gone else mine.add)(found[1])


def _link(message: wire.Message) -> Device | None:
    """The device of a link message; None for the bridge family's, which are about ports."""
    if message.body[0]:
        return None
    decoded = ifinfmsg(bytes(message.data))
    decoded.decode()
    return device_of(decoded)
