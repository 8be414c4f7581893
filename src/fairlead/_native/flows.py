"""Scans of the flow table and the counters, in C; every call releases the GIL."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead._native._ext import ffi, lib
from fairlead._native.layout import layout

_BUCKET = layout().structs["bucket"].size
_CELL = layout().structs["cell"].size
_STATES = 1 << layout().constants["FLOW_STATE_BITS"]


def sweep(
    flows: bytearray | memoryview,
    first: int,
    last: int,
    *,
    fine_now: int,
    coarse_now: int,
    timeouts: bytes,
    owned: bytes,
) -> int:
    """Clear the expired and the ownerless words of buckets `first`..`last`-1 by compare-and-exchange; returns how many.

    `fine_now` and `coarse_now` are the low bytes of the ticks, `timeouts` has one byte per flow state in ticks of its scale,
    `owned` one bit per destination id (bit id % 8 of byte id // 8).
    """
    if not 0 <= first <= last <= len(flows) // _BUCKET or len(timeouts) != 8:
        raise IndexError(f"buckets {first}..{last} of {len(flows) // _BUCKET}, {len(timeouts)} timeouts")
    table = ffi.from_buffer("char[]", flows, require_writable=True)
    owners = ffi.from_buffer("uint8_t[]", owned)
    cleared: int = lib.fl_sweep(table, first, last, fine_now & 255, coarse_now & 255, timeouts, owners, len(owned))
    return cleared


def count(flows: bytes | bytearray | memoryview, destinations: int, *, fine_now: int, coarse_now: int, timeouts: bytes) -> bytes:
    """Live flows per destination id, u32 in host order: an expired entry, which no sweep may have met yet, is none."""
    if len(timeouts) != 8:
        raise IndexError(f"{len(timeouts)} timeouts")
    table, out = ffi.from_buffer("char[]", flows), bytearray(4 * destinations)
    buckets, cells = len(flows) // _BUCKET, ffi.from_buffer("uint32_t[]", out)
    lib.fl_count(table, buckets, fine_now & 255, coarse_now & 255, timeouts, cells, destinations)
    return bytes(out)


def survey(
    flows: bytes | bytearray | memoryview,
    ids: Sequence[int],
    *,
    destinations: int,
    fine_now: int,
    coarse_now: int,
    timeouts: bytes,
) -> list[dict[int, tuple[int, int, int]]]:
    """For each of `ids` (each once), by flow state: (entries, youngest, oldest), ages in ticks of the state's scale.

    Expired entries are not counted. IndexError for an id beyond `destinations`.
    """
    if len(timeouts) != 8 or any(not 0 <= i < destinations for i in ids):
        raise IndexError(f"an id beyond {destinations}, or {len(timeouts)} timeouts")
    places = ffi.new("uint32_t[]", destinations)
    for row, number in enumerate(ids, 1):
        places[number] = row
    table, out = ffi.from_buffer("char[]", flows), ffi.new("uint32_t[]", len(ids) * _STATES * 3 or 1)
    lib.fl_survey(table, len(flows) // _BUCKET, fine_now & 255, coarse_now & 255, timeouts, places, destinations, out)
    flat = ffi.unpack(out, len(ids) * _STATES * 3)
    cells = list(zip(flat[0::3], flat[1::3], flat[2::3], strict=True))
    rows = (cells[at : at + _STATES] for at in range(0, len(cells), _STATES))
    return [{state: cell for state, cell in enumerate(row) if cell[0]} for row in rows]


def totals(cells: bytes | memoryview, cpus: int, stride: int, ids: Sequence[int]) -> list[tuple[int, int, int]]:
    """(packets, bytes, flows) of each destination id, summed over the CPUs; `stride` is the number of cells of one CPU."""
    if len(cells) < cpus * stride * _CELL or any(not 0 <= i < stride for i in ids):
        raise IndexError(f"an id beyond {stride}, or fewer than {cpus} x {stride} cells")
    out = ffi.new("uint64_t[]", 3 * len(ids))
    lib.fl_sum_cells(ffi.from_buffer("char[]", cells), cpus, stride, ffi.new("uint32_t[]", list(ids)), len(ids), out)
    flat = ffi.unpack(out, 3 * len(ids))
    return list(zip(flat[0::3], flat[1::3], flat[2::3], strict=True))
