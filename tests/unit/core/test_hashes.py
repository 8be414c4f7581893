"""The hashes of the contract; the data plane's own are compared with these on real packets in tests/bpf."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.hashes import flow_place, mapped, service_places, slot_of, tuple_hash, unmapped, vip_bit, wire_port
from fairlead.core.keys import derive, printed

IPV4, IPV6 = st.ip_addresses(v=4), st.ip_addresses(v=6)


@given(st.one_of(IPV4, IPV6.filter(lambda a: a.ipv4_mapped is None)))
def test_mapped(address):
    """An address and its 16 bytes name each other."""
    assert len(mapped(address)) == 16
    assert unmapped(mapped(address)) == address


def test_wire_port():
    """Port 80 is 0x5000 to a little-endian load of its wire bytes."""
    assert [wire_port(p) for p in (80, 443, 0, 65535)] == [0x5000, 0xBB01, 0, 0xFFFF]


@given(st.one_of(IPV4, IPV6))
def test_vip_bit(address):
    """Every address has a bit of the 65,536."""
    assert 0 <= vip_bit(address) < 65536


def test_vip_bits_spread():
    """Neighbouring addresses do not share bits: a /22 of VIPs and a /118 have as many bits as addresses, or nearly."""
    for base in (ip_address("192.0.0.0"), ip_address("2001:db8::")):
        assert len({vip_bit(base + n) for n in range(1024)}) > 980


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_service_places(vip, l4, bits):
    """The two places differ and lie in the table."""
    mask = (1 << bits) - 1
    first, second = service_places(vip, l4, mask)
    assert first != second
    assert max(first, second) <= mask


def test_slots_spread_by_port():
    """Flows of one client spread over the slots evenly; a sticky hash sends all of them to one."""
    keys = derive(b"")
    vip, client = ip_address("192.0.2.10"), ip_address("198.51.100.7")
    slots = [slot_of(tuple_hash(keys.slot, client, vip, (port, 80), 6), 251) for port in range(1024, 32768)]
    counts = Counter(slots)
    assert len(counts) == 251
    assert max(counts.values()) < 2 * min(counts.values())
    assert len({tuple_hash(keys.slot, client, vip, (port, 80), 6, sticky=True) for port in range(100)}) == 1


def test_every_part_counts():
    """Each of the five parts of a tuple changes the hash, in both families; so does the key."""
    keys = derive(b"")
    for a, b, c in (("10.0.0.1", "10.0.0.2", "10.0.0.3"), ("2001:db8::1", "2001:db8::2", "2001:db8::3")):
        x, y, z = map(ip_address, (a, b, c))
        tuples = [
            (x, y, (1, 2), 6),
            (z, y, (1, 2), 6),
            (x, z, (1, 2), 6),
            (x, y, (3, 2), 6),
            (x, y, (1, 3), 6),
            (x, y, (1, 2), 17),
        ]
        hashes = {tuple_hash(key, *t) for key in (keys.flow, keys.slot) for t in tuples}
        assert len(hashes) == 12


def test_flow_place():
    """Bucket and tag overlap, so that together they hold 48 bits of the hash."""
    assert flow_place(0x0123456789ABCDEF, 0xFFFFF) == (0xBCDEF, 0x456789AB)


def test_keys():
    """All keys are odd, flow and slot differ, a secret changes everything, and the constants stay what they are."""
    plain, secret = derive(b""), derive(b"secret")
    assert all(k & 1 for k in (*plain.flow, *plain.slot))
    assert not {*plain.flow} & {*plain.slot}
    assert not {*plain.flow, *plain.slot} & {*secret.flow, *secret.slot}
    assert plain == derive(b"")
    assert printed(plain.fingerprint) == "679dd29e82db549a"


def test_neighbours_are_told_apart():
    """Hosts, subnets and VIPs that differ in their last bytes only give different bucket and tag: no two flows are one."""
    clients = [ip_address(f"2001:db8:{net:x}::{host:x}") for net in range(1, 14) for host in range(1, 40)]
    vips = [ip_address(f"2001:db8::{i:x}") for i in (0x10, 0x11, 0x12, 0x20)]
    for secret in (b"", b"another key"):
        key = derive(secret).flow
        seen = Counter(
            tuple_hash(key, c, v, (port, 80), 6) & (1 << 48) - 1 for c in clients for v in vips for port in (40000, 40001)
        )
        assert max(seen.values()) == 1
