"""abi.h as Python sees it, and how large and how keyed the tables are."""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# shorter, or told apart: TX_TOO_BIG is answered, DROP_TOO_BIG is not
_VERDICT_NAMES = {"REDIRECT_FORWARDED": "redirected", "DROP_TOO_BIG": "dropped_too_big"}


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a struct in abi.h: offset and size in bytes, `count` elements (1 unless an array)."""

    name: str
    offset: int
    size: int
    count: int


@dataclass(frozen=True, slots=True)
class StructLayout:
    """A struct of abi.h. Integers pack in host order; byte arrays as they are."""

    name: str
    size: int
    members: tuple[Member, ...]
    _packer: struct.Struct = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        codes = {1: "B", 2: "H", 4: "I", 8: "Q"}
        text, at = ("<" if sys.byteorder == "little" else ">"), 0
        for member in self.members:
            text += f"{member.offset - at}x" if member.offset > at else ""
            each = member.size // member.count
            bytes_like = each == 1 and member.count > 1
            text += f"{member.size}s" if bytes_like else f"{member.count}{codes[each]}"
            at = member.offset + member.size
        text += f"{self.size - at}x" if self.size > at else ""
        object.__setattr__(self, "_packer", struct.Struct(text))

    def offset(self, member: str) -> int:
        """Byte offset of a member; KeyError if there is none of that name."""
        for m in self.members:
            if m.name == member:
                return m.offset
        raise KeyError(f"{self.name}.{member}")

    def pack(self, **values: int | bytes | Sequence[int]) -> bytes:
        """The struct as bytes; members not named are zero. KeyError for a name that the struct does not have."""
        flat: list[int | bytes] = []
        for m in self.members:
            each = m.size // m.count
            if each == 1 and m.count > 1:
                value = values.pop(m.name, b"")
                flat.append(bytes(value) if not isinstance(value, int) else value.to_bytes(m.size, "big"))
            elif m.count > 1:
                numbers = values.pop(m.name, (0,) * m.count)
                assert not isinstance(numbers, int | bytes)
                flat.extend(numbers)
            else:
                number = values.pop(m.name, 0)
                assert isinstance(number, int)
                flat.append(number)
        if values:
            raise KeyError(f"{self.name} has no member {min(values)}")
        return self._packer.pack(*flat)

    def unpack(self, data: bytes | memoryview) -> dict[str, int | bytes | tuple[int, ...]]:
        """The members of one struct by name: int, bytes for byte arrays, tuple for other arrays."""
        flat = iter(self._packer.unpack(data))
        found: dict[str, int | bytes | tuple[int, ...]] = {}
        for m in self.members:
            if m.size // m.count != 1 and m.count > 1:
                found[m.name] = tuple(next(flat) for _ in range(m.count))
            else:
                found[m.name] = next(flat)
        return found


@dataclass(frozen=True, slots=True)
class Layout:
    """abi.h as Python sees it: structs by name, and every `#define` and enum constant by name."""

    structs: Mapping[str, StructLayout]
    constants: Mapping[str, int]

    def verdict_names(self) -> dict[int, str]:
        """Verdict number -> the name that metrics, CLI and docs use: `not_a_vip`, `forwarded`, `redirected_encapsulated`."""
        kinds = {"PASS_": "", "TX_": "", "REDIRECT_": "redirected_", "DROP_": ""}
        names: dict[int, str] = {}
        for name, value in self.constants.items():
            for kind, front in kinds.items():
                if name.startswith(kind):
                    names[value] = _VERDICT_NAMES.get(name, front + name.removeprefix(kind).lower())
        return names

    def verdict_actions(self) -> dict[int, str]:
        """Verdict number -> what becomes of the packet: `pass` (the kernel's stack has it), `tx`, `redirect` or `drop`."""
        kinds = ("pass", "tx", "redirect", "drop")
        return {value: kind for name, value in self.constants.items() for kind in kinds if name.startswith(f"{kind.upper()}_")}


@dataclass(frozen=True, slots=True)
class Geometry:
    """How many rows each table has; see `struct meta` for the units."""

    services: int = 32768
    destinations: int = 131072
    nexthops: int = 65536
    slots: int = 1 << 20  # elements of 16: 16.7 million slots
    buckets: int = 1 << 20  # 8.4 million flow words
    cpus: int = 1
    hz: int = 250
    fine_shift: int = 9
    coarse_shift: int = 14


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of the flow table and the slot hash: four odd u64 each. Status shows the `fingerprint`, adoption compares it."""

    flow: tuple[int, int, int, int]
    slot: tuple[int, int, int, int]
    fingerprint: int
