"""Backends that go down too often are kept out for a while, after the manner of RFC 2439.

Each fall adds to a penalty, which halves every `half_life`. A backend whose penalty exceeds `suppress` gets no new flows until it
is down to `reuse`. The penalty has a ceiling (section 4.2), so that nobody stays out for much more than four half-lives.
Moments are of a clock that nobody sets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import exp2, log2
from typing import NamedTuple

from fairlead.core.moment import Moment
from fairlead.core.words import clock
from fairlead.model import Address, Damping, ServiceKey

_HALF_LIVES = 4


class Penalty(NamedTuple):
    """The penalty of one backend in one service as it was `at`, which is `noted` in ns since the Unix epoch."""

    value: float
    at: float
    noted: int
    suppressed: bool = False


class Damped(NamedTuple):
    """A backend with a penalty: as it was last added to, and when it is let in again if it is kept out."""

    penalty: Penalty
    until: float

    def says(self, rules: Damping, now: Moment) -> str:
        """For an operator; the penalty is that of now."""
        value, until = decayed(self.penalty, rules, now.steady), now.wall_at(self.until)
        return f"went down too often (penalty {value:.0f}): no new flows until {clock(until, now.wall)}"


def decayed(penalty: Penalty, rules: Damping, now: float) -> float:
    """What is left of a penalty."""
    return penalty.value * exp2(-max(0.0, now - penalty.at) / rules.half_life)


def fallen(penalty: Penalty | None, rules: Damping, now: Moment) -> Penalty:
    """The penalty after one more fall."""
    left = decayed(penalty, rules, now.steady) if penalty is not None else 0.0
    ceiling = max(rules.reuse * 2**_HALF_LIVES, 2 * rules.suppress)
    value = min(left + rules.penalty, ceiling)
    noted = int(max(now.wall, 0.0) * 1e9)
    return Penalty(value, now.steady, noted, value > rules.suppress or (penalty is not None and penalty.suppressed))


def released(penalty: Penalty, rules: Damping) -> float:
    """When a suppressed backend is let in again."""
    return penalty.at + rules.half_life * max(0.0, log2(penalty.value / rules.reuse))


class Dampers:
    """The penalties of all backends of all services with damping."""

    def __init__(self) -> None:
        self._rules: dict[ServiceKey, Damping] = {}
        self._penalties: dict[ServiceKey, dict[Address, Penalty]] = {}
        self._until: dict[tuple[ServiceKey, Address], float] = {}

    def configure(self, key: ServiceKey, rules: Damping | None, backends: Iterable[Address]) -> None:
        """What a service asks for now; other rules, and backends that are not its own any more, start without a penalty."""
        kept: Mapping[Address, Penalty] = {}
        if rules is not None and self._rules.get(key) == rules:
            kept = self._penalties.get(key, {})
        self.forget(key)
        if rules is not None:
            self._rules[key] = rules
            self._penalties[key] = {}
            for address in backends:
                if address in kept:
                    self._note(key, address, kept[address])

    def forget(self, key: ServiceKey) -> None:
        """A service that is no more."""
        for address in self._penalties.pop(key, ()):
            self._until.pop((key, address), None)
        self._rules.pop(key, None)

    def inherit(self, key: ServiceKey, address: Address, penalty: Penalty) -> None:
        """A penalty from before a restart."""
        if key in self._rules and penalty.value > 0 and address not in self._penalties[key]:
            self._note(key, address, penalty)

    def fell(self, key: ServiceKey, address: Address, now: Moment) -> None:
        """The checks of a backend have turned to down."""
        rules = self._rules.get(key)
        if rules is not None:
            self._note(key, address, fallen(self._penalties[key].get(address), rules, now))

    def _note(self, key: ServiceKey, address: Address, penalty: Penalty) -> None:
        self._penalties[key][address] = penalty
        if penalty.suppressed:
            self._until[key, address] = released(penalty, self._rules[key])

    def due(self, now: float) -> set[ServiceKey]:
        """Let in again those whose time has come; the services concerned."""
        over = [pair for pair, until in self._until.items() if until <= now]
        for key, address in over:
            del self._until[key, address]
            self._penalties[key][address] = self._penalties[key][address]._replace(suppressed=False)
        return {key for key, _ in over}

    def deadline(self) -> float | None:
        """When the next one is let in again."""
        return min(self._until.values(), default=None)

    def damped(self, key: ServiceKey, address: Address) -> Damped | None:
        """The penalty of a backend; None without."""
        penalty = self._penalties.get(key, {}).get(address)
        return None if penalty is None else Damped(penalty, self._until.get((key, address), 0.0))

    def value(self, key: ServiceKey, address: Address, now: float) -> float:
        """The penalty at a moment, 0 where there is none."""
        penalty = self._penalties.get(key, {}).get(address)
        return 0.0 if penalty is None else decayed(penalty, self._rules[key], now)
