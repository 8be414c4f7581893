"""The twin of a generation: the same programs with every write compiled out, asked what they would do with a frame.

It reads the live tables, and has a prog array, a devmap and a trace of its own. It is never pinned and never attached, and lives
as long as the generation whose options it has.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from fairlead._native import bpf
from fairlead.adapters.kernel import generation, ports
from fairlead.adapters.kernel.tables import LAYOUT, Tables
from fairlead.model.explaining import Row, Trial, number, octets

OBJECT = "twin"
LARGEST = 3500  # bytes: what BPF_PROG_TEST_RUN puts into one page, with room before and behind it; the rest is out of reach
_TRACE, _FRAGMENT = LAYOUT.structs["trace"], LAYOUT.structs["fragment"]
_FRAGMENT_FLAG, _GIVEN = LAYOUT.constants["TRACE_FRAGMENT"], LAYOUT.constants["TRACE_GIVEN"]
_HOP = (1 << LAYOUT.constants["DESTINATION_NEXTHOP_BITS"]) - 1
_ENTRY = LAYOUT.constants["FLOW_DESTINATION_SHIFT"]
_ID = (1 << LAYOUT.constants["DESTINATION_ID_BITS"]) - 1
_ONLY = bytes(4)  # key of an array's one row


class Twin:
    """One at a time may ask it. `close` lets go of it."""

    def __init__(self, tables: Tables, constants: bytes) -> None:
        self._tables = tables
        self._ports: set[int] = set()
        self._object = bpf.Object(OBJECT, generation.read_object(OBJECT))
        try:
            own = generation.prepare(self._object, tables, constants)
            self._trace = self._object.map(next(name for name in own if name.endswith(".bss")))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Programs and maps of its own go."""
        self._object.close()

    def redirect_to(self, interfaces: Iterable[int]) -> None:
        """The interfaces that the live programs redirect to."""
        wanted, mine = set(interfaces), self._object.map(ports.NAME)
        for gone in self._ports - wanted:
            bpf.map_drop(mine, ports.place(gone))
        ports.fill(mine, wanted - self._ports)
        self._ports = wanted

    def run(self, frame: bytes, ifindex: int) -> Trial:
        """What would become of a frame, of 14 to LARGEST bytes, on an interface; KernelError if the kernel does not take it."""
        found = self._run(frame, ifindex, b"")
        if number(found.trace, "flags") & _FRAGMENT_FLAG:
            first = bpf.map_find(self._tables.fds["fragments"], octets(found.trace, "fragment"))
            if first is not None:
                found = self._run(frame, ifindex, first)
        return found

    def _run(self, frame: bytes, ifindex: int, first: bytes) -> Trial:
        start = _TRACE.pack()
        if first:
            fragment = _FRAGMENT.unpack(first)
            start = _TRACE.pack(flags=_GIVEN, first=number(fragment, "destination"), first_seen=number(fragment, "seen"))
        bpf.map_update(self._trace, _ONLY, start)
        context = struct.pack("=6I", 0, len(frame), 0, ifindex, 0, 0)
        action, out, _ = bpf.test_run(self._object.program("balancer"), frame, context=context)
        trace = _TRACE.unpack(bpf.map_find(self._trace, _ONLY) or start)
        return Trial(
            action=action,
            frame=out,
            trace=trace,
            entry=self._row("destinations", "destination", number(trace, "word") >> _ENTRY & _ID),
            destination=self._row("destinations", "destination", number(trace, "destination")),
            nexthop=self._row("nexthops", "nexthop", number(trace, "live") & _HOP),
        )

    def _row(self, table: str, of: str, index: int) -> Row | None:
        """A row as it stands; None for number 0, which is nobody's."""
        layout = LAYOUT.structs[of]
        return layout.unpack(self._tables.readable[table][index * layout.size : (index + 1) * layout.size]) if index else None
