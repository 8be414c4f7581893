"""One way into live tables: rows become reachable only by `_native`'s publish, in the order that an Op gives."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "fairlead"
# The files that may carry out stores: the extension's memory part, and the adapter that runs an Op's stores.
WRITERS = ("_native", "adapters/kernel")
WRITING_CALLS = {"pack_into", "store", "publish"}
# Pure: a `publish` there makes a value, an entry of an Op. It cannot reach the extension, see test_layers.py.
VALUES_ONLY = "core"


def sources() -> list[Path]:
    return [p for p in sorted(SOURCE.rglob("*.py")) if not str(p.relative_to(SOURCE)).startswith(WRITERS)]


def called_name(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def is_view(node: ast.expr) -> bool:
    """Whether an expression looks like a mapped table: `view`, `flows_view`, `tables.view("slots")`."""
    if isinstance(node, ast.Call):
        return called_name(node) == "view"
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name == "view" or name.endswith("_view") or name in {"views", "mapping", "mapped"}


def places(path: Path, found: list[ast.AST]) -> list[str]:
    return [f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}" for node in found]


def test_nobody_else_stores() -> None:
    """Outside the extension and adapters/kernel nothing imports its memory part or calls a function that writes memory."""
    broken: list[str] = []
    for path in sources():
        tree = ast.parse(path.read_text(), str(path))
        writing = {"pack_into"} if path.relative_to(SOURCE).parts[0] == VALUES_ONLY else WRITING_CALLS
        calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and called_name(n) in writing]
        named = [
            n
            for n in ast.walk(tree)
            if isinstance(n, ast.ImportFrom)
            and (n.module or "").startswith("fairlead._native")
            and any(alias.name in {"memory", "store", "publish"} for alias in n.names)
        ]
        broken += places(path, [*calls, *named])

    assert not broken


def test_nobody_writes_a_view() -> None:
    """Nobody assigns into a mapped view, not even adapters/kernel: its own stores go through the extension."""
    broken: list[str] = []
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(), str(path))
        targets: list[ast.expr] = []
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                targets += node.targets
            elif isinstance(node, ast.AugAssign | ast.AnnAssign):
                targets.append(node.target)
        broken += places(path, [t for t in targets if isinstance(t, ast.Subscript) and is_view(t.value)])

    assert not broken


def test_only_reconcile_applies() -> None:
    """Operations reach the kernel from one place: `reconcile` is the only caller of `apply`."""
    broken: list[str] = []
    for path in sources():
        if path.name == "reconcile.py":
            continue
        tree = ast.parse(path.read_text(), str(path))
        calls = [
            n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and n.func.attr == "apply"
        ]
        broken += places(path, list(calls))

    assert not broken


def test_tables_are_not_written_by_system_call() -> None:
    """Outside adapters/kernel nobody calls a map update: data tables are mapped, and a system call would copy whole rows."""
    broken = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sources()
        for line in path.read_text().splitlines()
        if re.search(r"map_update_(elem|batch)\(", line)
    ]

    assert not broken


def test_the_program_writes_flows_by_cmpxchg_only() -> None:
    """A flow word changes by compare-and-swap only: a plain store would bring an evicted flow back to life."""
    text = "\n".join(p.read_text() for p in sorted((ROOT / "bpf").glob("*.[ch]")))

    assert re.search(r"__sync_val_compare_and_swap|__sync_bool_compare_and_swap", text)
    assert not re.search(r"->word\[[^]]*\]\s*=[^=]", text)
