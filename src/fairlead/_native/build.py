"""Describes the C extension to cffi; setup.py runs this file from the project's root, nothing imports it.

The rows of `bpf/abi.h` are handed over as they are: the preprocessor takes out what is only for the compiler, cffi reads the
rest, and the C compiler then checks every offset and constant against the header itself.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parents[3]
NATIVE = "src/fairlead/_native"
SOURCES = ("maglev", "rendezvous", "memory", "flows", "sources", "maps", "object", "links", "filters")
TYPES = """
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
"""


def rows() -> str:
    """The structs, enums and numeric constants of abi.h as cffi wants them."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    header = ROOT / "bpf" / "abi.h"
    text = subprocess.run(
        [*compiler, "-E", "-P", "-dD", "-undef", "-DFAIRLEAD_CDEF", header], check=True, capture_output=True, text=True
    ).stdout
    number = re.compile(r"#define (?!FAIRLEAD_)[A-Z][A-Z0-9_]* (-?\d+|0x[0-9a-fA-F]+)\s*$")
    return "\n".join(line for line in text.splitlines() if not line.startswith("#") or number.match(line))


def calls() -> str:
    """The prototypes of native.h: what stands between its two markers."""
    text = (ROOT / NATIVE / "native.h").read_text()
    return text.split("/* cffi: from here */")[1].split("/* cffi: to here */")[0]


builder = FFI()
builder.cdef(TYPES + rows() + calls())
builder.set_source(
    "fairlead._native._ext",
    '#include "native.h"',
    sources=[f"{NATIVE}/{name}.c" for name in SOURCES],
    depends=[f"{NATIVE}/native.h", f"{NATIVE}/internal.h", "bpf/abi.h", "bpf/abi_sources.h"],
    include_dirs=[NATIVE, "bpf"],
    libraries=["bpf"],
    # cffi's own code has unused parameters; -Wextra is for ours
    extra_compile_args=["-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-missing-field-initializers"],
    py_limited_api=True,
)
