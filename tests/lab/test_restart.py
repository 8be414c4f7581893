"""`fairlead restart`: one process, two runs; what routers, clients, other instances and the service manager see of it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from fairlead.cli import online
from tests.lab.hitless import Balancer
from tests.lab.kit import FAIRLEAD, VIPS, Lab, eventually

pytestmark = [pytest.mark.root, pytest.mark.slow]

NOTIFIED_WITHIN = 1.2  # seconds, what WATCHDOG_USEC says in these tests


def test_no_router_learns_of_it(lab: Lab) -> None:
    """Five restarts: the router's kernel hears of no route, BIRD of no session, and the process is the same."""
    balancer, pid = Balancer(lab), lab.pid()
    since = balancer.status()["peers"][0]["since"]
    with lab.running("router", "ip", "monitor", "route") as watch:
        for _ in range(5):
            status = balancer.restart()
            (peer,) = status["peers"]
            assert (peer["state"], peer["since"]) == ("Established", since)
            assert set(peer["routes"]) == {f"{VIPS[4]}/32", f"{VIPS[6]}/128"}
        time.sleep(lab_hold(lab) / 3)  # keepalives go on: the next one is heard within a third of the hold time
        assert balancer.status()["peers"][0]["since"] == since
        watch.terminate()
        assert watch.communicate()[0] == ""
    assert lab.pid() == pid
    assert Path(f"/proc/{pid}").exists()
    told = lab.run("router", str(lab.home("router") / "bin" / "birdc"), "show", "protocols", "balancer1")
    assert "Established" in told


def lab_hold(lab: Lab) -> float:
    """The hold time in the lab's configuration, in seconds."""
    return float(lab.config.split("hold_time: ")[1].split()[0])


def test_a_changed_session_is_made_anew(lab: Lab) -> None:
    """A restart that finds another hold time in the file does what a reload would do: a new session."""
    balancer = Balancer(lab)
    since = balancer.status()["peers"][0]["since"]
    lab.config_path.write_text(lab.config.replace("hold_time: 9", "hold_time: 12"))
    balancer.restart()
    peer = eventually(lambda: (p := balancer.status()["peers"][0])["state"] == "Established" and p, 15)
    assert peer["since"] != since


def test_descriptors_do_not_add_up(lab: Lab) -> None:
    """Restarts leave no descriptors behind."""
    balancer = Balancer(lab)

    def count() -> int:
        balancer.restart()
        eventually(lab.all_up, 15)
        return len(list(Path(f"/proc/{lab.pid()}/fd").iterdir()))

    first = max(count() for _ in range(2))
    assert max(count() for _ in range(3)) <= first + 4  # probes come and go


def test_nobody_slips_in(lab: Lab) -> None:
    """During restarts the lock of the pins is never free, and whoever asks for status always gets an answer."""
    balancer, over, wrong = Balancer(lab), threading.Event(), []

    def seize() -> None:
        descriptor = os.open(lab.env()["FAIRLEAD_BPFFS"], os.O_RDONLY | os.O_DIRECTORY)
        while not over.is_set():
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                wrong.append("the lock was free")
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            except BlockingIOError:
                time.sleep(0.0005)
        os.close(descriptor)

    def ask() -> None:
        while not over.is_set():
            try:
                code, _ = online.ask(balancer.socket, "GET", "/v1/status")
                if code != 200:
                    wrong.append(f"status said {code}")
            except online.NoDaemon as error:
                wrong.append(str(error))
            time.sleep(0.02)

    threads = [threading.Thread(target=each) for each in (seize, ask)]
    for each in threads:
        each.start()
    try:
        for _ in range(4):
            balancer.restart()
    finally:
        over.set()
        for each in threads:
            each.join()
    assert not wrong, wrong[:5]


def test_signals_wait(lab: Lab) -> None:
    """Reloads that are asked for in the middle of a restart neither kill the process nor get lost; a SIGTERM ends it in order."""
    balancer, pid = Balancer(lab), lab.pid()
    before = balancer.status()["started"]
    code, _ = online.ask(balancer.socket, "POST", "/v1/restart")
    assert code == 200
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        os.kill(pid, signal.SIGHUP)
        time.sleep(0.005)
    at = time.time()
    assert balancer.started()["started"] != before
    os.kill(pid, signal.SIGHUP)
    eventually(lambda: lab.event("reloaded", at))
    online.ask(balancer.socket, "POST", "/v1/restart")
    time.sleep(0.3)
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: balancer.state() == "exited with 0", 15)
    assert not lab.route(VIPS[4])


def test_the_command_waits(lab: Lab) -> None:
    """`fairlead restart` returns when the successor answers, and says what runs; without a daemon it says so."""
    before = lab.status()["started"]
    done = lab.try_run("balancer1", FAIRLEAD, "restart")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("runs\n")
    assert lab.status()["started"] > before
    balancer = Balancer(lab)
    balancer.stop()
    done = lab.try_run("balancer1", FAIRLEAD, "restart")
    assert done.returncode == 1
    assert "no fairlead daemon runs here" in done.stderr


