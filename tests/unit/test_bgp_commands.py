"""`fairlead bgp`, `drain self` and `undrain`: words, exit codes and print, over a real socket; what they keep and read."""

from __future__ import annotations

import io
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fairlead import preflight, render
from fairlead.adapters import machine, passwords
from fairlead.adapters.http import Call, Handlers, Question, Word
from fairlead.adapters.log import Log
from fairlead.adapters.overrides import Overrides
from fairlead.cli import fairlead
from fairlead.errors import KernelError, Refused
from fairlead.model import AdminState, BgpStatus, Drained, Override, PeerCounters, PeerStatus, Status
from tests.unit.served import Served

NOW = 1_000_000.0
UP = PeerStatus(
    "10.0.0.1",
    "Established",
    NOW - 3700,
    65000,
    ("192.0.2.10/32", "2001:db8::10/128"),
    "received Cease/Administrative Shutdown",
    withheld=("192.0.2.11/32: rejected by the filter of this peer",),
    local_as=65001,
    local="10.0.0.5",
    remote_id="10.0.0.1",
    last_error_at=NOW - 3720,
    ours=("IPv4 unicast", "route refresh"),
    theirs=("IPv4 unicast", "capability 99"),
    hold_time=9,
    keepalive=3.0,
    details=("192.0.2.10/32 via 10.0.0.5 path 65001 communities 65535:0", "2001:db8::10/128 via 2001:db8::5 path 65001"),
    counters=PeerCounters(120, 118, 4, 12, 900, 1, 2),
)
DOWN = PeerStatus("2001:db8::1", "Active", 0.0, 0, (), "", local_as=65001, why="connection refused")
STATUS = BgpStatus("10.0.0.5", "every address, port 179", "", False, (UP, DOWN))
TABLE = """\
BGP router 10.0.0.5, listening on every address, port 179

PEER         AS     STATE        FOR      ROUTES  WITHHELD  UPS
10.0.0.1     65000  Established  1 h 1 min  2       1         2
2001:db8::1  -      Active       -        0       0         0

# BGP peer 2001:db8::1 is Active: connection refused (all about it: `fairlead bgp 2001:db8::1`)
"""
NEIGHBOUR = """\
BGP peer 10.0.0.1, AS 65000, eBGP; we are AS 65001
  Established for 1 h 1 min, came up twice
  our end 10.0.0.5, its router id 10.0.0.1
  hold time 9 s, keepalive every 3 s
  capabilities
    IPv4 unicast   both
    route refresh  ours
    capability 99  theirs
  messages: 120 in, 118 out; updates: 4 in, 12 out
  prefixes received: 900, none kept; malformed updates: 1
  routes sent: 2
    192.0.2.10/32 via 10.0.0.5 path 65001 communities 65535:0
    2001:db8::10/128 via 2001:db8::5 path 65001
  routes withheld: 1
    192.0.2.11/32: rejected by the filter of this peer
  last error, 1 h 2 min ago: received Cease/Administrative Shutdown
"""


