"""Other builds of Fairlead beside the one that is tested: newer, broken, of another table layout; and what is installed.

A build is a copy of the package with an edit, in a directory of its own; `Installed` leads the lab's daemon to one of them by a
link that is turned from one to the next, as an upgrade of a package would do.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.kit import Lab

ROOT = Path(__file__).parents[2]
STORY = "int balancer(struct xdp_md *ctx)\n{\n"
LOAD = "    def load(self) -> None:\n"


def build(directory: Path, version: str) -> Path:
    """A copy of the package in `directory`/`version` that says that it is `version`."""
    made = directory / version
    shutil.copytree(ROOT / "src" / "fairlead", made / "fairlead", ignore=shutil.ignore_patterns("__pycache__"))
    facts = made / f"fairlead-{version}.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: fairlead\nVersion: {version}\n")
    return made


def edit(made: Path, name: str, old: str, new: str) -> None:
    """One edit of a file of the package, at its one place."""
    path = made / "fairlead" / name
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
    path.write_text(text.replace(old, new))


def with_another_program(made: Path, line: str) -> None:
    """The data plane compiled anew, with a line of C at the beginning of the story: the same layout, other instructions."""
    shutil.copytree(ROOT / "bpf", made / "bpf")
    source = made / "bpf" / "balancer.bpf.c"
    text = source.read_text()
    assert text.count(STORY) == 1
    source.write_text(text.replace(STORY, f"{STORY}\t{line}\n"))
    shown = subprocess.run(["make", "-s", "bpf-flags"], cwd=ROOT, check=True, capture_output=True, text=True)
    command = [*shown.stdout.split(), "-w", "-c", "bpf/balancer.bpf.c", "-o", "fairlead/_objects/balancer.bpf.o"]
    subprocess.run(command, cwd=made, check=True)


class Installed:
    """What the daemon of a lab finds as `fairlead` whenever it starts or restarts."""

    def __init__(self, link: Path) -> None:
        self._link = link

    def turn(self, to: Path) -> None:
        """From now on it is this build."""
        fresh = self._link.with_name("next")
        fresh.symlink_to(to)
        fresh.replace(self._link)


@contextmanager
def installed(lab: Lab, first: Path) -> Iterator[Installed]:
    """The daemon is started from a build in this block; to begin with from `first`."""
    services = lab.directory / "services.json"
    was = services.read_text()
    found = json.loads(was)
    found["balancer1"]["env"]["PYTHONPATH"] = str(first.parent / "installed")
    made = Installed(first.parent / "installed")
    made.turn(first)
    services.write_text(json.dumps(found))
    try:
        yield made
    finally:
        services.write_text(was)
