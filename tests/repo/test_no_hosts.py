"""What is committed names no machine: no package index, no absolute path of whoever wrote it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Written with character classes, so that this file does not name them either.
FORBIDDEN = re.compile(
    r"py[p]i\.org|python[h]osted\.org|npm[j]s\.|registry\.[n]pm|deb\.[d]ebian\.org|proxy\.[g]olang\.org|crates\.[i]o"
    r"|--(extra-)?inde[x]-url|--find-link[s] |--trusted-hos[t] "
    r"|/roo[t]/|/far[m]/|/wor[k]/|/op[t]/wheels|/op[t]/pypi|/tmp/f[l]\b|/hom[e]/"
)


def tracked() -> list[Path]:
    """What git tracks and the work tree has."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_host_and_no_machine_path() -> None:
    """No tracked file names a package index or a path of the machine it was written on."""
    broken = []
    for path in tracked():
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if FORBIDDEN.search(line):
                broken.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")

    assert not broken


def test_requirements_are_pinned_and_hashed() -> None:
    """Each requirement has one exact version and hashes, and names no place to fetch it from."""
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (ROOT / name).read_text()
        entries = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]

        assert entries
        assert all(re.match(r"[A-Za-z0-9._\[\]-]+==\S+ \\$", entry) for entry in entries)
        assert text.count("--hash=sha256:") >= len(entries)
        assert "://" not in text
