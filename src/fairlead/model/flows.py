"""The flow table in numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FlowsInState:
    """Live entries of one state. Ages are seconds since the last packet, as exact as the table's ticks."""

    state: str  # "embryonic", "established", "datagram", "closing"
    entries: int
    youngest: float
    oldest: float


@dataclass(frozen=True, slots=True)
class BackendFlows:
    """Of one backend of one service."""

    address: str
    entries: int
    states: tuple[FlowsInState, ...]


@dataclass(frozen=True, slots=True)
class ServiceFlows:
    """Of one service: `service` is "192.0.2.10:80/tcp"."""

    service: str
    entries: int
    backends: tuple[BackendFlows, ...]


@dataclass(frozen=True, slots=True)
class FlowTable:
    """All that was asked for; `at` is the Unix time of the scan, `rows` how many entries the table could hold."""

    at: float
    entries: int
    rows: int
    services: tuple[ServiceFlows, ...]
