"""One generation: the loaded programs with what belongs to them alone - prog array, devmap, constants - all pinned in gen-N/.

Prog arrays and devmaps are never handed on: reusing one would change the program that runs while its successor is merely being
loaded, and an unpinned one is emptied when the daemon exits, so that tail calls and redirects fail.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.resources import files

from fairlead._native import bpf
from fairlead.adapters.kernel import clock, pins, ports, sources
from fairlead.adapters.kernel.pins import Places
from fairlead.adapters.kernel.tables import LAYOUT, Tables
from fairlead.errors import KernelError, Refused
from fairlead.model import Geometry, Keys

OBJECTS = ("balancer", "probe")
# The prog array of balancer.bpf.o, and which program stands at which index: see tails.h.
TAILS = "tails"
TAIL_PROGRAMS = ("rare", "too_big", "reset", "unreachable")
# Answers per CPU and window, which is half a second to a second. Each kind has its own: scans of ports that no service has must
# take nothing from path MTU discovery, nor from flows whose server went down.
ECHO_LIMIT = 500
TOO_BIG_LIMIT = 1000
RESET_LIMIT = 20000
REJECT_LIMIT = 1000


class Generation:
    """Open descriptors of one generation's programs, by name."""

    def __init__(self, number: int, programs: dict[str, int]) -> None:
        self.number = number
        self.programs = programs

    def ids(self) -> dict[int, int]:
        """Program id -> descriptor."""
        return {bpf.program_id(fd): fd for fd in self.programs.values()}

    def close(self) -> None:
        """Close the descriptors; the pins keep the programs."""
        pins.close(list(self.programs.values()))
        self.programs.clear()


def options(geometry: Geometry, keys: Keys, probe_mark: int, asked: int = 0) -> bytes:
    """`struct options` of abi.h; `probe_mark` is the 12-bit prefix of a probe's mark, `asked` of a packet's source: SOURCES_*."""
    return LAYOUT.structs["options"].pack(
        flow_key=keys.flow,
        slot_key=keys.slot,
        bucket_mask=geometry.buckets - 1,
        service_mask=geometry.services - 1,
        destinations=geometry.destinations,
        slots=geometry.slots,
        fine_shift=geometry.fine_shift,
        coarse_shift=geometry.coarse_shift,
        echo_limit=ECHO_LIMIT,
        too_big_limit=TOO_BIG_LIMIT,
        reset_limit=RESET_LIMIT,
        reject_limit=REJECT_LIMIT,
        window_shift=clock.window_shift(geometry.hz),
        probe_mark=probe_mark << LAYOUT.constants["DESTINATION_ID_BITS"],
        sources=asked,
        source_regions=sources.regions(geometry.cpus),
    )


def load(places: Places, number: int, tables: Tables, constants: bytes, interfaces: Sequence[int]) -> Generation:
    """Load every object against `tables` and pin the whole; whatever fails takes the directory back.

    `interfaces` are those that frames may be redirected to from the first packet on.
    """
    generation = Generation(number, {})
    directory = places.generation(number)
    pins.make_directory(directory)
    with pins.undone(generation.close), pins.undone(lambda: pins.remove(directory)):
        for name in OBJECTS:
            generation.programs.update(_load_object(name, directory, tables, constants, interfaces))
    return generation


def _load_object(name: str, directory: str, tables: Tables, constants: bytes, interfaces: Sequence[int]) -> dict[str, int]:
    with bpf.Object(name, read_object(name)) as found:
        own = prepare(found, tables, constants)
        if ports.NAME in own:
            ports.fill(found.map(ports.NAME), interfaces)
        for each in [name for name in own if name not in sources.NAMES]:
            bpf.pin(found.map(each), f"{directory}/{_pin_name(each)}")
        for program in found.programs():
            bpf.pin(found.program(program), f"{directory}/{program}")
        return {program: os.dup(found.program(program)) for program in found.programs()}


def rehearse(tables: Tables, constants: bytes) -> None:
    """Load every object against `tables` and let go of it again; VerifierError or KernelError if the kernel refuses one."""
    for name in OBJECTS:
        with bpf.Object(name, read_object(name)) as found:
            prepare(found, tables, constants)


def prepare(found: bpf.Object, tables: Tables, constants: bytes) -> list[str]:
    """Load an object against `tables`, its tail calls leading to its own programs; returns the maps that it keeps to itself."""
    own = _hand_over(found, tables)
    found.constant("options", constants)
    found.load()
    if TAILS in own:
        for index, program in enumerate(TAIL_PROGRAMS):
            bpf.map_put(found.map(TAILS), index, found.program(program))
    return own


def _hand_over(found: bpf.Object, tables: Tables) -> list[str]:
    """Give the object our tables; returns the maps that it keeps to itself."""
    own = []
    for each in found.maps():
        if each in tables.fds:
            found.reuse(each, tables.fds[each])
        else:
            own.append(each)
    return own


def _pin_name(name: str) -> str:
    """The BPF file system keeps names with dots for itself: `balancer.rodata` is pinned as `balancer-rodata`."""
    return name.replace(".", "-")


def read_object(name: str) -> bytes:
    """A compiled object of the package; Refused if it was never built."""
    try:
        return files("fairlead._objects").joinpath(f"{name}.bpf.o").read_bytes()
    except FileNotFoundError:
        raise Refused([f"{name}.bpf.o is not in the package: run `make bpf`"]) from None


def reopen(places: Places, number: int) -> Generation:
    """Open the pinned programs of a generation by name."""
    directory = places.generation(number)
    generation = Generation(number, {})
    with pins.undone(generation.close):
        for name in pins.entries(directory):
            fd = bpf.open_pin(f"{directory}/{name}")
            try:
                bpf.program_id(fd)
            except KernelError:  # a map: the programs use it, we need not
                os.close(fd)
            else:
                generation.programs[name] = fd
    return generation


def next_number(places: Places) -> int:
    """One more than any that is there."""
    return max(places.generations(), default=0) + 1
