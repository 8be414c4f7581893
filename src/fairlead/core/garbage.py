"""When not to look for garbage, and where."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_MANY = 50_000  # objects; looking through ten times as many stops the loop for a tenth of a second


@contextmanager
def uncollected(*, stays: bool = True) -> Iterator[None]:
    """No search for cycles for a while: at a large start a million objects are made that stay, and looking through them again and
    again takes a quarter of its time.

    If they are so many and what was made `stays`, they are never looked through afterwards either, for probes would wait. They go
    as all others do when nobody refers to them any more; only cycles among them would not.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            if stays and gc.get_count()[0] > _MANY:
                gc.freeze()
            gc.enable()
