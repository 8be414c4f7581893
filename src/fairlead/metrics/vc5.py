"""VC5's metrics under its own names and labels, for dashboards and alerts that were written for it.

What Fairlead does not know has no samples: latency, TCP flags, errors of single services. docs/reference/metrics.md has the list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from fairlead.metrics.family import Family, Group, Number, counter, gauge
from fairlead.model import BackendStatus, ServiceStatus, Status, VipStatus

# xvs_global_M of what was refused or passed -> our verdicts.
_VERDICTS = {
    "err_malformed": ("malformed",),
    "err_l4_unsupported": ("unsupported_protocol", "extension_header"),
    "err_icmp_unsupported": ("unsupported_icmp",),
    "err_fragmented": ("fragment",),
    "err_service_not_found": ("no_service",),
    "err_no_backend": ("no_backend",),
    "err_backend_invalid": ("no_next_hop", "no_redirect", "stale_slot"),
    "err_expired": ("ttl_expired",),
    "err_adjust_failed": ("no_headroom",),
    "err_internal": ("tail_call",),
    "not_ip": ("not_ip",),
    "not_a_vip": ("not_a_vip",),
    "icmp_echo_request": ("echo_reply",),
    "too_big": ("too_big", "dropped_too_big"),
}


# All of VC5's M, in its order: xvs_global_M, xvs_service_M and xvs_virtual_M; and of xvs_destination_M.
_ALL = (
    "current err_malformed err_tot_len err_l4_unsupported err_icmp_unsupported err_fragmented err_service_not_found "
    "err_no_backend err_backend_invalid err_no_tunnel_port err_expired err_adjust_failed err_tunnel_unsupported err_tcp_header "
    "err_udp_header err_icmp_header err_internal err_cve_2025_37799 not_ip not_a_vip probe_reply userspace icmp_echo_request "
    "too_big packets octets flows errors syn ack fin rst"
).split()
_OF_DESTINATIONS = "packets octets flows errors syn ack fin rst tunnel_unsupported too_big adjust_failed current".split()


class _Of(NamedTuple):
    """One thing that counts, and how many backups are in use for it."""

    it: Any
    spare: int


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _vips(status: Status) -> Iterator[tuple[tuple[str], VipStatus]]:
    return (((vip.address,), vip) for vip in status.vips)


def _spare(service: ServiceStatus) -> int:
    return sum(b.backup and b.state == "up" for b in service.backends)


def _services(status: Status) -> Iterator[tuple[tuple[str, str], _Of]]:
    return (((f"{_host(s.vip)}:{s.protocol}:{s.port}", s.name), _Of(s, _spare(s))) for s in status.services)


def _backends(status: Status) -> Iterator[tuple[tuple[str, str, str], _Of]]:
    for s in status.services:
        key = f"{_host(s.vip)}:{s.protocol}:{s.port}"
        for b in s.backends:
            yield (key, s.name, f"{_host(b.address)}:{b.port}"), _Of(b, int(b.backup and b.state == "up"))


def _aged(
    rows: Callable[[Status], Iterator[tuple[tuple[str, ...], Any]]],
) -> Callable[[Status], Iterator[tuple[tuple[str, ...], float]]]:
    """The same things with the label `status`, and for how long they have been in it."""

    def aged(status: Status) -> Iterator[tuple[tuple[str, ...], float]]:
        for labels, row in rows(status):
            it: VipStatus | ServiceStatus | BackendStatus = row.it if isinstance(row, _Of) else row
            yield (*labels, "up" if it.state == "up" else "down"), max(status.at - it.since, 0.0)

    return aged


def _xvs_services(status: Status) -> Iterator[tuple[tuple[object, ...], ServiceStatus]]:
    for s in status.services:
        yield (s.vip, s.port, s.protocol, f"{_host(s.vip)}:{s.port}:{s.protocol}"), s


def _xvs_backends(status: Status) -> Iterator[tuple[tuple[object, ...], BackendStatus]]:
    for s in status.services:
        key = f"{_host(s.vip)}:{s.port}:{s.protocol}"
        yield from (((s.vip, s.port, s.protocol, b.address, key), b) for b in s.backends)


def _whole(status: Status) -> Iterator[tuple[tuple[object, ...], Status]]:
    yield (), status


def _summed(name: str) -> Callable[[Status], Number]:
    return lambda status: sum(getattr(s, name) for s in status.services)


def _verdicts(names: tuple[str, ...]) -> Callable[[Status], Number]:
    return lambda status: sum(v.packets for name, v in status.verdicts.items() if name in names)


def _errors(status: Status) -> int:
    return sum(v.packets for v in status.verdicts.values() if v.action == "drop")


def _nine(front: str) -> tuple[Family, ...]:
    """What VC5 says of a service and of a backend; to clients nothing goes through a DSR balancer."""
    return (
        gauge(f"{front}_sessions", "Current flows.", lambda r: r.it.flows),
        counter(f"{front}_sessions_total", "New flows.", lambda r: r.it.new_flows),
        counter(f"{front}_rx_packets", "Packets from clients.", lambda r: r.it.packets),
        counter(f"{front}_rx_octets", "Octets from clients.", lambda r: r.it.bytes),
        counter(f"{front}_tx_packets", "Packets to clients: none.", lambda _: 0),
        counter(f"{front}_tx_octets", "Octets to clients: none.", lambda _: 0),
        gauge(f"{front}_status", "1 if up.", lambda r: r.it.state == "up"),
        gauge(f"{front}_reserves_used", "Backups that get new flows.", lambda r: r.spare),
    )


def _known(front: str, names: list[str], values: Mapping[str, Callable[[Any], Number]]) -> tuple[Family, ...]:
    """A metric for each name; without samples where there is no value."""
    return tuple(
        Family(
            f"{front}_{name}",
            "gauge" if name in ("current", "latency") else "counter",
            _HELP.get(name, "Not known to Fairlead.") if name in values else "Not known to Fairlead.",
            values.get(name),
        )
        for name in names
    )


_HELP = {
    "current": "Current flows.",
    "packets": "Packets sent on.",
    "octets": "Octets sent on.",
    "flows": "New flows.",
    "errors": "Packets that were dropped.",
    **{name: f"Packets with Fairlead's verdict {' or '.join(of)}." for name, of in _VERDICTS.items()},
}
_TRAFFIC: Mapping[str, Callable[[Any], Number]] = {
    "current": lambda s: s.flows,
    "packets": lambda s: s.packets,
    "octets": lambda s: s.bytes,
    "flows": lambda s: s.new_flows,
}
_OF_ALL: Mapping[str, Callable[[Any], Number]] = {
    "current": _summed("flows"),
    "packets": _summed("packets"),
    "octets": _summed("bytes"),
    "flows": _summed("new_flows"),
    "errors": _errors,
    **{name: _verdicts(of) for name, of in _VERDICTS.items()},
}
_GLOBAL = (
    counter("vc5_uptime", "Seconds since the start.", lambda s: max(s.at - s.started, 0.0)),
    gauge("vc5_defcon", "0, as in VC5.", lambda _: 0),
    Family("vc5_latency", "gauge", "Not known to Fairlead.", None),
    gauge("vc5_sessions", "Current flows.", _summed("flows")),
    counter("vc5_session_total", "New flows.", _summed("new_flows")),
    counter("vc5_toobig", "Packets that were too big for the way on.", _verdicts(_VERDICTS["too_big"])),
    counter("vc5_rx_packets", "Packets from clients.", _summed("packets")),
    counter("vc5_rx_octets", "Octets from clients.", _summed("bytes")),
    counter("vc5_tx_packets", "Packets to clients: none.", lambda _: 0),
    counter("vc5_tx_octets", "Octets to clients: none.", lambda _: 0),
    *_known("xvs_global", ["latency", *_ALL], _OF_ALL),
)
_SERVICE, _BACKEND = ("service", "name"), ("service", "name", "backend")
GROUPS = (
    Group((), _whole, _GLOBAL),
    Group(("vip",), _vips, (gauge("vc5_vip_status", "1 if up.", lambda v: v.state == "up"),)),
    Group(("vip", "status"), _aged(_vips), (gauge("vc5_vip_status_duration", "Seconds in this state.", float),)),
    Group(_SERVICE, _services, _nine("vc5_service")),
    Group((*_SERVICE, "status"), _aged(_services), (gauge("vc5_service_status_duration", "Seconds in this state.", float),)),
    Group(_BACKEND, _backends, _nine("vc5_backend")),
    Group((*_BACKEND, "status"), _aged(_backends), (gauge("vc5_backend_status_duration", "Seconds in this state.", float),)),
    Group(("address", "port", "protocol", "service"), _xvs_services, _known("xvs_service", _ALL, _TRAFFIC)),
    Group(("address",), _vips, _known("xvs_virtual", _ALL, _TRAFFIC)),
    Group(
        ("address", "port", "protocol", "destination", "service"),
        _xvs_backends,
        _known("xvs_destination", _OF_DESTINATIONS, _TRAFFIC),
    ),
)
