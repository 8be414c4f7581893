"""Manual pages, made from the commands themselves: one for `fairlead`, one for each command. `make man` puts them in build/man.

The macros are those of man(7). What a page says stands in the command's help and in its row of docs/reference/commands.md.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from fairlead import cli
from fairlead.adapters.system import version
from fairlead.lab.cli import lab

ROOT = Path(__file__).parents[1]
REFERENCE = (ROOT / "docs/reference/commands.md").read_text()
SECTION = 8
EXITS = (("0", "Fine."), ("1", "Refused or failed; standard error says why."), ("2", "Wrong usage."))
FILES = (
    ("/etc/fairlead/fairlead.yaml", "The configuration, where the service unit looks for it."),
    ("/run/fairlead/api.sock", "The daemon's API: HTTP and JSON for whoever may open it."),
    ("/sys/fs/bpf/fairlead", "What is pinned: programs, tables and links. It outlives the daemon."),
    ("/var/lib/fairlead", "What outlives the tables too: what operators said, what gone servers had counted."),
)
ENVIRONMENT = (
    ("FAIRLEAD_SOCKET, FAIRLEAD_BPFFS, FAIRLEAD_STATE", "As --socket, --bpffs and --state, where these are not given."),
    ("NO_COLOR", "If set and not empty, no text is coloured unless --color says so."),
)


def seen(command: click.Command, name: str | None = None) -> click.Context:
    """The command as `fairlead` has it: click keeps the help option of the first context that asks."""
    return click.Context(command, info_name=name, help_option_names=["-h", "--help"])


def commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Words of every command, groups included, and the command."""

    def walk(words: tuple[str, ...], command: click.Command) -> Iterator[tuple[tuple[str, ...], click.Command]]:
        yield words, command
        if isinstance(command, click.Group):
            context = seen(command)
            for name in command.list_commands(context):
                inner = lab if (*words, name) == ("fairlead", "lab") else command.get_command(context, name)
                assert inner is not None
                yield from walk((*words, name), inner)

    yield from walk(("fairlead",), cli.fairlead)


def plain(text: str) -> str:
    """Text as roff takes it: nothing in it is a request, hyphens are those that can be typed."""
    safe = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", safe, flags=re.MULTILINE)


def marked(text: str) -> str:
    """The same with what stands in backquotes in bold, as the pages of other tools have it."""
    parts = text.split("`")
    return "".join(f"\\fB{plain(part)}\\fR" if n % 2 else plain(part) for n, part in enumerate(parts))


def paragraphs(text: str) -> list[str]:
    """Each as a roff paragraph; one that click keeps as it is (a backspace stands before it) keeps its lines."""
    lines = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        kept = block.startswith("\b")
        rows = block.removeprefix("\b").strip("\n").splitlines()
        lines += [".PP", ".nf", *map(marked, rows), ".fi"] if kept else [".PP", marked(" ".join(row.strip() for row in rows))]
    return lines


def tagged(rows: tuple[tuple[str, str], ...]) -> list[str]:
    """A list of terms with what is said of each."""
    return [line for term, says in rows for line in (".TP", f".B {plain(term)}", marked(says))]


def usage(words: tuple[str, ...], command: click.Command) -> str:
    """Bold what is typed, italic what is meant."""
    pieces = command.collect_usage_pieces(seen(command, " ".join(words)))
    return f".B {plain(' '.join(words))}\n.I " + plain(" ".join(pieces))


def options(command: click.Command) -> list[str]:
    """Every option with its help, as `--help` shows it."""
    context = seen(command)
    rows = [
        found
        for p in command.get_params(context)
        if isinstance(p, click.Option) and (found := p.get_help_record(context)) is not None
    ]
    return tagged(tuple(rows))


def row(words: tuple[str, ...]) -> str:
    """What docs/reference/commands.md says of a command, as it stands there."""
    found = re.search(rf"^\| `{' '.join(words)}(?: [^`]*)?` \|(?:[^|]|\\\|)*\| (.*) \|$", REFERENCE, re.MULTILINE)
    return found[1].replace("\\|", "|") if found else ""


