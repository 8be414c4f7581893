"""The data plane as the daemon holds it: tables, programs and links, opened by their pins and left behind when it goes."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable, Sequence
from typing import Self

from fairlead._native import bpf, flows, layout_hash, memory
from fairlead.adapters.kernel import bpffs as file_system
from fairlead.adapters.kernel import egress, generation, links, pins, ports, tables
from fairlead.adapters.kernel.clock import Jiffies
from fairlead.adapters.kernel.generation import Generation
from fairlead.adapters.kernel.pins import Places
from fairlead.adapters.kernel.sources import Sources
from fairlead.adapters.kernel.tables import LAYOUT, Tables
from fairlead.adapters.kernel.twin import Twin
from fairlead.errors import Refused
from fairlead.model import Geometry, Keys, Layout, Link, Op, Store
from fairlead.model.explaining import Trial

_LOOPBACK = 1
_SWEEP_BUCKETS = 1 << 16
_FOR_EVER = b"\xff" * 8


class Kernel:
    """Blocking; every failure is KernelError, VerifierError or Refused. One process at a time holds a BPF file system directory.

    `adopted` says that the tables were there already; `geometry` is then theirs. `probe_mark` may be changed: the next generation
    carries it. `sources`: who is blocked, and who comes. `after_store` is called with the number of each store of an Op once it
    is done, for the crash tests.
    """

    def __init__(self, places: Places, lock: int, keys: Keys, probe_mark: int) -> None:
        self.layout: Layout = LAYOUT
        self.adopted = False
        self.probe_mark = probe_mark
        self.tcx = True
        self.after_store: Callable[[int], None] | None = None
        self._places = places
        self._locks = [lock]
        self._keys = keys
        self._tables = Tables(Geometry())
        self._generation = Generation(0, {})
        self._jiffies = Jiffies()
        self._twin: Twin | None = None
        self._trying = threading.Lock()
        self._asked = -1  # of a packet's source, by the present generation: SOURCES_*

    @classmethod
    def open(cls, bpffs: str, geometry: Geometry, keys: Keys, probe_mark: int, lock: int = -1) -> Self:
        """Adopt what is pinned under `bpffs`, or create it; `geometry` counts only then. `probe_mark` is the 12-bit prefix.

        Refused, with nothing touched: no BPF file system or one that would not outlive us, another process, another layout,
        another key. `lock` is what `keep_lock` of a run before gave, in this process.
        """
        file_system.prepare(bpffs)
        lock = file_system.lock(bpffs, lock)
        with pins.undone(lambda: pins.close([lock])):
            kernel = cls(Places(bpffs), lock, keys, probe_mark)
        with pins.undone(kernel.close):
            kernel._open_tables(geometry)
            kernel._open_generation()
        return kernel

    @property
    def geometry(self) -> Geometry:
        """How many rows each table has, and the tick."""
        return self._tables.geometry

    def lost(self) -> str:
        """What is wrong if our pins are out of reach by now, "" if they are not."""
        return file_system.lost(self._places.root, self._locks[0])

    def _open_tables(self, geometry: Geometry) -> None:
        places, own = self._places, layout_hash()
        strange = [each for each in places.layouts() if each != own]
        finished = [each for each in strange if tables.is_complete(places.tables(each))]
        if finished:
            reason = (
                f"{places.tables(finished[0])} was made by a Fairlead with another table layout ({finished[0]}, not {own}): "
                "run that version, or `fairlead detach` first, which stops forwarding until the next start"
            )
            raise Refused([reason])
        stored = tables.stored_geometry(places.tables(own), self._keys.fingerprint)
        for each in strange if stored else places.layouts():
            pins.remove(places.tables(each))  # begun and never finished: a crash
        pins.make_directory(places.links)
        if stored:
            self._tables = tables.adopt(places, stored)
            self.adopted = True
        else:
            self._tables = tables.create(places, tables.measured(geometry), self._keys.fingerprint)
        self.sources = Sources(places, self._tables)

    def _open_generation(self) -> None:
        """Only generations that a link names are live; the rest is rubbish of a crash. The newest live one is ours."""
        links.forget_severed(self._places)
        running = self._running()
        live = []
        for number in self._places.generations():
            found = generation.reopen(self._places, number)
            if running & set(found.ids()):
                live.append(found)
            else:
                found.close()
                pins.remove(self._places.generation(number))
        for each in live[:-1]:
            each.close()
        self._generation = live[-1] if live else self._load()

    def _running(self) -> set[int]:
        places = self._places
        found = {links.program_of(places.link(links.XDP, ifindex)) for ifindex in places.pinned(links.XDP)}
        return found | egress.running(places)

    def _load(self) -> Generation:
        self._asked = self.sources.asked()
        number = generation.next_number(self._places)
        return generation.load(self._places, number, self._tables, self._constants(), links.forwarding(self._places))

    def _constants(self) -> bytes:
        """The options of programs that are loaded now; those of the present generation as soon as it is ours."""
        return generation.options(self.geometry, self._keys, self.probe_mark, max(self._asked, 0))

    def _programs(self) -> tuple[dict[int, int], list[Generation]]:
        """Every pinned program's descriptor by id, and the generations to close afterwards."""
        numbers = [n for n in self._places.generations() if n != self._generation.number]
        others = [generation.reopen(self._places, number) for number in numbers]
        known = self._generation.ids()
        for other in others:
            known |= other.ids()
        return known, others

    def outdated(self) -> bool:
        """Whether the programs do not ask of a packet's source what `sources` wants, and are to be replaced."""
        return self._asked != self.sources.asked()

    def replace_programs(self) -> None:
        """Load and pin a new generation, swap every link to it, read that back, remove the generations before."""
        fresh = self._load()
        known, others = self._programs()
        try:
            with pins.undone(fresh.close):
                for ifindex in self._places.pinned(links.XDP):
                    links.update(self._places.link(links.XDP, ifindex), fresh.programs["balancer"], known)
                egress.update(self._places, fresh.programs["probe"], known)
        finally:
            for other in others:
                other.close()
        self._generation.close()
        self._generation = fresh
        self._forget_twin()
        for number in self._places.generations():
            if number != fresh.number:
                pins.remove(self._places.generation(number))
        self.sources.forget()

    def attach(self, link: Link, *, generic: bool = False) -> tuple[str, bool]:
        """Put the programs on an interface: (mode, whether a link of ours was there). Refused if another XDP program is.

        Native where the driver can, unless `generic`; a link that is there keeps its mode, for that cannot be changed under it.
        """
        known, others = self._programs()
        try:
            links.refuse_foreign(self._places, link)
            ports.require_free(self._places, link.ifindex, link.name)
            egress.attach(self._places, link, self._generation.programs["probe"], known, tcx=self.tcx)
            found = links.attach(self._places, link, self._generation.programs["balancer"], known, generic=generic)
            ports.add(self._places, link.ifindex)  # not earlier: a driver without a program loses what is redirected to it
        finally:
            for other in others:
                other.close()
        return found

    def detach(self, ifindex: int) -> None:
        """Take the programs off one interface; nothing happens if they are not on it."""
        ports.remove(self._places, ifindex)
        links.detach(self._places.link(links.XDP, ifindex))
        egress.detach(self._places, ifindex)

    def attached(self) -> list[tuple[int, str, str]]:
        """(ifindex, name, "native" or "generic") of every interface that forwards."""
        return links.attached(self._places)

    def bytes_of(self, table: str) -> int:
        """Kernel memory of a table in bytes."""
        return self._tables.bytes_of(table)

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Rows and bytes of kernel memory of every table."""
        every = tables.shapes(self.geometry) | self.sources.shapes()
        return {name: (shape.rows, self.bytes_of(name)) for name, shape in every.items()}

    def view(self, table: str) -> memoryview:
        """A table as it stands, read-only; it changes under the reader. `fragments` has no view."""
        return self._tables.readable[table]

    def program(self, name: str) -> int:
        """Descriptor of a program of the present generation; it belongs to the Kernel."""
        return self._generation.programs[name]

    def apply(self, op: Op) -> None:
        """Carry out an operation's stores in order. IndexError or KeyError for one that does not fit its table: a bug."""
        for number, step in enumerate(op.stores):
            if isinstance(step, Store):
                memory.store(self._tables.writable[step.table], step.offset, step.data)
            else:
                memory.publish(self._tables.writable[step.table], step.offset, step.value)
            if self.after_store is not None:
                self.after_store(number)

    def grace(self) -> None:
        """Wait until no program can still see what was unpublished before the call."""
        memory.grace()

    def counters(self, ids: Sequence[int]) -> list[tuple[int, int, int]]:
        """(packets, bytes, flow entries made) of each destination id, over all CPUs."""
        return flows.totals(self.view("counters"), self.geometry.cpus, self.geometry.destinations, ids)

    def verdicts(self) -> dict[int, tuple[int, int]]:
        """Verdict -> (packets, bytes), over all CPUs; every verdict that has a name or was ever counted."""
        rows, base = LAYOUT.constants["VERDICT_ROWS"], LAYOUT.constants["VERDICT_BASE"]
        words = self.view("verdicts").cast("Q")
        found = dict.fromkeys(LAYOUT.verdict_names(), (0, 0))
        for row in range(rows):
            cells = range(row, rows * self.geometry.cpus, rows)
            packets, octets = sum(words[2 * c] for c in cells), sum(words[2 * c + 1] for c in cells)
            if packets:
                found[row - base] = (packets, octets)
        return found

    def flow_counts(self) -> Sequence[int]:
        """Live flow entries by destination id; a scan of the whole table, 20 ms for 64 MB: call it in a thread."""
        (fine, coarse), table, timeouts = self.ticks(), self.view("flows"), self._timeouts()
        found = flows.count(table, self.geometry.destinations, fine_now=fine, coarse_now=coarse, timeouts=timeouts)
        return memoryview(found).cast("I")

    def ticks(self) -> tuple[int, int]:
        """Low bytes of the fine and the coarse tick now."""
        now = self._jiffies.now()
        return now >> self.geometry.fine_shift & 255, now >> self.geometry.coarse_shift & 255

    def flow_survey(self, ids: Sequence[int]) -> list[dict[int, tuple[int, float, float]]]:
        """For each id, by flow state: (entries, youngest, oldest), ages in seconds. A scan of the whole table: in a thread."""
        fine, coarse = self.ticks()
        found = flows.survey(
            self.view("flows"),
            ids,
            destinations=self.geometry.destinations,
            fine_now=fine,
            coarse_now=coarse,
            timeouts=self._timeouts(),
        )
        return [{state: self._aged(state, *cell) for state, cell in each.items()} for each in found]

    def _aged(self, state: int, entries: int, youngest: int, oldest: int) -> tuple[int, float, float]:
        established = state == LAYOUT.constants["FLOW_ESTABLISHED"]
        tick = (1 << (self.geometry.coarse_shift if established else self.geometry.fine_shift)) / self.geometry.hz
        return entries, youngest * tick, oldest * tick

    def _timeouts(self) -> bytes:
        timeouts = memory.load(self.view("settings"), 0).to_bytes(8, "little")
        return timeouts if timeouts != bytes(8) else _FOR_EVER  # not set yet: nothing has an age

    def sweep(self, owned: bytes) -> int:
        """Clear expired flows and those whose destination has no bit in `owned`; returns how many. Call it in a thread."""
        timeouts, cleared = self._timeouts(), 0
        for first in range(0, self.geometry.buckets, _SWEEP_BUCKETS):
            last = min(first + _SWEEP_BUCKETS, self.geometry.buckets)
            fine, coarse = self.ticks()
            table = self._tables.writable["flows"]
            cleared += flows.sweep(table, first, last, fine_now=fine, coarse_now=coarse, timeouts=timeouts, owned=owned)
        return cleared

    def test_run(self, program: str, packet: bytes, ifindex: int = _LOOPBACK, context: bytes = b"") -> tuple[int, bytes]:
        """Run a program of the present generation on one frame: (action, frame afterwards).

        Without more words the frame arrives on `lo`; another `ifindex` must have native XDP. `context` is a whole xdp_md or
        __sk_buff instead.
        """
        if ifindex != _LOOPBACK and not context:
            context = struct.pack("=6I", 0, len(packet), 0, ifindex, 0, 0)
        action, out, _ = bpf.test_run(self._generation.programs[program], packet, context=context)
        return action, out

    def try_frames(self, frames: Sequence[tuple[bytes, int]]) -> list[Trial]:
        """What the present generation would do with each frame that arrives on an interface: (frame, ifindex).

        Computed by its twin on the live tables; no table and no counter changes. KernelError for a frame that the kernel does not
        try: shorter than 14 bytes, or on an interface that is not there. Call it in a thread.
        """
        with self._trying:
            if self._twin is None:
                self._twin = Twin(self._tables, self._constants())
            self._twin.redirect_to(ports.of(self._places, self._generation.number))
            return [self._twin.run(frame, ifindex) for frame, ifindex in frames]

    def _forget_twin(self) -> None:
        with self._trying:
            if self._twin is not None:
                self._twin.close()
            self._twin = None

    def keep_lock(self) -> int:
        """A second descriptor of the lock: while it is open nobody else can take the directory over, closed or not."""
        return os.dup(self._locks[0])

    def unlock(self) -> None:
        """Let another process take the directory over, and go on reading: whoever writes from now on is not us."""
        pins.close(self._locks)
        self._locks.clear()

    def close(self) -> None:
        """Let go of everything and leave it pinned and forwarding; a second call does nothing."""
        self._forget_twin()
        self._tables.close()
        self._generation.close()
        self._jiffies.close()
        self.unlock()