def test_what_is_known_stays_known(lab: Lab) -> None:
    """A backend that is down, another that somebody drained: the first answer after a restart and after SIGKILL says both.

    Since when, by whom and when are as before, and the drained one's flows are still its own.
    """
    balancer = Balancer(lab)
    lab.cli("kill", "backend3")
    for address in ("192.0.2.23", "fd1a:b:0:10::23"):
        eventually(lambda a=address: lab.backend(a)["state"] == "down")
    assert lab.try_run("balancer1", FAIRLEAD, "drain", "192.0.2.22").returncode == 0
    eventually(lambda: lab.backend("192.0.2.22")["state"] == "drain")
    try:
        before = _known(balancer.status())
        assert before["overrides"]
        again = balancer.restart()
        assert _known(again) == before
        first = {s["name"]: min(b["since"] for b in s["backends"]) for s in again["services"]}
        assert all(s["since"] > first[s["name"]] - 1 for s in again["services"]), "not since the machine's boot, for example"
        balancer.kill()
        balancer.start()
        assert _known(balancer.started()) == before
    finally:
        lab.run("balancer1", FAIRLEAD, "clear", "--all")
        lab.cli("start", "backend3")
    eventually(lab.all_up, 15)


def _known(status: dict[str, Any]) -> dict[str, Any]:
    """All of a status that a successor cannot see for itself at once."""
    asked = ("address", "state", "since", "destination", "weight", "penalty")
    backends = [{name: b[name] for name in asked} for s in status["services"] for b in s["backends"]]
    return {"overrides": status["overrides"], "backends": backends, "hash": status["tables_hash"]}


def test_a_bad_file_is_refused(lab: Lab) -> None:
    """A configuration that the successor could not start with is refused before anything ends."""
    before = lab.status()["started"]
    lab.config_path.write_text(lab.config.replace("servers: [", "severs: [", 1))
    done = lab.try_run("balancer1", FAIRLEAD, "restart")
    assert done.returncode == 1
    assert "severs" in done.stderr
    assert lab.status()["started"] == before


# -------------------------------------------------------------------------------------------------------------- service manager


class Manager:
    """The other end of sd_notify(3): what was said, in order."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.said: list[str] = []
        self.over = False
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        """All the time, as a service manager does: its queue has few places."""
        self.socket.settimeout(0.1)
        while not self.over:
            with suppress(TimeoutError):
                self.said += self.socket.recv(4096).decode().splitlines()

    def close(self) -> None:
        """Read no more."""
        self.over = True
        self.reader.join()
        self.socket.close()

    def hears(self, word: str) -> bool:
        """Whether this came; what came before it is forgotten."""
        if word not in self.said:
            return False
        del self.said[: self.said.index(word) + 1]
        return True


@contextmanager
def managed(lab: Lab) -> Iterator[Manager]:
    """The daemon is started in this block with a service manager that wants to be told, and beats of the watchdog."""
    services, path = lab.directory / "services.json", lab.directory / "notify"
    was = services.read_text()
    found = json.loads(was)
    found["balancer1"]["env"] |= {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(int(NOTIFIED_WITHIN * 1e6))}
    services.write_text(json.dumps(found))
    manager = Manager(path)
    with closing(manager):
        try:
            yield manager
        finally:
            services.write_text(was)
            path.unlink()


def test_the_service_manager_is_told(lab: Lab) -> None:
    """READY at the start, RELOADING and READY around reload and restart, beats while it lives, none while it is frozen."""
    balancer = Balancer(lab)
    balancer.stop()
    with managed(lab) as manager:
        balancer.start()
        eventually(lambda: manager.hears("READY=1"), 15)
        eventually(lambda: manager.hears("WATCHDOG=1"))
        for verb in ("reload", "restart"):
            assert lab.try_run("balancer1", FAIRLEAD, verb).returncode == 0
            eventually(lambda: manager.hears("RELOADING=1"))
            eventually(lambda: manager.hears("READY=1"))
            for _ in range(2):
                eventually(lambda: manager.hears("WATCHDOG=1"))
        os.kill(lab.pid(), signal.SIGSTOP)
        eventually(lambda: "State:\tT" in Path(f"/proc/{lab.pid()}/status").read_text())
        time.sleep(0.2)  # what it said before is read
        manager.said.clear()
        time.sleep(NOTIFIED_WITHIN)
        assert not manager.hears("WATCHDOG=1")
        os.kill(lab.pid(), signal.SIGCONT)
        eventually(lambda: manager.hears("WATCHDOG=1"))
        balancer.stop()
        assert manager.hears("STOPPING=1")
    balancer.start()


def test_systemctl_would_kill_what_hangs(lab: Lab) -> None:
    """After the SIGABRT that a watchdog sends the data plane forwards on, and the next start adopts it."""
    balancer = Balancer(lab)
    os.kill(lab.pid(), signal.SIGABRT)
    eventually(lambda: balancer.state() == "killed by SIGABRT")
    assert "xdp" in lab.run("balancer1", "ip", "link", "show", "eth0")
    balancer.start()
    eventually(lab.all_up, 15)
