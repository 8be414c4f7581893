"""What the compiled BPF programs weigh: instructions always, and what the verifier spent on them where we may load.

    programs.py OBJECT...

A program that grows shows here first, long before it meets the verifier's limit of a million visited instructions. Loading goes
through libbpf with the objects' own placeholder sizes; nothing is pinned or attached. Exits with 1 if a program is refused.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import re
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

INSTRUCTION = 8  # bytes
SYMBOL_TABLE, FUNCTION = 2, 2  # SHT_SYMTAB, STT_FUNC
LOG_STATISTICS = 4  # BPF_LOG_STATS: a few lines at the end, not the whole walk
LOG_BYTES = 1 << 20
STATISTICS = re.compile(
    r"stack depth (?P<stack>[\d+]+).*?processed (?P<visited>\d+) insns.*?total_states (?P<states>\d+) peak_states (?P<peak>\d+)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Weight:
    """What the verifier says of a program: instructions visited, states kept in all and at once, stack bytes by call frame."""

    visited: int
    states: int
    peak: int
    stack: str


def sections(elf: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(type, offset, size, link) of each section of a little-endian 64-bit ELF file."""
    (at,) = struct.unpack_from("<Q", elf, 40)
    size, count = struct.unpack_from("<HH", elf, 58)
    for number in range(count):
        kind, offset, length, link = struct.unpack_from("<4xI16xQQI", elf, at + number * size)
        yield kind, offset, length, link


def instructions(elf: bytes) -> dict[str, int]:
    """Function -> instructions. Inlined helpers have no symbol, so these are the programs and what they call."""
    found = {}
    all_sections = list(sections(elf))
    for kind, offset, length, link in all_sections:
        if kind != SYMBOL_TABLE:
            continue
        names = all_sections[link][1]
        for at in range(offset, offset + length, 24):
            name, info, _, _, _, size = struct.unpack_from("<IBBHQQ", elf, at)
            if info & 15 == FUNCTION and size:
                found[elf[names + name :].split(b"\0", 1)[0].decode()] = size // INSTRUCTION
    return found


class Loader:
    """One object through libbpf. Failures are OSError with the end of the verifier's log."""

    def __init__(self, path: Path) -> None:
        self._lib = lib = ctypes.CDLL(ctypes.util.find_library("bpf") or "libbpf.so.1", use_errno=True)
        pointer = ctypes.c_void_p
        lib.bpf_object__open_file.restype = lib.bpf_object__next_program.restype = pointer
        lib.bpf_program__name.restype = ctypes.c_char_p
        lib.bpf_object__next_program.argtypes = [pointer, pointer]
        lib.bpf_program__name.argtypes = lib.bpf_object__load.argtypes = lib.bpf_object__close.argtypes = [pointer]
        lib.bpf_program__set_log_level.argtypes = [pointer, ctypes.c_uint32]
        lib.bpf_program__set_log_buf.argtypes = [pointer, ctypes.c_char_p, ctypes.c_size_t]
        lib.libbpf_set_print(None)
        self._path = path
        self._object = pointer(lib.bpf_object__open_file(str(path).encode(), None))
        if not self._object:
            raise OSError(f"{path}: libbpf cannot open it")

    def weigh(self) -> dict[str, Weight]:
        """Program -> what the verifier spent on it."""
        logs = self._logs()
        result = self._lib.bpf_object__load(self._object)
        said = {name: log.value.decode(errors="replace") for name, log in logs.items()}
        self._lib.bpf_object__close(self._object)
        if result:
            refused = [name for name, log in said.items() if log and not STATISTICS.search(log)] or list(said)
            last = next((said[name] for name in reversed(refused) if said[name]), "")
            raise OSError(-result, f"{self._path.name}: {os.strerror(-result)}\n{last[-3000:]}")
        return {name: weight(log) for name, log in said.items()}

    def _logs(self) -> dict[str, ctypes.Array[ctypes.c_char]]:
        logs: dict[str, ctypes.Array[ctypes.c_char]] = {}
        program = self._lib.bpf_object__next_program(self._object, None)
        while program:
            log = logs[self._lib.bpf_program__name(program).decode()] = ctypes.create_string_buffer(LOG_BYTES)
            self._lib.bpf_program__set_log_level(program, LOG_STATISTICS)
            self._lib.bpf_program__set_log_buf(program, ctypes.cast(log, ctypes.c_char_p), LOG_BYTES)
            program = self._lib.bpf_object__next_program(self._object, program)
        return logs


def weight(log: str) -> Weight:
    """The figures at the end of a verifier's log."""
    if not (found := STATISTICS.search(log)):
        raise OSError(f"the verifier's log has another form: {log[-300:]}")
    return Weight(int(found["visited"]), int(found["states"]), int(found["peak"]), found["stack"])


def may_load() -> bool:
    """Whether this process has CAP_SYS_ADMIN, which both old and new kernels take for loading."""
    text = Path("/proc/self/status").read_text()
    return bool(int(re.search(r"CapEff:\s*(\w+)", text)[1], 16) >> 21 & 1)  # type: ignore[index]


def show(path: Path, *, load: bool) -> Iterator[str]:
    """A line for each function of an object."""
    counts = instructions(path.read_bytes())
    weights = Loader(path).weigh() if load else {}
    for name, count in counts.items():
        line = f"{path.name.removesuffix('.bpf.o'):10s} {name:20s} {count:7d}"
        if found := weights.get(name):
            line += f" {found.visited:9d} {found.states:7d} {found.peak:7d}  {found.stack}"
        yield line


def main(paths: list[str]) -> int:
    """0, or 1 when a program is refused."""
    load = may_load()
    print(
        f"{'object':10s} {'program':20s} {'instr':>7s}" + (f" {'visited':>9s} {'states':>7s} {'peak':>7s}  stack" if load else "")
    )
    try:
        for path in paths:
            for line in show(Path(path), load=load):
                print(line)
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    if not load:
        print("(as root, this also says what the verifier spends on each)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
