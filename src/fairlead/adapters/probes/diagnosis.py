"""When nothing comes back from a VIP: is the backend itself there? Told at the next failure, so that no result waits for it.

The question goes to the backend's own address, unmarked, by the machine's own route: a connection to the port of the check, or an
echo request where the check is not about TCP. A refusal is a sign of life as well. At most one question in ten seconds for each
backend and port, and few at a time: a network that is gone must not cost more than one that is there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from fairlead.adapters.probes.attempt import Ask, Attempt
from fairlead.adapters.probes.engine import Engine
from fairlead.adapters.probes.icmp import Icmp
from fairlead.adapters.probes.tcp import Connection
from fairlead.model import Address, Check, ProbeResult, ProbeTarget

EVERY = 10.0  # seconds
AT_ONCE = 64
_PATIENCE = 1.0  # seconds
_MANY = 10_000  # what is known beyond that is forgotten

_Place = tuple[Address, int]  # the backend's own address and a TCP port, 0 for an echo


@dataclass(slots=True)
class _Known:
    at: float  # monotonic
    says: str  # "" while the question is open


class Diagnosis:
    """What is known of backends whose VIPs are silent."""

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine
        self._known: dict[_Place, _Known] = {}
        self._open: set[Attempt] = set()

    def of(self, target: ProbeTarget) -> str:
        """What is known now, "" for nothing; asks if that is old."""
        place = (target.backend, target.check.port if target.check.type in ("http", "https", "tcp", "syn") else 0)
        known, now = self._known.get(place), time.monotonic()
        if (known is None or now - known.at > EVERY) and len(self._open) < AT_ONCE:
            known = self._known[place] = self._ask(place, now, known.says if known is not None else "")
        if known is None or not known.says:
            return ""
        return known.says if known.says.startswith("and ") else f"{known.says} {target.vip} on its loopback?"

    def close(self) -> None:
        """No more questions."""
        for attempt in self._open:
            attempt.abandon()
        self._open.clear()

    def _ask(self, place: _Place, now: float, before: str) -> _Known:
        address, port = place
        if len(self._known) > _MANY:
            self._known.clear()
        known = _Known(now, before)
        check = Check(type="tcp" if port else "icmp", port=port, timeout=_PATIENCE)
        ask = Ask(ProbeTarget(address, address, check, 0, None))

        def ended(result: ProbeResult, _: bool) -> None:
            self._open.discard(attempt)
            known.says = _sentence(address, result)

        attempt = (Connection if port else Icmp)(self._engine(), ask, ended)
        self._open.add(attempt)
        attempt.begin()
        return known


def _sentence(address: Address, result: ProbeResult) -> str:
    if result.passed:
        return f"{address} itself answers: is"
    if result.says.startswith("connection re"):  # refused, reset
        return f"{address} itself is there: is"
    return f"and {address} itself does not answer either ({result.says})"
