"""A real journald, in a mount namespace of its own: what the sink sends is what journalctl reads back, field for field."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fairlead.records import Record
from fairlead.records.journal import fields
from tests.search.test_documents import TYPES, made

pytestmark = pytest.mark.root

JOURNALD = Path("/lib/systemd/systemd-journald")
SCRIPT = """\
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs /run && mkdir -p /run/log/journal && mount -t tmpfs tmpfs /var/log
echo 0123456789abcdef0123456789abcdef > /run/machine-id
[ ! -e /etc/machine-id ] || mount -o bind /run/machine-id /etc/machine-id
{journald} &
for _ in $(seq 200); do [ ! -S /run/systemd/journal/socket ] || break; sleep 0.05; done
{python} {own}
journalctl --sync
journalctl -D /run/log/journal -o json --all --no-pager SYSLOG_IDENTIFIER=fairlead > {found}
kill %1 || kill $!
"""


def records() -> list[Record]:
    """Every type of event, and one that no datagram takes."""
    events = [event for kind in TYPES for event in made(kind)]
    long = next(event for event in events if event.name == "warned")
    events.append(type(long)("long\n" + "x" * 400_000))  # type: ignore[call-arg]
    return [Record(number, 1.7e9 + number, event) for number, event in enumerate(events, 1)]


def test_read_back(tmp_path: Path) -> None:
    """All events, with all fields, in order, in journald's own files."""
    if os.geteuid() != 0 or not JOURNALD.exists() or not shutil.which("journalctl"):
        pytest.skip("needs root and systemd's journald (it need not run)")
    root, found = Path(__file__).parents[2], tmp_path / "found"
    words = {"journald": JOURNALD, "python": sys.executable, "own": f"{__file__}", "found": found}
    script = SCRIPT
    for name, value in words.items():
        script = script.replace(f"{{{name}}}", str(value))
    argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script]
    done = subprocess.run(
        argv, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, text=True, timeout=120, check=False
    )
    assert found.exists(), done.stderr
    entries = [json.loads(line) for line in found.read_text().splitlines()]
    wanted = [fields(record) for record in records()]

    assert len(entries) == len(wanted), done.stderr
    for entry, want in zip(entries, wanted, strict=True):
        # journalctl knows the times of syslog in its own form only
        assert {name: entry.get(name, "") for name in want} == want


async def _send() -> None:
    from fairlead.adapters.log import Journal

    journal = Journal(print, probes="all")
    for record in records():
        journal(record)
    await journal.close(10)
    status = journal.status()
    assert (status.sent, status.dropped) == (len(records()), 0), status


if __name__ == "__main__":
    import asyncio

    asyncio.run(_send())
