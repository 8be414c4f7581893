"""Next-hop rows byte by byte: every tunnel kind over both families, tags, bonds, MTUs; and which paths a service can use."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from fairlead.core.rows import Rows
from fairlead.core.tunnels import usable
from fairlead.model import Backend, NoPath, Path, Tunnel, TunnelKind
from tests.unit.core.harness import LAYOUT, World, config, key, service

V4, V6 = ip_address("10.1.0.11"), ip_address("fd00::b")
SOURCE4, SOURCE6 = ip_address("10.1.0.1"), ip_address("fd00::1")
TO4 = Path(7, bytes.fromhex("02000000be0b"), bytes.fromhex("020000000001"), 1500, SOURCE4)
TO6 = replace(TO4, source=SOURCE6)
MACS = "02000000be0b 020000000001 07000000"
IPV4 = "45000000 00004000 40000000 0a010001 0a01000b"
IPV6 = "60000000 00000040 fd000000000000000000000000000001 fd00000000000000000000000000000b"
# mtu vlan, kind flags length, outer_sum bond udp_sum, outer
GOLDEN = {
    "ipip over IPv4": (V4, Tunnel(TunnelKind.IPIP), f"dc050000 01001400 d90e0000 00000000 00000000 {IPV4}"),
    "gre over IPv4": (V4, Tunnel(TunnelKind.GRE), f"dc050000 02001800 d90e0000 00000000 00000000 {IPV4} 00000000"),
    "fou over IPv4": (V4, Tunnel(TunnelKind.FOU, 5555), f"dc050000 03001c00 d90e0000 00000000 29d20000 {IPV4} 000015b300000000"),
    "gue over IPv4": (
        V4,
        Tunnel(TunnelKind.GUE, 6080),
        f"dc050000 04002000 d90e0000 00000000 2bdf0000 {IPV4} 000017c000000000 00000000",
    ),
    "ipip over IPv6": (V6, Tunnel(TunnelKind.IPIP), f"dc050000 01012800 00000000 00000000 00000000 {IPV6}"),
    "gre over IPv6": (V6, Tunnel(TunnelKind.GRE), f"dc050000 02012c00 00000000 00000000 00000000 {IPV6} 00000000"),
    "fou over IPv6": (V6, Tunnel(TunnelKind.FOU, 5555), f"dc050000 03013000 00000000 00000000 0fd20000 {IPV6} 000015b300000000"),
    "gue over IPv6": (
        V6,
        Tunnel(TunnelKind.GUE, 6080),
        f"dc050000 04013400 00000000 00000000 11df0000 {IPV6} 000017c000000000 00000000",
    ),
    "gue without a checksum": (
        V6,
        Tunnel(TunnelKind.GUE, 6080, checksum=False),
        f"dc050000 04033400 00000000 00000000 11df0000 {IPV6} 000017c000000000 00000000",
    ),
    "a smaller MTU of the tunnel": (
        V4,
        Tunnel(TunnelKind.IPIP, mtu=1400),
        f"78050000 01001400 d90e0000 00000000 00000000 {IPV4}",
    ),
    "a larger MTU of the tunnel": (
        V4,
        Tunnel(TunnelKind.IPIP, mtu=9000),
        f"dc050000 01001400 d90e0000 00000000 00000000 {IPV4}",
    ),
}


@pytest.mark.parametrize(("backend", "tunnel", "rest"), GOLDEN.values(), ids=GOLDEN.keys())
def test_golden_rows(backend, tunnel, rest):
    """A next-hop row for a tunnel is these bytes, and zeroes up to 128."""
    row = Rows(LAYOUT).hop(TO4 if backend is V4 else TO6, tunnel, backend)
    assert row.hex() == bytes.fromhex(MACS + rest).ljust(128, b"\0").hex()


def test_row_without_tunnel():
    """An L2 next hop has MACs, interface, MTU, VLAN and bond, and nothing else."""
    row = Rows(LAYOUT).hop(replace(TO4, vlan=100, bond=9, mtu=70000), None, V4)
    assert row.hex() == bytes.fromhex(f"{MACS} ffff6400 00000000 00000000 09000000").ljust(128, b"\0").hex()


GATEWAY = replace(TO4, gateway=ip_address("10.1.0.254"))
BARE = replace(TO4, source=None)
TUNNELLED = service(tunnel=Tunnel(TunnelKind.IPIP))
USES = {
    "a neighbour": (service(), V4, TO4, None, TO4),
    "a gateway without a tunnel": (service(), V4, GATEWAY, None, NoPath("behind gateway 10.1.0.254: needs a tunnel")),
    "a gateway with a tunnel": (TUNNELLED, V4, GATEWAY, None, GATEWAY),
    "a tunnel without a source": (
        TUNNELLED,
        V4,
        BARE,
        config(),
        NoPath("no IPv4 address of this machine is known that a tunnel could start from"),
    ),
    "a tunnel from the configured address": (TUNNELLED, V4, BARE, config(address=SOURCE4), TO4),
    "a tunnel from the configured IPv6 address": (TUNNELLED, V6, BARE, config(address6=SOURCE6), TO6),
    "no path": (TUNNELLED, V4, NoPath("no route"), None, NoPath("no route")),
    "a silent gateway": (TUNNELLED, V4, NoPath("silent", True, GATEWAY), None, NoPath("silent", True, GATEWAY)),
    "a silent gateway without a tunnel": (
        service(),
        V4,
        NoPath("silent", True, GATEWAY),
        None,
        NoPath("behind gateway 10.1.0.254: needs a tunnel"),
    ),
}


@pytest.mark.parametrize(("of", "backend", "path", "made", "expected"), USES.values(), ids=USES.keys())
def test_usable_paths(of, backend, path, made, expected):
    """A gateway needs a tunnel, and a tunnel an address of the backend's family to start from."""
    assert usable(of, backend, path, made) == expected


