"""When a chain that failed may be tried again."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

FIRST_DELAY, LAST_DELAY = 1.0, 60.0  # seconds
_OVERDUE = 5.0  # seconds; a chain that is not tried by then is wanted no longer


@dataclass(frozen=True, slots=True)
class Rest:
    """Why a chain rests, and until when by the clock of `Rests`; None: until something was collected."""

    want: object
    delay: float
    at: float | None
    says: str


class Rests:
    """Chains by name, left alone for a while after a failure, unless what is wanted of them changes.

    The delay doubles each time. `clock` gives seconds and is one that nobody sets.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rests: dict[Hashable, Rest] = {}

    def resting(self, name: Hashable, want: object) -> bool:
        """Not now."""
        rest = self._rests.get(name)
        return rest is not None and rest.want is want and (rest.at is None or self._clock() < rest.at)

    def failed(self, name: Hashable, want: object, says: str) -> None:
        """Try again later."""
        before = self._rests.get(name)
        again = before is not None and before.want is want and before.at is not None
        delay = min(before.delay * 2, LAST_DELAY) if before is not None and again else FIRST_DELAY
        self._rests[name] = Rest(want, delay, self._clock() + delay, says)

    def postponed(self, name: Hashable, want: object) -> None:
        """Try again when something was collected."""
        self._rests[name] = Rest(want, 0.0, None, "")

    def done(self, name: Hashable) -> None:
        """It went through, or nobody wants it any more."""
        self._rests.pop(name, None)

    def collected(self) -> bool:
        """There may be room now; whether anything waited for it."""
        waiting = [name for name, rest in self._rests.items() if rest.at is None]
        for name in waiting:
            del self._rests[name]
        return bool(waiting)

    def deadline(self) -> float | None:
        """When the next try is due; None if nothing has failed. What was due and is still here, nobody asks for any more."""
        now = self._clock()
        return min((rest.at for rest in self._rests.values() if rest.at is not None and rest.at > now), default=None)

    def says(self, name: Hashable) -> str:
        """How it stands with a chain: `failed, next try in 4 s: ...`, `pending: ...`, or "" if it does not rest."""
        rest = self._rests.get(name)
        if rest is None:
            return ""
        if rest.at is None:
            return "pending: waits for room that is about to come free"
        wait = rest.at - self._clock()
        return "" if wait < -_OVERDUE else f"failed, next try in {max(0.0, wait):.0f} s: {rest.says}"

    def names(self) -> Iterator[Hashable]:
        """Of all that rest."""
        return iter(self._rests)
