"""Writing tables that the data plane reads at the same moment. Offsets are bytes from the start of the buffer."""

from __future__ import annotations

import time

from fairlead._native._ext import ffi, lib

Buffer = bytearray | memoryview


def store(view: Buffer, offset: int, data: bytes) -> None:
    """Copy `data` into a row that no reader can reach yet; a reader would see it torn. IndexError beyond the buffer."""
    length = len(data)
    if offset < 0 or offset + length > len(view):
        raise IndexError(f"{length} bytes at {offset} do not fit {len(view)}")
    lib.fl_store(ffi.from_buffer("char[]", view, require_writable=True), offset, data, length)


def publish(view: Buffer, offset: int, value: int) -> None:
    """Store one aligned u64 with release order: who sees it sees all stores before it. IndexError where none can be."""
    if offset < 0 or offset & 7 or offset + 8 > len(view):
        raise IndexError(f"no aligned u64 at {offset} of {len(view)} bytes")
    lib.fl_publish(ffi.from_buffer("char[]", view, require_writable=True), offset, value)


def load(view: bytes | Buffer, offset: int) -> int:
    """One aligned u64 with acquire order. IndexError where none can be."""
    if offset < 0 or offset & 7 or offset + 8 > len(view):
        raise IndexError(f"no aligned u64 at {offset} of {len(view)} bytes")
    value: int = lib.fl_load(ffi.from_buffer("char[]", view), offset)
    return value


def grace() -> None:
    """Wait until every program that runs now has ended: 8-20 ms, 100 where it refuses membarrier. Blocks: use a thread."""
    if lib.fl_grace():
        time.sleep(0.1)
