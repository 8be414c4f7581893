"""Large arrays of counters: packets by source prefix. None of this holds the GIL."""

from __future__ import annotations

from fairlead._native._ext import ffi, lib

_DIGITS = 21  # of the largest number, with a comma


def summed(view: memoryview, rows: int) -> bytearray:
    """One u64 for each of `rows`, over all regions of `view`."""
    out = bytearray(8 * rows)
    lib.fl_sum_sources(ffi.from_buffer(view), len(view) // len(out), rows, ffi.from_buffer("uint64_t[]", out))
    return out


def largest(numbers: bytearray, most: int) -> list[int]:
    """The rows with the `most` largest u64 above 0, largest first."""
    found = ffi.new("uint32_t[]", most)
    count = lib.fl_largest(ffi.from_buffer("uint64_t[]", numbers), len(numbers) // 8, most, found)
    return list(found[0:count])


def json(numbers: bytearray) -> bytes:
    """A JSON array of the u64 in `numbers`."""
    out = ffi.new("char[]", _DIGITS * (len(numbers) // 8) + 2)
    length = lib.fl_json(ffi.from_buffer("uint64_t[]", numbers), len(numbers) // 8, out)
    return bytes(ffi.buffer(out, length))
