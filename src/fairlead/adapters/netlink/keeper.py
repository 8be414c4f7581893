"""The neighbours of backends, kept alive by the kernel itself.

"Managed" entries (NTF_EXT_MANAGED, Linux 5.16) are resolved at once and probed before they expire. They carry protocol 70
(NDA_PROTOCOL), by which `fairlead detach` finds them. Older kernels get entries that are only "used" (NTF_USE), again every few
seconds. Carrier loss deletes managed entries, hence the same round.

Who gets another MAC and does not say so (no gratuitous ARP) is believed in for half a minute (base_reachable_time). So a backend
whose probes are not answered is doubted: the kernel asks it, by unicast, whether it is still there, and what is known stays in
use; after three seconds without an answer it asks everybody, and so finds the new one.

Who does not answer is asked three times, then given up, and a managed entry is tried again only every five seconds
(interval_probe_time): long for a balancer that was cut off and has its cable back. So those are asked again each second, as many
at a time as a segment bears.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

from fairlead.adapters.netlink import wire
from fairlead.adapters.netlink.messages import (
    NTF_EXT_MANAGED,
    NTF_USE,
    NUD_FAILED,
    NUD_NOARP,
    NUD_PERMANENT,
    NUD_PROBE,
    NUD_STALE,
    PROTOCOL,
    NeighbourKey,
    managed_supported,
)
from fairlead.adapters.netlink.picture import Picture

DOUBT_PAUSE = 10.0  # seconds between two doubts about the same neighbour


class Keeper:
    """`full`: the entries that the kernel had no room for. OSError where the socket itself fails."""

    def __init__(self, ask: wire.Asker, picture: Picture) -> None:
        self.full: set[NeighbourKey] = set()
        self._ask, self._picture = ask, picture
        self._flags, self._extended = (0, NTF_EXT_MANAGED) if managed_supported() else (NTF_USE, 0)
        self._doubted: dict[NeighbourKey, float] = {}
        self._silent: dict[NeighbourKey, None] = {}  # who does not answer, in the order of their turns

    def hold(self, keys: Iterable[NeighbourKey]) -> None:
        """Have the kernel resolve these neighbours and keep them so; a permanent entry is somebody's wish and stays as it is."""
        known = dict.fromkeys(keys)
        orders = [(key, order) for key in known if (order := self._order(key))]
        self._silent |= {key: None for key in known if key not in self._silent and self._failed(key)}
        for key, code in zip(orders, self._carry_out([order for _, order in orders]), strict=True):
            (self.full.add if code == errno.ENOBUFS else self.full.discard)(key[0])

    def release(self, keys: Iterable[NeighbourKey]) -> None:
        """Let go of these; what is not ours stays."""
        known = [(key, self._picture.neighbours.get(key)) for key in keys]
        for key, _ in known:
            self._silent.pop(key, None)
        ours = [key for key, e in known if e is not None and e.protocol == PROTOCOL and not e.state & NUD_PERMANENT]
        self._carry_out([wire.drop_neighbour(key) for key in ours])

    def doubt(self, key: NeighbourKey, now: float) -> None:
        """Have the kernel ask this neighbour whether it is still there; `now` is a monotonic time. Only one of ours is asked."""
        entry = self._picture.neighbours.get(key)
        ours = entry is not None and entry.protocol == PROTOCOL and entry.mac and not entry.state & (NUD_PERMANENT | NUD_NOARP)
        if entry is None or not ours or now < self._doubted.get(key, now):
            return
        self._doubted = {k: at for k, at in self._doubted.items() if at > now} | {key: now + DOUBT_PAUSE}
        # An order that says "managed" never changes the state, and one that does not ends the management: hence two.
        ask = wire.keep_neighbour(key, entry.mac, NUD_PROBE, 0, 0, PROTOCOL)
        manage = wire.keep_neighbour(key, entry.mac, NUD_PROBE, 0, self._extended, PROTOCOL)
        self._carry_out([ask, manage] if self._extended else [ask])

    def failed(self, key: NeighbourKey) -> None:
        """The kernel has asked this neighbour in vain. The first time it is asked again at once, then when its turn comes."""
        if key not in self._silent:
            self._silent[key] = None
            self._revive([key] if self._failed(key) else [])

    def ask_again(self, most: int) -> None:
        """Who has failed is asked again, `most` of them, those first whose last time is longest ago."""
        asked: list[NeighbourKey] = []
        for key in list(self._silent):
            entry = self._picture.neighbours.get(key)
            if entry is None or entry.mac:
                del self._silent[key]
            elif self._failed(key):
                asked.append(key)
                self._silent[key] = self._silent.pop(key)
            if len(asked) == most:
                break
        self._revive(asked)

    def _failed(self, key: NeighbourKey) -> bool:
        entry = self._picture.neighbours.get(key)
        return entry is not None and entry.protocol == PROTOCOL and bool(entry.state & NUD_FAILED)

    def _revive(self, keys: Iterable[NeighbourKey]) -> None:
        self._carry_out([wire.keep_neighbour(key, b"", 0, NTF_USE, self._extended, PROTOCOL) for key in keys])

    def _order(self, key: NeighbourKey) -> bytes:
        """What makes this entry one of ours that the kernel keeps; nothing where it is already, or need not be."""
        entry = self._picture.neighbours.get(key)
        if entry is not None and (entry.state & (NUD_PERMANENT | NUD_NOARP) or (entry.managed and entry.protocol == PROTOCOL)):
            return b""
        known = entry.mac if entry is not None else b""  # a gateway is used by others too: it stays usable meanwhile
        return wire.keep_neighbour(key, known, NUD_STALE if known else 0, self._flags, self._extended, PROTOCOL)

    def _carry_out(self, orders: list[bytes]) -> list[int]:
        """The errno of each."""
        codes: list[int] = []
        for at in range(0, len(orders), wire.AT_ONCE):
            codes += wire.errors(self._ask.ask(orders[at : at + wire.AT_ONCE]))
        return codes
