"""The fast twin of core/rendezvous.py; it releases the GIL."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead._native._ext import ffi, lib
from fairlead._native.maglev import translate

SLACK = 2


def fill(size: int, addresses: Sequence[bytes], weights: Sequence[int]) -> bytes:
    """The node's number for each of `size` slots, u32 in host order; `addresses` are 16 bytes each (IPv4 as ::ffff:a.b.c.d).

    ValueError when no node has weight, an address has another length, or size or a weight is above 2**20.
    """
    if len(addresses) != len(weights) or any(len(address) != 16 for address in addresses):
        raise ValueError("each node needs a weight and an address of 16 bytes")
    order = sorted(range(len(addresses)), key=addresses.__getitem__)
    joined = b"".join(addresses[node] for node in order)
    ranked = ffi.new("uint32_t[]", [weights[node] for node in order])
    out = bytearray(4 * size)
    source, target = ffi.from_buffer("uint8_t[]", joined), ffi.from_buffer("uint32_t[]", out)
    if lib.fl_rendezvous_fill(size, len(order), source, ranked, SLACK, target):
        raise ValueError(f"cannot fill {size} slots from {len(order)} nodes: the size or a weight is out of range")
    return translate(bytes(out), order)
