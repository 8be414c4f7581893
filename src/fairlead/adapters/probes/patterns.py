"""Regular expressions over what strangers send, in bounded time.

Python's own engine can take hours over 64 KiB, and nothing stops it. This one is asked to give up after some milliseconds; a
pattern that had to be stopped rests until it has used no more than a twentieth of the loop's time.
"""

from __future__ import annotations

import functools
import time

import regex

from fairlead.adapters.probes.words import Failed

BUDGET = 0.005  # seconds for one search; stopping takes as long again
REST = 20  # times what a stopped search took


class Pattern:
    """One pattern; `text` is matched as Latin-1, so that every byte is a character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._rests_until = 0.0
        try:
            self._compiled = regex.compile(text.encode("latin-1"))
        except (regex.error, UnicodeEncodeError) as e:
            raise Failed(f"the pattern {text!r} is not usable: {e}") from None

    def found_in(self, data: bytes) -> bool:
        """Whether it matches anywhere; Failed if that takes too long to find out."""
        began = time.monotonic()
        if began >= self._rests_until:
            try:
                return self._compiled.search(data, timeout=BUDGET) is not None
            except TimeoutError:
                now = time.monotonic()
                self._rests_until = now + REST * (now - began)
        raise Failed(f"the pattern {self.text!r} takes too long on this answer")


@functools.lru_cache(maxsize=4096)
def pattern(text: str) -> Pattern:
    """The one object of a pattern; Failed if it is none."""
    return Pattern(text)