async def test_rows_are_shared_by_content():
    """One next-hop row for each (path, tunnel parameters): services with equal tunnels share it, others have their own."""
    world = World()
    gue = Tunnel(TunnelKind.GUE, 6080)
    kinds = [None, gue, Tunnel(TunnelKind.GUE, 6080), Tunnel(TunnelKind.GUE, 6081), replace(gue, mtu=1400)]
    services = [service(key(port=80 + n), ["10.1.0.11"], checks=(), tunnel=t) for n, t in enumerate(kinds)]
    world.configure(config(*services), {V4: TO4})
    await world.settle()
    hops = [world.read.resolve(s.key)[0].live & 0xFFFFFF for s in services]
    assert hops[1] == hops[2]
    assert len(set(hops)) == 4


async def test_a_backend_behind_a_gateway():
    """Without a tunnel it is down with the reason; with one it serves, with the TTL counted down; and back again."""
    world = World()
    world.configure(config(service(backends=["10.1.0.11"], checks=())), {V4: GATEWAY})
    await world.settle()
    assert world.backends() == set()
    (status,) = world.reconciler.status(lambda ids: [(0, 0, 0)] * len(ids), []).services
    assert status.backends[0].reason == "behind gateway 10.1.0.254: needs a tunnel"
    world.reconciler.set_config(config(service(backends=["10.1.0.11"], checks=(), tunnel=Tunnel(TunnelKind.GRE))))
    await world.settle()
    found = world.read.resolve(key())[0]
    assert (found.state, found.live >> 36 & 3, found.hop["tunnel"], found.hop["outer_length"]) == (1, 1, 2, 24)
    world.reconciler.set_config(config(service(backends=["10.1.0.11"], checks=())))
    await world.settle()
    assert world.backends() == set()


async def test_the_tunnels_source_follows_the_configuration():
    """A tunnel that starts from the configured address gets a new header when that address changes."""
    world = World()
    tunnelled = service(backends=[Backend(V4)], checks=(), tunnel=Tunnel(TunnelKind.IPIP))
    world.configure(config(tunnelled, address=SOURCE4), {V4: BARE})
    await world.settle()
    assert world.read.resolve(key())[0].hop["outer"][12:16] == SOURCE4.packed
    moved = ip_address("10.1.0.2")
    world.reconciler.set_config(config(tunnelled, address=moved))
    await world.settle()
    assert world.read.resolve(key())[0].hop["outer"][12:16] == moved.packed
