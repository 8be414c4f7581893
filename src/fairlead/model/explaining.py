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


@dataclass(frozen=True, slots=True)
class ExplainedService:
    """The service that the packet is for: `service` is "192.0.2.10:443/tcp", `name` what the configuration calls it."""

    service: str
    name: str


@dataclass(frozen=True, slots=True)
class ExplainedFlow:
    """The packet's flow: its entry in the flow table, or its slot of the service's Maglev table.

    Without an entry `state` is "", and `age` and `timeout`, in seconds, are None; an age is as exact as the table's ticks.
    `slot` of `slots` is None where the entry says where to. `then`: what the packet would leave in the flow table.
    """

    state: str
    age: float | None
    timeout: float | None
    backend: str
    followed: bool
    slot: int | None
    slots: int | None
    then: str


@dataclass(frozen=True, slots=True)
class ExplainedBackend:
    """Where the packet goes: `state` is active, drain, disabled, down or gone; `id` that of its row."""

    address: str
    state: str
    id: int


@dataclass(frozen=True, slots=True)
class ExplainedTunnel:
    """The outer header: `kind` is ipip, gre, fou or gue, `port` its UDP port, 0 without one; `overhead` in bytes."""

    kind: str
    source: str
    destination: str
    port: int
    overhead: int


@dataclass(frozen=True, slots=True)
class ExplainedHop:
    """How a frame gets to the backend: `vlan` 0 is untagged, `mtu` the largest IP packet, outer header included, in bytes."""

    interface: str
    mac: str
    source_mac: str
    vlan: int
    mtu: int
    tunnel: ExplainedTunnel | None


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the story."""

    topic: str
    says: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the running data plane would do with a packet, and why. What it did not come to is None.

    `verdict` is a name of docs/reference/verdicts.md, `action` what XDP is told: pass, tx, redirect or drop. `bytes` is the frame
    as it leaves or is passed on, in hex, "" if it is dropped; `frame` as it came, on `interface`. `packet` tells it in a line.
    """

    verdict: str
    vip: str | None
    service: ExplainedService | None
    flow: ExplainedFlow | None
    backend: ExplainedBackend | None
    next_hop: ExplainedHop | None
    bytes: str
    action: str
    interface: str
    packet: str
    frame: str
    steps: tuple[Step, ...]