class Daemon(Served):
    """The API with answers of the test's own, in a thread; what was asked is kept."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked: list[str] = []
        self.answers = [STATUS]

    async def _bgp(self, question: Question) -> BgpStatus:
        self.asked.append("bgp")
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        wanted = question.words.get("peer")
        if wanted == "10.9.9.9":
            raise Refused(["there is no BGP peer 10.9.9.9; there are: 10.0.0.1"])
        return replace(found, peers=tuple(p for p in found.peers if wanted in {None, p.address}))

    async def _drain(self, question: Question) -> dict[str, str]:
        self.asked.append(f"drain by {question.who.partition(' ')[0]}")
        return {"says": "this balancer is drained"}

    async def _undrain(self, question: Question) -> dict[str, str]:
        self.asked.append("undrain")
        return {"says": "this balancer is not drained any more"}

    async def _none(self, *_: object) -> str:
        return ""

    async def _status(self) -> Status:
        raise NotImplementedError

    def handlers(self) -> Handlers:
        calls = {
            "GET /v1/bgp": Call(self._bgp, "", words=(Word("peer", ""),)),
            "POST /v1/drain": Call(self._drain, ""),
            "POST /v1/undrain": Call(self._undrain, ""),
        }
        return Handlers(self._status, Log(io.StringIO()).recent, self._none, self._none, self._none, self._none, calls)

    def run(self, *words: str) -> Result:
        return CliRunner(env={"SUDO_USER": ""}).invoke(fairlead, [*words, "--socket", str(self.path)], prog_name="fairlead")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path / "api.sock") as made:
        yield made


def squeezed(text: str) -> list[str]:
    """The lines without the blanks that only align them."""
    return [" ".join(line.split()) for line in text.splitlines()]


def test_all_sessions_in_a_table():
    """A line for each peer, and below what is wrong with those that are not up."""
    assert squeezed(render.bgp(STATUS, NOW)) == squeezed(TABLE)
    assert "no peers" in render.bgp(replace(STATUS, peers=(), listen=""), NOW)
    drained = render.bgp(replace(STATUS, drained="drained by root since yesterday"), NOW)
    assert "# this balancer is drained by root since yesterday: nothing is announced (`fairlead undrain` ends it)" in drained


def test_one_peer_like_a_router_shows_it():
    """Both ends, timers, capabilities with who offers each, counters, routes with their attributes, the last error."""
    assert render.peer(UP, NOW) == NEIGHBOUR


def test_a_peer_that_is_not_up():
    """It says why, and nothing of what a session would have."""
    text = render.peer(DOWN, NOW)

    assert text.startswith(
        "BGP peer 2001:db8::1, AS not known yet; we are AS 65001\n  Active, came up never\n  not up: connection ref"
    )
    assert "hold time" not in text
    assert "capabilities" not in text


def test_bgp_asks_for_all_or_one(daemon):
    """`bgp` prints the table, `bgp PEER` one, --json what the daemon said; an unknown peer is an error with those there are."""
    assert daemon.run("bgp").stdout.startswith("BGP router 10.0.0.5")
    assert daemon.run("bgp", "10.0.0.1").stdout.startswith("BGP peer 10.0.0.1, AS 65000, eBGP")
    found = json.loads(daemon.run("bgp", "10.0.0.1", "--json").stdout)
    assert [p["counters"]["prefixes_in"] for p in found["peers"]] == [900]
    refused = daemon.run("bgp", "10.9.9.9")
    assert (refused.exit_code, refused.stderr) == (1, "fairlead: there is no BGP peer 10.9.9.9; there are: 10.0.0.1\n")


def test_drain_self_is_not_a_backend(daemon):
    """`drain self` and `undrain` are about this balancer; --service makes no sense with it."""
    assert daemon.run("drain", "self").stdout == "this balancer is drained\n"
    assert daemon.run("undrain").stdout == "this balancer is not drained any more\n"
    assert [words.partition(" ")[0] for words in daemon.asked] == ["drain", "undrain"]
    assert daemon.run("drain", "self", "--service", "web").exit_code == 2


def test_waiting_until_nothing_is_announced(daemon):
    """--wait ends when the routes are gone, with 1 when time is over or somebody took it back."""
    drained = replace(STATUS, drained="drained by root")
    daemon.answers = [replace(drained, leaving=True), replace(drained, leaving=True), drained]
    done = daemon.run("drain", "self", "--wait")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "no route is announced any more")

    daemon.answers = [replace(drained, leaving=True)]
    late = daemon.run("drain", "self", "--wait", "--timeout", "0")
    assert (late.exit_code, "still announced after 0 s" in late.stderr) == (1, True)

    daemon.answers = [STATUS]
    assert "taken it back" in daemon.run("drain", "self", "--wait").stderr


# ------------------------------------------------------------------------------------------------------- what is kept, and read


def test_who_was_sent_away_is_kept(tmp_path):
    """Beside the overrides, in one file, without disturbing them; a file of before knows nothing of it."""
    store = Overrides(str(tmp_path))
    override = Override(ip_address("10.1.0.11"), None, AdminState.DRAIN, None, "root", 1.0)
    assert store.load_all() == ((), None)
    store.save([override], Drained("alice (root)", 1234.5))
    assert store.load_all() == ((override,), Drained("alice (root)", 1234.5))
    store.save([override])
    assert store.load_all() == ((override,), None)
    store.path.write_text(json.dumps({"format": 1, "overrides": []}))
    assert store.load_all() == ((), None)
    store.path.write_text(json.dumps({"format": 1, "overrides": [], "drained": {"who": "x"}}))
    with pytest.raises(KernelError, match="damaged"):
        store.load_all()


@pytest.mark.parametrize("text", [b"hunter2", b"hunter2\n", b"hunter2\r\n"])
def test_a_password_is_one_line(tmp_path, text):
    """With or without an end of line."""
    (tmp_path / "key").write_bytes(text)

    assert passwords.read(str(tmp_path / "key")) == b"hunter2"


@pytest.mark.parametrize("text", [b"", b"\n", b"a\nb\n", b"a\0b", b"hunter2" * 12], ids=["none", "empty", "two", "nul", "long"])
def test_what_is_no_password(tmp_path, text):
    """Nothing, two lines, NUL, or more than TCP-MD5 takes; and the text is in no message."""
    (tmp_path / "key").write_bytes(text)

    with pytest.raises(Refused) as refused:
        passwords.read(str(tmp_path / "key"))
    assert "key" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_peers_get_their_passwords(tmp_path):
    """The configuration that is worked by has the password, each of its own file; a missing one is refused by name."""
    (tmp_path / "a").write_text("one\n")
    text = """
address: 10.0.0.5
services: []
bgp:
  as_number: 65001
  peers: [{{address: 10.0.0.1, password_file: {0}/a}}, 10.0.0.2, {{address: 10.0.0.3, password_file: {0}/b}}]
"""
    with pytest.raises(Refused, match=r"cannot read the password file .*/b: No such file"):
        preflight.parse(text.format(tmp_path), "x")
    (tmp_path / "b").write_text("two")
    assert [p.password for p in preflight.parse(text.format(tmp_path), "x").peers] == [b"one", None, b"two"]


def test_exposed(tmp_path):
    """A file that others may read is told from one that they may not."""
    path = tmp_path / "key"
    path.write_text("x")
    path.chmod(0o640)
    assert not passwords.exposed(str(path))
    path.chmod(0o644)
    assert passwords.exposed(str(path))


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_listeners(address):
    """Who listens on a port, on which address, and that it is this process."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as listening:
        listening.bind((address, 0))
        listening.listen()
        (found,) = machine.listeners(listening.getsockname()[1])

        assert found.address == ip_address(address)
        assert found.inode in machine.sockets(os.getpid())
    assert machine.sockets(None) == set()


def test_a_session_of_the_run_before() -> None:
    """It goes on over a restart, and has not come up since: that is no "never"."""
    found = render.peer(replace(UP, counters=PeerCounters(0, 0, 0, 0, 0, 0, 0)), NOW)
    assert "Established for 1 h 1 min, since before this daemon's start" in found
