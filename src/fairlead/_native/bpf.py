"""libbpf's calls as Python functions. Blocking; each releases the GIL; failures are KernelError with libbpf's own words.

Only adapters/kernel imports this. Descriptors are plain ints that the caller closes with os.close.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from fairlead._native._ext import ffi, lib
from fairlead.errors import KernelError, VerifierError

MAP_ARRAY = 2
MAP_PROG_ARRAY = 3
MAP_LRU_HASH = 9
MAP_LPM_TRIE = 11
MAP_DEVMAP = 14
NO_PREALLOC = 1 << 0
MMAPABLE = 1 << 10
ATTACH_XDP = 37
ATTACH_TCX_EGRESS = 47
XDP_GENERIC = 1 << 1
XDP_NATIVE = 1 << 2
MODES = {0: "", 1: "native", 2: "generic", 3: "offloaded", 4: "several"}
FILE_SYSTEM = 0xCAFE4A11

_LOG_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class MapFacts:
    """What the kernel says of a map; sizes in bytes."""

    type: int
    key_size: int
    value_size: int
    entries: int
    flags: int
    id: int


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """What the kernel says of a link; `ifindex` is 0 once the interface is gone."""

    type: int
    id: int
    program: int
    ifindex: int
    attach_type: int


@dataclass(frozen=True, slots=True)
class XdpFacts:
    """The XDP program of an interface: its id (0: none) and "native", "generic", "offloaded" or "several"."""

    mode: str
    program: int


def _check(result: int, operation: str, what: str) -> int:
    if result < 0:
        raise KernelError(operation, what, -result, f"{os.strerror(-result)}\n{_words()}")
    return result


def _words() -> str:
    """What libbpf has said since the call began."""
    return str(ffi.string(lib.fl_log()).decode(errors="replace"))


def possible_cpus() -> int:
    """CPUs that this kernel may ever bring up."""
    return _check(lib.fl_possible_cpus(), "count", "CPUs")


def file_system(path: str) -> int:
    """Magic number of the file system that holds `path`; compare with FILE_SYSTEM."""
    return _check(lib.fl_file_system(path.encode()), "look at", path)


def map_create(kind: int, name: str, key_size: int, value_size: int, entries: int, *, flags: int = 0) -> int:
    """Descriptor of a new map; the kernel keeps 15 characters of the name."""
    made = lib.fl_map_create(kind, name[:15].encode(), key_size, value_size, entries, flags)
    return _check(made, "create", f"map {name} of {entries} x {value_size} bytes")


def map_facts(fd: int) -> MapFacts:
    """Type, sizes, flags and id."""
    facts = ffi.new("uint32_t[6]")
    _check(lib.fl_map_facts(fd, facts), "look at", "map")
    return MapFacts(*facts)


def map_put(fd: int, key: int, value: int) -> None:
    """Set one u32 entry; for a prog array the value is a descriptor, for a devmap an ifindex of this network namespace."""
    _check(lib.fl_map_put(fd, key, value), "set", f"map entry {key}")


def map_take(fd: int, key: int) -> int | None:
    """One u32 entry, None where there is none; a prog array answers with a program id."""
    value = ffi.new("uint32_t *")
    return value[0] if lib.fl_map_take(fd, key, value) == 0 else None


def map_drop(fd: int, key: int) -> None:
    """Empty one u32 entry of a prog array or devmap."""
    _check(lib.fl_map_drop(fd, key), "empty", f"map entry {key}")


def map_update(fd: int, key: bytes, value: bytes) -> None:
    """Set one entry of a map of any kind; both must be as long as the map has them."""
    _check(lib.fl_map_update(fd, key, value), "set", f"map entry {key.hex()}")


def map_find(fd: int, key: bytes) -> bytes | None:
    """One entry of a map of any kind that is not per CPU, None where there is none; an LRU hash does not count it as a use."""
    value = ffi.new("char[]", map_facts(fd).value_size)
    result = lib.fl_map_find(fd, key, value)
    if result == -errno.ENOENT:
        return None
    _check(result, "look up", f"map entry {key.hex()}")
    return bytes(ffi.buffer(value))


def map_delete(fd: int, key: bytes) -> None:
    """Take one entry out of a map that is no array; KernelError with ENOENT where there is none."""
    _check(lib.fl_map_delete(fd, key), "remove", f"map entry {key.hex()}")


def map_read(fd: int) -> list[tuple[bytes, bytes]]:
    """Every entry of a map that is no array, as (key, value); those that come or go meanwhile may be among them or not."""
    facts = map_facts(fd)
    keys, values = (ffi.new("char[]", size * facts.entries) for size in (facts.key_size, facts.value_size))
    count = ffi.new("uint32_t *", facts.entries)
    _check(lib.fl_map_read(fd, keys, values, count), "read", "map")
    keys, values = (ffi.buffer(each)[:] for each in (keys, values))
    return [
        (keys[n * facts.key_size : (n + 1) * facts.key_size], values[n * facts.value_size : (n + 1) * facts.value_size])
        for n in range(count[0])
    ]


def pin(fd: int, path: str) -> None:
    """Give the object a name in a BPF file system."""
    _check(lib.fl_pin(fd, path.encode()), "pin", path)


def open_pin(path: str) -> int:
    """Descriptor of the object pinned at `path`."""
    return _check(lib.fl_open_pin(path.encode()), "open", path)


def program_id(fd: int) -> int:
    """Id of a loaded program."""
    facts, name = ffi.new("uint32_t[2]"), ffi.new("char[17]")
    _check(lib.fl_program_facts(fd, facts, name), "look at", "program")
    return int(facts[0])


def program_name(program: int) -> str:
    """A program's name by id, "" where the right to look is missing (CAP_SYS_ADMIN)."""
    name = ffi.new("char[17]")
    return ffi.string(name).decode(errors="replace") if lib.fl_program_name(program, name) == 0 else ""


