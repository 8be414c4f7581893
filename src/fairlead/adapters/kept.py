"""Totals of what is gone, in a file, so that counters do not fall when the daemon is restarted over tables that forward on."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from fairlead.model import Kept


class KeptTotals:
    """One file for each BPF file system directory: what it says belongs to the tables there, and means nothing for others."""

    def __init__(self, directory: str, bpffs: str) -> None:
        self._path = Path(directory) / f"totals{bpffs.rstrip('/').replace('/', '-')}.json"

    def load(self, *, adopted: bool) -> Kept:
        """What was saved last for tables that were `adopted`; new ones begin at nothing, and so does a file that says nothing."""
        if not adopted:
            self.remove()
            return Kept()
        try:
            found = json.loads(self._path.read_text())
            sums = {bytes.fromhex(key): (int(p), int(b), int(f)) for key, (p, b, f) in found["sums"].items()}
            return Kept(sums, {int(number): int(since) for number, since in found["counted"].items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return Kept()

    def save(self, kept: Kept) -> str:
        """Contents first, then the name; "" or what went wrong. Blocks until it is on the disk."""
        sums = {key.hex(): list(counters) for key, counters in kept.sums.items()}
        fresh = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with fresh.open("w") as file:
                json.dump({"sums": sums, "counted": kept.counted}, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.rename(self._path)
        except OSError as error:
            return f"{self._path}: {error.strerror or error}"
        return ""

    def remove(self) -> None:
        """The tables are gone, and so is what they counted."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
