"""Capacity-bounded rendezvous: balance, agreement, hardly any disruption, and the fast twin."""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b
from ipaddress import ip_address
from math import log2

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead._native import rendezvous as native
from fairlead.core import rendezvous
from fairlead.core.hashes import mapped

NODES = st.dictionaries(
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(mapped), st.integers(0, 1000), min_size=1, max_size=9
)


def hosts(number: int) -> list[bytes]:
    return [mapped(ip_address("10.1.0.0") + n) for n in range(1, number + 1)]


def table(nodes: dict, size: int = 4093, filler=native) -> list:
    addresses = list(nodes)
    return [addresses[i] for i in memoryview(filler.fill(size, addresses, list(nodes.values()))).cast("I")]


@given(NODES.filter(lambda nodes: any(nodes.values())), st.sampled_from([1, 16, 251]))
@settings(max_examples=60, deadline=None)
def test_the_fast_twin_agrees(nodes, size):
    """The extension fills what the reference fills, byte for byte, with any weights."""
    arguments = size, list(nodes), list(nodes.values())
    assert native.fill(*arguments) == rendezvous.fill(*arguments)


def test_the_fast_twin_agrees_on_many_equal_nodes():
    """The short cut for equal weights chooses what the weighted way would."""
    arguments = 1021, hosts(30), [7] * 30
    assert native.fill(*arguments) == rendezvous.fill(*arguments)


@given(NODES.filter(lambda nodes: any(nodes.values())), st.randoms())
@settings(max_examples=30, deadline=None)
def test_order_does_not_matter(nodes, random):
    """The table is a function of the set of nodes, in whatever order they are named."""
    shuffled = list(nodes.items())
    random.shuffle(shuffled)
    assert table(nodes, 251) == table(dict(shuffled), 251)


def test_the_table_never_changes():
    """Instances of different versions agree: these two tables are pinned."""
    equal = native.fill(rendezvous.SIZE, hosts(100), [1] * 100)
    weighted = native.fill(16381, hosts(10), list(range(1, 11)))
    digests = [blake2b(each, digest_size=8).hexdigest() for each in (equal, weighted)]
    assert digests == ["b4dedf68e2ff6d0a", "9829fcbba889a929"]


@pytest.mark.parametrize("number", [1, 10, 20, 100])
def test_no_node_is_overloaded(number):
    """With equal weights no node has more than 2 percent above its share, and one slot for rounding."""
    counts = Counter(table(dict.fromkeys(hosts(number), 1), rendezvous.SIZE))
    assert len(counts) == number
    assert max(counts.values()) <= rendezvous.SIZE / number * 1.02 + 1


@pytest.mark.parametrize(("number", "most"), [(10, 0.0005), (20, 0.0005), (100, 0.0015)])
def test_healthy_nodes_keep_their_slots(number, most):
    """When one of a hundred nodes goes, at most 0.15 percent of the slots move off other nodes; of twenty, 0.05."""
    nodes = dict.fromkeys(hosts(number), 1)
    before = table(nodes, rendezvous.SIZE)
    moved = []
    for gone in list(nodes)[:: number // 10]:
        after = table({node: 1 for node in nodes if node != gone}, rendezvous.SIZE)
        moved.append(sum(old not in {gone, new} for old, new in zip(before, after, strict=True)))
    assert sum(moved) / len(moved) / rendezvous.SIZE <= most


def test_shares_follow_weights():
    """Each node gets its weight's share of the slots, within 3 percent; weight 0 gets none."""
    weights = [0, 100, 200, 300, 1000]
    counts = Counter(table(dict(zip(hosts(5), weights, strict=True)), rendezvous.SIZE))
    for node, weight in zip(hosts(5), weights, strict=True):
        assert counts[node] == pytest.approx(rendezvous.SIZE * weight / 1600, rel=0.03)


def test_a_weight_change_moves_little():
    """Doubling one weight in ten moves slots to that node, and hardly any between the others."""
    nodes = dict.fromkeys(hosts(10), 100)
    grown = hosts(10)[3]
    before, after = table(nodes, rendezvous.SIZE), table(nodes | {grown: 200}, rendezvous.SIZE)
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert sum(new != grown for new in changed) / rendezvous.SIZE < 0.01


@given(st.integers(1 << 30, (1 << 64) - 1))
def test_the_logarithm_is_one(u):
    """The integer logarithm is within a millionth of the real one, and never below zero."""
    assert rendezvous.surprise(u) / 2**32 == pytest.approx(64 - log2(u), abs=1e-6)
    assert rendezvous.surprise(u) >= 0


@pytest.mark.parametrize(
    ("size", "addresses", "weights"),
    [
        (251, hosts(2), [0, 0]),
        (251, [], []),
        (251, hosts(2), [1]),
        (251, [b"1234"], [1]),
        (0, hosts(1), [1]),
        (251, hosts(1), [1 << 21]),
    ],
)
def test_impossible_tables_are_refused(size, addresses, weights):
    """No weight, no slots, an address of the wrong length or too large a weight is a ValueError, not a wrong table."""
    with pytest.raises(ValueError, match=r"needs a weight|cannot fill"):
        native.fill(size, addresses, weights)
