"""`fairlead run` that kills itself (SIGKILL) in the middle of an apply: `python dying.py FILE run CONFIG`.

FILE says after how many stores, counted from its first reload. What it was doing is as far as it got: nothing of the
process ends in order.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from fairlead.adapters import system
from fairlead.adapters.kernel import Kernel
from fairlead.cli import main


def prepare(stores: int) -> None:
    """Count the stores of whatever Kernel is opened, from the first reload on."""
    left = [stores]
    armed: list[bool] = []
    opened, notify = Kernel.open, system.notify

    def after(_: int) -> None:
        if armed:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def opened_and_counted(*arguments: Any) -> Kernel:
        kernel = opened(*arguments)
        kernel.after_store = after
        return kernel

    def notified(state: str) -> None:
        if state.startswith("RELOADING=1"):
            armed.append(True)
        notify(state)

    Kernel.open = opened_and_counted  # type: ignore[assignment,method-assign]
    system.notify = notified


if __name__ == "__main__":
    prepare(int(Path(sys.argv.pop(1)).read_text()))
    main()
