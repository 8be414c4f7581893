"""Ten mutants of the program: a model that cannot tell them from the real one would be worth nothing."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bpf import fuzz

ROOT = Path(__file__).parents[2]
CASES, SEED = 20_000, 4711


@dataclass(frozen=True)
class Mutant:
    """One edit; `old` must stand at exactly one place of bpf/."""

    breaks: str
    old: str
    new: str


MUTANTS = [
    Mutant(
        "the TTL's checksum is not updated", "ip->check = csum_replace(ip->check,", "ip->check += 0 * csum_replace(ip->check,"
    ),
    Mutant("a TTL of 1 leaves as 0, undropped", "if (unlikely(!next))", "if (unlikely(!next && !ttl))"),
    Mutant("the tag's priority is lost", "(tci & bpf_htons((__u16)~VLAN_ID)) | ", ""),
    Mutant("the outer header forgets DSCP", "ip->tos = tos;", "ip->tos = 0;"),
    Mutant(
        "GRE names IPv4 always", "next[1] = v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);", "next[1] = bpf_htons(ETH_P_IP);"
    ),
    Mutant("the outer UDP checksum forgets the source port", "csum_fold(inner_sum) + port", "csum_fold(inner_sum)"),
    Mutant("a SYN on a finished flow stays with it", "return state >= FLOW_CLOSING || !(flags", "return !(flags"),
    Mutant("sticky hashes the ports too", "flags & SERVICE_STICKY ? 0 : p->ports", "p->ports"),
    Mutant("fragments of one sender are all one packet's", "key->id = r->id;", "key->id = 0;"),
    Mutant("the RST forgets that a SYN counts", "!!(t->flags & TCP_SYN) + ", ""),
]


def compiled(directory: Path, mutant: Mutant) -> bytes:
    """The object of a copy of bpf/ with the mutant's edit, made with the Makefile's own flags."""
    shutil.copytree(ROOT / "bpf", directory / "bpf")
    places = [path for path in sorted((directory / "bpf").glob("*.[ch]")) if mutant.old in path.read_text()]
    assert len(places) == 1, f"{mutant.old} stands in {[path.name for path in places]}"
    text = places[0].read_text()
    assert text.count(mutant.old) == 1, f"{places[0].name}: {mutant.old} stands there more than once"
    places[0].write_text(text.replace(mutant.old, mutant.new))
    shown = subprocess.run(["make", "-s", "bpf-flags"], cwd=ROOT, check=True, capture_output=True, text=True)
    command = [*shown.stdout.split(), "-w", "-c", "bpf/balancer.bpf.c", "-o", "balancer.o"]
    subprocess.run(command, cwd=directory, check=True)
    return (directory / "balancer.o").read_bytes()


@pytest.mark.parametrize("mutant", MUTANTS, ids=[m.breaks for m in MUTANTS])
def test_mutant_is_caught(mutant: Mutant, tmp_path: Path, elsewhere: tuple[int, ...]) -> None:
    """The model finds the mutant within a bounded number of frames."""
    data = compiled(tmp_path, mutant)

    result = fuzz.run(CASES, SEED, elsewhere, data, most=1)

    assert result.found, f"{mutant.breaks}: not noticed in {result.cases} frames"
