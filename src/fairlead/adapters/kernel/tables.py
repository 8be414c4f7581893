"""The data tables: created and pinned once, adopted ever after; all but `fragments` are mapped into this process.

`meta` is the last to be pinned and its `complete` the last to be written: a directory without it is rubbish of a crash.
"""

from __future__ import annotations

import errno
import mmap
import os
from dataclasses import dataclass, replace
from pathlib import Path

from fairlead._native import bpf, layout, layout_hash, memory
from fairlead.adapters.kernel import clock, pins
from fairlead.adapters.kernel.pins import Places
from fairlead.errors import KernelError, Refused
from fairlead.model import Geometry

LAYOUT = layout()
_META = LAYOUT.structs["meta"]
_ROWS_OF = ("services", "destinations", "nexthops", "slots", "buckets", "cpus", "hz", "fine_shift", "coarse_shift")


# Packets whose later fragments are known by the first one, at a time.
_FRAGMENTS = 1 << 16
_FLAGS = {bpf.MAP_ARRAY: bpf.MMAPABLE, bpf.MAP_LPM_TRIE: bpf.NO_PREALLOC}


@dataclass(frozen=True, slots=True)
class Shape:
    """A table's element, by its struct in abi.h, and how many there are. One with a `key`, a hash or a trie, cannot be mapped.

    `kind` is BPF_MAP_TYPE_*.
    """

    struct: str
    rows: int
    key: str = ""
    kind: int = bpf.MAP_ARRAY

    @property
    def key_bytes(self) -> int:
        """Size of the key in bytes; an array's is the index."""
        return LAYOUT.structs[self.key].size if self.key else 4

    @property
    def row_bytes(self) -> int:
        """Size of one element in bytes."""
        return LAYOUT.structs[self.struct].size

    @property
    def bytes(self) -> int:
        """Size of all elements in bytes."""
        return self.row_bytes * self.rows

    def create(self, name: str) -> int:
        """Descriptor of a new table."""
        flags = _FLAGS.get(self.kind, 0)
        return bpf.map_create(self.kind, name, self.key_bytes, self.row_bytes, self.rows, flags=flags)

    def is_of(self, fd: int) -> bool:
        """Whether the map behind `fd` has this shape."""
        facts = bpf.map_facts(fd)
        found = facts.type, facts.key_size, facts.value_size, facts.entries
        return found == (self.kind, self.key_bytes, self.row_bytes, self.rows)


def shapes(geometry: Geometry) -> dict[str, Shape]:
    """Every table by name, in the order in which they are made; `meta` is last."""
    constants = LAYOUT.constants
    return {
        "vips": Shape("vip_bitmap", 1),
        "services": Shape("service", geometry.services),
        "slots": Shape("slots", geometry.slots),
        "destinations": Shape("destination", geometry.destinations),
        "nexthops": Shape("nexthop", geometry.nexthops),
        "flows": Shape("bucket", geometry.buckets),
        "interfaces": Shape("interface", constants["INTERFACE_ROWS"]),
        "counters": Shape("cell", geometry.cpus * geometry.destinations),
        "verdicts": Shape("tally", geometry.cpus * constants["VERDICT_ROWS"]),
        "limits": Shape("limiter", geometry.cpus * constants["LIMITS"]),
        "settings": Shape("settings", 1),
        "fragments": Shape("fragment", _FRAGMENTS, "fragment_key", bpf.MAP_LRU_HASH),
        "registry": Shape("registry", geometry.destinations),
        "meta": Shape("meta", 1),
    }


def measured(geometry: Geometry) -> Geometry:
    """`geometry` with this machine's CPUs and tick; ValueError where the programs could not index it."""
    for rows, least in ((geometry.services, 2), (geometry.buckets, 1 << 16)):
        if rows < least or rows & (rows - 1):
            raise ValueError(f"{rows} rows: a power of two, at least {least}, is needed")
    hz = clock.hertz()
    fine, coarse = (clock.restated(shift, geometry.hz, hz) for shift in (geometry.fine_shift, geometry.coarse_shift))
    cpus = max(geometry.cpus, bpf.possible_cpus())
    return replace(geometry, cpus=cpus, hz=hz, fine_shift=fine, coarse_shift=coarse)


