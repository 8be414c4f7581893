"""What there is to say of a machine before anything is changed on it: facts as they were read, findings as they are judged."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from fairlead.model.facts import Link


class Level(Enum):
    """How a finding bears on Fairlead: not at all, it works less well, or not at all."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: `topic` in a word, `says` a sentence, `mend` a command, "" where there is none."""

    level: Level
    topic: str
    says: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.says}: {self.mend}" if self.mend else self.says


@dataclass(frozen=True, slots=True)
class BpfFileSystem:
    """Where pins go. `point` is the mount point that covers `path`, "" if that is no BPF file system.

    `outlives`: process 1 sees it, too; true where that cannot be found out. `passable`: we may go through the mount point.
    """

    path: str
    point: str = ""
    outlives: bool = True
    writable: bool = True
    passable: bool = True


@dataclass(frozen=True, slots=True)
class Clock:
    """`at` is the Unix time, `hardware` that of the battery-backed clock, `newest` the time stamp of our own newest file."""

    at: float
    synchronised: bool | None  # None where this process may not ask
    hardware: float | None = None
    newest: float | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """The kernel, and what this process may do. `capabilities` is CapEff of proc(5); `descriptors` as many as may be open."""

    release: str
    btf: bool
    capabilities: int
    bpffs: BpfFileSystem
    clock: Clock
    descriptors: int
    user: str = "root"
    lockdown: str = ""  # "none", "integrity", "confidentiality"; "" where the kernel does not say
    jit: bool | None = None  # None where it cannot be seen, as in network namespaces


@dataclass(frozen=True, slots=True)
class Nic:
    """An interface that is named, or a member of a bond that is. `ours`: a program of ours is on it already."""

    link: Link
    ours: bool
    driver: str  # "" where it does not say
    features: int | None  # bits of enum netdev_xdp_act (linux/netdev.h); None before Linux 6.3
    offloads: frozenset[str]  # that are on and break XDP
    queues: int  # receive queues, 0 where they cannot be counted
