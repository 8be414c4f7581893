"""What has been carried out of what is wanted, per object: done, pending, or failed with the time of the next try."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator

from fairlead.core.rests import Rests
from fairlead.core.wants import WantService
from fairlead.model import Address, ServiceKey


class Progress:
    """Chains are named as in `chains`: services by their keys, a VIP's own row by ("vip", address), and others."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._done: dict[ServiceKey, WantService] = {}
        self._rests = Rests(clock)

    def pending(self, want: WantService) -> bool:
        """It is not as wanted yet, and may be tried."""
        return self._done.get(want.key) is not want and not self._rests.resting(want.key, want)

    def resting(self, name: Hashable, want: WantService | None) -> bool:
        """It has failed, or waits for room, and is not to be tried yet."""
        return self._rests.resting(name, want)

    def settle(self, name: Hashable, want: WantService | None, failure: str, *, postponed: bool) -> None:
        """What became of a chain; `failure` in words, "" for none."""
        if failure:
            self._rests.failed(name, want, failure)
        elif postponed:
            self._rests.postponed(name, want)
        else:
            self._rests.done(name)
            if want is not None:
                self._done[want.key] = want

    def forget(self, key: ServiceKey) -> None:
        """A service that nobody wants any more."""
        self._done.pop(key, None)
        self._rests.done(key)

    def doubt(self) -> None:
        """The tables were not as they should have been: look at everything again."""
        self._done.clear()

    def collected(self) -> bool:
        """There may be room now; whether anything waited for it."""
        return self._rests.collected()

    def deadline(self) -> float | None:
        """When the next try is due."""
        return self._rests.deadline()

    def applied(self, want: WantService) -> str:
        """How it stands with a service, its VIP's row included."""
        resting = self._rests.says(want.key) or self._rests.says(("vip", want.key.vip))
        return resting or ("done" if self._done.get(want.key) is want else "pending: the next pass")

    def lacks(self, vip: Address) -> str:
        """What stands in the way of a VIP: `: failed, ...`; "" if nothing is known to."""
        names = [
            name for name in self._rests.names() if name == ("vip", vip) or (isinstance(name, ServiceKey) and name.vip == vip)
        ]
        says = next((text for text in map(self._rests.says, names) if text), "")
        return f": {says}" if says else ""

    def troubles(self) -> Iterator[str]:
        """What has failed and belongs to no service that is wanted."""
        for name in self._rests.names():
            says = self._rests.says(name)
            if not isinstance(name, ServiceKey) and says.startswith("failed"):
                yield says
