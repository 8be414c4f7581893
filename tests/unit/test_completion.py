"""Completion: the real scripts in the real shells, against a served daemon."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead.adapters.http import Handlers
from fairlead.adapters.log import Log
from fairlead.model import Status
from tests.unit.sample import STATUS
from tests.unit.served import Served

pytestmark = pytest.mark.live

BIN = Path(sys.executable).parent
# the words of a line as bash hands them to a completion function, for a user who has just pressed TAB behind it
BASH = """\
source <(fairlead completion bash)
COMP_LINE=$1 COMP_POINT=${#1}
compopt() { echo "compopt $*"; }
_fairlead_completion fairlead
printf '%s\\n' "${COMPREPLY[@]}"
"""
# the same for zsh: its completion system is told apart from the words by names of its own
ZSH = """\
compdef() { }
_describe() { print -rl -- "${completions_with_descriptions[@]}" }
_path_files() { print -r -- "files $*" }
source <(fairlead completion zsh)
words=("$@") CURRENT=$#
_fairlead_completion
"""


class Api(Served):
    async def _status(self) -> Status:
        return STATUS

    async def _none(self, *_: object) -> str:
        return ""

    def handlers(self) -> Handlers:
        return Handlers(self._status, Log(io.StringIO()).recent, self._none, self._none, self._none, self._none)


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with Api(tmp_path_factory.mktemp("completion") / "api.sock") as made:
        yield dict(os.environ) | {"PATH": f"{BIN}:{os.environ['PATH']}", "FAIRLEAD_SOCKET": str(made.path)}


def completed(line: str, env: dict[str, str]) -> list[str]:
    done = subprocess.run(
        ["bash", "--norc", "-c", BASH, "bash", line], capture_output=True, text=True, timeout=60, env=env, check=True
    )
    assert done.stderr == ""
    return [word for word in done.stdout.splitlines() if word]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("fairlead serv", ["services"]),
        ("fairlead status --", ["--socket", "--json", "--watch", "--color", "--help"]),
        ("fairlead status --color ", ["auto", "always", "never"]),
        ("fairlead drain 10.1.0.", ["10.1.0.11", "10.1.0.12", "10.1.0.13"]),
        ("fairlead drain s", ["self"]),
        ("fairlead drain 2001:", ["db8:1::11"]),
        ("fairlead backends 2001:db8:1:", [":11"]),
        ("fairlead flows --service 192", ["192.0.2.10:80/tcp"]),
        ("fairlead flows --service 192.0.2.10:8", ["80/tcp"]),
        ("fairlead flows --service=192.0.2.10:8", ["80/tcp"]),
        ("fairlead services [2001:db8::53]:", ["53/udp"]),
        ("fairlead services w", ["web"]),
        ("fairlead bgp ", ["10.1.0.1", "10.1.0.2"]),
        ("fairlead clear ", ["10.1.0.13"]),
        ("fairlead reattach e", ["eth0"]),
        ("fairlead check /etc/", ["compopt -o default"]),
        ("fairlead lab up mu", ["multinic"]),
    ],
)
def test_bash_completes(line: str, words: list[str], env: dict[str, str]) -> None:
    """Commands, options, and what the daemon knows; behind a colon only what bash has not got yet."""
    assert completed(line, env) == words


def test_without_a_daemon_nothing_is_said(env: dict[str, str]) -> None:
    """No answer is no completion, and no error in the middle of a line."""
    assert completed("fairlead drain 10", env | {"FAIRLEAD_SOCKET": "/nonexistent"}) == []


@pytest.mark.parametrize(
    ("shell", "line", "word", "says"),
    [
        ("zsh", "fairlead drain 10.1.0.12", "2", ["plain", "10.1.0.12", "down web"]),
        ("zsh", "fairlead flows --service 192", "3", ["plain", r"192.0.2.10\:80/tcp", "web up"]),
        ("fish", "fairlead drain 10.1.0.12", "10.1.0.12", ["plain,10.1.0.12\tdown web"]),
    ],
)
def test_other_shells_are_told_more(shell: str, line: str, word: str, says: list[str], env: dict[str, str]) -> None:
    """Beside a word, zsh and fish show what it is."""
    asked = {"_FAIRLEAD_COMPLETE": f"{shell}_complete", "COMP_WORDS": line, "COMP_CWORD": word}
    done = subprocess.run(["fairlead"], capture_output=True, text=True, timeout=60, env=env | asked, check=True)

    assert done.stdout.splitlines() == says


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("fairlead serv", ["services:Show the services, or all about SERVICE."]),
        ("fairlead drain 10.1.0.12", ["10.1.0.12:down web"]),
        ("fairlead services [2001:", [r"[2001\:db8\:\:53]\:53/udp:dns down"]),
        ("fairlead check /etc", ["files -f"]),
    ],
)
def test_zsh_completes(line: str, words: list[str], env: dict[str, str]) -> None:
    """With what is known of each; colons are kept apart from those that zsh divides by."""
    argv = ["zsh", "-f", "-c", ZSH, "zsh", *line.split()]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=env, check=True)

    assert (done.stdout.splitlines(), done.stderr) == (words, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_good(shell: str, env: dict[str, str]) -> None:
    """Each script says for what command it is; a shell that is here finds no mistake in it."""
    script = subprocess.run(
        ["fairlead", "completion", shell], capture_output=True, text=True, timeout=60, env=env, check=True
    ).stdout
    assert "fairlead" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, timeout=60, check=True)
