"""What would become of a packet, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# A struct of abi.h by its members.
Row = Mapping[str, int | bytes | tuple[int, ...]]


def number(row: Row, member: str) -> int:
    """A member that is a number."""
    value = row[member]
    assert isinstance(value, int)
    return value


def octets(row: Row, member: str) -> bytes:
    """A member that is bytes."""
    value = row[member]
    assert isinstance(value, bytes)
    return value


@dataclass(frozen=True, slots=True)
class Trial:
    """What the twin of the data plane did with a frame: XDP action, frame afterwards, its trace, and the rows that it names.

    `entry` is the destination that the flow entry named, `destination` the one that the packet goes to.
    """

    action: int
    frame: bytes
    trace: Row
    entry: Row | None
    destination: Row | None
    nexthop: Row | None
