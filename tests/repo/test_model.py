"""The reference model stands apart: it is worth something only while it knows nothing of what it judges."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
MODEL = sorted((TESTS / "bpf").glob("model*.py"))
OWN = {f"tests.bpf.{path.stem}" for path in MODEL}
# What could bring the program in by another door than an import.
DOORS = {"importlib", "ctypes", "subprocess", "runpy", "pkgutil", "builtins", "sys"}


def imports(path: Path) -> list[str]:
    """Full dotted names, those inside functions included."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            stem = "." * node.level + (node.module or "")
            found += [f"{stem}.{alias.name}" if stem in {"tests.bpf", "tests"} else stem for alias in node.names]
    return found


def test_model_is_found() -> None:
    """The rule below looks at something."""
    assert {"tests.bpf.model", "tests.bpf.model_wire"} <= OWN


@pytest.mark.parametrize("path", MODEL, ids=lambda path: path.name)
def test_model_imports_nothing_of_fairlead(path: Path) -> None:
    """Nothing but itself and the standard library: neither src/fairlead nor a test module that might import it."""
    for name in imports(path):
        assert name in OWN or name.split(".")[0] in sys.stdlib_module_names - DOORS, f"{path.name} imports {name}"
    assert "__import__" not in path.read_text()
