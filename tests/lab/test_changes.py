"""Changes with notice and words at a shell, under real traffic: plan, apply, drain, disable, weight, clear, flows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import new_name
from tests.lab.kit import FAIRLEAD, SEGMENT, TOOLS, V4, V6, VIPS, Lab, eventually

pytestmark = pytest.mark.root

NAME = f"{V4}:80/tcp"
LEAVES = f"{SEGMENT[4]}23"
WITHOUT = (", 192.0.2.23]", "]")
NOTHING, CHANGES, REFUSED = 0, 4, 5


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab of this module's own: a port that another test has used would find its entry, which was counted before."""
    made = Lab(new_name())
    try:
        yield made.up()
    finally:
        made.down()


@pytest.fixture
def calm(lab: Lab) -> Iterator[Lab]:
    """The lab; whatever was said at a shell is taken back."""
    yield lab
    if not Path("/proc", str(lab.pid())).exists():
        lab.cli("start", "balancer1")
    eventually(lambda: shell(lab, "clear", "--all").returncode == 0)
    said(lab, "reload")


def shell(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    return lab.try_run("balancer1", FAIRLEAD, *words, within=60)


def said(lab: Lab, *words: str) -> str:
    done = shell(lab, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def change(lab: Lab, verb: str, path: Path, *words: str, code: int = CHANGES) -> dict[str, Any]:
    """What `plan` or `apply` says, which must end with that exit code."""
    done = shell(lab, verb, str(path), "--json", *words)
    assert done.returncode == code, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def edited(lab: Lab, tmp_path: Path, *edits: tuple[str, str], name: str = "new.yaml") -> Path:
    """The lab's configuration with these edits, in a file of its own."""
    text = lab.config
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / name).write_text(text)
    return tmp_path / name


class Held:
    """Connections that are held open, each asked anew whenever it is wanted."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.first = self._line()

    def again(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


@contextmanager
def held(lab: Lab, vip: str, count: int, *, confirmed: bool = True) -> Iterator[Held]:
    """Connections that are held open; `confirmed`: heard of again at a later tick, so that their entries stay for an hour."""
    with lab.running("client1", "python3", str(TOOLS), "hold", vip, str(count)) as process:
        connections = Held(process)
        if confirmed:
            eventually(lambda: connections.again() == connections.first and established(lab, vip) >= count, 20, every=0.5)
        yield connections


def flows(lab: Lab, vip: str = V4) -> dict[str, int]:
    """Live flows of a VIP's backends, by the name of the machine."""
    found = json.loads(said(lab, "flows", "--json"))
    service = next(s for s in found["services"] if s["service"].strip("[").startswith(vip))
    return {f"backend{b['address'][-1]}": b["entries"] for b in service["backends"]}


def settled(lab: Lab, vip: str = V4) -> dict[str, int]:
    """The same, once those that end soon have: what tests before this one have left would end between two looks."""

    def lasting() -> bool:
        found = json.loads(said(lab, "flows", "--json"))
        return {s["state"] for x in found["services"] for b in x["backends"] for s in b["states"]} <= {"established"}

    eventually(lasting, 60, every=0.5)
    return flows(lab, vip)


def operations(lab: Lab, since: float) -> list[str]:
    return [e["text"] for e in lab.events(since) if e["name"] == "operated"]


def test_what_plan_says_apply_does(calm: Lab, tmp_path: Path) -> None:
    """The very operations, in this order; and the connections that break are those that were foretold, not one more."""
    path = edited(calm, tmp_path, WITHOUT)
    before = settled(calm)["backend3"]
    with held(calm, V4, 60) as connections:
        mine = connections.first["backends"]["backend3"]
        assert mine > 5
        at = time.time()
        plan = change(calm, "plan", path)
        assert operations(calm, at) == []
        service = next(s for s in plan["services"] if s["service"] == NAME)
        assert service["flows_moved"] == plan["moved"]["flows"] == before + mine
        share = next(b for b in service["backends"] if b["address"] == LEAVES)
        assert (round(share["before"], 1), share["after"], share["moved"]) == (0.3, 0.0, before + mine)
        live = service["flows"] + sum(flows(calm, V6).values())
        slots = next(s for s in calm.status()["services"] if s["vip"] == V4)["slots"]
        assert plan["moved"]["percent"] >= 100 * (before + mine) / live - 0.001
        assert 0 < plan["moved"]["slots"] <= slots
        applied = change(calm, "apply", path)
        assert applied["operations"] == plan["operations"]
        assert operations(calm, at)[: len(plan["operations"])] == plan["operations"]
        now = connections.again()
    assert now["broken"] == mine
    assert now["moved"] == mine
    assert "backend3" not in now["backends"]


def test_a_new_backend(calm: Lab, tmp_path: Path) -> None:
    """Nothing moves at once, the plan says what will, and connections stay where they are when it comes true."""
    change(calm, "apply", edited(calm, tmp_path, WITHOUT))
    path = edited(calm, tmp_path, name="back.yaml")
    with held(calm, V4, 40) as connections:
        plan = change(calm, "plan", path)
        assert any(text.endswith(f"move once {LEAVES} is up") for text in plan["later"])
        assert plan["moved"]["flows"] == 0
        assert plan["moved"]["slots"] > 0
        assert change(calm, "apply", path)["operations"] == plan["operations"]
        eventually(calm.all_up)
        assert connections.again() == connections.first
    eventually(lambda: calm.get(V4).startswith("backend3"))


def test_the_budget(calm: Lab, tmp_path: Path) -> None:
    """What moves more than it may is refused with exit code 5 and changes nothing; with room enough it goes through."""
    path = edited(calm, tmp_path, WITHOUT)
    before, at = calm.status()["tables_hash"], time.time()
    for verb in ("plan", "apply"):
        found = change(calm, verb, path, "--max-moved", "1%", code=REFUSED)
        assert "more than 1%" in found["refused"]
        assert not found["applied"]
    assert (calm.status()["tables_hash"], operations(calm, at)) == (before, [])
    assert change(calm, "apply", path, "--max-moved", "100")["applied"]


def test_nothing_to_do_and_bad_files(calm: Lab, tmp_path: Path) -> None:
    """The running configuration is exit code 0; a file that cannot be used 1, with every problem's place; wrong words 2."""
    same = edited(calm, tmp_path)
    for verb in ("plan", "apply"):
        assert change(calm, verb, same, code=NOTHING)["operations"] == []
    bad = edited(calm, tmp_path, ("virtual", "virtaul"), name="bad.yaml")
    for verb in ("plan", "apply"):
        done = shell(calm, verb, str(bad))
        assert (done.returncode, done.stdout) == (1, "")
        assert all(line.startswith(f"{bad}:") for line in done.stderr.splitlines())
        assert shell(calm, verb, str(tmp_path / "none.yaml")).returncode == 1
        assert shell(calm, verb, str(same), "--max-moved", "much").returncode == 2
    elsewhere = edited(calm, tmp_path, ("[eth0]", "[eth7]"), name="eth7.yaml")
    done = shell(calm, "apply", str(elsewhere))
    assert done.returncode == 1
    assert "eth7" in done.stderr


def test_apply_runs_another_file(calm: Lab, tmp_path: Path) -> None:
    """Status names the file that runs, and warns that the next reload reads another; a reload does."""
    path = edited(calm, tmp_path, WITHOUT)
    change(calm, "apply", path)
    status = calm.status()
    assert status["config"] == str(path)
    assert any(str(path) in text and str(calm.config_path) in text for text in status["warnings"])
    said(calm, "reload")
    status = calm.status()
    assert status["config"] == str(calm.config_path)
    assert not any(str(path) in text for text in status["warnings"])


def test_beside_the_tables(calm: Lab, tmp_path: Path) -> None:
    """What shows in no table is an operation too: checks, needs and BGP peers."""
    edits = (("rise: 2", "rise: 3"), ("peers: [192.0.2.1]", "peers: [192.0.2.1, 192.0.2.9]"))
    found = change(calm, "plan", edited(calm, tmp_path, *edits))
    assert set(found["operations"]) == {
        f"set checks of {NAME}",
        f"set checks of [{V6}]:80/tcp",
        "add BGP peer 192.0.2.9",
    }
    assert found["moved"] == {"slots": 0, "flows": 0, "percent": 0.0}


def test_one_request_confirms(calm: Lab) -> None:
    """A connection that asks once and then falls silent is confirmed by that: its entry stays for an hour, and drain keeps it."""
    with held(calm, V4, 40, confirmed=False) as connections:
        assert connections.first["backends"]
        eventually(lambda: established(calm, V4) >= 40, 1)


def test_drain_waits_for_the_last_flow(calm: Lab, tmp_path: Path) -> None:
    """A drained backend keeps its connections and gets no new ones; --wait tells how many are left, and ends with the last."""
    quick = "timeouts: {closing: 1, embryonic: 3}\n\nservices:"
    change(calm, "apply", edited(calm, tmp_path, ("\nservices:", f"\n{quick}")))
    settled(calm)
    with held(calm, V4, 40) as connections:
        mine = connections.first["backends"]["backend2"]
        out = shell(calm, "drain", f"{SEGMENT[4]}22", "--wait", "--timeout", "2")
        assert out.returncode == 1
        assert "flows still after 2 s; it goes on draining" in out.stderr
        assert {calm.get(V4).split()[0] for _ in range(30)} == {"backend1", "backend3"}
        assert connections.again() == connections.first
        state = next(b for b in calm.service(V4)["backends"] if b["address"].endswith("22"))
        assert (state["state"], state["weight"]) == ("drain", 1)
        assert "root" in state["reason"] or "root" in state["override"]
        words = [FAIRLEAD, "drain", f"{SEGMENT[4]}22", "--wait", "--timeout", "60"]
        with calm.running("balancer1", *words) as waiting:
            assert waiting.stdout is not None
            assert waiting.stdout.readline() == f"{SEGMENT[4]}22 for all its services: drain, by root\n"
            first = waiting.stdout.readline()
            assert f"{SEGMENT[4]}22: {mine} flows left" in first
            connections._process.kill()
            lines = waiting.stdout.read().splitlines()
            assert waiting.wait(60) == 0
    assert lines[-1] == f"{SEGMENT[4]}22: no flows left"
    said(calm, "enable", f"{SEGMENT[4]}22")
    eventually(lambda: calm.get(V4).startswith("backend2"))


@pytest.mark.parametrize("version", [4, 6])
def test_overrides_outlive_the_daemon(calm: Lab, version: int) -> None:
    """After SIGKILL the next run works by them from its first pass on, and says who said them and when."""
    address = f"{SEGMENT[version]}21"
    began = time.time()
    said(calm, "disable", address, "--service", "web" if version == 4 else "web6")
    said(calm, "weight", f"{SEGMENT[version]}22", "3")
    before = calm.status()["overrides"]
    os.kill(calm.pid(), signal.SIGKILL)
    eventually(lambda: shell(calm, "status").returncode == 1)
    calm.cli("start", "balancer1")
    status = eventually(calm.status)
    assert status["overrides"] == before
    assert {(o["backend"], o["says"], o["who"], o["effective"]) for o in before} == {
        (address, "disabled", "root", True),
        (f"{SEGMENT[version]}22", "weight 3", "root", True),
    }
    assert all(began - 1 <= o["at"] <= time.time() for o in before)
    assert calm.backend(address)["state"] == "disabled"
    assert calm.backend(f"{SEGMENT[version]}22")["weight"] == 3
    eventually(lambda: calm.route(VIPS[version]))
    assert {calm.get(VIPS[version]).split()[0] for _ in range(30)} == {"backend2", "backend3"}
    assert "cleared" in said(calm, "clear", "--all")
    assert calm.status()["overrides"] == []
    eventually(lambda: calm.get(VIPS[version]).startswith("backend1"))


def test_words_are_over_every_configuration(calm: Lab, tmp_path: Path) -> None:
    """A reload and an apply keep them; one for a backend that is no more is listed without effect."""
    said(calm, "drain", LEAVES)
    said(calm, "reload")
    assert calm.backend(LEAVES)["state"] == "drain"
    change(calm, "apply", edited(calm, tmp_path, WITHOUT))
    (only,) = calm.status()["overrides"]
    assert (only["backend"], only["effective"]) == (LEAVES, False)
    said(calm, "reload")
    eventually(lambda: calm.backend(LEAVES)["state"] == "drain")
    said(calm, "enable", LEAVES)
    eventually(lambda: calm.backend(LEAVES)["state"] == "up")
    assert calm.status()["overrides"] == []


def test_enable_over_the_file(calm: Lab, tmp_path: Path) -> None:
    """A backend that the file disables can be enabled at a shell; clearing it gives the file the last word again."""
    edit = ("192.0.2.23]", "{address: 192.0.2.23, state: disabled}]")
    change(calm, "apply", edited(calm, tmp_path, edit))
    assert calm.backend(LEAVES)["state"] == "disabled"
    said(calm, "enable", LEAVES)
    eventually(lambda: calm.backend(LEAVES)["state"] == "up")
    said(calm, "clear", LEAVES)
    assert calm.backend(LEAVES)["state"] == "disabled"


def test_who_and_whom(calm: Lab) -> None:
    """Behind sudo it is the user who asked; what names nothing is refused with what there is."""
    calm.run("balancer1", "env", "SUDO_USER=alice", FAIRLEAD, "weight", LEAVES, "2")
    assert calm.status()["overrides"][0]["who"] == "alice (root)"
    for words, says in (
        (("drain", "192.0.2.99"), f"there is no backend 192.0.2.99 in the configuration; there are: {SEGMENT[4]}21"),
        (("drain", LEAVES, "--service", "nosuch"), "there is no service nosuch; there are: "),
        (("drain", "web1"), "web1 is no address of a backend"),
        (("flows", "--backend", "192.0.2.99"), "there is no backend 192.0.2.99 in the tables"),
    ):
        done = shell(calm, *words)
        assert done.returncode == 1
        assert says in done.stderr


@pytest.mark.parametrize("version", [4, 6])
def test_flows_are_summed_up(calm: Lab, version: int) -> None:
    """Held connections are found by service and backend, first as embryonic, then as established, with their ages."""
    vip = VIPS[version]
    before = settled(calm, vip)
    with held(calm, vip, 30, confirmed=False) as connections:
        now = flows(calm, vip)
        assert {name: now[name] - before[name] for name in now} == connections.first["backends"]
        eventually(lambda: connections.again() and established(calm, vip) >= 30, every=1.0)
        found = json.loads(said(calm, "flows", "--json", "--backend", f"{SEGMENT[version]}21"))
        assert found["entries"] == sum(s["entries"] for s in found["services"])
        ages = [s for service in found["services"] for b in service["backends"] for s in b["states"]]
        assert all(0 <= s["youngest"] <= s["oldest"] for s in ages)
        text = said(calm, "flows")
        assert "ESTABLISHED" in text
        assert f"{SEGMENT[version]}21" in text


def established(lab: Lab, vip: str) -> int:
    found = json.loads(said(lab, "flows", "--json"))
    service = next(s for s in found["services"] if s["service"].strip("[").startswith(vip))
    return sum(s["entries"] for b in service["backends"] for s in b["states"] if s["state"] == "established")
