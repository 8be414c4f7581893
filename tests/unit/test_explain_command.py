"""`fairlead explain` at the shell: what is asked, how the answer reads, and captures in questions of a bounded size."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from fairlead.adapters.http import Call, Handlers, Question
from fairlead.adapters.log import Log
from fairlead.cli import fairlead
from fairlead.commands import explaining
from fairlead.errors import Refused
from fairlead.model import Status
from fairlead.model.explaining import ExplainedBackend, ExplainedFlow, ExplainedHop, ExplainedService, Explanation, Step
from tests.unit.served import Served

FORWARDED = Explanation(
    verdict="forwarded",
    vip="192.0.2.10",
    service=ExplainedService("192.0.2.10:443/tcp", "shop"),
    flow=ExplainedFlow("established", 3.5, 3600.0, "10.1.0.11", True, None, None, "would stay as it is"),
    backend=ExplainedBackend("10.1.0.11", "active", 5),
    next_hop=ExplainedHop("eth0", "02:00:be:00:00:0b", "02:00:00:00:00:1b", 0, 1500, None),
    bytes="0200be00000b" * 9,
    action="tx",
    interface="eth0",
    packet="198.51.100.7:40000 > 192.0.2.10:443/tcp, SYN, 40 bytes",
    frame="02" * 54,
    steps=(Step("VIP", "192.0.2.10"), Step("next hop", "02:00:be:00:00:0b by eth0"), Step("verdict", "forwarded: sent on")),
)
PRINTED = """\
VIP       192.0.2.10
next hop  02:00:be:00:00:0b by eth0
verdict   forwarded: sent on

54 bytes leave:
  0200be00000b0200be00000b0200be00000b0200be00000b0200be00000b0200
  be00000b0200be00000b0200be00000b0200be00000b
"""
LISTED = """\
FRAME  VERDICT    BACKEND    PACKET
1      forwarded  10.1.0.11  198.51.100.7:40000 > 192.0.2.10:443/tcp, SYN, 40 bytes
2      forwarded  10.1.0.11  198.51.100.7:40000 > 192.0.2.10:443/tcp, SYN, 40 bytes
"""


class Daemon(Served):
    """Answers every question with FORWARDED, and remembers it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked: list[Question] = []
        self.refusal = ""

    async def _one(self, question: Question) -> Explanation:
        self.asked.append(question)
        if self.refusal:
            raise Refused([self.refusal])
        return FORWARDED

    async def _many(self, question: Question) -> list[Explanation]:
        self.asked.append(question)
        if self.refusal:
            raise Refused([self.refusal])
        return [FORWARDED] * len(json.loads(question.body)["frames"])

    async def _status(self) -> Status:
        raise NotImplementedError

    async def _none(self, *_: object) -> str:
        raise NotImplementedError

    def handlers(self) -> Handlers:
        own = explaining.Explaining(None).calls()  # type: ignore[arg-type]  # for what the routes take
        one, many = own["GET /v1/explain"], own["POST /v1/explain"]
        calls = {
            "GET /v1/explain": Call(self._one, "", words=one.words),
            "POST /v1/explain": Call(self._many, "", words=many.words, body=many.body),
        }
        return Handlers(self._status, Log(io.StringIO()).recent, self._none, self._none, self._none, self._none, calls)

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(fairlead, ["explain", *words, "--socket", str(self.path)], prog_name="fairlead")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path / "api.sock") as made:
        yield made


def test_it_reads_like_this(daemon: Daemon) -> None:
    """Steps below one another and the bytes that leave; --json is every field."""
    place = ("198.51.100.7:40000", "192.0.2.10:443/tcp")

    assert daemon.run(*place).stdout == PRINTED
    found = json.loads(daemon.run(*place, "--json").stdout)
    assert found == json.loads(json.dumps(asdict(FORWARDED)))
    assert list(found)[:7] == ["verdict", "vip", "service", "flow", "backend", "next_hop", "bytes"]


def test_what_is_asked(daemon: Daemon) -> None:
    """Every option is a word of the question; what is left out is not said."""
    daemon.run("198.51.100.7:40000", "192.0.2.10:443/tcp")
    daemon.run("1.2.3.4:5", "6.7.8.9:10/udp", "--flags", "ack", "--size", "1500", "--vlan", "7", "--interface", "eth1")

    assert daemon.asked[0].words == {"source": "198.51.100.7:40000", "destination": "192.0.2.10:443/tcp"}
    more = {"flags": "ack", "size": "1500", "vlan": "7", "interface": "eth1"}
    assert daemon.asked[1].words == {"source": "1.2.3.4:5", "destination": "6.7.8.9:10/udp", **more}


def test_a_capture(daemon: Daemon, tmp_path: Path) -> None:
    """A line for each frame; large captures are asked in several questions, and no frame is lost or out of order."""
    path = tmp_path / "a.pcap"
    frames = [Ether() / n.to_bytes(60, "big") for n in range(450)]
    wrpcap(str(path), frames[:2])
    assert daemon.run("--pcap", str(path)).stdout == LISTED
    daemon.asked.clear()
    wrpcap(str(path), frames)
    found = json.loads(daemon.run("--pcap", str(path), "--interface", "eth1", "--json").stdout)

    assert len(found) == 450
    assert [len(json.loads(each.body)["frames"]) for each in daemon.asked] == [200, 200, 50]
    assert [text for each in daemon.asked for text in json.loads(each.body)["frames"]] == [bytes(f).hex() for f in frames]
    assert {each.words["interface"] for each in daemon.asked} == {"eth1"}


def test_what_cannot_be_answered(daemon: Daemon, tmp_path: Path) -> None:
    """1 with a sentence where the daemon or the file says no, 2 for wrong words, which nobody is asked."""
    bad, empty, capture = tmp_path / "bad.pcap", tmp_path / "empty.pcap", tmp_path / "a.pcap"
    bad.write_bytes(b"GIF89a")
    wrpcap(str(capture), [Ether() / bytes(60)])
    empty.write_bytes(capture.read_bytes()[:24])
    for words, says in (
        (("--pcap", str(tmp_path / "none")), "No such file"),
        (("--pcap", str(bad)), "neither pcap nor pcapng"),
        (("--pcap", str(empty)), "holds no frame"),
    ):
        found = daemon.run(*words)
        assert (found.exit_code, says in found.stderr) == (1, True)
    for words in ((), ("1.2.3.4:5",), ("1.2.3.4:5", "1.2.3.4:5/tcp", "--pcap", "x"), ("--pcap", "x", "--size", "60")):
        assert daemon.run(*words).exit_code == 2
    assert not daemon.asked
    daemon.refusal = "no interface forwards"
    assert daemon.run("1.2.3.4:5", "6.7.8.9:10/udp").stderr == "fairlead: no interface forwards\n"
    assert daemon.run("--pcap", str(capture)).stderr == "fairlead: frames 1 to 1: no interface forwards\n"


def test_nobody_answers(tmp_path: Path) -> None:
    """Without a daemon it is a sentence, not a trace."""
    found = CliRunner().invoke(fairlead, ["explain", "1.2.3.4:5", "6.7.8.9:1/tcp", "--socket", str(tmp_path / "none")])

    assert (found.exit_code, "no fairlead daemon runs here" in found.stderr) == (1, True)
