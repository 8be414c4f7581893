"""`make coverage`: the data plane's C, compiled for this machine, in the worlds and under the frames of the reference model.

    python -m tests.coverage [CASES [SEED]]

The programs are the same sources, the helpers are host.c, and each outcome is compared with the model as in tests/bpf/fuzz.py;
then some frames follow under conditions that the model does not know. This needs no root. The report, lines and branches of every
file below bpf/, is llvm-cov's.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from tests.bpf.fuzz import WORLD_CASES, Difference, run_world
from tests.bpf.generate import a_frame, a_world
from tests.bpf.model import Model, Outcome, World
from tests.bpf.rig import ACTIONS, BUCKETS, DESTINATIONS, LAYOUT, LO, NEXTHOPS, SERVICES, SLOTS, VERDICTS, C, Rig, block_row

ROOT, HERE = Path(__file__).parents[2], Path(__file__).parent
BUILD = ROOT / "build" / "coverage"
LIBRARY = BUILD / "host.so"
ELSEWHERE = (101, 102, 103)
ROOM = 8192
ASKED = C["SOURCES_BLOCKED_IPV4"] | C["SOURCES_BLOCKED_IPV6"] | C["SOURCES_COUNTED"]  # of a source, in worlds with blocks
# In the order of `tables` in host.c: name, struct, rows.
TABLES = (
    ("vips", "vip_bitmap", 1),
    ("services", "service", SERVICES),
    ("slots", "slots", SLOTS),
    ("destinations", "destination", DESTINATIONS),
    ("nexthops", "nexthop", NEXTHOPS),
    ("interfaces", "interface", C["INTERFACE_ROWS"]),
    ("settings", "settings", 1),
    ("flows", "bucket", BUCKETS),
    ("counters", "cell", DESTINATIONS),
    ("verdicts", "tally", C["VERDICT_ROWS"]),
    ("limits", "limiter", C["LIMITS"]),
    ("blocked", "tally", C["BLOCKS_MOST"]),
    ("sources4", "source", C["SOURCES4"]),
)


def compile_host() -> None:
    """The shared library, with counters for each region of the source."""
    BUILD.mkdir(parents=True, exist_ok=True)
    flags = "-O1 -g -fPIC -shared -fprofile-instr-generate -fcoverage-mapping -Wall -Wno-unused-function".split()
    include = [f"-I{HERE / 'include'}", f"-I{ROOT / 'bpf'}"]
    subprocess.run(["clang-19", *flags, *include, str(HERE / "host.c"), "-o", str(LIBRARY)], check=True)


class HostRig(Rig):
    """The rig without a kernel: tables are ordinary memory, packets go through the library."""

    def __init__(self, library: Any, world: World, *, limits: Sequence[int] = (1 << 31,) * 4) -> None:
        self.library = library
        self.cpus = 1
        self._fds = {}
        self._maps = {}
        self._memory = []
        for number, (name, struct, rows) in enumerate(TABLES):
            size = LAYOUT.structs[struct].size
            memory = ctypes.create_string_buffer(size * rows)
            self._memory.append(memory)
            self._maps[name] = memoryview(memory).cast("B")
            library.host_table(number, memory, size, rows)
        self._give_options(world, limits)
        for port in world.ports:
            library.host_port(port)
        self._packet = ctypes.create_string_buffer(ROOM)
        self.adopt(world)
        self.tallies = self._maps["verdicts"].cast("Q")
        self._before = self.tallies.tolist()
        self.last = ""

    def _give_options(self, world: World, limits: Sequence[int]) -> None:
        shifts = dict.fromkeys(("fine_shift", "coarse_shift", "window_shift"), 48)
        self.library.host_options(
            LAYOUT.structs["options"].pack(
                flow_key=world.flow_key,
                slot_key=world.slot_key,
                bucket_mask=BUCKETS - 1,
                service_mask=SERVICES - 1,
                destinations=DESTINATIONS,
                slots=SLOTS,
                source_regions=1,
                sources=ASKED if world.blocked else 0,
                **shifts,
                **dict(zip(("echo_limit", "too_big_limit", "reset_limit", "reject_limit"), limits, strict=True)),
            )
        )

    def _block(self, wanted: Iterable[tuple[bytes, int]]) -> None:
        """The blocked prefixes of a world, as in Rig."""
        rows = [block_row(network, length, row) for row, (network, length) in enumerate(sorted(wanted))]
        self.library.host_blocks(b"".join(key + value for key, value in rows), len(rows))

    def close(self) -> None:
        """Memory ends with its last reference."""

    def send(self, frame: bytes, ifindex: int = LO) -> tuple[Outcome, str]:
        """As in Rig, by the library."""
        length = ctypes.c_uint32(len(frame))
        ctypes.memmove(self._packet, frame, len(frame))
        action = self.library.host_run(self._packet, ctypes.byref(length), ifindex)
        now, before = self.tallies.tolist(), self._before
        self._before = now
        changed = [at for at in range(len(now)) if now[at] != before[at]] if now != before else []
        counted, charged = [at for at in changed if not at & 1], [at for at in changed if at & 1]
        assert len(counted) == 1, f"{len(counted)} verdicts for one packet"
        self.last = VERDICTS[counted[0] // 2 - C["VERDICT_BASE"]]
        outcome = Outcome(self.last, self._packet.raw[: length.value], now[charged[0]] - before[charged[0]] if charged else 0)
        return outcome, ACTIONS[action]


def drive(cases: int, seed: int) -> tuple[Counter[str], list[Difference]]:
    """Verdicts met, and where model and library differ. The same worlds as `make fuzz`, half of them with blocked sources.

    Then one under used-up limits.
    """
    library = ctypes.CDLL(str(LIBRARY))
    world = a_world(Random(seed), ELSEWHERE)
    seen: Counter[str] = Counter()
    found: list[Difference] = []
    fragments: dict[tuple[bytes, ...], int] = {}  # the library's are not forgotten either
    for first in range(0, cases, WORLD_CASES):
        start = a_world(Random(seed), ELSEWHERE, blocks=bool(first // WORLD_CASES & 1))
        rig, model = HostRig(library, start), Model(start, fragments=fragments)
        rig.forget()
        model.forget()
        for each in run_world(seed * 1_000_003 + first, min(WORLD_CASES, cases - first), rig, model, ELSEWHERE):
            if isinstance(each, str):
                seen[each] += 1
            else:
                found.append(each)
    seen += odd(library, world, Random(seed))
    return seen, found


def odd(library: Any, world: World, r: Random) -> Counter[str]:
    """What the model does not know, for the report alone: used-up limits, time that passes, no headroom, unknown interfaces."""
    seen: Counter[str] = Counter()
    conditions = (
        ((0,) * 4, lambda _: None),
        ((1,) * 4, lambda n: library.host_time(ctypes.c_uint64(n // 4 << 48))),
        ((1,) * 4, lambda n: library.host_headroom(n % 64)),
    )
    for limits, change in conditions:
        rig = HostRig(library, world, limits=limits)
        for n in range(WORLD_CASES * 2):
            change(n)
            rig.send(a_frame(r, world))
            seen[rig.last] += 1
    for ifindex in (2, 3):
        rig.send(a_frame(r, world), ifindex)
        seen[rig.last] += 1
    return seen


def run_apart(arguments: list[str]) -> int:
    """The profile is written at the end of a process: drive in one of its own."""
    raw = BUILD / "host.profraw"
    raw.unlink(missing_ok=True)
    environment = os.environ | {"LLVM_PROFILE_FILE": str(raw), "FAIRLEAD_COVERAGE": "drive"}
    done = subprocess.run([sys.executable, "-m", "tests.coverage", *arguments], env=environment, cwd=ROOT, check=False)
    merged = BUILD / "host.profdata"
    subprocess.run(["llvm-profdata-19", "merge", "-o", str(merged), str(raw)], check=True)
    report = ["llvm-cov-19", "report", str(LIBRARY), f"-instr-profile={merged}", "-ignore-filename-regex=tests/|/usr/"]
    subprocess.run([*report, "-show-region-summary=false"], check=True)
    show = ["llvm-cov-19", "show", str(LIBRARY), f"-instr-profile={merged}", "-ignore-filename-regex=tests/|/usr/"]
    with (BUILD / "lines.txt").open("wb") as lines:
        subprocess.run([*show, "-show-branches=count"], stdout=lines, check=True)
    print(f"line by line: {(BUILD / 'lines.txt').relative_to(ROOT)}")
    return done.returncode


def main(arguments: list[str]) -> int:
    """0, or 1 where model and program differ."""
    if os.environ.get("FAIRLEAD_COVERAGE") != "drive":
        compile_host()
        return run_apart(arguments)
    cases, seed = [*map(int, arguments), *(20_000, 1)[len(arguments) :]]
    seen, found = drive(cases, seed)
    for difference in found[:5]:
        print(difference)
    print(", ".join(f"{name} {times}" for name, times in sorted(seen.items())))
    print(f"{cases} cases, {len(found)} differences")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
