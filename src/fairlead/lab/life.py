"""The life of a lab: up, down, status, list, exec.

Everything a lab has outside its namespaces stands in one directory, /run/fairlead-lab/NAME: the state, a bpffs of its own
(mounted here, in the machine's mount namespace, because one mounted inside `ip netns exec` dies with the process that did it),
the supervisor's socket, and a directory for each host with configuration, log, pid and sockets. `down` needs nothing but the
name: it kills what lives in the namespaces, deletes them, removes the pins, unmounts and deletes the directory, whoever was
killed before.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from fairlead.lab import namespaces, plan, services, supervisor, wiring
from fairlead.lab.namespaces import LabError
from fairlead.lab.topologies import LARGEST, TOPOLOGIES
from fairlead.lab.topologies import find as find_topology
from fairlead.lab.topology import Host, Role, Software, Topology, Xdp

BASE = Path("/run/fairlead-lab")
TOOLS = Path(__file__).parents[3] / ".tools"
_NAME = re.compile(r"[a-z][a-z0-9]{0,15}")


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab that is up, or was: its name, its directory, what it was built from."""

    name: str
    topology: Topology
    xdp: Xdp

    @property
    def directory(self) -> Path:
        """Where everything of this lab stands."""
        return BASE / self.name

    def home(self, host: str) -> Path:
        """The directory of one host."""
        return self.directory / "hosts" / host

    def namespaces(self) -> list[str]:
        """The names of all its namespaces."""
        return [plan.namespace(self.name, host.name) for host in self.topology.hosts]

    def environment(self, host: Host) -> dict[str, str]:
        """Where a host finds a balancer's socket, pins and state: a balancer its own, any other those of the first balancer."""
        balancer = host if host.role is Role.BALANCER else self.topology.of(Role.BALANCER)[0]
        return {
            "FAIRLEAD_LAB": self.name,
            "FAIRLEAD_SOCKET": str(self.home(balancer.name) / "api.sock"),
            "FAIRLEAD_BPFFS": str(self.directory / "bpffs" / balancer.name),
            "FAIRLEAD_STATE": str(self.home(balancer.name) / "state"),
        }


# ---------------------------------------------------------------------------------------------------------------- what is needed


def find(program: str, *private: str) -> str:
    """The path of a program: unpacked under .tools/, beside this Python, or on PATH; "" if it is nowhere."""
    beside = Path(sys.executable).parent / program
    for candidate in (*(TOOLS / path for path in private), beside):
        if os.access(candidate, os.X_OK):
            return str(candidate)
    return shutil.which(program) or ""


def _frr() -> str:
    """The directory of FRR's daemons, which are on no PATH; "" if there is none."""
    places = (TOOLS / "frr/usr/lib/frr", Path("/usr/lib/frr"), Path("/usr/libexec/frr"))
    return next((str(place) for place in places if os.access(place / "bgpd", os.X_OK)), "")


def programs(software: Software) -> services.Programs:
    """The daemons that hosts run, with that router; LabError names all that is missing at once."""
    found = services.Programs(
        bird=find("bird", "bird/usr/sbin/bird"),
        birdc=find("birdc", "bird/usr/sbin/birdc"),
        nginx=find("nginx", "nginx/usr/sbin/nginx"),
        fairlead=find("fairlead"),
        frr=_frr(),
        gobgpd=find("gobgpd", "gobgp/usr/bin/gobgpd"),
        gobgp=find("gobgp", "gobgp/usr/bin/gobgp"),
    )
    routers = {Software.BIRD: found.bird, Software.FRR: found.frr, Software.GOBGP: found.gobgp and found.gobgpd}
    needed = {software.value: routers[software]}
    needed |= {"nginx": found.nginx, "fairlead": found.fairlead}
    missing = [name for name, path in needed.items() if not path]
    missing += [name for name in ("ip", "tc", "ethtool") if not shutil.which(name)]
    missing += [str(path) for path in wiring.OBJECTS_NEEDED if not path.exists()]
    if missing:
        raise LabError(f"a lab needs {', '.join(missing)}: `make setup` provides what is missing")
    return found


def check_root() -> None:
    """Labs are network namespaces, and those need root."""
    if os.geteuid() != 0:
        raise LabError("a lab needs root: it builds network namespaces and loads BPF programs")


