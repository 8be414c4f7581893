"""When a chain that failed may be tried again."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

FIRST_DELAY, LAST_DELAY = 1.0, 60.0  # seconds


@dataclass(frozen=True, slots=True)
class _Rest:
    want: object
    delay: float
    at: float | None


class Rests:
    """Chains by name, left alone for a while after a failure, unless what is wanted of them changes.

    The delay doubles each time.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rests: dict[Hashable, _Rest] = {}

    def resting(self, name: Hashable, want: object) -> bool:
        """Not now."""
        rest = self._rests.get(name)
        return rest is not None and rest.want is want and (rest.at is None or self._clock() < rest.at)

    def failed(self, name: Hashable, want: object) -> None:
        """Try again later."""
        before = self._rests.get(name)
        again = before is not None and before.want is want and before.at is not None
        delay = min(before.delay * 2, LAST_DELAY) if before is not None and again else FIRST_DELAY
        self._rests[name] = _Rest(want, delay, self._clock() + delay)

    def postponed(self, name: Hashable, want: object) -> None:
        """Try again when something was collected."""
        self._rests[name] = _Rest(want, 0.0, None)

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
        """The Unix time of the next try; None if nothing has failed. What was due and is still here, nobody asks for any more."""
        now = self._clock()
        return min((rest.at for rest in self._rests.values() if rest.at is not None and rest.at > now), default=None)