class Tables:
    """The open tables of one layout: descriptors for the programs, mappings for us."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.fds: dict[str, int] = {}
        self.writable: dict[str, memoryview] = {}
        self.readable: dict[str, memoryview] = {}

    def add(self, name: str, fd: int, shape: Shape) -> None:
        """Take over a descriptor, and map the table if it can be."""
        self.fds[name] = fd
        if shape.key:
            return
        try:
            self.writable[name] = memoryview(mmap.mmap(fd, shape.bytes))[: shape.bytes]
        except OSError as error:
            raise KernelError("map", name, error.errno or 0, error.strerror or "") from error
        self.readable[name] = self.writable[name].toreadonly()

    def drop(self, name: str) -> None:
        """Let go of one table; its mapping ends with the last view that somebody holds."""
        pins.close([self.fds.pop(name)])
        self.writable.pop(name, None)
        self.readable.pop(name, None)

    def bytes_of(self, name: str) -> int:
        """Memory of a table in bytes: what is mapped, else what the kernel says (proc(5), fdinfo)."""
        if name in self.readable:
            return self.readable[name].nbytes
        lines = Path(f"/proc/self/fdinfo/{self.fds[name]}").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("memlock:"))

    def close(self) -> None:
        """Close descriptors; mappings end with the last view that somebody holds."""
        pins.close(list(self.fds.values()))
        self.fds.clear()
        self.writable.clear()
        self.readable.clear()


def create(places: Places, geometry: Geometry, fingerprint: int) -> Tables:
    """Make and pin every table, then say so in `meta`; whatever fails takes the directory back."""
    directory = places.tables(layout_hash())
    tables = Tables(geometry)
    pins.make_directory(directory)
    with pins.undone(tables.close), pins.undone(lambda: pins.remove(directory)):
        for name, shape in shapes(geometry).items():
            fd = shape.create(name)
            tables.add(name, fd, shape)
            bpf.pin(fd, f"{directory}/{name}")
        _say_complete(tables, fingerprint)
    return tables


def _say_complete(tables: Tables, fingerprint: int) -> None:
    known = {name: getattr(tables.geometry, name) for name in _ROWS_OF}
    row = _META.pack(magic=LAYOUT.constants["META_MAGIC"], key_fingerprint=fingerprint, **known)
    memory.store(tables.writable["meta"], 0, row)
    memory.publish(tables.writable["meta"], _META.offset("complete"), 1)


def stored_geometry(directory: str, fingerprint: int) -> Geometry | None:
    """What `meta` says the tables are, None if they were never finished; Refused if another key filled them."""
    if not is_complete(directory):
        return None
    facts = {name: value for name, value in _META.unpack(_meta_row(directory)).items() if isinstance(value, int)}
    if facts["key_fingerprint"] != fingerprint:
        reason = (
            f"the running data plane was filled under key {facts['key_fingerprint']:016x}, this configuration's is "
            f"{fingerprint:016x}: every flow would move. Put the old key file back, or run `fairlead detach` first"
        )
        raise Refused([reason])
    return Geometry(**{name: facts[name] for name in _ROWS_OF})


def is_complete(directory: str) -> bool:
    """Whether a table directory, of whatever layout, was finished: magic and `complete` begin every meta row, for ever."""
    row = _meta_row(directory)
    magic = LAYOUT.constants["META_MAGIC"].to_bytes(8, "little")
    return row[:7] == magic[:7] and int.from_bytes(row[8:16], "little") == 1


def _meta_row(directory: str) -> bytes:
    """The meta row as it stands, b"" where there is none."""
    try:
        with pins.opened(f"{directory}/meta") as fd, mmap.mmap(fd, bpf.map_facts(fd).value_size, prot=mmap.PROT_READ) as row:
            return bytes(row)
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return b""
        raise


def adopt(places: Places, geometry: Geometry) -> Tables:
    """Open the pinned tables by name; KernelError if one is missing or is not what `meta` says."""
    directory = places.tables(layout_hash())
    tables = Tables(geometry)
    with pins.undone(tables.close):
        for name, shape in shapes(geometry).items():
            fd = bpf.open_pin(f"{directory}/{name}")
            if not shape.is_of(fd):
                os.close(fd)
                raise KernelError("adopt", f"{directory}/{name}", 0, "its shape is not the one that meta states")
            tables.add(name, fd, shape)
    return tables
