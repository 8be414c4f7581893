"""The documents cannot lag: each name that they give exists, and each that a user meets is in them."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from fairlead import _native, cli, config
from fairlead.config import vocabulary

ROOT = Path(__file__).parents[2]
ARCHITECTURE = ROOT / "docs" / "ARCHITECTURE.md"
WALKS = ("A packet", "A configuration change", "A health check's result", "A BGP update", "A counter")
STEP = re.compile(r"`([\w./]+\.(?:py|c|h)):([\w.]+)`")


def text(name: str) -> str:
    return (ROOT / name).read_text()


def walks() -> dict[str, list[tuple[str, str]]]:
    """Title of each walk in ARCHITECTURE.md -> its steps, as (file, function)."""
    sections = re.split(
        r"^### ", text("docs/ARCHITECTURE.md").partition("\n## Five walks\n")[2].partition("\n## ")[0], flags=re.MULTILINE
    )
    return {section.splitlines()[0]: STEP.findall(section) for section in sections[1:]}


def python_names(path: Path) -> set[str]:
    """Functions, classes and methods (`Class.method`) that a module defines at its top."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{m.name}" for m in node.body if isinstance(m, ast.FunctionDef | ast.AsyncFunctionDef)}
    return names


def c_names(path: Path) -> set[str]:
    """Functions that a C file defines: a name, its parameters, and a brace alone on the next line."""
    return set(re.findall(r"^\w[^;{}=\n]*?\b(\w+)\([^;{}]*\)\n\{$", path.read_text(), re.MULTILINE))


def defined(file: str, name: str) -> bool:
    for top in (ROOT / "src" / "fairlead", ROOT / "bpf", ROOT):
        if (path := top / file).is_file():
            return name in (python_names(path) if path.suffix == ".py" else c_names(path))
    return False


def commands(group: click.Group, words: str = "fairlead") -> Iterator[tuple[str, click.Command]]:
    """(full words, command) of every command, groups opened."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{words} {name}")
        else:
            yield f"{words} {name}", command


def all_commands() -> list[tuple[str, click.Command]]:
    from fairlead.lab.cli import lab

    return [*commands(cli.fairlead), *commands(lab, "fairlead lab")]


def verdicts() -> dict[str, str]:
    """Constant of `enum verdict` -> the name that users see."""
    body = text("bpf/abi.h").partition("enum verdict {")[2].partition("};")[0]
    constants = re.findall(r"^\t((?:PASS|TX|REDIRECT|DROP)_\w+) =", body, re.MULTILINE)
    layout = _native.layout()
    names = layout.verdict_names()
    return {constant: names[layout.constants[constant]] for constant in constants}


def test_the_walks_are_there() -> None:
    """ARCHITECTURE.md walks through the code five times, each walk in at least four steps."""
    found = walks()

    assert tuple(found) == WALKS
    assert all(len(steps) >= 4 for steps in found.values())


@pytest.mark.parametrize("title", WALKS)
def test_the_walks_are_true(title: str) -> None:
    """Each `file:function` of a walk exists."""
    missing = [f"{file}:{name}" for file, name in walks()[title] if not defined(file, name)]

    assert not missing


def test_every_other_place_named_exists() -> None:
    """Each `file:function` elsewhere in the documents exists too."""
    missing = [
        f"{path.relative_to(ROOT)} names {file}:{name}"
        for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
        for file, name in STEP.findall(path.read_text())
        if not defined(file, name)
    ]

    assert not missing


def test_every_verdict_is_documented() -> None:
    """docs/reference/verdicts.md has exactly the verdicts of abi.h, each under the name that users see."""
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", text("docs/reference/verdicts.md"), re.MULTILINE)

    assert len(verdicts()) > 15
    assert {constant: name for name, constant in rows} == verdicts()


def test_every_config_key_is_documented() -> None:
    """docs/reference/config.md, for BGP bgp.md beside it, explains each key of the grammar."""
    pages = text("docs/reference/config.md") + text("docs/reference/bgp.md")
    documented = set(re.findall(r"`([a-z0-9_-]+)[:`]", pages))
    missing = sorted({key for section in vocabulary.ALL for key in section.known} - documented)

    assert not missing


@pytest.mark.parametrize(("words", "command"), all_commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_is_documented(words: str, command: click.Command) -> None:
    """docs/reference/commands.md has each command with each of its options."""
    rows = [line for line in text("docs/reference/commands.md").splitlines() if re.match(rf"\| `{words}[ `]", line)]
    options = [o for p in command.params if isinstance(p, click.Option) for o in [*p.opts, *p.secondary_opts]]

    assert len(rows) == 1
    assert not [option for option in options if option not in rows[0]]


def test_links_lead_somewhere() -> None:
    """Each relative link of the documents leads to a file."""
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text())
        if not (path.parent / target).exists()
    ]

    assert not broken


def test_every_dependency_has_a_reason() -> None:
    """docs/why/dependencies.md has one row for each run-time dependency, and for no other."""
    wanted = [line for line in text("requirements.in").splitlines() if line and not line.startswith("#")]
    rows = re.findall(r"^\| (\w[\w.-]*) \|", text("docs/why/dependencies.md"), re.MULTILINE)[1:]

    assert rows == sorted(wanted, key=str.lower)


def test_readme_configuration_is_good() -> None:
    """The configuration that README.md shows parses, without so much as a warning."""
    shown = re.search(r"^       # fairlead\.yaml\n(.*?)\n\n\d\. ", text("README.md"), re.DOTALL | re.MULTILINE)

    assert shown
    assert not config.parse(textwrap.dedent(shown[1]), "README.md").warnings


def test_readme_says_how_to_leave() -> None:
    """The first screen of README.md names the kernel, the demo, the tests and the way back."""
    screen = "\n".join(text("README.md").splitlines()[:40])

    for words in ("Linux 5.15", "make demo", "make test", "`fairlead detach`", "leaves the system as it was"):
        assert words in screen.replace("\n  ", " ")


def test_every_bgp_key_names_its_test() -> None:
    """Each row of the key table in docs/reference/bgp.md names a test that exists, and each key of the grammar has a row."""
    table = text("docs/reference/bgp.md").partition("## Keys\n")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    tests = {match for row in rows for match in re.findall(r"(tests/[\w/]+\.py)::(\w+)", row)}
    sections = (vocabulary.BGP, vocabulary.GROUP, vocabulary.PEER, vocabulary.RULE, vocabulary.LISTEN, vocabulary.AGGREGATE)
    keys = {key for section in (*sections, vocabulary.GRACEFUL_RESTART) for key in section.known}

    assert keys <= {key for row in rows for key in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert not [row for row in rows if "tests/" not in row and "not supported yet" not in row and "| warning |" not in row]
    assert not [f"{path}::{name}" for path, name in tests if f"def {name}(" not in text(path)]
