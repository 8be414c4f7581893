"""Completion in a shell: the script for it, and the words that only the running daemon knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem, FishComplete, ZshComplete

from fairlead import render
from fairlead.cli import options
from fairlead.cli.online import Denied, NoDaemon, decode, get
from fairlead.model import Status

Words = Iterable[tuple[str, str]]  # with what is said of each, where the shell shows it

_PATIENCE = 0.5  # seconds: somebody waits for it at a key
_VARIABLE = "_FAIRLEAD_COMPLETE"
# Bash takes words apart at the colons that addresses and services have. We complete all that stands behind the last blank, and
# give back what follows its last colon (or `=`), for that is what bash will replace.
_BASH = """\
_fairlead_completion() {
    local IFS=$' \\t\\n' line=${COMP_LINE:0:COMP_POINT} word type value
    local -a words
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    word=${words[-1]}
    [[ $word == --*=* ]] && word=${word#*=}
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            plain) COMPREPLY+=("${value#"${word%"${word##*:}"}"}") ;;
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
        esac
    done < <(COMP_WORDS=$line COMP_CWORD=$((${#words[@]} - 1)) _FAIRLEAD_COMPLETE=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F _fairlead_completion fairlead
"""


def script(shell: str) -> str:
    """What a shell reads to complete our commands."""
    if shell == "bash":
        return _BASH
    kind = {"zsh": ZshComplete, "fish": FishComplete}[shell]
    return f"{kind(click.Group(), {}, 'fairlead', _VARIABLE).source().strip()}\n"


def known(kind: str, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
    """What the daemon has of this kind that begins so; nothing where none answers at once."""
    try:
        status = decode(Status, get(ctx.params.get("socket") or options.SOCKET, "/v1/status", _PATIENCE))
    except (NoDaemon, Denied):
        return []
    words: dict[str, str] = {}
    for word, says in _WORDS[kind](status):
        words.setdefault(word, says)
    return [CompletionItem(word, help=says) for word, says in words.items() if word.startswith(incomplete)]


def _services(s: Status) -> Words:
    for each in s.services:
        yield render.service_name(each), f"{each.name} {each.state}".strip()
    yield from ((each.name, each.state) for each in s.services if each.name)


def _backends(s: Status) -> Words:
    return ((b.address, f"{b.state} {each.name}".strip()) for each in s.services for b in each.backends)


def _leaving(s: Status) -> Words:
    yield from _backends(s)
    yield "self", "this balancer"


def _peers(s: Status) -> Words:
    return ((p.address, p.state) for p in s.peers)


def _interfaces(s: Status) -> Words:
    return ((name, i.mode) for i in s.interfaces for name in (i.name, i.bond) if name)


def _overridden(s: Status) -> Words:
    return ((o.backend, o.says) for o in s.overrides)


_WORDS: dict[str, Callable[[Status], Words]] = {
    "services": _services,
    "backends": _backends,
    "backends or self": _leaving,
    "peers": _peers,
    "interfaces": _interfaces,
    "overridden": _overridden,
}
