"""Sources that are blocked, and packets by where they come from: tables that are made when they are wanted.

They are pinned beside the data tables. Programs that do not use one have a table of one row of their own in its place. The layout
hash does not cover them: one of another shape, made by another version, is made anew.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable
from ipaddress import IPv4Network, IPv6Network

from fairlead._native import bpf, layout_hash, memory
from fairlead._native import sources as native
from fairlead.adapters.kernel import pins
from fairlead.adapters.kernel.pins import Places
from fairlead.adapters.kernel.tables import LAYOUT, Shape, Tables
from fairlead.errors import KernelError, Refused
from fairlead.model import Prefix

C = LAYOUT.constants
_BLOCKS, _COUNTED = ("blocks", "blocked"), ("sources4", "sources6")
NAMES = (*_BLOCKS, *_COUNTED)
_KEY, _VALUE, _TALLY = (LAYOUT.structs[name] for name in ("block_key", "block", "tally"))
_MAPPED = bytes(10) + b"\xff\xff"
_REGIONS = 8  # of `sources4`, at most: 8 MiB each


def regions(cpus: int) -> int:
    """A power of two, so that no more than a few CPUs share a counter."""
    return min(_REGIONS, 1 << (cpus - 1).bit_length())


def shapes(cpus: int) -> dict[str, Shape]:
    """Each of these tables by name."""
    return {
        "blocks": Shape("block", C["BLOCKS_MOST"], "block_key", bpf.MAP_LPM_TRIE),
        "blocked": Shape("tally", cpus * C["BLOCKS_MOST"]),
        "sources4": Shape("source", regions(cpus) * C["SOURCES4"]),
        "sources6": Shape("source", C["SOURCES6"], "source_key", bpf.MAP_LRU_HASH),
    }


class Sources:
    """These tables as far as there are any; they are among `tables` then. All methods block."""

    def __init__(self, places: Places, tables: Tables) -> None:
        self._directory = places.tables(layout_hash())
        self._tables = tables
        self._shapes = shapes(tables.geometry.cpus)
        for name in NAMES:
            self._adopt(name)
        self._counts = "sources4" in tables.fds
        self._families = _families(self._rows())

    def _adopt(self, name: str) -> None:
        path, shape = f"{self._directory}/{name}", self._shapes[name]
        try:
            fd = bpf.open_pin(path)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
            return
        if shape.is_of(fd):
            self._tables.add(name, fd, shape)
        else:
            os.close(fd)
            pins.remove(path)

    def _make(self, names: Collection[str]) -> None:
        for name in names:
            if name not in self._tables.fds:
                shape, path = self._shapes[name], f"{self._directory}/{name}"
                fd = shape.create(name)
                self._tables.add(name, fd, shape)
                bpf.pin(fd, path)

    # ------------------------------------------------------------------------------------------------------------------ blocks

    def want(self, blocked: Iterable[Prefix], *, counted: bool) -> None:
        """Block exactly these, count packets by source or not: in effect once no program is outdated any more.

        Refused if there is no room for so many.
        """
        self._block(frozenset(blocked))
        if counted:
            self._make(_COUNTED)
        self._counts = counted

    def _block(self, prefixes: frozenset[Prefix]) -> None:
        if len(prefixes) > C["BLOCKS_MOST"]:
            raise Refused([f"{len(prefixes):,} prefixes: no more than {C['BLOCKS_MOST']:,} can be blocked"])
        if not prefixes and "blocks" not in self._tables.fds:
            return
        self._make(_BLOCKS)
        rows = self._rows()
        gone = [prefix for prefix in rows if prefix not in prefixes]
        for prefix in gone:
            bpf.map_delete(self._tables.fds["blocks"], _key(prefix))
        if gone:
            memory.grace()  # their rows are cleared for others
        taken = {row for prefix, row in rows.items() if prefix in prefixes}
        free = (row for row in range(C["BLOCKS_MOST"]) if row not in taken)
        for prefix, row in zip((prefix for prefix in prefixes if prefix not in rows), free, strict=False):
            self._clear(row)
            bpf.map_update(self._tables.fds["blocks"], _key(prefix), _VALUE.pack(family=prefix.version, row=row))
        self._families = _families(prefixes)

    def shapes(self) -> dict[str, Shape]:
        """The tables that there are."""
        return {name: shape for name, shape in self._shapes.items() if name in self._tables.fds}

    def asked(self) -> int:
        """What programs are to ask of a packet's source, for it is in these tables: SOURCES_* of abi.h."""
        return self._families | (C["SOURCES_COUNTED"] if self._counts else 0)

    def blocked(self) -> dict[Prefix, tuple[int, int]]:
        """What is blocked, and (packets, bytes) that each prefix has dropped."""
        rows = self._rows()
        if not rows:
            return {}
        words, most, cpus = self._tables.readable["blocked"].cast("Q"), C["BLOCKS_MOST"], self._tables.geometry.cpus
        cells = {prefix: range(row, most * cpus, most) for prefix, row in rows.items()}
        return {prefix: (sum(words[2 * n] for n in at), sum(words[2 * n + 1] for n in at)) for prefix, at in cells.items()}

    def _rows(self) -> dict[Prefix, int]:
        if "blocks" not in self._tables.fds:
            return {}
        found = ((_prefix(key), _VALUE.unpack(value)["row"]) for key, value in bpf.map_read(self._tables.fds["blocks"]))
        return {prefix: row for prefix, row in found if isinstance(row, int)}

    def _clear(self, row: int) -> None:
        for cpu in range(self._tables.geometry.cpus):
            at = (cpu * C["BLOCKS_MOST"] + row) * _TALLY.size
            memory.store(self._tables.writable["blocked"], at, bytes(_TALLY.size))

    # ----------------------------------------------------------------------------------------------------------------- sources

    def forget(self) -> None:
        """Let go of the tables that packets were counted in; no program uses them any more."""
        for name in _COUNTED if not self._counts else ():
            if name in self._tables.fds:
                pins.remove(f"{self._directory}/{name}")
                self._tables.drop(name)

    def json(self) -> bytes | None:
        """Packets by the first 20 bits of an IPv4 source, a JSON array; None while nobody counts."""
        view = self._counted4()
        return None if view is None else native.json(native.summed(view, C["SOURCES4"]))

    def largest(self, most: int) -> tuple[list[tuple[Prefix, int]], list[tuple[Prefix, int]]]:
        """The prefixes that most packets came from: `most` /20 of IPv4, and /48 of IPv6 among those seen last."""
        return self._largest4(most), sorted(self._found6().items(), key=lambda each: (-each[1], each[0]))[:most]

    def _counted4(self) -> memoryview | None:
        return self._tables.readable.get("sources4") if self._counts else None

    def _largest4(self, most: int) -> list[tuple[Prefix, int]]:
        view = self._counted4()
        if view is None:
            return []
        numbers = native.summed(view, C["SOURCES4"])
        packets = memoryview(numbers).cast("Q")
        return [(IPv4Network((row << 12, 20)), packets[row]) for row in native.largest(numbers, most)]

    def _found6(self) -> dict[Prefix, int]:
        fd = self._tables.fds.get("sources6") if self._counts else None
        found = [] if fd is None else bpf.map_read(fd)
        return {IPv6Network((key[:6] + bytes(10), 48)): int.from_bytes(value, "little") for key, value in found}


def _families(prefixes: Iterable[Prefix]) -> int:
    versions = {prefix.version for prefix in prefixes}
    return (C["SOURCES_BLOCKED_IPV4"] if 4 in versions else 0) | (C["SOURCES_BLOCKED_IPV6"] if 6 in versions else 0)


def _key(prefix: Prefix) -> bytes:
    if prefix.version == 6:
        return _KEY.pack(length=prefix.prefixlen, address=prefix.network_address.packed)
    return _KEY.pack(length=96 + prefix.prefixlen, address=_MAPPED + prefix.network_address.packed)


def _prefix(key: bytes) -> Prefix:
    length, address = int.from_bytes(key[:4], "little"), key[4:]
    if length >= 96 and address.startswith(_MAPPED):
        return IPv4Network((address[12:], length - 96))
    return IPv6Network((address, length))
