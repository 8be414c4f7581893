"""Who may import whom: the arrows of docs/ARCHITECTURE.md, read from the source with `ast`."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "fairlead"
VALUES = ("model", "errors", "events")
PURE = (*VALUES, "config", "core", "bgp", "bfd", "metrics", "records", "render")
# What would bring the outside world, a clock or chance into a pure package.
WORLDLY = frozenset(
    "asyncio socket ctypes cffi os time random secrets subprocess multiprocessing threading logging pathlib "
    "selectors select signal io tempfile shutil urllib http ssl".split()
)
# Of those what looks at text and at nothing else.
TEXTUAL = ("urllib.parse.",)
# What else a pure package may import; everything not named here or in the standard library is refused.
THIRD_PARTY = {"config": {"yaml"}}
# The one pure package that an adapter drives.
DRIVES = {"bgp_tcp": "bgp", "bfd_udp": "bfd", "log": "records", "search": "records", "alerts": "records"}


@dataclass(frozen=True)
class Import:
    """One import: `target` is the full dotted name, relative ones resolved."""

    path: Path
    line: int
    target: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: imports {self.target}"


def modules() -> dict[str, Path]:
    """Dotted name below `fairlead` ("" for the package itself) -> file."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(p for p in parts if p != "__init__")] = path
    return found


def imports(name: str, path: Path) -> Iterator[Import]:
    """Every import of a module, those inside functions included; `from x import y` gives `x.y`."""
    package = ["fairlead", *name.split(".")] if name else ["fairlead"]
    if path.name != "__init__.py":
        package.pop()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (Import(path, node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from (Import(path, node.lineno, f"{stem}.{alias.name}") for alias in node.names)


def all_imports(*tops: str) -> Iterator[tuple[str, Import]]:
    """(module, import) of every module whose name starts with one of `tops`; all of them without."""
    for name, path in modules().items():
        if not tops or any(name == top or name.startswith(top + ".") for top in tops):
            yield from ((name, found) for found in imports(name, path))


def inside(target: str) -> str | None:
    """The part of a target below `fairlead`, None for what is not ours."""
    return target.partition(".")[2] if target.split(".", maxsplit=1)[0] == "fairlead" else None


def reaches(target: str, *tops: str) -> bool:
    """Whether an import names one of Fairlead's modules `tops` or something in it."""
    mine = inside(target)
    return mine is not None and any(mine == top or mine.startswith(top + ".") for top in tops)


def refuse(broken: list[Import], rule: str) -> None:
    assert not broken, rule + ":\n" + "\n".join(map(str, broken))


def test_source_is_found() -> None:
    """The rules below look at something."""
    assert {"model", "errors", "events"} <= set(modules())


@pytest.mark.parametrize("package", PURE)
def test_pure_packages_know_no_world(package: str) -> None:
    """A pure package imports no IO, no clock and no chance: time and randomness are arguments."""
    allowed = THIRD_PARTY.get(package, set()) | {"fairlead"}
    worldly = [i for _, i in all_imports(package) if i.target.split(".")[0] in WORLDLY and not i.target.startswith(TEXTUAL)]
    strange = [
        i
        for _, i in all_imports(package)
        if (top := i.target.split(".")[0]) not in sys.stdlib_module_names and top not in allowed
    ]

    refuse(worldly, f"{package} is pure")
    refuse(strange, f"{package} needs only the standard library and {sorted(allowed)}")


@pytest.mark.parametrize("package", PURE)
def test_pure_packages_open_no_file(package: str) -> None:
    """A pure package calls neither `open` nor a `now`."""
    broken = []
    for name, path in modules().items():
        if name != package and not name.startswith(package + "."):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and (
                (isinstance(node.func, ast.Name) and node.func.id in {"open", "input", "print"})
                or (isinstance(node.func, ast.Attribute) and node.func.attr in {"now", "utcnow", "today"})
            ):
                broken.append(f"{path}:{node.lineno}")

    assert not broken, broken


@pytest.mark.parametrize("package", PURE)
def test_pure_packages_know_only_values(package: str) -> None:
    """A pure package knows the shared values and itself; values know only values."""
    allowed = (*VALUES, package)

    refuse(
        [i for _, i in all_imports(package) if inside(i.target) and not reaches(i.target, *allowed)], f"{package} knows {allowed}"
    )


def test_adapters_keep_to_themselves() -> None:
    """An adapter imports values, the one pure package it drives, and no other adapter; never core or config."""
    broken = []
    for name, found in all_imports("adapters"):
        parts = name.split(".")
        if len(parts) < 2:
            continue
        adapter = parts[1]
        allowed = [*VALUES, f"adapters.{adapter}", *([DRIVES[adapter]] if adapter in DRIVES else [])]
        if adapter == "kernel":
            allowed += ["_native", "_objects"]
        if inside(found.target) is not None and not reaches(found.target, *allowed):
            broken.append(found)

    refuse(broken, "adapters stand alone")


def test_only_kernel_touches_libbpf() -> None:
    """Only adapters/kernel imports `_native`'s libbpf part; the compiled module itself is seen by `_native` only."""
    libbpf = [
        i for name, i in all_imports() if reaches(i.target, "_native.bpf") and not name.startswith(("_native", "adapters.kernel"))
    ]
    compiled = [i for name, i in all_imports() if reaches(i.target, "_native._ext") and not name.startswith("_native")]

    refuse(libbpf, "libbpf belongs to adapters/kernel")
    refuse(compiled, "_ext belongs to _native")


def test_native_knows_only_values() -> None:
    """The extension's Python side knows the shared values and nothing above."""
    refuse(
        [i for _, i in all_imports("_native") if inside(i.target) and not reaches(i.target, *VALUES, "_native")],
        "_native stands at the bottom",
    )


def test_reconcile_knows_no_adapter() -> None:
    """The loop imports core and values only: it is tested with dicts, and adapters are handed in."""
    refuse(
        [i for _, i in all_imports("reconcile") if inside(i.target) and not reaches(i.target, *VALUES, "core", "reconcile")],
        "reconcile is handed its adapters",
    )


def test_nobody_imports_daemon_but_run() -> None:
    """`daemon` knows everyone; only the command `fairlead run` knows `daemon`, and only once it is called."""
    broken = []
    for name, found in all_imports():
        if not reaches(found.target, "daemon") or name.startswith("daemon"):
            continue
        commands = [n for n in ast.parse(found.path.read_text()).body if isinstance(n, ast.FunctionDef) and n.name == "run"]
        if not (name.startswith("cli") and any(c.lineno <= found.line <= (c.end_lineno or 0) for c in commands)):
            broken.append(found)

    refuse(broken, "only the command run imports daemon")


def test_cli_asks_the_daemon() -> None:
    """The CLI makes no decisions and reads no maps: it imports neither core nor reconcile nor the extension's libbpf part."""
    refuse(
        [i for _, i in all_imports("cli") if reaches(i.target, "core", "reconcile", "bgp", "_native.bpf", "_native.memory")],
        "the CLI speaks to the socket",
    )


def test_lab_is_a_black_box() -> None:
    """The lab drives the installed command from outside: it imports nothing of the rest of Fairlead."""
    refuse([i for _, i in all_imports("lab") if inside(i.target) and not reaches(i.target, "lab")], "the lab stands outside")