def check_name(name: str) -> str:
    """The name if it can be one."""
    if not _NAME.fullmatch(name):
        raise LabError(f"{name!r} cannot name a lab: a small letter, then at most 15 small letters and digits")
    return name


@contextmanager
def locked(name: str) -> Iterator[None]:
    """One up or down at a time for each name. The lock file goes when nothing of the lab is left.

    The commands that build and remove inherit the lock: if we are killed it is free only when the last of them has ended.
    """
    BASE.mkdir(mode=0o755, parents=True, exist_ok=True)
    path = BASE / f".{name}.lock"
    while True:
        with path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.set_inheritable(lock.fileno(), True)
            if not path.exists() or os.fstat(lock.fileno()).st_ino != path.stat().st_ino:
                continue  # the one before us removed it: this lock keeps nobody out
            try:
                yield
            finally:
                if not (BASE / name).exists():
                    path.unlink()
            break
    with suppress(OSError):
        BASE.rmdir()


# --------------------------------------------------------------------------------------------------------------------- the state


def load(name: str) -> Lab:
    """The lab of that name; LabError if there is none."""
    try:
        state = json.loads((BASE / check_name(name) / "state.json").read_text())
        if state["topology"] not in TOPOLOGIES:
            raise LabError(f"lab {name!r} is of the topology {state['topology']!r}, which this version of fairlead does not know")
        balancers, software = state.get("balancers", 0), Software(state.get("router", Software.BIRD.value))
        return Lab(name, find_topology(state["topology"], balancers, software), Xdp(state["xdp"]))
    except FileNotFoundError:
        raise LabError(
            f"no lab is called {name!r}: `fairlead lab up` starts one, `fairlead lab list` shows those there are"
        ) from None
    except (ValueError, KeyError) as error:
        raise LabError(
            f"the state of lab {name!r} is not readable ({error}): `fairlead lab down --name {name}` cleans up"
        ) from None


def names() -> list[str]:
    """The labs there are, whole or not."""
    return sorted(path.name for path in BASE.iterdir() if path.is_dir()) if BASE.is_dir() else []


# ---------------------------------------------------------------------------------------------------------------------------- up


def up(name: str, topology: Topology, xdp: Xdp, config: str = "") -> Lab:
    """Build a lab and start its daemons. On failure nothing of it is left. `config` replaces the balancers' YAML."""
    check_root()
    check_name(name)
    found = programs(topology.peering.software)
    lab = Lab(name, topology, xdp)
    with locked(name):
        if lab.directory.exists():
            raise LabError(f"lab {name!r} is up already: `fairlead lab down --name {name}` first, or choose another --name")
        for taken in filter(namespaces.exists, lab.namespaces()):
            raise LabError(f"a namespace {taken} exists already and is of no lab: choose another --name")
        try:
            _build(lab, found, config)
        except BaseException:
            _remove(name)
            raise
    return lab


def _build(lab: Lab, found: services.Programs, config: str) -> None:
    lab.directory.mkdir(mode=0o755)
    state: dict[str, str | int] = {
        "topology": lab.topology.name,
        "xdp": lab.xdp.value,
        "router": lab.topology.peering.software.value,
    }
    if lab.topology.name == LARGEST.name:
        state |= {"balancers": len(lab.topology.of(Role.BALANCER))}
    (lab.directory / "state.json").write_text(json.dumps(state))
    bpffs = lab.directory / "bpffs"
    bpffs.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", bpffs], check=True, close_fds=False)
    wiring.lay(lab.name, lab.topology, lab.xdp)
    wiring.prepare(lab.name, lab.topology, lab.xdp)
    _write_services(lab, found, config)
    _start_supervisor(lab)


def _write_services(lab: Lab, found: services.Programs, config: str) -> None:
    wanted = {}
    for host in lab.topology.hosts:
        home = lab.home(host.name)
        for directory in ("bin", "tmp", "www"):
            (home / directory).mkdir(parents=True)
        service = services.service(lab.topology, host, PurePosixPath(home), found, lab.environment(host))
        if service is None:
            continue
        files = dict(service.files)
        if host.role is Role.BALANCER and config:
            files["fairlead.yaml"] = services.balancer_config(lab.topology, host, config)
        for path, text in files.items():
            (home / path).write_text(text)
            (home / path).chmod(0o755 if path.startswith("bin/") else 0o644)
        namespace = plan.namespace(lab.name, host.name)
        wanted[host.name] = {"namespace": namespace, "argv": service.argv, "env": dict(service.env)}
    (lab.directory / "services.json").write_text(json.dumps(wanted, indent=1))


