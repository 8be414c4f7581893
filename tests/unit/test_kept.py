"""Totals in a file: whole or not at all, for the tables that they belong to."""

from __future__ import annotations

from pathlib import Path

from fairlead.adapters.kept import KeptTotals
from fairlead.model import Kept

KEPT = Kept({bytes(range(20)): (1, 2, 3)}, {7: 1_000_000_000_000_000_001})


def test_there_and_back(tmp_path: Path) -> None:
    """What was saved is loaded; another data plane has a file of its own."""
    kept = KeptTotals(str(tmp_path / "state"), "/sys/fs/bpf/fairlead/")
    assert kept.save(KEPT) == ""
    assert kept.load(adopted=True) == KEPT
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["totals-sys-fs-bpf-fairlead.json"]
    assert KeptTotals(str(tmp_path / "state"), "/sys/fs/bpf/other").load(adopted=True) == Kept()


def test_new_tables_begin_at_nothing(tmp_path: Path) -> None:
    """Where nothing was adopted the file is stale: it goes."""
    kept = KeptTotals(str(tmp_path), "/bpf")
    kept.save(KEPT)
    assert kept.load(adopted=False) == Kept()
    assert list(tmp_path.iterdir()) == []
    kept.remove()


def test_a_broken_file_is_no_file(tmp_path: Path) -> None:
    """Counters matter less than a start."""
    kept = KeptTotals(str(tmp_path), "/bpf")
    for text in ("", "{", "[]", '{"sums": {"zz": [1, 2, 3]}, "counted": {}}', '{"sums": {"00": [1]}, "counted": {}}', "null"):
        (tmp_path / "totals-bpf.json").write_text(text)
        assert kept.load(adopted=True) == Kept()


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    """A directory that cannot be made is named with the reason."""
    (tmp_path / "file").write_text("")
    assert "file" in KeptTotals(str(tmp_path / "file"), "/bpf").save(KEPT)
