"""The wheel is whole: built offline from a clean tree, it installs and runs without the source beside it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(
    ".git",
    ".venv",
    ".tools",
    "build",
    "dist",
    "tests",
    "docs",
    "*.o",
    "*.so",
    "_ext.c",
    "*.egg-info",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("wheel") / "tree"
    shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
    out = tree.parent / "out"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-index",
            "--no-build-isolation",
            "--no-deps",
            "--wheel-dir",
            str(out),
            ".",
        ],
        cwd=tree,
        check=True,
    )
    (built,) = out.glob("fairlead-*.whl")
    return built


def test_wheel_carries_objects_and_extension(wheel: Path) -> None:
    """The wheel has every BPF object, one extension for all Pythons from 3.11 on, the type marker and the licences."""
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = [*ROOT.glob("bpf/*.bpf.c"), *ROOT.glob("bpf/lab/*.bpf.c")]

    assert "-cp311-abi3-" in wheel.name
    assert sources
    assert {f"fairlead/_objects/{p.name[:-2]}.o" for p in sources} <= names
    assert "fairlead/_native/_ext.abi3.so" in names
    assert "fairlead/py.typed" in names
    assert any(name.endswith("GPL-2.0-only.txt") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "bench/"))]


def test_wheel_runs_without_the_source(wheel: Path, tmp_path: Path) -> None:
    """Installed elsewhere, the package finds its objects and its layouts, and the command starts."""
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-index",
            "--no-deps",
            "--target",
            str(tmp_path / "site"),
            str(wheel),
        ],
        check=True,
    )
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import fairlead._native, importlib.resources\n"
        "assert fairlead.__file__.startswith(sys.argv[1]), fairlead.__file__\n"
        "assert fairlead._native.layout().structs['service'].size == 64\n"
        "assert (importlib.resources.files('fairlead._objects') / 'balancer.bpf.o').read_bytes()[:4] == b'\\x7fELF'\n"
        "from fairlead.cli import main\n"
        "sys.argv[1:] = ['version']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "site")], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "fairlead"
