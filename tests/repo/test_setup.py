"""`make setup` tells the truth, stops where it cannot work, and starts nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "setup.sh"
BASICS = "bash sh env awk sed sort paste head cat dirname id mktemp realpath find".split()


def packages() -> list[str]:
    """The Debian packages that set-up may install, read from its own lists."""
    words: list[str] = []
    for found in re.findall(r"^(?:KERNEL_)?PACKAGES=\(([^)]*)\)", SCRIPT.read_text(), re.MULTILINE):
        words += [word for line in found.splitlines() for word in line.partition("#")[0].split()]
    return words


def test_dry_run_changes_nothing() -> None:
    """`make setup DRY=1` says what would be installed, and leaves every file of the tree and the package list as they were."""

    def state() -> tuple[str, list[str]]:
        listed = subprocess.run(["dpkg-query", "-W"], capture_output=True, text=True, check=False).stdout
        return listed, sorted(str(p) for place in (ROOT, ROOT / ".venv" / "bin") for p in place.iterdir())

    before = state()
    done = subprocess.run(["make", "setup", "DRY=1"], cwd=ROOT, capture_output=True, text=True, check=True)

    assert "packages to install:" in done.stdout
    assert "no service is started or enabled" in done.stdout
    assert state() == before


def test_without_apt_it_names_what_it_needs(tmp_path: Path) -> None:
    """On a system without apt, set-up lists what is missing, says so with exit code 1 and does nothing."""
    for name in BASICS:
        found = shutil.which(name)
        assert found is not None
        (tmp_path / name).symlink_to(found)
    done = subprocess.run(
        [str(tmp_path / "bash"), str(SCRIPT), "packages"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "no apt" in done.stderr
    assert "clang-19" in done.stderr
    assert "the command cc" in done.stderr


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="reads dpkg's records")
def test_no_package_starts_a_service() -> None:
    """No package that set-up installs enables or starts a service when it is new: its own maintainer script says so."""
    starts = re.compile(r"invoke-rc\.d|update-rc\.d\s+\S+\s+(defaults|enable)|systemctl\s+(start|enable)")
    broken = []
    for name in packages():
        for script in Path("/var/lib/dpkg/info").glob(f"{name}*.postinst"):
            if script.name.partition(".")[0].partition(":")[0] == name and starts.search(script.read_text()):
                broken.append(script.name)

    assert len(packages()) > 10
    assert not broken


def test_ci_calls_make_test() -> None:
    """Continuous integration runs exactly what a developer runs."""
    text = (ROOT / ".ci" / "run").read_text()

    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert re.findall(r"\bmake\b.*", text.rpartition("#")[2]) == ["make test </dev/null"]
