"""The unit under a real systemd, process 1 of namespaces of its own: capabilities instead of root, watchdog, reload, restarts."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.kit import FAIRLEAD, PATIENCE, eventually

ROOT = Path(__file__).parents[2]
root = pytest.mark.root
UNIT = ROOT / "systemd" / "fairlead.service"
SYSTEMD = Path("/lib/systemd/systemd")
ANALYZE = shutil.which("systemd-analyze") or ""
USER, NUMBER = "fairlead", 61070  # an id that nobody has: the user is there inside only
RIGHTS = 1 << 39 | 1 << 38 | 1 << 13 | 1 << 12  # BPF, PERFMON, NET_RAW, NET_ADMIN
EXPOSURE = 25  # tenths; systemd's own word for that is "OK", and what runs as root without any sandbox has 96

CONFIG = """\
interfaces: [eth0]
services:
  - virtual: 192.0.2.10
    servers: [10.9.0.2]
    hold: 0
    interval: 100ms
    timeout: 100ms
    policy: {80: {checks: [{type: http}, {type: https}, {type: tcp}, {type: syn}, {type: dns}, {type: udp}, {type: icmp}]}}
"""
KINDS = 7
# What systemd would touch of this machine is hidden or read-only before it starts; its own units are replaced.
BOOT = """\
set -eu
mount --make-rprivate /
mount -t proc proc /proc && mount -o bind,ro /proc/sys /proc/sys
mount -t sysfs sysfs /sys && mount -t cgroup2 cgroup2 /sys/fs/cgroup && mount -t bpf -o mode=0700 bpf /sys/fs/bpf
for each in /run /var/lib/systemd /etc/systemd /usr/lib/systemd/system /usr/lib/systemd/system-generators; do
    [ ! -d $each ] || mount -t tmpfs -o mode=0755 tmpfs $each
done
mkdir -p /etc/systemd/system && cp -r {directory}/units/. /etc/systemd/system
mount -o bind {directory}/passwd /etc/passwd && mount -o bind {directory}/group /etc/group
mkdir {directory}/python && mount -o bind {python} {directory}/python && mount -t tmpfs -o mode=0755 tmpfs /root
mkdir -p {python} && mount --move {directory}/python {python}
mount -t tmpfs -o mode=0755 tmpfs /var/lib
[ ! -e /dev/console ] || mount -o bind {tty} /dev/console
ip link set lo up
ip link add eth0 type veth peer name peer0 && ip link set eth0 up && ip link set peer0 up && ip address add 10.9.0.1/24 dev eth0
drop=-sys_time,-sys_module,-sys_boot,-sys_rawio
exec env -i container=test PATH="$PATH" setpriv --bounding-set=$drop --inh-caps=$drop {systemd} --system --unit=test.target \\
    --log-target=console --log-color=0 --show-status=0
"""
DROP_IN = """\
[Service]
ProtectHome=tmpfs
BindReadOnlyPaths={root} {directory} {python}
StandardOutput=append:{directory}/log
StandardError=append:{directory}/log
"""


@dataclass
class Machine:
    """Namespaces in which systemd is process 1."""

    pid: int
    directory: Path

    def run(self, *command: str, check: bool = True, within: float = 30) -> str:
        argv = ["nsenter", "-t", str(self.pid), "-m", "-n", "-p", "-u", "-i", "-C", *command]
        own = {name: value for name, value in os.environ.items() if not name.startswith("FAIRLEAD_")}
        done = subprocess.run(argv, env=own, capture_output=True, text=True, timeout=within * PATIENCE, check=False)
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}\n{self.log()}"
        return done.stdout

    def log(self) -> str:
        return "".join(
            path.read_text(errors="replace")
            for path in [self.directory / name for name in ("boot", "console", "log")]
            if path.exists()
        )

    def property(self, name: str) -> str:
        return self.run("systemctl", "show", "--value", "-p", name, "fairlead").strip()

    def main(self) -> int:
        """The daemon's process id inside."""
        return int(self.property("MainPID"))

    def proc(self, name: str) -> str:
        return self.run("cat", f"/proc/{self.main()}/{name}")

    def program(self) -> str:
        """The XDP program on eth0, "" for none."""
        found = re.search(r"prog/xdp id (\d+)", self.run("ip", "link", "show", "eth0"))
        return found[1] if found else ""

    def status(self) -> dict[str, Any]:
        return json.loads(self.run("sh", "-c", f"{FAIRLEAD} status --json || [ $? = 3 ]"))

    def checks(self) -> list[dict[str, Any]]:
        return self.status()["services"][0]["backends"][0]["checks"]

    def config(self, text: str) -> None:
        (self.directory / "fairlead.yaml").write_text(text)

    def active(self) -> bool:
        return self.property("ActiveState") == "active"