def jiffies_program() -> int:
    """Descriptor of an XDP program that answers with the low 32 bits of jiffies."""
    return _check(lib.fl_jiffies_program(), "load", "the clock program")


def test_run(fd: int, packet: bytes, *, context: bytes = b"", room: int = 0, repeat: int = 1) -> tuple[int, bytes, int]:  # noqa: PT028
    """Run a program on `packet`: (action, packet afterwards, ns per repetition). `context` is an xdp_md or a __sk_buff."""
    room = room or len(packet) + 512
    out, length = ffi.new("char[]", room), ffi.new("uint32_t *", room)
    action, duration = ffi.new("uint32_t *"), ffi.new("uint32_t *")
    result = lib.fl_test_run(fd, packet, len(packet), context, len(context), out, length, repeat, action, duration)
    _check(result, "test", f"a packet of {len(packet)} bytes")
    return action[0], ffi.buffer(out, length[0])[:], duration[0]


class Object:
    """One compiled object, from its bytes to loaded programs. Its descriptors end with it: pin or duplicate what must stay."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name = name
        self._object: Any = lib.fl_object_open(data, len(data), name.encode())
        if self._object == ffi.NULL:
            raise KernelError("open", f"{name}: not a BPF object", 0, _words())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it, and of all that is neither pinned nor duplicated."""
        lib.fl_object_close(self._object)

    def programs(self) -> list[str]:
        """Names of its programs."""
        return self._names(lib.fl_object_programs)

    def maps(self) -> list[str]:
        """Names of its maps; those of global variables contain a dot."""
        return self._names(lib.fl_object_maps)

    def reuse(self, name: str, fd: int) -> None:
        """Its map `name` becomes the existing one; type, key and value sizes must be equal."""
        _check(lib.fl_object_reuse(self._object, name.encode(), fd), "reuse", f"map {name} in {self.name}")

    def constant(self, variable: str, value: bytes) -> None:
        """Set a `const volatile` global before load."""
        result = lib.fl_object_constant(self._object, variable.encode(), value, len(value))
        _check(result, "set", f"{variable} in {self.name}")

    def load(self) -> None:
        """Create what is missing and have the programs verified; VerifierError holds the end of the verifier's log."""
        log = ffi.new("char[]", _LOG_BYTES)
        result = lib.fl_object_load(self._object, log, _LOG_BYTES)
        said = ffi.string(log, _LOG_BYTES).decode(errors="replace")
        if result and said:
            raise VerifierError(self.name, -result, said)
        _check(result, "load", self.name)

    def program(self, name: str) -> int:
        """Descriptor of a loaded program; it belongs to the object."""
        return _check(lib.fl_object_program(self._object, name.encode()), "find program", f"{name} in {self.name}")

    def map(self, name: str) -> int:
        """Descriptor of a map after load; it belongs to the object."""
        return _check(lib.fl_object_map(self._object, name.encode()), "find map", f"{name} in {self.name}")

    def _names(self, call: Any) -> list[str]:
        names = ffi.new("char[]", 4096)
        _check(call(self._object, names, 4096), "list", self.name)
        return str(ffi.string(names).decode()).split()


