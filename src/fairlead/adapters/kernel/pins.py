"""Names below our directory in the BPF file system. Everything is found by them, never by id: that needs more rights.

links/xdp-IFINDEX       the XDP link of an interface
links/probe-IFINDEX     the tcx link of the probe program; where the kernel has no tcx: filter-IFINDEX/ and clsact-IFINDEX/
tables-HASH/NAME        the tables of one layout, `meta` among them
gen-N/NAME              programs, prog arrays and constants of one generation
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fairlead._native import bpf
from fairlead.errors import KernelError

_KNOWN = re.compile(r"links|tables-[0-9a-f]+|gen-[0-9]+")


@dataclass(frozen=True, slots=True)
class Places:
    """Paths below `root`."""

    root: str

    @property
    def links(self) -> str:
        """The directory of links, outside any version."""
        return f"{self.root}/links"

    def link(self, kind: str, ifindex: int) -> str:
        """`kind` is xdp, probe, filter or clsact."""
        return f"{self.links}/{kind}-{ifindex}"

    def tables(self, layout: str) -> str:
        """The directory of the tables of one layout."""
        return f"{self.root}/tables-{layout}"

    def generation(self, number: int) -> str:
        """The directory of one generation."""
        return f"{self.root}/gen-{number}"

    def layouts(self) -> list[str]:
        """Layout hashes of the table directories that are there."""
        return [name.removeprefix("tables-") for name in entries(self.root) if name.startswith("tables-")]

    def generations(self) -> list[int]:
        """Numbers of the generations that are there, oldest first."""
        return sorted(int(name.removeprefix("gen-")) for name in entries(self.root) if re.fullmatch(r"gen-[0-9]+", name))

    def pinned(self, kind: str) -> list[int]:
        """Interface indices that have an entry of this kind in links/."""
        found = (re.fullmatch(rf"{kind}-([0-9]+)", name) for name in entries(self.links))
        return sorted(int(match[1]) for match in found if match)

    def known(self) -> list[str]:
        """Directories of ours below the root."""
        return [f"{self.root}/{name}" for name in entries(self.root) if _KNOWN.fullmatch(name)]


def entries(directory: str) -> list[str]:
    """Names in a directory, sorted; none if it is not there."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return sorted(entry.name for entry in Path(directory).iterdir())
    return []


def make_directory(path: str) -> None:
    """Make one directory of ours; it may be there."""
    with suppress(FileExistsError):
        Path(path).mkdir(mode=0o700)


def remove(path: str) -> None:
    """Remove a pin, or a directory with all its pins; it may be gone already.

    `meta` goes first: without it the rest is known for rubbish if we are killed on the way.
    """
    with suppress(FileNotFoundError):
        if Path(path).is_dir():
            for name in sorted(entries(path), key=lambda name: name != "meta"):
                remove(f"{path}/{name}")
            Path(path).rmdir()
        else:
            Path(path).unlink()


@contextmanager
def opened(path: str) -> Iterator[int]:
    """The descriptor of a pin for as long as the block lasts."""
    fd = bpf.open_pin(path)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def undone(undo: Callable[[], object]) -> Iterator[None]:
    """Call `undo` if the block fails: what was begun is taken back, and the first error stays the one that is told."""
    try:
        yield
    except BaseException:
        with suppress(OSError, KernelError):
            undo()
        raise


def close(fds: list[int]) -> None:
    """Close descriptors; one that is closed already is no matter."""
    for fd in fds:
        with suppress(OSError):
            os.close(fd)
