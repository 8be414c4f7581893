"""Outer headers of tunnels: the template that a next-hop row carries, with the sums that do not depend on the packet.

What the program fills in for each packet is zero here: TOS or traffic class, flow label, lengths, the field that names the inner
family, the IPv4 header checksum, and the UDP source port and checksum. See `struct nexthop` in abi.h.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from fairlead.core.hashes import wire_port
from fairlead.model import Address, Config, NoPath, Path, Service, Tunnel, TunnelKind

_TTL = 64
_UDP_PROTOCOL = 17
_BEHIND = {TunnelKind.IPIP: 0, TunnelKind.GRE: 4, TunnelKind.FOU: 8, TunnelKind.GUE: 12}  # bytes behind the IP header
_UDP_KINDS = (TunnelKind.FOU, TunnelKind.GUE)


class Outer(NamedTuple):
    """`header` as it leaves; both sums are of little-endian 16-bit words, not folded."""

    header: bytes
    outer_sum: int
    udp_sum: int


def words(data: bytes) -> int:
    """The sum of the 16-bit words of `data` (of even length) as little-endian loads; an Internet checksum before folding."""
    return sum(memoryview(data).cast("H"))


def outer(tunnel: Tunnel, source: Address, backend: Address) -> Outer:
    """The outer header from `source` to `backend`, which must be of one family."""
    six = backend.version == 6
    ip = _ipv6(source, backend) if six else _ipv4(source, backend)
    udp = tunnel.kind in _UDP_KINDS
    behind = bytearray(_BEHIND[tunnel.kind])
    if udp:
        behind[2:4] = tunnel.port.to_bytes(2, "big")
    pseudo = words(source.packed + backend.packed + _UDP_PROTOCOL.to_bytes(2, "big")) + wire_port(tunnel.port)
    return Outer(ip + bytes(behind), 0 if six else words(ip), pseudo if udp else 0)


def _ipv4(source: Address, backend: Address) -> bytes:
    """RFC 791: DF set, id 0 (RFC 6864), no options."""
    return bytes((0x45, 0, 0, 0, 0, 0, 0x40, 0, _TTL, 0, 0, 0)) + source.packed + backend.packed


def _ipv6(source: Address, backend: Address) -> bytes:
    """RFC 8200."""
    return bytes((0x60, 0, 0, 0, 0, 0, 0, _TTL)) + source.packed + backend.packed


def usable(service: Service, backend: Address, path: Path | NoPath, config: Config | None) -> Path | NoPath:
    """The path as this service can use it: behind a gateway only with a tunnel, and a tunnel needs an address to start from."""
    if isinstance(path, NoPath):
        last = None if path.last is None else usable(service, backend, path.last, config)
        return last if isinstance(last, NoPath) else path if last is path.last else replace(path, last=last)
    if service.tunnel is None:
        return path if path.gateway is None else NoPath(f"behind gateway {path.gateway}: needs a tunnel")
    if path.source is not None and path.source.version == backend.version:
        return path
    own = None if config is None else config.address if backend.version == 4 else config.address6
    if own is None:
        return NoPath(f"no IPv{backend.version} address of this machine is known that a tunnel could start from")
    return replace(path, source=own)