def require_systemd() -> None:
    if os.geteuid() != 0 or not SYSTEMD.exists():
        pytest.skip("needs root and systemd's program (it need not run)")
    if not any(line.split()[2] == "cgroup2" for line in Path("/proc/mounts").read_text().splitlines()):
        pytest.skip("needs a cgroup2 mount")
    if any(not path.stat().st_mode & 0o001 for path in ROOT.parents):
        pytest.skip(f"other users must be able to reach {ROOT}")


@contextlib.contextmanager
def group(name: str) -> Iterator[Path]:
    """A control group: for systemd it is the root of them all."""
    (root,) = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if line.split()[2] == "cgroup2"][:1]
    path = Path(root, name)
    path.mkdir()
    try:
        yield path
    finally:
        for each in sorted(path.rglob("*"), reverse=True):
            if each.is_dir():
                eventually(lambda each=each: each.rmdir() is None)
        eventually(lambda: path.rmdir() is None)


@contextlib.contextmanager
def terminal(copy: Path) -> Iterator[str]:
    """A terminal for systemd to write to, and a file with what it wrote: it takes no other console."""
    ours, theirs = os.openpty()
    with copy.open("w") as out, subprocess.Popen(["cat"], stdin=ours, stdout=out, stderr=subprocess.DEVNULL) as reader:
        try:
            yield os.ttyname(theirs)
        finally:
            reader.kill()
            os.close(ours)
            os.close(theirs)


def units(directory: Path) -> None:
    """What systemd needs to start at all, and the unit, with this tree's command."""
    made = directory / "units"
    (made / "fairlead.service.d").mkdir(parents=True)
    for name in "test sysinit basic shutdown umount final network-online exit local-fs local-fs-pre multi-user".split():
        (made / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
    text = UNIT.read_text().replace("/usr/local/bin/fairlead", FAIRLEAD).replace("/etc/fairlead/", f"{directory}/")
    (made / "fairlead.service").write_text(text)
    (made / "fairlead.service.d" / "test.conf").write_text(DROP_IN.format(root=ROOT, directory=directory, python=sys.base_prefix))
    for name, line in (("passwd", f"{USER}:x:{NUMBER}:{NUMBER}::/var/lib/fairlead:/bin/false"), ("group", f"{USER}:x:{NUMBER}:")):
        (directory / name).write_text(Path("/etc", name).read_text() + line + "\n")


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    require_systemd()
    directory = Path("/tmp", f"fairlead-systemd-{secrets.token_hex(4)}")
    directory.mkdir(mode=0o755)
    directory.chmod(0o755)
    units(directory)
    script = BOOT.replace("{directory}", str(directory)).replace("{systemd}", str(SYSTEMD))
    script = script.replace("{python}", sys.base_prefix)
    with group(directory.name) as cgroup, terminal(directory / "console") as tty, (directory / "boot").open("w") as console:
        script = script.replace("{tty}", tty)
        inside = [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--uts",
            "--ipc",
            "--cgroup",
            "--net",
            "--kill-child",
            "sh",
            "-c",
            script,
        ]
        argv = ["sh", "-c", f'echo $$ > {cgroup}/cgroup.procs && exec "$@"', "sh", *inside]
        with subprocess.Popen(argv, stdout=console, stderr=console, stdin=subprocess.DEVNULL) as process:
            try:
                pid = eventually(lambda: int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]))
                made = Machine(pid, directory)
                eventually(lambda: "running" in made.run("systemctl", "is-system-running", check=False), 4)
                yield made
            finally:
                process.kill()
                process.wait()
    shutil.rmtree(directory)


@pytest.fixture
def daemon(machine: Machine) -> Machine:
    """The unit, running, with the usual configuration."""
    machine.config(CONFIG)
    machine.run("systemctl", "reset-failed", "fairlead", check=False)  # not even loaded at first
    machine.run("systemctl", "restart", "fairlead", within=60)
    assert machine.active()
    return machine


