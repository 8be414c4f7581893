"""Which runs of checks came out otherwise than the run before."""

from __future__ import annotations

from collections.abc import Container

from fairlead.model import ProbeKey


class Outcomes:
    """What failed last is remembered; a check that has not run yet counts as one that passed."""

    def __init__(self) -> None:
        self._failing: set[ProbeKey] = set()

    def turned(self, key: ProbeKey, *, passed: bool) -> bool:
        """Whether this run differs from the last one of the same question."""
        if passed == (key not in self._failing):
            return False
        if passed:
            self._failing.discard(key)
        else:
            self._failing.add(key)
        return True

    def keep(self, asked: Container[ProbeKey]) -> None:
        """Forget what is asked no longer."""
        self._failing = {key for key in self._failing if key in asked}
