"""The twin says what the live program will do - verdict, length, every byte - and leaves every table and counter as it was."""

from __future__ import annotations

import os
import struct
import subprocess
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from fairlead._native import bpf
from fairlead.adapters.kernel.tables import shapes
from fairlead.errors import VerifierError
from fairlead.model import Geometry
from fairlead.model.explaining import number
from tests.bpf.generate import LO, a_frame, a_world, another_day
from tests.bpf.model import Model
from tests.bpf.rig import LAYOUT, OBJECT, VERDICTS, C, Rig, own_object

FRAMES, WORLDS, SEED = 5000, 10, 20261123
TWIN = OBJECT.with_name("twin.bpf.o")
READ_ONLY = 1 << 7  # BPF_F_RDONLY_PROG: no program may write it
# What the twin may ask of the kernel (linux/bpf.h): nothing of it writes a map.
HELPERS = {
    1: "map_lookup_elem",
    8: "get_smp_processor_id",
    12: "tail_call",
    28: "csum_diff",
    44: "xdp_adjust_head",
    51: "redirect_map",
    65: "xdp_adjust_tail",
    118: "jiffies64",
}
# Tables that a look-up alone would change, or that only hold what is counted.
NOT_TOUCHED = {"fragments", "counters", "verdicts", "limits", "blocked", "sources4", "sources6"}
READ = {"vips", "services", "slots", "destinations", "nexthops", "interfaces", "settings", "flows"}


def compare(rig: Rig, model: Model, twin: object, frame: bytes, *, everything: bool) -> str:
    """One frame: the twin first, then the model and the program. The verdict; AssertionError where they differ."""
    before = rig.snapshot(fragments=everything)
    said = twin.run(frame, LO)  # type: ignore[attr-defined]
    after = rig.snapshot(fragments=everything)
    changed = [name for name in before if before[name] != after[name]]
    expected = model.receive(frame, LO)
    got, _ = rig.send(frame)
    verdict = VERDICTS[number(said.trace, "verdict") - C["VERDICT_BASE"]]

    assert not changed, f"{changed} changed with {frame.hex()}"
    assert (verdict, number(said.trace, "length")) == (expected.verdict, expected.length), frame.hex()
    assert (verdict, number(said.trace, "length")) == (got.verdict, got.length), frame.hex()
    if not verdict.startswith("drop"):
        assert said.frame == expected.frame == got.frame, f"{verdict}: {frame.hex()}"
    return verdict


def test_twin_against_model_and_program(elsewhere: tuple[int, ...]) -> None:
    """Over generated histories the twin foretells model and program, and whatever tables there are is as it was before."""
    seen: Counter[str] = Counter()
    for number_ in range(WORLDS):
        r = Random(SEED + number_)
        world = a_world(r, elsewhere, blocks=number_ % 2 == 1)
        model = Model(world)
        with Rig(own_object(), world) as rig:
            twin = rig.twin(world)
            for case in range(FRAMES // WORLDS):
                if case and case % 100 == 0:
                    world = another_day(r, model.world)
                    model.adopt(world)
                    rig.adopt(world)
                frame = a_frame(r, model.world)
                seen[compare(rig, model, twin, frame, everything=case % 20 == 0)] += 1
            twin.close()

    assert sum(seen.values()) == FRAMES
    assert {
        "drop_blocked",
        "drop_fragment",
        "tx_reset",
        "tx_too_big",
        "tx_echo_reply",
        "tx_encapsulated",
        "redirect_forwarded",
    } <= set(seen)


def instructions(path: Path) -> list[tuple[int, int, int]]:
    """(opcode, source register, immediate) of every instruction of an object's code."""
    found = []
    for section in ("xdp", ".text"):
        code = path.with_name("code")
        subprocess.run(["llvm-objcopy-19", f"--dump-section={section}={code}", path, "/dev/null"], check=True)
        words = struct.iter_unpack("<BBhi", code.read_bytes())
        found += [(opcode, registers >> 4, immediate) for opcode, registers, _, immediate in words]
    return found


def maps_named(path: Path) -> set[str]:
    """Symbols that an object's code refers to."""
    shown = subprocess.run(["llvm-readelf-19", "-rW", path], check=True, capture_output=True, text=True).stdout
    return {line.split()[-1] for line in shown.split("Relocation section '.rel.BTF")[0].splitlines() if "R_BPF_64_64" in line}


def test_twin_has_nothing_to_write_with(tmp_path: Path) -> None:
    """Its code has no atomic instruction, calls no helper that writes a map, and names no table that only counts or forgets."""
    mine = tmp_path / "twin.o"
    mine.write_bytes(TWIN.read_bytes())
    code = instructions(mine)
    atomic = [each for each in code if each[0] & 0xE7 == 0xC3]
    helpers = {immediate for opcode, source, immediate in code if opcode == 0x85 and source == 0}
    live = tmp_path / "live.o"
    live.write_bytes(OBJECT.read_bytes())

    assert not atomic
    assert helpers <= set(HELPERS)
    assert not maps_named(mine) & NOT_TOUCHED
    assert maps_named(live) >= NOT_TOUCHED, "the test would see it"
    assert any(each[0] & 0xE7 == 0xC3 for each in instructions(live)), "the test would see it"


def test_the_live_programs_have_nothing_of_it() -> None:
    """Neither trace nor a word about it is in the object that forwards packets."""
    symbols = {
        path: subprocess.run(["llvm-nm-19", path], check=True, capture_output=True, text=True).stdout for path in (OBJECT, TWIN)
    }

    assert " trace\n" not in symbols[OBJECT]
    assert " trace\n" in symbols[TWIN]


def loaded_read_only(data: bytes) -> None:
    """Load an object on tables that no program may write."""
    with bpf.Object("checked", data) as found:
        for name, shape in shapes(Geometry(buckets=1 << 16)).items():
            if name in READ:
                size = LAYOUT.structs[shape.struct].size
                fd = bpf.map_create(bpf.MAP_ARRAY, name, 4, size, shape.rows, flags=bpf.MMAPABLE | READ_ONLY)
                found.reuse(name, fd)
                os.close(fd)
        found.load()


def test_the_verifier_vouches_for_it() -> None:
    """The kernel's verifier proves that the twin writes no table; it refuses the live program on the same ones."""
    loaded_read_only(TWIN.read_bytes())

    with pytest.raises(VerifierError, match="write into map forbidden"):
        loaded_read_only(own_object())
