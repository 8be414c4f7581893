"""How a run of the daemon ends: by a signal, not confirmed in time, or by a bug; and what becomes of the data plane then."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any

from fairlead.errors import Refused
from fairlead.events import Event, Warned

_RELOAD = (signal.SIGHUP, signal.SIGUSR2, signal.SIGINT)
_STOP = (signal.SIGTERM, signal.SIGQUIT)


class Ending:
    """`asked` is set when it is time to stop: to `detach` the data plane too, or to `succeed` ourselves in this process.

    `confirm` in seconds, None: at once.
    """

    def __init__(self, log: Callable[[Event], None], confirm: float | None) -> None:
        self.asked = asyncio.Event()
        self.why = "asked to"
        self.bug: BaseException | None = None
        self.detach = False
        self.succeed = False
        self.hurried = asyncio.Event()  # asked once more
        self._log = log
        self._within = confirm
        self._confirmed = asyncio.Event()

    def take_signals(self, reload: Callable[[], None]) -> None:
        """From here on signals come here, and so does whatever a callback of the loop raises."""
        loop = asyncio.get_running_loop()
        for number in _RELOAD:
            loop.add_signal_handler(number, reload)
        for number in _STOP:
            loop.add_signal_handler(number, self.end, number.name)
        loop.set_exception_handler(self._surprised)

    def _surprised(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback raised. Peers that vanish are no surprise; anything else is a bug and ends the daemon."""
        error = context.get("exception")
        loop.default_exception_handler(context)
        if isinstance(error, BaseException) and not isinstance(error, OSError):
            self.bug = self.bug or error
            self.end("a bug")

    def end(self, why: str) -> None:
        """It is time to stop, and nothing else, whatever was asked before."""
        if self.asked.is_set():
            self.hurried.set()
        self.why = why
        self.succeed = False
        self.asked.set()

    def hand_over(self) -> None:
        """It is time to run what is installed now, in this process. Refused while nobody has confirmed this run."""
        if self._within is not None and not self._confirmed.is_set():
            raise Refused(["this run is not confirmed yet: `fairlead confirm` first, or it detaches"])
        self.end("restarting")
        self.succeed = True

    async def await_confirmation(self) -> None:
        """End it, data plane and all, unless `confirm` is called in time."""
        if self._within is None:
            return
        try:
            async with asyncio.timeout(self._within):
                await self._confirmed.wait()
        except TimeoutError:
            self._log(Warned(f"no `fairlead confirm` within {self._within:g} s: detaching"))
            self.detach = True
            self.end("not confirmed")

    async def confirm(self) -> str:
        """Keep what was started with `--confirm`."""
        if self._within is None or self._confirmed.is_set():
            raise Refused(["nothing waits to be confirmed"])
        self._confirmed.set()
        return "confirmed: Fairlead stays"
