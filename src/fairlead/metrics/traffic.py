"""VIPs, services, backends, checks, and what becomes of packets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from fairlead.metrics.family import Group, counter, gauge
from fairlead.model import BackendStatus, CheckStatus, ServiceStatus, Status, VerdictStatus, VipStatus

STATES = ("up", "down", "drain", "disabled")


def service(status: ServiceStatus) -> str:
    """As it is addressed: `192.0.2.10:80/tcp`, `[2001:db8::10]:any/udp`."""
    vip = f"[{status.vip}]" if ":" in status.vip else status.vip
    return f"{vip}:{status.port or 'any'}/{status.protocol}"


def _vips(status: Status) -> Iterable[tuple[tuple[str], VipStatus]]:
    return (((vip.address,), vip) for vip in status.vips)


def _services(status: Status) -> Iterable[tuple[tuple[str, str], ServiceStatus]]:
    return (((service(s), s.name), s) for s in status.services)


def _states(status: Status) -> Iterator[tuple[tuple[str, str, str], int]]:
    for s in status.services:
        key, found = service(s), Counter(b.state for b in s.backends)
        yield from (((key, s.name, state), found[state]) for state in STATES)


def _backends(status: Status) -> Iterator[tuple[tuple[str, str], BackendStatus]]:
    for s in status.services:
        key = service(s)
        yield from (((key, b.address), b) for b in s.backends)


def _causes(status: Status) -> Iterator[tuple[tuple[str, str, str, str], int]]:
    return (((key, address, b.state, b.cause), 1) for (key, address), b in _backends(status))


def _checks(status: Status) -> Iterator[tuple[tuple[str, str, str], CheckStatus]]:
    """Two checks of a backend may read alike, for theirs differ in what the words leave out: the second is `... (2)`."""
    for (key, address), backend in _backends(status):
        seen: dict[str, int] = {}
        for check in backend.checks:
            seen[check.check] = number = seen.get(check.check, 0) + 1
            yield (key, address, check.check if number == 1 else f"{check.check} ({number})"), check


def _verdicts(status: Status) -> Iterator[tuple[tuple[str, str], VerdictStatus]]:
    return (((name, verdict.action), verdict) for name, verdict in status.verdicts.items())


VERDICTS = Group(
    ("verdict", "action"),
    _verdicts,
    (
        counter("fairlead_packets_total", "Packets seen, by what became of them.", lambda v: v.packets),
        counter("fairlead_bytes_total", "Their IP packets' octets.", lambda v: v.bytes),
    ),
)
VIPS = Group(
    ("vip",),
    _vips,
    (
        gauge("fairlead_vip_up", "1 if all services of the VIP are up.", lambda v: v.state == "up"),
        gauge("fairlead_vip_announced", "1 if its route is offered to routers.", lambda v: v.announced),
        gauge("fairlead_vip_since_seconds", "Unix time since when the VIP has been up, or down.", lambda v: v.since),
        counter("fairlead_vip_packets_total", "Packets sent on to backends.", lambda v: v.packets),
        counter("fairlead_vip_bytes_total", "Octets of the IP packets sent on to backends.", lambda v: v.bytes),
        counter("fairlead_vip_new_flows_total", "Flow table entries made.", lambda v: v.new_flows),
        gauge("fairlead_vip_flows", "Live entries of the flow table.", lambda v: v.flows),
    ),
)
SERVICES = Group(
    ("service", "name"),
    _services,
    (
        gauge("fairlead_service_up", "1 if as many backends as are needed get new flows.", lambda s: s.state == "up"),
        gauge("fairlead_service_since_seconds", "Unix time since when the service has been up, or down.", lambda s: s.since),
        gauge("fairlead_service_available_backends", "Backends that get new flows.", lambda s: s.available),
        gauge("fairlead_service_needed_backends", "Backends that it needs to be up.", lambda s: s.need),
        gauge("fairlead_service_panic", "1 while so few backends are healthy that all count as up.", lambda s: s.panic),
        gauge("fairlead_service_backups_used", "1 while its backups get new flows.", lambda s: s.backups),
        gauge("fairlead_service_applied", "1 if the tables hold what is wanted of the service.", lambda s: s.applied == "done"),
        gauge("fairlead_service_slots", "Slots of its table.", lambda s: s.slots),
        counter("fairlead_service_packets_total", "Packets sent on to its backends.", lambda s: s.packets),
        counter("fairlead_service_bytes_total", "Octets of the IP packets sent on to its backends.", lambda s: s.bytes),
        counter("fairlead_service_new_flows_total", "Flow table entries made.", lambda s: s.new_flows),
        gauge("fairlead_service_flows", "Live entries of the flow table.", lambda s: s.flows),
    ),
)
BACKENDS_BY_STATE = Group(
    ("service", "name", "state"), _states, (gauge("fairlead_service_backends", "Backends of the service in each state.", int),)
)
BACKENDS = Group(
    ("service", "backend"),
    _backends,
    (
        gauge("fairlead_backend_up", "1 if it gets new flows.", lambda b: b.state == "up"),
        gauge("fairlead_backend_since_seconds", "Unix time since when it has been in its state.", lambda b: b.since),
        gauge("fairlead_backend_weight", "Its share of new flows, relative to the others'.", lambda b: b.weight),
        gauge("fairlead_backend_penalty", "Penalty of damping, at this moment.", lambda b: b.penalty),
        counter("fairlead_backend_packets_total", "Packets sent on to it.", lambda b: b.packets),
        counter("fairlead_backend_bytes_total", "Octets of the IP packets sent on to it.", lambda b: b.bytes),
        counter("fairlead_backend_new_flows_total", "Flow table entries made.", lambda b: b.new_flows),
        gauge("fairlead_backend_flows", "Live entries of the flow table.", lambda b: b.flows),
    ),
)
CAUSES = Group(
    ("service", "backend", "state", "cause"), _causes, (gauge("fairlead_backend_info", "Its state and the cause of it.", int),)
)
CHECKS = Group(
    ("service", "backend", "check"),
    _checks,
    (
        gauge("fairlead_check_up", "1 if the check says that the backend is up.", lambda c: c.up),
        gauge("fairlead_check_duration_seconds", "How long its last run took.", lambda c: c.took),
        gauge("fairlead_check_failures", "Failures in a row, up to now.", lambda c: c.failures),
    ),
)
GROUPS = (VERDICTS, VIPS, SERVICES, BACKENDS_BY_STATE, BACKENDS, CAUSES, CHECKS)
