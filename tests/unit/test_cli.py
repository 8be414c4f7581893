"""The command line: usage, exit codes and words, and the API behind it."""

from __future__ import annotations

import io
import json
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fairlead.adapters.http import Handlers
from fairlead.adapters.log import Log
from fairlead.cli import fairlead
from fairlead.cli.online import decode
from fairlead.errors import Refused
from fairlead.events import Event, Operated, Warned
from fairlead.model import BackendStatus, InterfaceStatus, ServiceStatus, Status, VerdictStatus, VipStatus
from tests.unit.served import Served

BACKEND = BackendStatus("10.1.0.11", 80, "up", 5.0, "200 after 2 ms", 1, 18, 1500, 2, 3, 1)
STATUS = Status(
    version="0.1.0",
    started=0.0,
    config="x.yaml",
    key_fingerprint="00",
    interfaces=(InterfaceStatus("eth0", "generic"),),
    vips=(VipStatus("192.0.2.10", "up", True, ""),),
    services=(ServiceStatus("web", "192.0.2.10", 80, "tcp", "up", "", 1, 1, 251, (BACKEND,)),),
    peers=(),
    verdicts={"forwarded": VerdictStatus(18, 1800)},
    tables=(),
    tables_hash="ab",
    repairs=0,
    warnings=(),
)
GOOD = """\
address: 10.1.0.1
services:
  - name: web
    virtual: 192.0.2.10
    servers: [10.1.0.11, 10.1.0.12]
    policy: {http: {}}
"""


def run(*words: str) -> Result:
    return CliRunner().invoke(fairlead, list(words), prog_name="fairlead")


@pytest.mark.parametrize(
    "words",
    [
        ("run",),
        ("rnu",),
        ("status", "--jason"),
        ("run", "x.yaml", "--confirm", "soon"),
        ("run", "x.yaml", "--confirm", "0"),
        ("check",),
    ],
)
def test_wrong_usage_is_exit_2(words: tuple[str, ...]) -> None:
    """What the command does not understand is wrong usage, with a hint at the help."""
    result = run(*words)
    assert result.exit_code == 2
    assert "Try 'fairlead" in result.stderr


def test_help_names_every_command() -> None:
    """The first screen lists all commands, the lab among them."""
    text = run("--help").output
    assert all(
        f"  {name} " in text for name in ("run", "check", "status", "reload", "reattach", "detach", "confirm", "version", "lab")
    )


