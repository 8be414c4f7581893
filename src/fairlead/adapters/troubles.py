"""What people were told of and what is not over yet, in a file for each place: the next daemon tells of the end."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from fairlead.model import Trouble


class Troubles:
    """The files in one directory. Blocking; a file that is damaged or cannot be written costs an end that nobody is told of."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)

    def _path(self, place: str) -> Path:
        return self._directory / f"alerts-{place.replace(' ', '-')}.json"

    def load(self, place: str) -> dict[str, Trouble]:
        """What was saved last; nothing where there is no file, or one that says nothing."""
        try:
            found = json.loads(self._path(place).read_text(encoding="utf-8"))
            return {
                str(thing): Trouble(str(text), float(at), tuple((str(name), str(value)) for name, value in about.items()))
                for thing, (text, at, about) in found.items()
            }
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def save(self, place: str, troubles: Mapping[str, Trouble]) -> str:
        """These and no others from now on, the old file or the new one; "" or what went wrong."""
        path = self._path(place)
        fresh = path.with_suffix(".new")
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            with fresh.open("w", encoding="utf-8") as file:
                json.dump({thing: (t.text, t.at, dict(t.about)) for thing, t in troubles.items()}, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            fresh.rename(path)
        except OSError as error:
            return f"{path}: {error.strerror or error}"
        return ""
