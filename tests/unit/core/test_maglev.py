"""Maglev: balance, agreement, little disruption, and the fast twin."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead._native import maglev as native
from fairlead.core import maglev

PINNED = (122, 242)  # (offset, skip) of 10.1.0.11 over 251 slots
ADDRESSES = st.lists(
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), min_size=1, max_size=12, unique_by=lambda a: (a.version, int(a))
)


def table(nodes: dict, size: int = 251, filler=maglev) -> list:
    ordered = sorted(nodes, key=maglev.order)
    walks = [maglev.permutation(a, size) for a in ordered]
    indices = filler.fill(size, [o for o, _ in walks], [s for _, s in walks], [nodes[a] for a in ordered])
    return [ordered[i] for i in memoryview(indices).cast("I")]


def hosts(number: int, weight: int = 1) -> dict:
    return {ip_address("10.1.0.0") + n: weight for n in range(1, number + 1)}


@pytest.mark.parametrize(
    ("backends", "size"),
    [(0, 251), (1, 251), (2, 251), (3, 1021), (10, 1021), (40, 4093), (100, 16381), (163, 16381), (164, 65537), (656, 131071)],
)
def test_sizes(backends, size):
    """The smallest size of the ladder that is at least a hundred times the backends, else the largest."""
    assert maglev.table_size(backends) == size


def test_sizes_are_prime():
    """Only a prime size lets every skip reach every slot."""
    assert all(all(size % n for n in range(2, int(size**0.5) + 1)) for size in maglev.SIZES)


@given(ADDRESSES, st.randoms())
@settings(max_examples=30, deadline=None)
def test_order_does_not_matter(addresses, random):
    """The table is a function of the set of nodes, in whatever order they are named."""
    shuffled = list(addresses)
    random.shuffle(shuffled)
    assert table(dict.fromkeys(addresses, 1)) == table(dict.fromkeys(shuffled, 1))


@given(ADDRESSES)
@settings(max_examples=30, deadline=None)
def test_equal_weights_differ_by_one_slot(addresses):
    """With equal weights no node has two slots more than another, and every slot is taken."""
    counts = Counter(table(dict.fromkeys(addresses, 3)))
    assert set(counts) == set(addresses)
    assert max(counts.values()) - min(counts.values()) <= 1


@given(st.lists(st.integers(0, 20), min_size=1, max_size=10).filter(any))
@settings(max_examples=40, deadline=None)
def test_weights(weights):
    """Shares follow the weights to within a slot or so per node; weight 0 gets nothing; scaling all weights changes nothing."""
    nodes = {ip_address("10.1.0.0") + n: w for n, w in enumerate(weights, 1)}
    counts = Counter(table(nodes, 1021))
    for node, weight in nodes.items():
        assert abs(counts[node] - 1021 * weight / sum(weights)) <= 1 + len(weights)
    assert table(nodes, 1021) == table({a: 7 * w for a, w in nodes.items()}, 1021)


@pytest.mark.parametrize("number", [3, 10, 40])
def test_little_disruption(number):
    """The loss of one of n nodes moves its own slots and few others: less than one in ten of those that could stay."""
    nodes = hosts(number)
    size = maglev.table_size(number)
    before, lost = table(nodes, size), ip_address("10.1.0.2")
    after = table({a: w for a, w in nodes.items() if a != lost}, size)
    moved = sum(a != b for a, b in zip(before, after, strict=True) if a != lost)
    assert lost not in after
    assert moved < 0.1 * size


@given(ADDRESSES, st.data(), st.sampled_from([251, 1021]))
@settings(max_examples=40, deadline=None)
def test_twin(addresses, data, size):
    """The C twin fills the same table bit by bit, translates and compares alike."""
    nodes = {a: data.draw(st.integers(1, 9)) for a in addresses}
    assert table(nodes, size) == table(nodes, size, native)
    walks = [maglev.permutation(a, size) for a in sorted(nodes, key=maglev.order)]
    indices = maglev.fill(size, [o for o, _ in walks], [s for _, s in walks], [1] * len(walks))
    ids = [n * 7 + 1 for n in range(len(nodes))]
    assert maglev.translate(indices, ids) == native.translate(indices, ids)
    assert maglev.differing(indices, bytes(len(indices))) == native.differing(indices, bytes(len(indices)))


def test_pinned_table():
    """Instances of different versions must agree, so the very permutation is pinned."""
    assert maglev.permutation(ip_address("10.1.0.11"), 251) == PINNED
    assert maglev.permutation(ip_address("::ffff:10.1.0.11"), 251) == PINNED


def test_no_weight():
    """A table of nobody is an error, not an endless loop."""
    for weights in ([], [0, 0]):
        with pytest.raises(ValueError, match="positive weight"):
            maglev.fill(251, [0] * len(weights), [1] * len(weights), weights)