def test_help_and_version_load_nothing_heavy() -> None:
    """Neither netlink, HTTP, YAML nor the extension is imported for `version` and `--help`."""
    program = (
        "import sys, contextlib\n"
        "from fairlead.cli import main\n"
        "for words in (['version'], ['--help']):\n"
        "    sys.argv = ['fairlead', *words]\n"
        "    with contextlib.suppress(SystemExit):\n"
        "        main()\n"
        "heavy = {'pyroute2', 'uvicorn', 'starlette', 'yaml', 'cffi', 'fairlead.daemon', 'fairlead._native'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[0].startswith("fairlead ")
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("words", [("status",), ("status", "--json"), ("reload",), ("confirm",), ("reattach", "eth0")])
def test_without_a_daemon_it_says_so(words: tuple[str, ...], tmp_path: Path) -> None:
    """One plain sentence and exit code 1."""
    path = str(tmp_path / "api.sock")
    result = run(*words, "--socket", path)
    assert (result.exit_code, result.stdout) == (1, "")
    hint = "`fairlead run CONFIG` starts one, --socket names another"
    assert result.stderr == f"fairlead: no fairlead daemon runs here: nobody answers on {path} ({hint})\n"


def test_check_says_yes(tmp_path: Path) -> None:
    """A good file is exit 0 with a count of what is in it."""
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    result = run("check", str(path))
    assert (result.exit_code, result.stdout) == (0, f"{path} is good: 1 VIP, 1 service, 2 backends\n")


def test_an_expansion_expands_to_itself(tmp_path: Path) -> None:
    """`--expand` prints a file that can be used in place of the first, and says the same again."""
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(GOOD)
    second.write_text(run("check", str(first), "--expand").stdout)
    assert run("check", str(second), "--expand").stdout == second.read_text()


def test_check_says_no_with_places(tmp_path: Path) -> None:
    """Each problem stands on a line with file, line and column; exit code 1."""
    path = tmp_path / "bad.yaml"
    path.write_text(GOOD.replace("virtual:", "virtaul:"))
    result = run("check", str(path))
    assert result.exit_code == 1
    assert all(line.startswith(f"{path}:") for line in result.stderr.splitlines())
    assert "virtaul" in result.stderr


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_missing_file_is_refused(command: str, tmp_path: Path) -> None:
    """A file that is not there is named, with exit code 1."""
    result = run(command, str(tmp_path / "none.yaml"))
    assert result.exit_code == 1
    assert result.stderr == f"fairlead: cannot read {tmp_path / 'none.yaml'}: No such file or directory\n"


def test_a_file_that_is_no_text_has_its_place(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are a problem of the file like any other, with line and column."""
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"a: 1\nb: \xff\xfe\n")
    result = run("check", str(path))
    assert result.exit_code == 1
    assert result.stderr == f"{path}:2:4: error: this is not valid UTF-8 (save the file as UTF-8)\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("drain", "10.1.0.11", "--timeout", "3"), "--timeout is how long to --wait"),
        (("drain", "10.1.0.11", "--service", ""), "it is empty; leave it out to mean all services"),
        (("clear",), "name a BACKEND, or say --all"),
    ],
)
def test_words_that_could_be_meant_otherwise(words: tuple[str, ...], says: str) -> None:
    """A script's unset variable is not "all services", and nothing that was said is passed over: wrong usage, exit code 2."""
    result = run(*words, "--socket", "/nonexistent")
    assert result.exit_code == 2
    assert says in result.stderr


class Api(Served):
    """The API with handlers of its own, in a thread with an event loop."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.confirmed = 0

    async def _status(self) -> Status:
        return STATUS

    async def _reload(self) -> str:
        raise Refused(["there is no interface eth9", "no address"])

    async def _confirm(self) -> str:
        self.confirmed += 1
        return "confirmed"

    async def _reattach(self, interface: str) -> str:
        return f"attached to {interface} anew in native mode"

    def handlers(self) -> Handlers:
        log = Log(io.StringIO())
        log(Warned("mind"))
        return Handlers(self._status, log.recent, self._reload, self._confirm, self._reattach, self._confirm)

    def run(self, *words: str) -> Result:
        return run(*words, "--socket", str(self.path))


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with Api(tmp_path / "made" / "api.sock") as made:
        yield made


def test_the_socket_is_private(api: Api) -> None:
    """The socket's mode is 0660, that of a directory made for it 0750, and both ends are cleared away."""
    assert stat.S_IMODE(api.path.stat().st_mode) == 0o660
    assert stat.S_IMODE(api.path.parent.stat().st_mode) == 0o750


def test_the_socket_goes_with_the_server(tmp_path: Path) -> None:
    """A stopped server leaves no socket, and a left-over one does not keep the next from starting."""
    for _ in range(2):
        with Api(tmp_path / "api.sock") as made:
            assert made.run("confirm").exit_code == 0
        assert not made.path.exists()
        with socket.socket(socket.AF_UNIX) as left_over:
            left_over.bind(str(made.path))


def test_status_json_has_the_promised_fields(api: Api) -> None:
    """Field for field what scripts rely on; fields are added, never renamed."""
    found: dict[str, Any] = json.loads(api.run("status", "--json").stdout)
    assert {"version", "interfaces", "vips", "services", "verdicts", "tables_hash"} <= set(found)
    assert set(found["interfaces"][0]) >= {"name", "mode"}
    assert set(found["vips"][0]) >= {"address", "state", "announced", "reason"}
    assert set(found["services"][0]) >= {"name", "vip", "port", "protocol", "state", "backends"}
    fields = {"address", "port", "state", "since", "reason", "packets", "bytes", "flows"}
    assert set(found["services"][0]["backends"][0]) >= fields
    assert found["verdicts"]["forwarded"].items() >= {"packets": 18, "bytes": 1800}.items()


def test_status_is_a_table(api: Api) -> None:
    """Without --json the same is text."""
    result = api.run("status")
    assert result.exit_code == 0
    assert "192.0.2.10:80/tcp  web   1/1 up" in result.stdout


def test_status_survives_json() -> None:
    """What was encoded decodes to the same; a field that a newer daemon adds is passed over."""
    plain = json.loads(json.dumps(asdict(STATUS)))
    plain["services"][0]["colour"] = "blue"
    assert decode(Status, plain) == STATUS


def test_verbs_answer(api: Api) -> None:
    """A verb prints what the daemon says; a refusal is exit 1, each reason on a line."""
    assert api.run("confirm").stdout == "confirmed\n"
    assert api.run("reattach", "eth0/é&x").stdout == "attached to eth0/é&x anew in native mode\n"
    refused = api.run("reload")
    assert (refused.exit_code, refused.stderr) == (1, "fairlead: there is no interface eth9\nfairlead: no address\n")
    assert api.confirmed == 1


def test_detach_refuses_while_a_daemon_runs(api: Api, tmp_path: Path) -> None:
    """A daemon would attach again: it has to be stopped first."""
    result = api.run("detach", "--bpffs", str(tmp_path))
    assert result.exit_code == 1
    assert f"a daemon answers on {api.path} already" in result.stderr


def test_the_log_keeps_a_thousand(tmp_path: Path) -> None:
    """Events are written one line each, and the last thousand are kept with their fields."""
    with (tmp_path / "log").open("w") as out:
        log = Log(out, clock=lambda: 0.0)
        for n in range(1002):
            event: Event = Operated(f"do {n}", None) if n else Warned("two\nlines")
            log(event)
    kept = log.recent()
    assert (len(kept), kept[0]["text"]) == (1000, "do 2")
    assert kept[0].pop("id") == 3
    assert kept[0].pop("facts") == {"text": "do 2", "about": None}
    assert kept[0] == {"at": 0.0, "name": "operated", "level": 6, "text": "do 2", "about": ""}
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[0].endswith(" warning two")
    assert lines[1] == "    lines"
