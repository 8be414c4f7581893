"""Sockets as BGP needs them: authenticated (RFC 2385), with a guarded TTL (RFC 5082), from a given address, on a given link."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

from fairlead.model import Address, PeerConfig

# linux/tcp.h, linux/in.h, linux/in6.h: what Python's socket module has no names for.
TCP_MD5SIG = 14
IP_MINTTL = 21
IP_FREEBIND = 15
IPV6_MINHOPCOUNT = 73
IPV6_FREEBIND = 78

_HIGHEST_TTL = 255


def dialling(config: PeerConfig) -> socket.socket:
    """A socket to dial this peer with. OSError if the kernel does not want it so."""
    made = socket.socket(_family(config.address), socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        set_password(made, config.address, config.password)
        guard(made, config)
        if config.source is not None:
            made.bind(_endpoint(config.source, 0, config.interface))
    except BaseException:
        made.close()
        raise
    return made


def destination(config: PeerConfig) -> tuple[str | int, ...]:
    """Where to dial. OSError if a link-local peer's interface is not there."""
    return _endpoint(config.address, config.port, config.interface)


def listening(address: Address, port: int) -> socket.socket:
    """A socket that waits for peers on one of our addresses, or on all of a family; the address may still be missing."""
    family = _family(address)
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        else:
            made.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        _send_ttl(made, _HIGHEST_TTL)  # the handshake is answered from here: a guarding peer wants no less
        made.bind((str(address), port))
        made.listen(64)
    except BaseException:
        made.close()
        raise
    return made


def set_password(made: socket.socket, peer: Address, password: bytes | None) -> None:
    """Sign and check all segments to and from this peer; None ends it."""
    if peer.version == 4:
        where = struct.pack("=HH4s120x", socket.AF_INET, 0, peer.packed)
    else:
        where = struct.pack("=HHI16sI100x", socket.AF_INET6, 0, 0, peer.packed, 0)
    key = password or b""
    option = where + struct.pack("=BBHi80s", 0, 0, len(key), 0, key)
    if key:
        made.setsockopt(socket.IPPROTO_TCP, TCP_MD5SIG, option)
        return
    with suppress(OSError):  # there was none, or the kernel has no CONFIG_TCP_MD5SIG
        made.setsockopt(socket.IPPROTO_TCP, TCP_MD5SIG, option)


def guard(made: socket.socket, config: PeerConfig) -> None:
    """TTL or hop limit of what is sent, and the least that is taken: RFC 5082 section 3."""
    if config.ttl_security is not None:
        _send_ttl(made, _HIGHEST_TTL)
        least = _HIGHEST_TTL + 1 - config.ttl_security
        if made.family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, IPV6_MINHOPCOUNT, least)
        else:
            made.setsockopt(socket.IPPROTO_IP, IP_MINTTL, least)
    elif config.multihop is not None:
        _send_ttl(made, config.multihop)


def remote(made: socket.socket) -> tuple[Address, str]:
    """Who is at the other end: address, and the interface of a link-local one. OSError if nobody is any more."""
    found = made.getpeername()
    address = ip_address(str(found[0]).partition("%")[0])
    scope = found[3] if made.family == socket.AF_INET6 and address.is_link_local else 0
    return address, socket.if_indextoname(scope) if scope else ""


def local(made: socket.socket) -> Address:
    """Our end, without the scope of a link-local address. OSError if the connection is gone."""
    return ip_address(str(made.getsockname()[0]).partition("%")[0])


def wildcards() -> tuple[Address, ...]:
    """All our addresses, of both families."""
    return IPv4Address("0.0.0.0"), IPv6Address("::")


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _endpoint(address: Address, port: int, interface: str) -> tuple[str | int, ...]:
    if address.version == 4:
        return str(address), port
    scope = socket.if_nametoindex(interface) if interface and address.is_link_local else 0
    return str(address), port, 0, scope


def _send_ttl(made: socket.socket, hops: int) -> None:
    if made.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
    else:
        made.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
