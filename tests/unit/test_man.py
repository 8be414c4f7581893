"""The manual pages: made from the commands, whole, and such that the tools that show them have nothing to complain of."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

SOURCE = Path(__file__).parents[2] / "scripts" / "man.py"


def _loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("man", SOURCE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


man: Any = _loaded()
COMMANDS = {"-".join(words): (words, command) for words, command in man.commands()}


def page(name: str) -> str:
    found: str = man.page(*COMMANDS[name], "2026-11-23")
    return found


def shown(text: str) -> str:
    """As `man` shows it, 500 columns wide so that no word is broken; groff's complaints fail."""
    argv = ["groff", "-man", "-ww", "-Tutf8", "-P-cbou", "-rLL=500n"]
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    return done.stdout


def test_there_is_a_page_for_every_command() -> None:
    """The command itself, each of its commands, and those of the lab."""
    assert {"fairlead", "fairlead-status", "fairlead-top", "fairlead-drain", "fairlead-lab", "fairlead-lab-exec"} <= set(COMMANDS)


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_is_whole(name: str) -> None:
    """Groff shows it without a warning, with every option, no markup of ours left, and only pages that exist to look up."""
    text = shown(page(name))
    _, command = COMMANDS[name]
    options = [o for p in command.params if isinstance(p, click.Option) for o in [*p.opts, *p.secondary_opts]]

    assert all(head in text for head in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"))
    assert not [option for option in options if option not in text]
    prose = [line for line in text.splitlines() if not line.startswith(" " * 11)]  # what is shown as it is stands further in
    assert not [line for line in prose if "`" in line]
    assert "\b" not in text
    assert set(re.findall(r"(fairlead[a-z-]*)\(8\)", text.partition("SEE ALSO")[2].rpartition("\n")[0])) <= set(COMMANDS)


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
@pytest.mark.parametrize("name", COMMANDS)
def test_mandoc_takes_it_too(name: str) -> None:
    """The other formatter finds nothing wrong either."""
    subprocess.run(["mandoc", "-T", "lint", "-W", "warning"], input=page(name), text=True, timeout=60, check=True)


def test_the_pages_are_written(tmp_path: Path) -> None:
    """The script writes one file a page, without those that were there before, and the same bytes for the same date."""
    (tmp_path / "fairlead-gone.8").touch()
    argv, env = [sys.executable, str(SOURCE), str(tmp_path)], dict(os.environ) | {"SOURCE_DATE_EPOCH": "1795392000"}
    subprocess.run(argv, env=env, capture_output=True, timeout=60, check=True)

    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.8" for name in COMMANDS}
    assert ".B \\-h, \\-\\-help" in page("fairlead-status")
    assert (tmp_path / "fairlead-status.8").read_text() == page("fairlead-status")
