"""What would become of packets: one told in steps, many in a line each."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.model.explaining import Explanation
from fairlead.render.figures import table

_HEAD = ("FRAME", "VERDICT", "BACKEND", "PACKET")
_WIDE = 64  # hex digits in a line: 32 bytes
_MOST = 6  # lines of them


def explanation(found: Explanation) -> str:
    """The story of one packet, and its bytes as they leave."""
    width = max(len(step.topic) for step in found.steps)
    lines = [f"{step.topic:{width}}  {step.says}" for step in found.steps]
    if found.bytes and found.action != "pass":
        rows = [found.bytes[at : at + _WIDE] for at in range(0, len(found.bytes), _WIDE)]
        lines += ["", f"{len(found.bytes) // 2} bytes leave:", *(f"  {row}" for row in rows[:_MOST])]
        lines += ["  ... (--json has them all)"] if len(rows) > _MOST else []
    return "\n".join(lines) + "\n"


def explanations(found: Sequence[Explanation]) -> str:
    """A line for each frame of a capture, numbered from 1 as captures are."""
    rows = [
        (str(number), each.verdict, each.backend.address if each.backend else "-", each.packet)
        for number, each in enumerate(found, 1)
    ]
    return "\n".join(table(_HEAD, rows)) + "\n"