def link_create(program: int, ifindex: int, attach_type: int, flags: int = 0) -> int:
    """Descriptor of a new link; it ends with its last descriptor unless pinned."""
    return _check(lib.fl_link_create(program, ifindex, attach_type, flags), "attach to", f"interface {ifindex}")


def link_update(link: int, program: int, old_program: int | None) -> None:
    """Swap the program atomically, if it still is `old_program`; None where that one's descriptor cannot be had."""
    _check(lib.fl_link_update(link, program, -1 if old_program is None else old_program), "update", "link")


def link_detach(link: int) -> None:
    """Take the program off the interface before this returns; the link stays, severed."""
    _check(lib.fl_link_detach(link), "detach", "link")


def link_facts(fd: int) -> LinkFacts:
    """Type, program and interface."""
    facts = ffi.new("uint32_t[5]")
    _check(lib.fl_link_facts(fd, facts), "look at", "link")
    return LinkFacts(*facts)


def xdp_query(ifindex: int) -> XdpFacts:
    """What is attached to an interface of the caller's network namespace."""
    facts = ffi.new("uint32_t[5]")
    _check(lib.fl_xdp_query(ifindex, facts), "look at", f"interface {ifindex}")
    return XdpFacts(MODES.get(facts[0], ""), max(facts[1:5]))


def clsact_create(ifindex: int) -> None:
    """Add the clsact qdisc; KernelError with EEXIST if there is one."""
    _check(lib.fl_clsact_create(ifindex), "add clsact to", f"interface {ifindex}")


def clsact_destroy(ifindex: int) -> None:
    """Remove the clsact qdisc with every filter in it."""
    _check(lib.fl_clsact_destroy(ifindex), "remove clsact from", f"interface {ifindex}")


def filter_attach(ifindex: int, program: int, handle: int, priority: int, *, replace: bool) -> None:
    """Add (EEXIST if taken) or atomically replace a direct-action filter at tc egress."""
    _check(lib.fl_filter_attach(ifindex, program, handle, priority, replace), "add filter to", f"interface {ifindex}")


def filter_query(ifindex: int, handle: int, priority: int) -> int:
    """Program id of the filter at this place of tc egress, 0 where there is none."""
    program = ffi.new("uint32_t *")
    return program[0] if lib.fl_filter_query(ifindex, handle, priority, program) == 0 else 0


def filter_detach(ifindex: int, handle: int, priority: int) -> None:
    """Remove the filter at this place of tc egress."""
    _check(lib.fl_filter_detach(ifindex, handle, priority), "remove filter from", f"interface {ifindex}")
