"""Sizes that keep the code readable in one sitting; to raise a cap, write the reason beside it."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
FUNCTION_CAP = 60
FUNCTION_MEDIAN = 10
MODULE_CAP = 350
TEST_MODULE_CAP = 500
C_FUNCTION_CAP = 60
C_FILE_CAP = 250

# path below the root -> (cap in lines, why)
MODULE_EXCEPTIONS: dict[str, tuple[int, str]] = {}
C_FILE_EXCEPTIONS = {
    "bpf/abi.h": (400, "the whole contract with user space: declarations and comments, no function"),
}


def python_files(*tops: str) -> list[Path]:
    return [path for top in tops for path in sorted((ROOT / top).rglob("*.py"))]


def c_files() -> list[Path]:
    found = [p for top in ("bpf", "bench", "src/fairlead/_native") for p in sorted((ROOT / top).rglob("*.[ch]"))]
    return [p for p in found if p.name != "_ext.c"]  # cffi writes that one


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def lines_of(path: Path) -> int:
    return len(path.read_text().splitlines())


def python_functions(path: Path) -> list[tuple[str, int]]:
    """(path:line name, lines) of every function, nested ones included."""
    tree = ast.parse(path.read_text(), str(path))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        (f"{name_of(path)}:{node.lineno} {node.name}", (node.end_lineno or node.lineno) - node.lineno + 1)
        for node in ast.walk(tree)
        if isinstance(node, kinds)
    ]


def c_functions(path: Path) -> list[tuple[str, int]]:
    """(path:line, lines) of every function: in our C style its braces stand alone in the first column."""
    found, start = [], 0
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line == "{":
            start = number
        elif line == "}" and start:
            found.append((f"{name_of(path)}:{start}", number - start + 1))
            start = 0
    return found


def over(sizes: list[tuple[str, int]], cap: int) -> list[str]:
    return [f"{name}: {size} lines, {cap} at most" for name, size in sizes if size > cap]


def test_python_functions_are_short() -> None:
    """No function is longer than a screen, and half of them have ten lines or fewer."""
    sizes = [found for path in python_files("src", "bench") for found in python_functions(path)]

    assert not over(sizes, FUNCTION_CAP)
    assert not sizes or median(size for _, size in sizes) <= FUNCTION_MEDIAN


def test_python_modules_are_short() -> None:
    """A module is read at one go."""
    broken = []
    for path in python_files("src", "bench"):
        cap, _ = MODULE_EXCEPTIONS.get(name_of(path), (MODULE_CAP, ""))
        broken += over([(name_of(path), lines_of(path))], cap)
    broken += over([(name_of(path), lines_of(path)) for path in python_files("tests")], TEST_MODULE_CAP)

    assert not broken


def test_c_functions_are_short() -> None:
    """The verifier does not mind long functions; readers do."""
    assert not over([found for path in c_files() for found in c_functions(path)], C_FUNCTION_CAP)


def test_c_files_are_short() -> None:
    """One subject to a C file."""
    broken = []
    for path in c_files():
        cap, _ = C_FILE_EXCEPTIONS.get(name_of(path), (C_FILE_CAP, ""))
        broken += over([(name_of(path), lines_of(path))], cap)

    assert not broken


def test_exceptions_are_needed() -> None:
    """An exception that is not needed any more is taken back."""
    for name, (_, why) in (MODULE_EXCEPTIONS | C_FILE_EXCEPTIONS).items():
        cap = MODULE_CAP if name.endswith(".py") else C_FILE_CAP

        assert why
        assert lines_of(ROOT / name) > cap, name


def test_entry_point_tells_the_story() -> None:
    """The XDP entry points stay at forty lines: what happens to a packet is read there."""
    text = (ROOT / "bpf/balancer.bpf.c").read_text()
    bodies = re.findall(r'^SEC\("xdp"\)\n[^{]*\n\{\n(.*?)^\}', text, re.DOTALL | re.MULTILINE)

    assert bodies
    assert all(len(body.splitlines()) <= 40 for body in bodies)