def sections(words: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Title and text of each section that the command's row leads to."""
    places = re.findall(r"\(#([\w-]+)\)", row(words))
    for title, text in re.findall(r"^### (.+?)\n\n(.*?)(?=^##|\Z)", REFERENCE, re.MULTILINE | re.DOTALL):
        if title.lower().replace(" ", "-") in places:
            yield title, text


def blocks(text: str) -> list[str]:
    """What blank lines divide; one within text that is shown as it is divides nothing."""
    found: list[str] = []
    for block in re.split(r"\n\n+", text.strip("\n")):
        fenced = bool(found) and found[-1].startswith("```") and found[-1].count("```") == 1
        if fenced or (found and block.startswith("    ") and found[-1].startswith("    ")):
            found[-1] += f"\n\n{block}"
        else:
            found.append(block)
    return found


def body(text: str) -> list[str]:
    """Markdown as we write it: paragraphs, lists of dashes, tables, and text that is shown as it is."""
    lines = []
    for block in blocks(text):
        rows = block.splitlines()
        if rows[0].startswith(("```", "    ")):
            kept = [row.removeprefix("    ") for row in rows if not row.startswith("```")]
            lines += [".PP", ".in +4n", ".nf", *map(plain, kept), ".fi", ".in"]
        elif rows[0].startswith("|"):
            lines += listed(rows)
        else:
            for item in re.split(r"\n(?=- )", block):
                bullet = [".IP \\(bu 2"] if item.startswith("- ") else [".PP"]
                lines += [*bullet, marked(linked(" ".join(item.removeprefix("- ").split())))]
    return lines


def listed(rows: list[str]) -> list[str]:
    """A table as a list of its first column, with what the others say of it."""
    heads, _, *cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip("|"))] for row in rows]
    lines = []
    for first, *others in cells:
        named = zip(heads[1:], others, strict=True)
        says = [f"{head}: {value}" if len(heads) > 2 else value for head, value in named if value]
        lines += [".TP", marked(linked(first)), marked(linked("; ".join(says)))]
    return lines


def linked(text: str) -> str:
    """Without links, and without stars."""
    return re.sub(r"\*+([^*]+)\*+", r"\1", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text))


def page(words: tuple[str, ...], command: click.Command, date: str) -> str:
    """The page of one command."""
    name = "-".join(words)
    head = f'.TH {plain(name.upper())} {SECTION} {date} "fairlead {version()}" "Fairlead"'
    lines = [head, ".SH NAME", f"{plain(name)} \\- {marked(summary(command))}"]
    lines += [".SH SYNOPSIS", usage(words, command), ".SH DESCRIPTION", *paragraphs(command.help or "")]
    if isinstance(command, click.Group):
        lines += [".SH COMMANDS", *_listed(words, command)]
    elif row(words):
        lines += [".PP", marked(linked(row(words)[:1].upper() + row(words)[1:]) + ".")]
    lines += [".SH OPTIONS", *options(command), ".SH EXIT STATUS", *_exits(command)]
    for title, text in sections(words):
        lines += [f".SH {plain(title.upper())}", *body(text)]
    if words == ("fairlead",) or any(p.name in {"socket", "color"} for p in command.params):
        lines += [".SH ENVIRONMENT", *tagged(ENVIRONMENT)]
    if words == ("fairlead",):
        lines += [".SH FILES", *tagged(FILES)]
    lines += [".SH SEE ALSO", *_others(words)]
    pairs = zip(["", *lines], lines, strict=False)
    return "".join(f"{line}\n" for before, line in pairs if not (line == ".PP" and before.startswith(".SH")))


def summary(command: click.Command) -> str:
    """What it is, in a line; its own name is left out."""
    return command.get_short_help_str(200).rstrip(".").removeprefix("Fairlead, ")


def _listed(words: tuple[str, ...], group: click.Group) -> list[str]:
    context = seen(group)
    inner = {name: group.get_command(context, name) for name in group.list_commands(context)}
    rows = tuple((" ".join((*words[1:], name)), each.get_short_help_str(200)) for name, each in inner.items() if each)
    return tagged(rows)


def _exits(command: click.Command) -> list[str]:
    """Those of all commands; where a command says its own, these stand first, and the list has what they leave out."""
    text = " ".join(inspect.cleandoc(command.help or "").split())
    own = " ".join(re.findall(r"Exit codes?:? .*?(?:\.(?= |$)|$)", text))
    if not own:
        return tagged(EXITS)
    return [
        marked(own),
        ".PP",
        marked("Besides, 2 is wrong usage, and 1 that it was refused or has failed: standard error says why."),
    ]


def _others(words: tuple[str, ...]) -> list[str]:
    """The pages one step away."""
    near = [
        w for w, _ in commands() if w == words[:-1] or w[:-1] == words or (len(words) > 2 and w[:-1] == words[:-1] and w != words)
    ]
    names = sorted("-".join(w) for w in near)
    return [f".BR \\%{plain(name)} ({SECTION}){',' if n < len(names) else ''}" for n, name in enumerate(names, 1)]


def main() -> None:
    """Write every page below the directory that is named."""
    to = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/man")
    to.mkdir(parents=True, exist_ok=True)
    moment = os.environ.get("SOURCE_DATE_EPOCH")  # reproducible-builds.org
    date = (datetime.fromtimestamp(int(moment), UTC) if moment else datetime.now(UTC)).date().isoformat()
    for old in to.glob(f"fairlead*.{SECTION}"):
        old.unlink()
    found = list(commands())
    for words, command in found:
        (to / f"{'-'.join(words)}.{SECTION}").write_text(page(words, command, date))
    print(f"{len(found)} manual pages in {to}")


if __name__ == "__main__":
    main()
