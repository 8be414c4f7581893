"""The measuring wrapper from user space: one object per program under test, one row of parameters per CPU (see wrap.bpf.c)."""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Self

from fairlead._native import bpf

SOURCE = Path(__file__).with_name("wrap.bpf.c")
OBJECT = SOURCE.parent.parent / "build" / "wrap.bpf.o"
# struct bench of wrap.bpf.c: round begin end began ended seed crossed unsent | pick mask service macs_rest | macs type body[8]
ROW = struct.Struct("<8Q4I2Q8Q")
LENGTHS = {False: 64, True: 80}


class Pick(IntEnum):
    """How the wrapper picks a packet's flow."""

    SAME = 0
    NEXT = 1
    RANDOM = 2


@dataclass(frozen=True, slots=True)
class Run:
    """What one run brought: ns per packet including the wrapper, and what the wrapper saw of the rounds' outcomes."""

    ns: float
    crossed: int
    unsent: int


def compiled() -> bytes:
    """The wrapper's object, compiled if it is older than its source."""
    if not OBJECT.exists() or OBJECT.stat().st_mtime < SOURCE.stat().st_mtime:
        OBJECT.parent.mkdir(exist_ok=True)
        include = subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True, check=True).stdout.strip()
        command = f"clang-19 -O2 -g -target bpf -mcpu=v3 -Wall -Wextra -Werror -I/usr/include/{include} -c {SOURCE} -o {OBJECT}"
        subprocess.run(command.split(), check=True)
    return OBJECT.read_bytes()


class Wrapper:
    """Measures one program (a descriptor), or the bare `return XDP_TX` that is the floor, on the CPU the caller is bound to."""

    def __init__(self, program: int | None, *, v6: bool) -> None:
        self._object = bpf.Object("wrap", compiled())
        self._object.constant("v6", bytes([v6]))
        self._object.load()
        self._v6 = v6
        self._rows = mmap.mmap(self._object.map("bench"), mmap.PAGESIZE)
        bpf.map_put(self._object.map("under_test"), 0, self._object.program("bare") if program is None else program)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.close()
        self._object.__exit__(None, None, None)

    def run(self, frame: bytes, packets: int, pick: Pick, mask: int = 0, *, seed: int = 1, service: int = 0) -> Run:
        """Send `packets` of this frame; with `service`, look whether each left for a MAC whose fifth byte is that."""
        frame = frame.ljust(LENGTHS[self._v6], b"\0")[: LENGTHS[self._v6]]
        begin, end = packets // 10, packets - 1
        at = self._cpu() * ROW.size
        self._rows[at : at + ROW.size] = self._row(frame, begin, end, pick, mask, seed, service)
        bpf.test_run(self._object.program("wrap"), frame, repeat=packets)
        _, _, _, began, ended, _, crossed, unsent, *_ = ROW.unpack(self._rows[at : at + ROW.size])
        return Run((ended - began) / (end - begin), crossed, unsent)

    @staticmethod
    def _cpu() -> int:
        (cpu,) = os.sched_getaffinity(0)
        return cpu & 3

    def _row(self, frame: bytes, begin: int, end: int, pick: Pick, mask: int, seed: int, service: int) -> bytes:
        def number(start: int, length: int) -> int:
            return int.from_bytes(frame[start : start + length], "little")

        body = [number(14 + 8 * i, 8) for i in range(8)]
        kind = number(12, 2) | int.from_bytes(frame[-2:], "little") << 16
        return ROW.pack(0, begin, end, 0, 0, seed, 0, 0, pick, mask, service, number(8, 4), number(0, 8), kind, *body)
