"""Capacity-bounded rendezvous hashing with weights: the readable reference.

Every node has a score for every slot, made of its address and the slot's number alone (highest random weight: Thaler and
Ravishankar, 1998). A slot goes to the node with the best score that is not full, and full is its share and 2 percent more. When
a node goes, its slots are dealt out and hardly any other slot moves: far fewer than with Maglev, for a load that is a little less
even. The table depends on nothing but the (address, weight) set and the size, so every instance computes the same one; hence no
floating point, whose logarithm differs between libraries.

With u drawn evenly from (0, 1), the least of -log(u) / weight is at each node as often as its weight says (an exponential race).
`fairlead._native.rendezvous` is the fast twin, and a test holds both equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

# Slots of a table unless the configuration says otherwise; no prime is needed here.
SIZE = 65536
# Percent that a node may get above its share.
SLACK = 2

_U64 = (1 << 64) - 1
_PIECES = 1024
_WEIGHT_UNIT = 1 << 25


def mixed(x: int) -> int:
    """A bijection of 64 bits in which every bit of `x` changes half the bits of the result."""
    x = (x ^ x >> 33) * 0xFF51AFD7ED558CCD & _U64
    x = (x ^ x >> 33) * 0xC4CEB9FE1A85EC53 & _U64
    return x ^ x >> 33


def seed(address: bytes) -> int:
    """What of a node's 16-byte address goes into its scores."""
    high, low = (int.from_bytes(half, "little") for half in (address[:8], address[8:]))
    return mixed(low ^ mixed(high))


@cache
def _logarithms() -> tuple[int, ...]:
    """log2(1 + i / 1024) with 32 binary places, digit by digit: squaring a number doubles its logarithm."""
    found = []
    for i in range(_PIECES):
        x, logarithm = (_PIECES + i) << 21, 0  # 1 <= x < 2, 31 binary places
        for _ in range(32):
            x = x * x >> 31
            logarithm = logarithm << 1 | x >> 32
            x >>= x >> 32
        found.append(logarithm)
    return (*found, 1 << 32)


def surprise(u: int) -> int:
    """-log2(u / 2**64) with 32 binary places, straight between 1,024 points of each octave; 0 counts as 1."""
    u |= 1
    zeros = 64 - u.bit_length()
    m = u << zeros
    at = m >> 53 & _PIECES - 1
    low, high = _logarithms()[at : at + 2]
    return (zeros + 1 << 32) - low - ((high - low) * (m >> 21 & 0xFFFFFFFF) >> 32)


def capacities(size: int, weights: Sequence[int]) -> list[int]:
    """How many slots each node may get: its share of `size` and SLACK percent more, rounded up."""
    total = sum(weights)
    return [-(-size * weight * (100 + SLACK) // (total * 100)) for weight in weights]


def fill(size: int, addresses: Sequence[bytes], weights: Sequence[int]) -> bytes:
    """The table as u32 (little-endian): for each slot the index of its node. `addresses` are 16 bytes, all different.

    ValueError if no node has a positive weight.
    """
    if not any(weights):
        raise ValueError("a rendezvous table needs a node of positive weight")
    room = capacities(size, weights)
    seeds = [seed(address) for address in addresses]
    open_nodes = sorted((node for node, left in enumerate(room) if left), key=addresses.__getitem__)
    slots = []
    for slot in range(size):
        salt = mixed(slot + 1)
        best = min(open_nodes, key=lambda node: _rank(mixed(seeds[node] ^ salt), weights[node]))
        slots.append(best)
        room[best] -= 1
        if not room[best]:
            open_nodes.remove(best)
    return b"".join(node.to_bytes(4, "little") for node in slots)


def _rank(u: int, weight: int) -> tuple[int, int]:
    """The least is the best; equal weights are ranked by u alone."""
    return surprise(u) * (_WEIGHT_UNIT // weight), -u
