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
    """One edit of one file; `old` must stand there exactly `times` times."""

    breaks: str
    file: str
    old: str
    new: str


MUTANTS = [
    Mutant(
        "the TTL's checksum is not updated", "forward.h", "ip->check = csum_replace(", "ip->check = ip->check + 0 * csum_replace("
    ),
    Mutant("hop limits of 1 leave as 0", "forward.h", "return ttl ? ttl - 1 : 0;", "return ttl ? ttl - 1 + (ttl == 1) : 0;"),
    Mutant("the tag's priority is lost", "forward.h", "(tci & bpf_htons((__u16)~VLAN_ID)) | ", ""),
    Mutant("a tag of another NIC is not written", "forward.h", "if (hop->vlan) {", "if (hop->vlan && stays) {"),
    Mutant("DSCP stays inside the tunnel", "encap.h", "ip->tos = tos;", "ip->tos = 0;"),
    Mutant(
        "GRE names IPv4 always",
        "encap.h",
        "next[1] = v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);",
        "next[1] = bpf_htons(ETH_P_IP);",
    ),
    Mutant("a UDP checksum of zero means none", "encap.h", "udp[2] = bpf_htons(length);", "udp[2] = bpf_htons(length + 1);"),
    Mutant("a SYN moves a live flow", "flow.h", "if (state == FLOW_CLOSING || ", "if (1 || "),
    Mutant("sticky hashes the ports too", "select.h", "flags & SERVICE_STICKY ? 0 : p->ports", "p->ports"),
    Mutant("the RST forgets that a SYN counts", "answer.h", "!!(t->flags & TCP_SYN) + ", ""),
]


def compiled(directory: Path, mutant: Mutant) -> bytes:
    """The object of a copy of bpf/ with the mutant's edit, made by the Makefile's own flags."""
    shutil.copytree(ROOT / "bpf", directory / "bpf")
    path = directory / "bpf" / mutant.file
    text = path.read_text()
    assert text.count(mutant.old) == 1, f"{mutant.file} has {text.count(mutant.old)} times: {mutant.old}"
    path.write_text(text.replace(mutant.old, mutant.new))
    shown = subprocess.run(
        ["make", "-s", "--no-print-directory", "bpf-flags"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    command = [*shown.stdout.split(), "-c", "bpf/balancer.bpf.c", "-o", "balancer.o"]
    subprocess.run(command, cwd=directory, check=True)
    return (directory / "balancer.o").read_bytes()


@pytest.mark.parametrize("mutant", MUTANTS, ids=[m.breaks for m in MUTANTS])
def test_mutant_is_caught(mutant: Mutant, tmp_path: Path, elsewhere: tuple[int, ...]) -> None:
    """The model finds the mutant within a bounded number of frames."""
    data = compiled(tmp_path, mutant)

    result = fuzz.run(CASES, SEED, elsewhere, data, most=1)

    assert result.found, f"{mutant.breaks}: not noticed in {result.cases} frames"
