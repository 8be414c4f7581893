"""Maglev consistent hashing (Eisenbud et al., "Maglev", NSDI 2016, section 3.4): the readable reference.

Nodes take turns in sorted order; on its turn a node takes the next slot of its own permutation that nobody has. The table depends
on nothing but the (address, weight) list and the size, so every instance of a cluster computes the same one.
`fairlead._native.maglev` is the fast twin; it has the same three functions and a test holds both equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

from fairlead.core.hashes import mapped
from fairlead.model import Address

# Primes, so that every skip visits every slot.
SIZES = (251, 1021, 4093, 16381, 65537, 131071)


def table_size(backends: int) -> int:
    """Slots for a service with that many configured backends: the smallest size >= 100 x backends, else the largest.

    It counts what is configured, never what is up: a health change must not change the size, and instances must agree.
    """
    return next((size for size in SIZES if size >= 100 * backends), SIZES[-1])


def order(address: Address) -> tuple[int, int]:
    """The sort key of nodes: IPv4 before IPv6, then by number."""
    return address.version, int(address)


@lru_cache(maxsize=1 << 15)
def permutation(address: Address, size: int) -> tuple[int, int]:
    """(offset, skip) of a node: its permutation of the slots is offset, offset + skip, offset + 2 skip ... modulo `size`."""
    digest = blake2b(mapped(address), digest_size=16, person=b"fairlead-maglev").digest()
    offset = int.from_bytes(digest[:8], "little") % size
    skip = int.from_bytes(digest[8:], "little") % (size - 1) + 1
    return offset, skip


def fill(size: int, offsets: Sequence[int], skips: Sequence[int], weights: Sequence[int]) -> bytes:
    """The table as u32 (little-endian): for each slot the index of its node.

    Each turn adds a node's weight to its credit, and a slot costs the largest weight: equal weights are classic Maglev, a node of
    half the weight takes every second turn. ValueError if no node has a positive weight.
    """
    dear = max(weights, default=0)
    if dear <= 0:
        raise ValueError("a Maglev table needs a node of positive weight")
    slots: list[int] = [-1] * size
    at, credit, left = list(offsets), [0] * len(offsets), size
    while True:
        for node, weight in enumerate(weights):
            credit[node] += weight
            if credit[node] < dear:
                continue
            credit[node] -= dear
            place, skip = at[node], skips[node]
            while slots[place] >= 0:
                place = (place + skip) % size
            slots[place] = node
            at[node] = (place + skip) % size
            left -= 1
            if not left:
                return b"".join(n.to_bytes(4, "little") for n in slots)


def translate(indices: bytes, ids: Sequence[int]) -> bytes:
    """Node indices to destination ids, u32 each."""
    words = memoryview(indices).cast("I")
    return b"".join(ids[node].to_bytes(4, "little") for node in words)


def differing(a: bytes | memoryview, b: bytes | memoryview) -> int:
    """How many u32 words of two buffers of equal length differ."""
    return sum(x != y for x, y in zip(memoryview(a).cast("I"), memoryview(b).cast("I"), strict=True))
