"""The measuring wrapper from user space: one object per program under test, one row of parameters per CPU (see wrap.bpf.c)."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
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


SYSCALL_BPF = {"x86_64": 321, "aarch64": 280}
TEST_RUN, LIVE_FRAMES = 10, 2
# union bpf_attr for BPF_PROG_TEST_RUN: prog_fd retval data_size_in data_size_out | data_in data_out | repeat duration ctx_size_in
# ctx_size_out | ctx_in ctx_out | flags cpu batch_size, padding
ATTRIBUTES = struct.Struct("<4I2Q4I2Q4I")


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

    def __init__(
        self, program: int | None, *, v6: bool, tagged: bool = False, length: int = 0, grown: int = 0, services: int = 1
    ) -> None:
        """`length` of the frame, 0 for the shortest; `grown`: bytes that the program adds in front; see wrap.bpf.c."""
        self._object = bpf.Object("wrap", compiled())
        self._v6, self._at = v6, 18 if tagged else 14
        self._length = length or LENGTHS[v6] + self._at - 14
        constants = {"v6": bytes([v6]), "tagged": bytes([tagged]), "length": struct.pack("<I", self._length)}
        constants |= {"grown": struct.pack("<i", grown), "services": struct.pack("<I", services)}
        for name, value in constants.items():
            self._object.constant(name, value)
        self._object.load()
        self._rows = mmap.mmap(self._object.map("bench"), mmap.PAGESIZE)
        bpf.map_put(self._object.map("under_test"), 0, self._object.program("bare") if program is None else program)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.close()
        self._object.__exit__(None, None, None)

    def run(self, frame: bytes, packets: int, pick: Pick, mask: int = 0, *, seed: int = 1, service: int = 0) -> Run:
        """Send `packets` of this frame; with `service`, look whether each left for a MAC whose fifth byte is that."""
        frame = frame.ljust(self._length, b"\0")[: self._length]
        begin, end = packets // 10, packets - 1
        at = self._cpu() * ROW.size
        self._rows[at : at + ROW.size] = self._row(frame, begin, end, pick, mask, seed, service)
        bpf.test_run(self._object.program("wrap"), frame, repeat=packets)
        _, _, _, began, ended, _, crossed, unsent, *_ = ROW.unpack(self._rows[at : at + ROW.size])
        return Run((ended - began) / (end - begin), crossed, unsent)

    def program(self, name: str) -> int:
        """Descriptor of `bare` or `sink`."""
        return self._object.program(name)

    def live(self, frame: bytes, packets: int, ifindex: int, pick: Pick, mask: int = 0) -> Run:
        """Send real frames out of a veth; `unsent` of the result counts what its `sink` took."""
        frame = frame.ljust(self._length, b"\0")
        begin, end = packets // 10, packets - 1
        at = self._cpu() * ROW.size
        self._rows[at : at + ROW.size] = self._row(frame, begin, end, pick, mask, 1, 0)
        context = ctypes.create_string_buffer(struct.pack("<6I", 0, len(frame), 0, ifindex, 0, 0), 24)
        data = ctypes.create_string_buffer(frame, len(frame))
        places = ctypes.addressof(data), ctypes.addressof(context)
        head = (self._object.program("wrap"), 0, len(frame), 0, places[0], 0, packets, 0, 24, 0, places[1], 0)
        attributes = ctypes.create_string_buffer(ATTRIBUTES.pack(*head, LIVE_FRAMES, 0, 64, 0), ATTRIBUTES.size)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syscall(SYSCALL_BPF[platform.machine()], TEST_RUN, attributes, ATTRIBUTES.size) < 0:
            raise OSError(ctypes.get_errno(), "cannot send live frames")
        _, _, _, began, ended, _, crossed, arrived, *_ = ROW.unpack(self._rows[at : at + ROW.size])
        return Run((ended - began) / (end - begin), crossed, arrived)

    @staticmethod
    def _cpu() -> int:
        (cpu,) = os.sched_getaffinity(0)
        return cpu & 3

    def _row(self, frame: bytes, begin: int, end: int, pick: Pick, mask: int, seed: int, service: int) -> bytes:
        at, rest = self._at, self._at + (64 if self._v6 else 48)

        def number(start: int, length: int) -> int:
            return int.from_bytes(frame[start : start + length], "little")

        body = [number(at + 8 * i, 8) for i in range(8)]
        kind = number(at - 2, 2) | number(rest, 2) << 16 | number(14, 2) << 32
        return ROW.pack(0, begin, end, 0, 0, seed, 0, 0, pick, mask, service, number(8, 4), number(0, 8), kind, *body)
