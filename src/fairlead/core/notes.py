"""What a new configuration changes beside the tables, as text: the operations of `plan` that no row shows."""

from __future__ import annotations

from collections.abc import Iterator

from fairlead.model import Config, Service

# Fields of a service that show in no row, under the names of the configuration.
_BESIDE = {
    "name": "name",
    "description": "description",
    "priority": "priority",
    "checks": "checks",
    "need": "need",
    "hold": "hold",
    "panic": "panic",
    "damping": "damping",
}


def notes(before: Config, after: Config) -> list[str]:
    """One line for each thing that is worked by differently from now on."""
    return [*_settings(before, after), *_sources(before, after), *_services(before, after), *_peers(before, after)]


def _settings(before: Config, after: Config) -> Iterator[str]:
    if before.interfaces != after.interfaces:
        yield f"run on {', '.join(after.interfaces) or 'the interfaces of the command line'}"
    if before.probe.mark != after.probe.mark:
        yield f"replace the programs: probes are marked {after.probe.mark:#x}"
    elif before.probe != after.probe:
        yield "set rule and route of probes"
    for name in ("address", "address6"):
        if getattr(before, name) != getattr(after, name):
            later = "; the BGP router id follows with the next start" if name == "address" and after.peers else ""
            yield f"set {name} {getattr(after, name)}{later}"
    if before.listen != after.listen:
        yield "listen for BGP peers" if after.listen is not None else "listen for BGP peers no longer"
    for name, text in (("drain_time", "drain_time"), ("stop_time", "stop_time")):
        if getattr(before, name) != getattr(after, name):
            yield f"set {text} of BGP"
    for name, text in (("vlans", "vlans"), ("attach_delay", "attach-delay"), ("limits", "limits"), ("logging", "logging")):
        if getattr(before, name) != getattr(after, name):
            yield f"set {text}"


def _sources(before: Config, after: Config) -> Iterator[str]:
    old, new = frozenset(before.blocked), frozenset(after.blocked)
    yield from (f"block {prefix}" for prefix in after.blocked if prefix not in old)
    yield from (f"block {prefix} no longer" for prefix in before.blocked if prefix not in new)
    if before.count_prefixes != after.count_prefixes:
        yield f"count packets by source{'' if after.count_prefixes else ' no longer'}"


def _services(before: Config, after: Config) -> Iterator[str]:
    old = {service.key: service for service in before.services}
    for service in after.services:
        was = old.get(service.key)
        changed = [text for name, text in _BESIDE.items() if was is not None and getattr(was, name) != getattr(service, name)]
        if was is not None and _backups(was) != _backups(service):
            changed.append("backups")
        if changed:
            yield f"set {', '.join(changed)} of {service.key}"


def _backups(service: Service) -> set[object]:
    return {b.address for b in service.backends if b.backup}


def _peers(before: Config, after: Config) -> Iterator[str]:
    old, new = ({str(peer): peer for peer in config.peers} for config in (before, after))
    for address in old.keys() - new.keys():
        yield f"remove BGP peer {address}"
    for address, peer in new.items():
        if address not in old:
            yield f"add BGP peer {address}"
        elif old[address] != peer:
            yield f"set BGP peer {address}"