@pytest.mark.skipif(not ANALYZE, reason="needs systemd-analyze")
def test_the_unit_is_sound(tmp_path: Path) -> None:
    """There is no fault that systemd finds with the unit, and its exposure stays low."""
    unit = tmp_path / "fairlead.service"
    unit.write_text(UNIT.read_text().replace("/usr/local/bin/fairlead", sys.executable))

    verified = subprocess.run([ANALYZE, "verify", unit], capture_output=True, text=True, timeout=60, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    security = [ANALYZE, "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}", unit]
    rated = subprocess.run(security, capture_output=True, text=True, timeout=60, check=False)
    assert rated.returncode == 0, rated.stdout.splitlines()[-1]


@root
def test_capabilities_instead_of_root(daemon: Machine) -> None:
    """Ready means attached; the daemon has its own user and four capabilities, and every kind of check may ask."""
    status = dict(line.split(":\t", 1) for line in daemon.proc("status").splitlines() if ":\t" in line)

    assert status["Uid"].split() == [str(NUMBER)] * 4
    assert {int(status[f"Cap{which}"], 16) for which in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {RIGHTS}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    found = daemon.status()
    assert [(i["name"], i["mode"]) for i in found["interfaces"]] == [("eth0", "native")]
    assert found["warnings"] == []
    checks = eventually(lambda: [c for c in daemon.checks() if c["at"]] if all(c["at"] for c in daemon.checks()) else [])
    assert len(checks) == KINDS
    assert not [c["says"] for c in checks if "permitted" in c["says"].lower() or "capab" in c["says"].lower()]
    assert oct(int(daemon.run("stat", "-c", "%a", "/run/fairlead/api.sock"), 8)) == "0o660"


@root
def test_reload(daemon: Machine) -> None:
    """A reload takes a good file over, and fails with a bad one, which changes nothing."""
    daemon.config(CONFIG.replace("192.0.2.10", "192.0.2.11"))
    daemon.run("systemctl", "reload", "fairlead")
    assert [v["address"] for v in daemon.status()["vips"]] == ["192.0.2.11"]
    daemon.config("nonsense: true")
    daemon.run("systemctl", "reload", "fairlead", check=False)
    assert daemon.property("ReloadResult") == "exit-code"
    assert daemon.active()
    assert [v["address"] for v in daemon.status()["vips"]] == ["192.0.2.11"]


@root
def test_a_crash(daemon: Machine) -> None:
    """Killed, the daemon is started again and adopts what is there; the program is on its interface all the while."""
    first, restarts, before = daemon.main(), int(daemon.property("NRestarts")), len(daemon.log())
    daemon.run("kill", "-KILL", str(first))

    def again() -> bool:
        assert daemon.program(), "the program is gone"
        return daemon.active() and daemon.main() not in {0, first}

    eventually(again, within=20)
    assert int(daemon.property("NRestarts")) == restarts + 1
    eventually(lambda: "adopted" in daemon.log()[before:])


@root
def test_the_watchdog(daemon: Machine) -> None:
    """A daemon that hangs is killed by systemd's watchdog and started again."""
    drop = Path("/etc/systemd/system/fairlead.service.d/watchdog.conf")
    daemon.run("sh", "-c", f"printf '[Service]\\nWatchdogSec=2\\n' > {drop}; systemctl daemon-reload; systemctl restart fairlead")
    first = daemon.main()
    eventually(lambda: int(daemon.property("WatchdogTimestampMonotonic")) > int(daemon.property("ActiveEnterTimestampMonotonic")))
    assert daemon.main() == first
    daemon.run("kill", "-STOP", str(first))
    eventually(lambda: daemon.active() and daemon.main() not in {0, first}, within=20)
    assert "Watchdog timeout" in daemon.log()
    daemon.run("sh", "-c", f"rm {drop}; systemctl daemon-reload")


@root
def test_fairlead_restart(daemon: Machine) -> None:
    """`fairlead restart` executes the daemon anew in the same process, and for systemd the unit was active all the time."""
    first, entered = daemon.main(), daemon.property("ActiveEnterTimestampMonotonic")
    began = daemon.status()["started"]
    daemon.run(FAIRLEAD, "restart", within=60)
    eventually(lambda: daemon.status()["started"] > began)

    assert (daemon.main(), daemon.property("ActiveEnterTimestampMonotonic")) == (first, entered)
    assert daemon.active()
    assert daemon.program()


@root
def test_stop_and_detach(daemon: Machine) -> None:
    """Stopped, the data plane forwards on and a start adopts it; `fairlead detach` by root takes it away."""
    daemon.run("systemctl", "stop", "fairlead")
    assert daemon.property("Result") == "success"
    assert daemon.program()
    before = len(daemon.log())
    daemon.run("systemctl", "start", "fairlead", within=60)
    eventually(lambda: "adopted" in daemon.log()[before:])
    daemon.run("systemctl", "stop", "fairlead")
    daemon.run(FAIRLEAD, "detach")
    assert not daemon.program()


@root
def test_a_file_that_is_mended(machine: Machine) -> None:
    """A refused start is tried again, so that the daemon comes up once the file is right; the log says what was wrong."""
    machine.run("systemctl", "stop", "fairlead")
    machine.config("nonsense: true")
    machine.run("systemctl", "start", "fairlead", check=False)
    assert not machine.active()
    assert "unknown key `nonsense`" in machine.log()
    machine.config(CONFIG)
    eventually(machine.active, within=20)
