"""Model against program: `python -m tests.bpf.fuzz N [SEED]`, as root. The last line: cases, seed, differences."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from tests.bpf.generate import LO, a_frame, a_world, another_day
from tests.bpf.model import Model, Outcome
from tests.bpf.rig import Rig, own_object

WORLD_CASES = 1000  # frames in each world, with two changes of health on the way
ELSEWHERE = ("fl-p1", "fl-p2", "fl-p3")
_ACTIONS = {"pass": "pass", "tx": "tx", "redirect": "redirect", "drop": "drop"}


@dataclass(frozen=True)
class Difference:
    """One case that came out otherwise than the model says."""

    seed: int
    case: int
    frame: bytes
    expected: Outcome
    got: Outcome

    def __str__(self) -> str:
        return (
            f"seed {self.seed} case {self.case}\n  in       {self.frame.hex()}\n"
            f"  expected {self.expected.verdict} length {self.expected.length} {_shown(self.expected)}\n"
            f"  got      {self.got.verdict} length {self.got.length} {_shown(self.got)}"
        )


def _shown(outcome: Outcome) -> str:
    return outcome.frame.hex() if outcome.verdict.startswith(("tx", "redirect")) else ""


def make_interfaces() -> tuple[int, ...]:
    """Interfaces that frames may leave by, in this network namespace: their indices."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for name in ELSEWHERE:
        subprocess.run(["ip", "link", "add", name, "up", "type", "veth", "peer", "name", f"{name}-x"], check=True)
    return tuple(socket.if_nametoindex(name) for name in ELSEWHERE)


def remove_interfaces() -> None:
    for name in ELSEWHERE:
        subprocess.run(["ip", "link", "del", name], check=False)


def compare(model: Model, rig: Rig, frame: bytes) -> tuple[Outcome, Outcome] | None:
    """One frame through both: None if they agree in verdict, length, action and every byte; else (expected, got)."""
    expected = model.receive(frame, LO)
    got, action = rig.send(frame)
    same = expected == got or (
        expected.verdict.startswith("drop") and (expected.verdict, expected.length) == (got.verdict, got.length)
    )
    if same and action == _ACTIONS[expected.verdict.split("_")[0]]:
        return None
    return expected, got


def run_world(
    seed: int, cases: int, rig: Rig, model: Model, elsewhere: tuple[int, ...], most: int = 10
) -> Iterator[Difference | str]:
    """`cases` frames in a seed's world: the verdict of each that came out alike, else the difference, at most `most` of those."""
    r = Random(seed)
    differences = 0
    for case in range(cases):
        if case % (cases // 3 + 1) == 0:
            world = another_day(r, model.world) if case else a_world(r, elsewhere, blocks=bool(model.world.blocked))
            model.adopt(world)
            rig.adopt(world)
        frame = a_frame(r, model.world)
        differ = compare(model, rig, frame)
        if not differ:
            yield rig.last
            continue
        yield Difference(seed, case, frame, *differ)
        differences += 1
        if differences == most:
            return
        rig.forget()  # one difference must not make the next: both begin anew
        model.forget()
    if not differences and rig.counts() != model.counts:
        yield Difference(seed, cases, b"", Outcome(f"counts {model.counts}", b""), Outcome(f"counts {rig.counts()}", b""))


@dataclass
class Result:
    """What a run found; `seen`: how often each verdict was met."""

    seed: int
    cases: int = 0
    found: list[Difference] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return f"{self.cases} cases, seed {self.seed}, {len(self.found)} differences"


def run(cases: int, seed: int, elsewhere: tuple[int, ...], data: bytes, *, most: int = 10, blocks: bool = False) -> Result:
    """Worlds until `cases` frames were tried or `most` differences found; in each of them there are `blocks` or not."""
    result = Result(seed)
    world = a_world(Random(seed), elsewhere, blocks=blocks)
    model = Model(world)
    with Rig(data, world) as rig:
        while result.cases < cases and len(result.found) < most:
            rig.forget()
            model.forget()
            # Keys belong to a load, so they stay those of the first world.
            first = seed * 1_000_003 + result.cases
            for each in run_world(first, min(WORLD_CASES, cases - result.cases), rig, model, elsewhere, most - len(result.found)):
                result.cases += 1
                if isinstance(each, str):
                    result.seen[each] += 1
                else:
                    result.found.append(each)
    return result


def main() -> int:
    """N cases, under odd seeds with blocked sources; 1 if there is a difference."""
    cases = int(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns() % 1_000_000
    elsewhere = make_interfaces()
    try:
        result = run(cases, seed, elsewhere, own_object(), blocks=bool(seed & 1))
    finally:
        remove_interfaces()
    for each in result.found:
        print(each)
    print(", ".join(f"{name} {times}" for name, times in sorted(result.seen.items())))
    print(result)
    return bool(result.found)


if __name__ == "__main__":
    sys.exit(main())
