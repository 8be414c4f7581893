"""Labs themselves: up in seconds, side by side, gone without a trace whatever happened to them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import new_name
from tests.lab.kit import FAIRLEAD, PATIENCE, VIPS, Lab, eventually, fairlead

pytestmark = pytest.mark.root

TOOLS_DIRECTORY = Path(__file__).parents[2] / ".tools"
HOSTS = "client1 client2 router switch balancer1 backend1 backend2 backend3".split()


def remains(name: str) -> list[str]:
    """Whatever of a lab is still on this machine: namespaces, processes, mounts, files."""
    listed = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    found = [line for line in listed.splitlines() if name in line]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if name in line]
    found += [str(path) for path in Path("/run/fairlead-lab").glob(f"*{name}*")]
    return found + running(f"/run/fairlead-lab/{name}") + running(f" {name}-")


def running(text: str) -> list[str]:
    """The command lines in which the text occurs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if text in command:
                found.append(command)
    return found


def programs() -> dict[int, str]:
    """Every BPF program that the kernel holds, by id, with the paths where it is pinned."""
    listed = subprocess.run(["bpftool", "-j", "-f", "prog", "show"], capture_output=True, text=True, check=True).stdout
    return {program["id"]: " ".join(program.get("pinned", ())) for program in json.loads(listed)}


def programs_of(lab: Lab) -> set[int]:
    """The ids of those that a lab has: pinned, or on its switch. Labs come and go meanwhile: only ids can be compared."""
    links = json.loads(lab.run("switch", "ip", "-d", "-j", "link"))
    attached = {link["xdp"]["prog"]["id"] for link in links if "xdp" in link}
    return attached | {number for number, paths in programs().items() if str(lab.directory) in paths}


def test_up_is_quick(labs: Any) -> None:
    """A lab is up in a few seconds: every client reaches every VIP."""
    lab, began = labs(), time.monotonic()
    lab.up()
    assert time.monotonic() - began < 10 * PATIENCE
    for client in ("client1", "client2"):
        for vip in VIPS.values():
            assert lab.get(vip, client)


def test_side_by_side(labs: Any) -> None:
    """Two labs exist side by side, in different modes, and when one goes the other does not notice."""
    one, two = labs().up(), labs("generic").up()
    listed = fairlead("lab", "list").stdout
    assert one.name in listed
    assert two.name in listed
    assert one.status()["interfaces"][0]["mode"] == "native"
    assert two.status()["interfaces"][0]["mode"] == "generic"
    one.down()
    assert not remains(one.name)
    for vip in VIPS.values():
        assert two.get(vip)


@pytest.mark.slow
def test_ten_times() -> None:
    """Ten times up and down, at work or still starting, leave no namespace, process, mount, file or BPF program."""
    for number in range(10):
        lab = Lab(new_name())
        lab.up(*(["--no-wait"] if number % 2 else []))
        held = programs_of(lab)
        assert number % 2 or len(held) > 3
        lab.down()
        assert not remains(lab.name)
        eventually(lambda held=held: not held & programs().keys(), 30)


@pytest.mark.parametrize("victim", ["supervisor", "everything", "state", "directory"])
def test_down_after_a_crash(labs: Any, victim: str) -> None:
    """`down` leaves nothing after kill -9 of the supervisor or of everything, nor after the loss of its own state."""
    lab = labs().up()
    supervisor = int((lab.directory / "supervisor.pid").read_text())
    match victim:
        case "supervisor":
            os.kill(supervisor, signal.SIGKILL)
            eventually(lambda: not any(alive(lab.pid(host)) for host in ("balancer1", "router", "backend1")))
            assert lab.cli("status", check=False).returncode == 1
        case "everything":
            for pid in (supervisor, *(lab.pid(host) for host in ("balancer1", "router", "backend1", "backend2", "backend3"))):
                os.kill(pid, signal.SIGKILL)
        case "state":
            (lab.directory / "state.json").unlink()
            (lab.directory / "supervisor.sock").unlink()
        case "directory":
            os.kill(supervisor, signal.SIGKILL)
            subprocess.run(["umount", lab.directory / "bpffs"], check=True)
            subprocess.run(["rm", "-rf", lab.directory], check=True)
    lab.down()
    assert not remains(lab.name)
    assert lab.cli("down").stdout == f"there is no lab {lab.name}\n"


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_down_kills_what_users_left(labs: Any) -> None:
    """What somebody still runs in the lab, in a session and a mount namespace of its own, goes with it."""
    lab = labs().up("--no-wait")
    with lab.running("balancer1", "setsid", "unshare", "-m", "sleep", "1000") as left:
        lab.down()
        assert left.wait(60) != 0
    assert not remains(lab.name)


