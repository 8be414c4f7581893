"""The rows that the rig fills in are those that the planner makes: else the model would judge the rig's idea of them."""

from __future__ import annotations

from ipaddress import ip_address
from itertools import product

import pytest

from fairlead.core.plan import State
from fairlead.core.rows import Rows, service_key, vip_key
from fairlead.model import OnDown, Path, Protocol, ServiceKey, Ttl, Tunnel, TunnelKind
from tests.bpf import model
from tests.bpf.model_wire import Tunnel as ModelTunnel
from tests.bpf.rig import LAYOUT, STATES, TTLS, C, Rig, l4_of, mapped, nexthop_row

ROWS = Rows(LAYOUT)
ENDS = {4: ("10.1.0.1", "10.200.255.11"), 6: ("fd00::1", "fd1a:b:0:10::ffff:11")}
MACS = bytes.fromhex("0200beff0011"), bytes.fromhex("02000000001b")
KINDS = list(TunnelKind)
PORTS = (1, 5555, 6080, 65535)
TUNNELS = [
    Tunnel(kind, port, checksum)
    for kind in KINDS
    for port in (PORTS if kind in {TunnelKind.FOU, TunnelKind.GUE} else (0,))
    for checksum in ((True, False) if port else (True,))
]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("tunnel", TUNNELS, ids=lambda t: f"{t.kind.name.lower()} {t.port} {t.checksum}")
def test_tunnels(tunnel: Tunnel, family: int) -> None:
    """Every kind of tunnel in every family of outer header, byte for byte: templates, lengths, flags and sums."""
    source, backend = map(ip_address, ENDS[family])
    path = Path(7, *MACS, 1480, source, vlan=20, bond=77)
    own = ModelTunnel(tunnel.kind.name.lower(), source.packed, backend.packed, tunnel.port, tunnel.checksum)

    assert ROWS.hop(path, tunnel, backend) == nexthop_row(model.Hop(*MACS, 7, 1480, 20, 77, own))


def test_every_kind_is_here() -> None:
    """A new kind of tunnel in abi.h is one in this file as well."""
    assert {kind.value for kind in KINDS} == {value for name, value in C.items() if name.startswith("TUNNEL_")} - {
        C["TUNNEL_NONE"]
    }


@pytest.mark.parametrize(("vlan", "bond", "mtu"), list(product((0, 1, 4094), (0, 77), (68, 1500, 65535))))
@pytest.mark.parametrize("backend", [ends[1] for ends in ENDS.values()])
def test_without_a_tunnel(backend: str, vlan: int, bond: int, mtu: int) -> None:
    """MACs, interface, tag, bond and MTU."""
    path = Path(1 << 20, *MACS, mtu, vlan=vlan, bond=bond)

    assert ROWS.hop(path, None, ip_address(backend)) == nexthop_row(model.Hop(*MACS, 1 << 20, mtu, vlan, bond))


def test_a_tunnels_mtu() -> None:
    """`tunnel-mtu` stands in the row as the smaller MTU does."""
    source, backend = map(ip_address, ENDS[4])
    own = ModelTunnel("gre", source.packed, backend.packed)

    made = ROWS.hop(Path(7, *MACS, 1500, source), Tunnel(TunnelKind.GRE, mtu=1400), backend)

    assert made == nexthop_row(model.Hop(*MACS, 7, 1400, tunnel=own))


PLANNED = {
    "active": (State.ACTIVE, OnDown.KEEP),
    "drain": (State.DRAIN, OnDown.KEEP),
    "keep": (State.DOWN, OnDown.KEEP),
    "move": (State.DOWN, OnDown.MOVE),
    "reset": (State.DOWN, OnDown.RESET),
    "gone": (State.GONE, OnDown.KEEP),
}


@pytest.mark.parametrize(("state", "ttl"), list(product(STATES, TTLS)))
@pytest.mark.parametrize(("vip", "port", "protocol"), list(product(("192.0.2.10", "2001:db8::10"), (80, 0), (6, 17))))
def test_destinations(vip: str, port: int, protocol: int, state: str, ttl: str) -> None:
    """Key, mask and live word: state, what becomes of flows, TTL."""
    service = model.Service(ip_address(vip).packed, port, protocol, ())
    row = LAYOUT.structs["destination"].unpack(Rig._destination(service, model.Backend(9, None, state, ttl), 0xABCDE))
    key = service_key(ServiceKey(ip_address(vip), port, Protocol(protocol)))
    planned = LAYOUT.structs["destination"].unpack(ROWS.destinations(key, 1)(bytes(16)))

    planned["live"] = ROWS.destination_live(0xABCDE, *PLANNED[state][:1], Ttl[ttl.upper()], PLANNED[state][1])

    assert row == planned


@pytest.mark.parametrize(("vip", "reject"), list(product(("192.0.2.10", "2001:db8::10"), (True, False))))
def test_a_vips_own_row(vip: str, reject: bool) -> None:
    """Key and flags of the row that answers pings and unknown ports."""
    packed = ip_address(vip).packed

    assert vip_key(ip_address(vip)) == mapped(packed) + l4_of(0, 0, packed).to_bytes(4, "little")
    assert ROWS.vip_live(reject) == (C["SERVICE_LIVE"] | (C["SERVICE_REJECT"] if reject else 0)) << C["SERVICE_FLAG_SHIFT"]
