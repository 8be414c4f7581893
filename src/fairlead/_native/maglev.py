"""The fast twin of core/maglev.py. Tables are u32 in host order; every call releases the GIL."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead._native._ext import ffi, lib


def fill(size: int, offsets: Sequence[int], skips: Sequence[int], weights: Sequence[int]) -> bytes:
    """The node's number for each of `size` slots (a prime). ValueError when no node has weight or a number is out of range."""
    nodes = len(weights)
    if len(offsets) != nodes or len(skips) != nodes:
        raise ValueError("offsets, skips and weights differ in length")
    out = bytearray(4 * size)
    arrays = (ffi.new("uint32_t[]", list(values)) for values in (offsets, skips, weights))
    if lib.fl_maglev_fill(size, nodes, *arrays, ffi.from_buffer("uint32_t[]", out)):
        raise ValueError(f"cannot fill {size} slots from {nodes} nodes: an offset, skip or weight is out of range")
    return bytes(out)


def translate(indices: bytes, ids: Sequence[int]) -> bytes:
    """`indices` with each node's number replaced by its destination id. ValueError for a number without an id."""
    out = bytearray(len(indices))
    source = ffi.from_buffer("uint32_t[]", indices)
    table = ffi.new("uint32_t[]", list(ids))
    if lib.fl_translate(source, len(indices) // 4, table, len(ids), ffi.from_buffer("uint32_t[]", out)):
        raise ValueError(f"a slot names a node beyond the {len(ids)} given")
    return bytes(out)


def differing(a: bytes | memoryview, b: bytes | memoryview) -> int:
    """How many u32 words differ between two buffers of equal length in bytes."""
    if memoryview(a).nbytes != memoryview(b).nbytes:
        raise ValueError("the buffers differ in length")
    count = memoryview(a).nbytes // 4
    found: int = lib.fl_differing(ffi.from_buffer("uint32_t[]", a), ffi.from_buffer("uint32_t[]", b), count)
    return found