# How far `up` has come when it is interrupted, and how to see that from outside.
MOMENTS: dict[str, Callable[[str], object]] = {
    "directory": lambda name: Path("/run/fairlead-lab", name).exists(),
    "namespaces": lambda name: Path(f"/run/netns/{name}-backend3").exists(),
    "ports": lambda name: Path("/run/fairlead-lab", name, "hosts").exists(),
    "supervisor starts": lambda name: running(f"supervisor /run/fairlead-lab/{name}"),
    "daemons start": lambda name: running(f"/run/fairlead-lab/{name}/hosts/"),
    "supervisor listens": lambda name: Path("/run/fairlead-lab", name, "supervisor.sock").exists(),
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("moment", MOMENTS)
def test_interrupted_up_leaves_nothing(moment: str, number: signal.Signals) -> None:
    """An `up` that is interrupted leaves nothing, or a whole lab if it had built it; `down` finds what a killed one left."""
    name = new_name()
    with subprocess.Popen([FAIRLEAD, "lab", "up", "--name", name, "--no-wait"], stdout=subprocess.DEVNULL) as up:
        eventually(lambda: MOMENTS[moment](name) or up.poll() is not None, 60, every=0.001)
        up.send_signal(number)
        up.wait(60)
    if number == signal.SIGKILL or fairlead("lab", "status", "--name", name).returncode == 0:
        fairlead("lab", "down", "--name", name)
    assert not remains(name)


def test_one_up_at_a_time(labs: Any) -> None:
    """Of two `up` with one name at the same moment one succeeds and the other is refused."""
    lab = labs()
    argv = [FAIRLEAD, "lab", "up", "--name", lab.name, "--no-wait"]
    both = [subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1]
    assert any("is up already" in text for text in said)


def test_exec_returns_the_exit_code(lab: Lab) -> None:
    """`lab exec` returns the exit code of the command and passes input and output through."""
    for code in (0, 7, 200):
        assert lab.cli("exec", "client1", "sh", "-c", f"exit {code}", check=False).returncode == code
    assert lab.cli("exec", "client1", "--", "sh", "-c", "exit 5", check=False).returncode == 5
    done = subprocess.run(
        [FAIRLEAD, "lab", "exec", "--name", lab.name, "client2", "tr", "a-z", "A-Z"],
        input="hello",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "HELLO"
    assert "198.18.1.2" in lab.cli("exec", "client1", "ip", "-br", "addr").stdout


def test_exec_passes_signals(lab: Lab) -> None:
    """A signal sent to `lab exec` reaches the command: nothing stands between them."""
    script = "trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    argv = [FAIRLEAD, "lab", "exec", "--name", lab.name, "client1", "sh", "-c", script]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "got it\n"
        assert process.wait(60) == 9


def test_exec_environment(lab: Lab) -> None:
    """In the lab `fairlead` finds the balancer's daemon without being told, from any host."""
    for host in ("balancer1", "client1", "router"):
        assert '"mode": "native"' in lab.cli("exec", host, "fairlead", "status", "--json", check=False).stdout


def test_status_draws_the_lab(lab: Lab) -> None:
    """`lab status` shows the drawing and every host; `list` counts daemons; a dead daemon is told and makes the exit code 1."""
    text = lab.cli("status").stdout
    assert all(re.search(rf"^{host} ", text, re.MULTILINE) for host in HOSTS)
    assert "=== switch ===" in text
    lab.cli("kill", "backend1")
    eventually(lambda: lab.cli("status", check=False).returncode == 1)
    assert "killed by SIGKILL" in lab.cli("status", check=False).stdout
    assert re.search(rf"^{lab.name} .*4 of 5 daemons run", fairlead("lab", "list").stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("up", "simple", "--name", "Bad-Name"), 1, "cannot name a lab"),
        (("up", "nonsense"), 2, "nonsense"),
        (("status", "--name", "nobody"), 1, "no lab is called 'nobody'"),
        (("exec", "--name", "nobody", "client1", "true"), 1, "no lab is called 'nobody'"),
        (("exec", "client1"), 2, "Missing argument"),
        (("frobnicate",), 2, "No such command"),
    ],
)
def test_usage(words: tuple[str, ...], code: int, says: str) -> None:
    """What is wrong is said in a line or two, with exit code 1 or 2."""
    done = fairlead("lab", *words)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_unknown_host(lab: Lab) -> None:
    """A host that the lab has not is refused with the names of those it has."""
    done = lab.cli("exec", "client9", "true", check=False)
    assert done.returncode == 1
    assert "client1, client2, router" in done.stderr


def test_broken_configuration_is_told_at_once(labs: Any, tmp_path: Path) -> None:
    """When the balancer's daemon ends at once, `up` says so with the end of its log, and does not wait for its deadline."""
    lab = labs()
    broken = tmp_path / "broken.yaml"
    broken.write_text("services: [")
    began = time.monotonic()
    done = lab.cli("up", "--within", str(30 * PATIENCE), "--config", str(broken), check=False)
    assert done.returncode == 1
    assert "the daemon of balancer1 exited with 1" in done.stderr
    assert re.search(r"fairlead\.yaml:\d+:\d+: error: ", done.stderr)
    assert time.monotonic() - began < 10 * PATIENCE


def test_tools_are_plain_files() -> None:
    """BIRD and nginx of the lab are files under .tools/ that no package owns; a second run of the script has nothing to do."""
    if not TOOLS_DIRECTORY.is_dir():
        pytest.skip("this machine has no .tools: its own BIRD and nginx are used")
    script = TOOLS_DIRECTORY.parent / "scripts" / "tools.sh"
    said = subprocess.run([script], env=os.environ | {"DRY": "1"}, capture_output=True, text=True, check=True)
    assert said.stdout == ""
    for program in ("bird/usr/sbin/bird", "nginx/usr/sbin/nginx"):
        owner = subprocess.run(["dpkg", "-S", TOOLS_DIRECTORY / program], capture_output=True, text=True, check=False)
        assert owner.returncode == 1, owner.stdout
