"""What was looked at: problems of a file, findings of a machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fairlead.model import Problem
from fairlead.model.machine import Finding


def problems(found: Iterable[Problem]) -> str:
    """Problems of a file, one line each."""
    return "".join(f"{problem}\n" for problem in found)


def findings(found: Sequence[Finding]) -> str:
    """What was looked at, one line each; below what is not well, what to do about it."""
    width = max((len(f.topic) for f in found), default=0)
    lines = []
    for each in found:
        lines.append(f"{each.level.value:4}  {each.topic:{width}}  {each.says}")
        if each.mend:
            lines.append(f"{'':4}  {'':{width}}  -> {each.mend}")
    return "".join(f"{line}\n" for line in lines)
