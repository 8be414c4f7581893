"""A Config as YAML again, in its normal form: nothing inherited, nothing implied, every service on its own.

Two files mean the same if their normal forms are equal, and parsing a normal form gives an equal Config.
"""

from __future__ import annotations

from collections.abc import Iterable

import yaml

from fairlead.config.api import spelled
from fairlead.config.checks import USES
from fairlead.config.expand_bgp import Plain, bgp, plain_seconds
from fairlead.config.expand_sinks import logging
from fairlead.config.tunnels import UDP_KINDS
from fairlead.model import (
    AdminState,
    Api,
    Backend,
    Check,
    Config,
    Damping,
    Limits,
    ProbeConfig,
    Service,
    Timeouts,
    Tunnel,
    Vlan,
)


def expand(config: Config) -> str:
    """The normal form of a configuration."""
    text = yaml.dump(
        _config(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1 << 20, default_flow_style=False
    )
    assert isinstance(text, str)
    return text


class _Dumper(yaml.CSafeDumper):
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        """No anchors: each service is to be readable alone."""
        return True


def _config(config: Config) -> dict[str, Plain]:
    out: dict[str, Plain] = {}
    if config.address is not None:
        out["address"] = str(config.address)
    if config.address6 is not None:
        out["address6"] = str(config.address6)
    if config.interfaces:
        out["interfaces"] = list(config.interfaces)
    if config.attach_delay:
        out["attach-delay"] = plain_seconds(config.attach_delay)
    for key, version in (("vlans", 4), ("vlans6", 6)):
        if subnets := [v for v in config.vlans if v.subnet.version == version]:
            out[key] = {v.id: _subnet(v) for v in subnets}
    if config.timeouts != Timeouts():
        out["timeouts"] = {name: plain_seconds(getattr(config.timeouts, name)) for name in Timeouts.__slots__}
    if config.limits != Limits():
        out["limits"] = {name: getattr(config.limits, name) for name in Limits.__slots__}
    if config.probe != ProbeConfig():
        out["probe"] = {"mark": config.probe.mark, "priority": config.probe.priority, "table": config.probe.table}
    if config.cluster.key_file is not None:
        out["cluster"] = {"key-file": config.cluster.key_file}
    out |= _sources(config) | _api(config.api)
    if told := logging(config.logging):
        out["logging"] = told
    if config.compat:
        out["compat"] = config.compat
    if speaking := bgp(config):
        out["bgp"] = speaking
    out["services"] = [_service(s) for s in config.services]
    return out


def _sources(config: Config) -> dict[str, Plain]:
    out: dict[str, Plain] = {"block": [str(prefix) for prefix in config.blocked]} if config.blocked else {}
    return out | ({"count-prefixes": True} if config.count_prefixes else {})


def _api(api: Api) -> dict[str, Plain]:
    out: dict[str, Plain] = {}
    if api.listen != Api().listen:
        out["listen"] = [spelled(*where) for where in api.listen] or "none"
    if api.token_file is not None:
        out["token-file"] = api.token_file
    if api.public_read:
        out["public-read"] = True
    if api.certificate is not None and api.key is not None:
        out["tls"] = {"certificate": api.certificate, "key": api.key}
    return out | ({"hosts": list(api.hosts)} if api.hosts else {})


def _service(service: Service) -> dict[str, Plain]:
    texts: dict[str, Plain] = {"name": service.name, "description": service.description, "priority": service.priority}
    entry: Plain = {"checks": [_check(c) for c in service.checks]}
    return {
        "virtual": str(service.key.vip),
        **{key: text for key, text in texts.items() if text},
        "need": service.need,
        "sticky": service.sticky,
        **({"ttl": service.ttl.name.lower()} if service.ttl else {}),
        "on-down": service.on_down.value,
        "scheduler": service.scheduler.value,
        **({"table-size": service.table_size} if service.table_size else {}),
        "track": service.track,
        "reject": service.reject.value,
        **_tunnel(service.tunnel),
        "hold": plain_seconds(service.hold),
        "panic": f"{round(service.panic * 100, 4):g}%",
        "damping": _damping(service.damping),
        "servers": [_backend(b) for b in service.backends],
        "policy": {f"{service.key.port or 'any'}/{service.key.protocol}": entry},
    }


def _tunnel(tunnel: Tunnel | None) -> dict[str, Plain]:
    if tunnel is None:
        return {"tunnel-type": "none"}
    out: dict[str, Plain] = {"tunnel-type": tunnel.kind.name.lower()}
    if tunnel.kind in UDP_KINDS:
        out |= {"tunnel-port": tunnel.port, "tunnel-no-checksum": not tunnel.checksum}
    return out | ({"tunnel-mtu": tunnel.mtu} if tunnel.mtu else {})


def _subnet(vlan: Vlan) -> Plain:
    return f"{vlan.gateway or vlan.subnet.network_address}/{vlan.subnet.prefixlen}"


def _backend(backend: Backend) -> Plain:
    if backend.weight == 1 and backend.state is AdminState.ACTIVE and not backend.backup:
        return str(backend.address)
    out: dict[str, Plain] = {"address": str(backend.address), "weight": backend.weight, "state": backend.state.value}
    return out | ({"backup": True} if backend.backup else {})


def _damping(damping: Damping | None) -> Plain:
    if damping is None:
        return False
    numbers = {"penalty": damping.penalty, "suppress": damping.suppress, "reuse": damping.reuse}
    return {"half-life": plain_seconds(damping.half_life), **{name: plain_seconds(number) for name, number in numbers.items()}}


def _check(check: Check) -> Plain:
    values: dict[str, Plain] = {
        "host": check.host,
        "path": check.path,
        "method": check.method,
        "expect": ranges(check.expect) or "any",
        "headers": dict(check.headers),
        "body": check.body,
        "verify": check.verify,
        "name": check.name,
        "record": check.record,
        "rcode": check.rcode or "any",
        "payload": check.payload.decode() if check.payload.isascii() else {"hex": check.payload.hex(" ")},
        "answer": check.answer,
    }
    return {
        "type": check.type,
        **({"port": check.port} if check.port else {}),
        **{key: value for key, value in values.items() if key in USES[check.type]},
        "interval": plain_seconds(check.interval),
        "timeout": plain_seconds(check.timeout),
        "window": check.rules.window,
        "fall": check.rules.fall,
        "rise": check.rules.rise,
    }


def ranges(numbers: Iterable[int]) -> str:
    """Numbers as tokens and ranges: `200-204 301`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return " ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
