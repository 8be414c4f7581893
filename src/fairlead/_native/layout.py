"""abi.h as Python sees it, read from the compiled extension: no offset is written down twice."""

from __future__ import annotations

import hashlib
from functools import cache

from fairlead._native._ext import ffi, lib
from fairlead.model import Layout, Member, StructLayout

# What `layout_hash` covers of the constants: those that say where a value stands. Verdicts and flags may be added at any time.
_PLACING = ("_SHIFT", "_BITS", "_ROWS", "_WAYS", "_ELEMENT", "_MAGIC")
# Structs that it does not cover.
_BESIDE = frozenset("options trace block_key block source_key source".split())


@cache
def layout() -> Layout:
    """Every struct of abi.h by name, and every `#define` and enum constant by name."""
    _, names, _ = ffi.list_types()
    structs = {name.removeprefix("struct "): _struct(name.removeprefix("struct ")) for name in names}
    constants = {name: value for name in dir(lib) if isinstance(value := getattr(lib, name), int)}
    return Layout(structs, constants)


@cache
def layout_hash() -> str:
    """Twelve hex digits that change when a row of a pinned table would be read differently.

    Options belong to a generation, not to the tables, and are left out; so are the tables that are made when they are wanted
    only: whoever opens them compares their shape.
    """
    found = layout()
    text = [f"{s.name}:{s.size}:{s.members}" for name, s in sorted(found.structs.items()) if name not in _BESIDE]
    text += [f"{name}={value}" for name, value in sorted(found.constants.items()) if name.endswith(_PLACING)]
    return hashlib.blake2b("\n".join(text).encode(), digest_size=6).hexdigest()


def _struct(name: str) -> StructLayout:
    kind = ffi.typeof(f"struct {name}")
    members = []
    for member, field in kind.fields:
        count = field.type.length if field.type.kind == "array" else 1
        members.append(Member(member, field.offset, ffi.sizeof(field.type), count))
    return StructLayout(name, ffi.sizeof(kind), tuple(members))
