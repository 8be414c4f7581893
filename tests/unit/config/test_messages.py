"""What operators read when a file is wrong: golden texts, one file a topic. FAIRLEAD_BLESS=1 writes them anew, for review."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fairlead.config import parse
from fairlead.errors import ConfigError

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.yaml"))


def answer(path: Path) -> str:
    """Every problem of the file, a line each, the hint below."""
    try:
        problems = parse(path.read_text(), path.name).warnings
    except ConfigError as refused:
        problems = refused.problems
    lines = [(f"{p.position}: {p.severity.value}: {p.says}", f"    {p.hint}") for p in problems]
    return "".join(f"{line}\n" for pair in lines for line in pair if line.strip())


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_every_problem_is_named_at_once(path):
    """Each problem of the file is reported in one run, in the file's order, with line, column and what to write instead."""
    expected = path.with_suffix(".txt")
    if os.environ.get("FAIRLEAD_BLESS"):
        expected.write_text(answer(path))

    assert answer(path) == expected.read_text()


def test_messages_are_plain():
    """Messages are one line of printable ASCII-safe text each, however wild the file is."""
    text = (Path(__file__).parent / "golden" / "services.yaml").read_text()
    with pytest.raises(ConfigError) as refused:
        parse(text, "x.yaml")

    assert str(refused.value).count("\n") == len(refused.value.problems) - 1


def test_surrogates_are_refused():
    """Bytes that are no UTF-8, as `surrogateescape` decodes them, are named with their place."""
    with pytest.raises(ConfigError, match=r"x:2:4: error: this is not valid UTF-8"):
        parse("a: 1\nb: \udcff", "x")
