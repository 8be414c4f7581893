"""The tunnel of a service: what its keys come to together, and what cannot be."""

from __future__ import annotations

from collections.abc import Iterable

from fairlead.config.nodes import Said, Value
from fairlead.config.settings import Settings
from fairlead.model import Address, Backend, Tunnel, TunnelKind

# Octets that each encapsulation puts between the outer IP header and the packet, and octets of that header (RFC 791, RFC 8200).
_HEADERS = {TunnelKind.IPIP: 0, TunnelKind.GRE: 4, TunnelKind.FOU: 8, TunnelKind.GUE: 12}
_OUTER = {4: 20, 6: 40}
_LEAST_IPV6 = 1280  # the MTU below which an IPv6 host does not go, whatever it is told (RFC 8200 section 5)
UDP_KINDS = frozenset([TunnelKind.FOU, TunnelKind.GUE])
_USUAL = {TunnelKind.FOU: 5555, TunnelKind.GUE: 6080}  # ip-fou(8)'s example, and the port registered for GUE


def read_tunnel(said: Settings, vip: Address, backends: Iterable[Backend]) -> Tunnel | None:
    """The tunnel that a service's settings ask for, None for none; contradictions are reported where they are said."""
    kind = _kind(said)
    _report_idle(said, kind)
    if kind is None:
        return None
    if kind in UDP_KINDS and said.tunnel_port is None and said.tunnel_type is not None:
        name = kind.name.lower()
        hint = f"give the port that the servers' {name} receivers listen on, such as `tunnel-port: {_USUAL[kind]}`"
        said.tunnel_type.at.error(f"`tunnel-type: {name}` needs a `tunnel-port`", hint)
    port, mtu = _value(said.tunnel_port) or 0, _value(said.tunnel_mtu) or 0
    tunnel = Tunnel(kind, port, not _value(said.tunnel_no_checksum), mtu)
    if said.tunnel_mtu is not None and mtu and vip.version == 6:
        _report_narrow(said.tunnel_mtu.at, tunnel, backends)
    return tunnel


def _kind(said: Settings) -> TunnelKind | None:
    name = said.tunnel_type.value if said.tunnel_type else None
    return None if name in (None, "none") else TunnelKind[name.upper()]


def _value(said: Said[int] | Said[bool] | None) -> int:
    return said.value or 0 if said else 0


def _report_idle(said: Settings, kind: TunnelKind | None) -> None:
    """Reports keys without effect: those of UDP where there is none, all of them where there is no tunnel."""
    if kind is None and said.tunnel_type is not None and said.tunnel_type.value is None:
        return  # what it should have been, nobody knows
    if kind is None:
        for key in (said.tunnel_port, said.tunnel_no_checksum, said.tunnel_mtu):
            if key is not None:
                key.at.error(f"{key.at.label} without a `tunnel-type` has no effect", "add `tunnel-type`, or leave it out")
    elif kind not in UDP_KINDS:
        for key in (said.tunnel_port, said.tunnel_no_checksum):
            if key is not None:
                hint = "leave it out, or use `fou` or `gue`"
                key.at.error(f"{key.at.label} is for UDP, and `tunnel-type: {kind.name.lower()}` has none", hint)


def _report_narrow(at: Value, tunnel: Tunnel, backends: Iterable[Backend]) -> None:
    for backend in backends:
        least = _LEAST_IPV6 + overhead(tunnel.kind, backend.address)
        if tunnel.mtu < least:
            says = f"`tunnel-mtu` {tunnel.mtu} leaves an IPv6 VIP less than {_LEAST_IPV6} octets to server {backend.address}"
            at.error(says, f"write {least} or more: no IPv6 client sends smaller packets (RFC 8200)")
            return


def overhead(kind: TunnelKind, backend: Address) -> int:
    """Octets that a tunnel puts in front of each packet to this backend."""
    return _OUTER[backend.version] + _HEADERS[kind]
