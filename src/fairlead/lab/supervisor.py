"""The parent of every daemon of a lab: `python -m fairlead.lab.supervisor DIRECTORY`, in a session of its own.

Daemons run in the foreground as its children, so nothing is ever orphaned: they ask the kernel to be killed when it dies
(PR_SET_PDEATHSIG), and it adopts whatever they leave behind (PR_SET_CHILD_SUBREAPER). It restarts nothing: a lab shows deaths.
What to run stands in DIRECTORY/services.json. It is spoken to over DIRECTORY/supervisor.sock, one JSON object a line each way:

    {"do": "status"}                              -> {"hosts": {HOST: {"pid": 12, "state": "running"}}}
    {"do": "start", "host": HOST}                 -> {"pid": 12}
    {"do": "kill", "host": HOST, "signal": 9}     -> {"at": UNIX_TIME}, taken just before the signal was sent
    {"do": "stop"}                                -> {}, and everything is gone

An answer with "error" says why not.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

DEATH = 10  # seconds that SIGKILL may take: a daemon has large tables to let go of

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with(parent: int) -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel was asked
        os._exit(1)


class Supervisor:
    """The children by host, and the answers to requests."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.killed: set[int] = set()
        self.stopping = False

    def start_all(self) -> None:
        """Start every service that services.json names."""
        for host in self._services():
            self.start(host)

    def start(self, host: str) -> dict[str, Any]:
        """Start the service of one host, unless it runs; one that was killed and is not gone yet does not."""
        services = self._services()
        if host not in services:
            return {"error": f"{host} runs no daemon; those that do: {', '.join(services)}"}
        child = self.children.get(host)
        if child is not None and child.pid in self.killed:
            with suppress(subprocess.TimeoutExpired):
                child.wait(DEATH)
        if child is None or child.poll() is not None:
            child = self.children[host] = self._spawn(host, services[host])
        return {"pid": child.pid}

    def _services(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = json.loads((self.directory / "services.json").read_text())
        return found

    def _spawn(self, host: str, service: dict[str, Any]) -> subprocess.Popen[bytes]:
        home = self.directory / "hosts" / host
        with (home / "log").open("ab") as log:
            child = subprocess.Popen(
                ["ip", "netns", "exec", service["namespace"], *service["argv"]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=home,
                env=os.environ | service["env"],
                start_new_session=True,
                preexec_fn=partial(_die_with, os.getpid()),  # noqa: PLW1509 - this process has one thread
            )
        (home / "pid").write_text(f"{child.pid}\n")
        return child

    def kill(self, host: str, number: int) -> dict[str, Any]:
        """Send a signal to the service of one host."""
        child = self.children.get(host)
        if child is None or child.poll() is not None:
            return {"error": f"nothing runs on {host}"}
        at = time.time()
        child.send_signal(number)
        if number == signal.SIGKILL:
            self.killed.add(child.pid)
        return {"at": at}

    def status(self) -> dict[str, Any]:
        """What runs, and how the rest ended."""
        return {"hosts": {host: {"pid": child.pid, "state": _state(child)} for host, child in self.children.items()}}

    def stop(self) -> dict[str, Any]:
        """Kill every child and wait for it."""
        for child in self.children.values():
            if child.poll() is None:
                child.kill()
        for child in self.children.values():
            with suppress(subprocess.TimeoutExpired):
                child.wait(3)
        self.stopping = True
        return {}

    def answer(self, line: bytes) -> dict[str, Any]:
        """The answer to one request."""
        try:
            request = json.loads(line)
            match request["do"]:
                case "status":
                    return self.status()
                case "start":
                    return self.start(request["host"])
                case "kill":
                    return self.kill(request["host"], int(request["signal"]))
                case "stop":
                    return self.stop()
        except (ValueError, KeyError, TypeError, OSError) as error:
            return {"error": f"{type(error).__name__}: {error}"}
        return {"error": f"no such request: {request['do']}"}

    def reap(self) -> None:
        """Collect dead children, and dead grandchildren that came to us."""
        for child in self.children.values():
            child.poll()
        known = {child.pid for child in self.children.values() if child.returncode is None}
        for pid in _zombies():
            if pid not in known:
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)


def _zombies() -> list[int]:
    """Our dead children, by the list the kernel keeps of this thread's children."""
    pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in pids if _is_zombie(pid)]


def _is_zombie(pid: str) -> bool:
    with suppress(OSError):
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return False


def _state(child: subprocess.Popen[bytes]) -> str:
    code = child.poll()
    if code is None:
        return "running"
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"


def _listen(path: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    path.chmod(0o600)
    server.listen(16)
    return server


def _serve(supervisor: Supervisor, server: socket.socket, wake: socket.socket) -> None:
    selector = selectors.DefaultSelector()
    selector.register(server, selectors.EVENT_READ)
    selector.register(wake, selectors.EVENT_READ)
    while not supervisor.stopping:
        for key, _ in selector.select():
            if key.fileobj is wake:
                _woken(supervisor, wake)
            else:
                _converse(supervisor, server)


def _woken(supervisor: Supervisor, wake: socket.socket) -> None:
    numbers = wake.recv(64)
    supervisor.reap()
    if signal.SIGTERM in numbers or signal.SIGINT in numbers:
        supervisor.stop()


def _converse(supervisor: Supervisor, server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection, suppress(OSError):
        connection.settimeout(2)
        line = connection.makefile("rb").readline()
        connection.sendall(json.dumps(supervisor.answer(line)).encode() + b"\n")


def main(directory: Path) -> None:
    """Start everything, serve until told to stop."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wake, waker = socket.socketpair()
    for end in (wake, waker):
        end.setblocking(False)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    supervisor = Supervisor(directory)
    supervisor.start_all()
    _serve(supervisor, _listen(directory / "supervisor.sock"), wake)


def ask(directory: Path, within: float = 10.0, **request: Any) -> dict[str, Any]:
    """Put a request to the supervisor of a lab. OSError if there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(within)
        connection.connect(str(directory / "supervisor.sock"))
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as stream:
            line = stream.readline()
    if not line:
        raise ConnectionResetError("the supervisor hung up")
    answer: dict[str, Any] = json.loads(line)
    return answer


if __name__ == "__main__":
    main(Path(sys.argv[1]))