def _start_supervisor(lab: Lab) -> None:
    with (lab.directory / "supervisor.log").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "fairlead.lab.supervisor", lab.directory],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    (lab.directory / "supervisor.pid").write_text(f"{child.pid}\n")
    deadline = time.monotonic() + 10
    while not (lab.directory / "supervisor.sock").exists():
        if child.poll() is not None or time.monotonic() > deadline:
            raise LabError(f"the lab's supervisor did not start: {(lab.directory / 'supervisor.log').read_text()[-2000:]}")
        time.sleep(0.005)
    child.returncode = 0  # it lives on without us: keep subprocess from warning that nobody waited


# -------------------------------------------------------------------------------------------------------------------------- down


def down(name: str) -> bool:
    """Remove a lab, whatever state it is in; False if there was nothing of it."""
    check_root()
    with locked(check_name(name)):
        return _remove(name)


def _all_namespaces(name: str) -> list[str]:
    hosts = {host.name: None for topology in (*TOPOLOGIES.values(), LARGEST) for host in topology.hosts}
    return [plan.namespace(name, host) for host in hosts]


def _remove(name: str) -> bool:
    directory = BASE / name
    remaining = [n for n in _all_namespaces(name) if namespaces.exists(n)]
    if not directory.exists() and not remaining:
        return False
    _stop_supervisor(directory)
    namespaces.kill_all(remaining)
    _unpin(directory / "bpffs")
    namespaces.delete(remaining)
    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        raise LabError(f"{directory} could not be removed: something is mounted there or writes to it")
    return True


def _stop_supervisor(directory: Path) -> None:
    """Ask it to; then see that it is dead, and its children, whether it answered or not.

    It is found by its command line: whoever started it may have been killed before they wrote down its number. One that is still
    starting must not enter another daemon into a namespace that is about to go: the daemon would live on in it, out of sight.
    """
    with suppress(OSError, ValueError):
        supervisor.ask(directory, do="stop")
    for pid in namespaces.commands("-m", "fairlead.lab.supervisor", str(directory)):
        namespaces.kill_family(pid)


def _unpin(bpffs: Path) -> None:
    """Remove every pin one by one, because some other mount namespace may hold the file system; then unmount it."""
    while os.path.ismount(bpffs):
        for parent, directories, files in os.walk(bpffs, topdown=False):
            for entry in (*files, *directories):
                path = Path(parent, entry)
                with suppress(OSError):
                    path.rmdir() if path.is_dir() else path.unlink()
        if subprocess.run(["umount", bpffs], capture_output=True, check=False).returncode:
            subprocess.run(["umount", "-l", bpffs], check=False)


# ---------------------------------------------------------------------------------------------------------------- while it is up


def ask(lab: Lab, **request: Any) -> dict[str, Any]:
    """Put a request to the lab's supervisor; LabError if it is dead or refuses."""
    try:
        answer = supervisor.ask(lab.directory, **request)
    except PermissionError:
        raise LabError(f"no permission to ask the supervisor of lab {lab.name!r} (run it with sudo)") from None
    except OSError as error:
        says = f"the supervisor of lab {lab.name!r} is dead ({error}): `fairlead lab down --name {lab.name}` cleans up"
        raise LabError(says) from None
    if "error" in answer:
        raise LabError(answer["error"])
    return answer


def command(lab: Lab, host: str, argv: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
    """The command line and environment that run `argv` on a host."""
    try:
        found = lab.topology.host(host)
    except KeyError:
        known = ", ".join(h.name for h in lab.topology.hosts)
        raise LabError(f"lab {lab.name!r} has no host {host!r}; it has {known}") from None
    path = [str(lab.home(host) / "bin"), str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    env = dict(os.environ) | lab.environment(found) | {"PATH": ":".join(path)}
    return ["ip", "netns", "exec", plan.namespace(lab.name, host), *argv], env
