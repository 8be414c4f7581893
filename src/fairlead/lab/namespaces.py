"""Network namespaces from Python: run commands in them, do work inside one, find and kill what runs there.

A thread that has entered a namespace opens sockets there and sees its /proc/sys/net; the rest of the process stays where it was.
Commands get the descriptors that are marked as inheritable, which is a lab's lock (`close_fds=False`).
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

RUN = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

T = TypeVar("T")


class LabError(Exception):
    """What stops a lab; the text is for the user, complete in itself."""


def exists(name: str) -> bool:
    """Whether there is a namespace of that name."""
    return (RUN / name).exists()


def batch(lines: Sequence[str], name: str = "", *, program: str = "ip", force: bool = False) -> None:
    """Run `ip -batch` (or tc) with these lines, in a namespace if one is named. LabError with its words if a line fails."""
    if not lines:
        return
    argv = [program, *(["-n", name] if name else []), *(["-force"] if force else []), "-batch", "-"]
    done = subprocess.run(argv, input="\n".join(lines) + "\n", close_fds=False, capture_output=True, text=True, check=False)
    if done.returncode and not force:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip()}\n" + "\n".join(f"    {line}" for line in lines))


def batches(work: Mapping[str, Sequence[str]]) -> None:
    """Run one batch for each namespace, some of them at once."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda item: batch(item[1], item[0]), work.items()))


def run(name: str, *argv: str) -> str:
    """Run a command in a namespace and return what it printed; LabError if it fails."""
    done = subprocess.run(["ip", "netns", "exec", name, *argv], close_fds=False, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"in {name}: {' '.join(argv)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def inside(name: str, work: Callable[[], T]) -> T:
    """Do `work` in a thread that has entered the namespace; its result, or its exception, is handed on."""
    results: list[T] = []
    failures: list[BaseException] = []

    def enter() -> None:
        try:
            _enter(RUN / name)
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - handed on to the caller below
            failures.append(error)

    thread = threading.Thread(target=enter, name=f"in {name}")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def _enter(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(fd, _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(fd)


def set_sysctls(name: str, values: Mapping[str, str]) -> None:
    """Write paths under /proc/sys in the namespace; one that the kernel lacks is left out."""

    def write() -> None:
        for path, value in values.items():
            with suppress(FileNotFoundError):
                Path("/proc/sys", path).write_text(value)

    inside(name, write)


def set_first(name: str, path: str, values: Sequence[str]) -> None:
    """Write the first of these values that the kernel takes; keep what is there if it takes none."""

    def write() -> None:
        for value in values:
            with suppress(OSError):
                Path("/proc/sys", path).write_text(value)
                return

    inside(name, write)


def processes(names: Iterable[str]) -> list[int]:
    """The processes that live in any of these namespaces, zombies left out."""
    wanted = set()
    for name in names:
        with suppress(OSError):
            found = (RUN / name).stat()
            wanted.add((found.st_dev, found.st_ino))
    return [pid for pid in _pids() if _net(pid) in wanted] if wanted else []


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _net(pid: int) -> tuple[int, int] | None:
    try:
        found = Path(f"/proc/{pid}/ns/net").stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def commands(*argv: str) -> list[int]:
    """The processes whose command line ends in these words. A container's are left out: their /run is not ours."""
    end = b"".join(b"\0" + word.encode() for word in argv) + b"\0"
    return [pid for pid in _pids() if _command_line(pid).endswith(end) and _shares_run(pid)]


def _command_line(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _shares_run(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/root", "run").samefile("/run")
    return False


def state(pid: int) -> str:
    """One letter, as in proc(5): T is stopped; Z, a zombie, and X, no such process, are dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def kill_family(pid: int, within: float = 15.0) -> None:
    """SIGKILL a process and its children and wait until they are dead. It is stopped first, so that it has no more of them."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    _await(lambda: state(pid) in "TZX", [pid], within)
    family = [pid]
    with suppress(OSError):
        family += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    for member in family:
        with suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)
    _await(lambda: all(state(member) in "ZX" for member in family), family, within)


def _await(done: Callable[[], bool], pids: Sequence[int], within: float) -> None:
    deadline = time.monotonic() + within
    while not done():
        if time.monotonic() > deadline:
            raise LabError(f"of the processes {', '.join(map(str, pids))} some do not die")
        time.sleep(0.005)


def kill_all(names: Sequence[str], within: float = 15.0) -> None:
    """SIGKILL whatever lives in the namespaces until nothing does. LabError if something stays."""
    deadline = time.monotonic() + within
    while pids := processes(names):
        if time.monotonic() > deadline:
            raise LabError(f"processes {', '.join(map(str, pids))} in the lab's namespaces do not die")
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def delete(names: Iterable[str]) -> None:
    """Delete the namespaces that are there. What runs in them must be dead, or they live on without a name."""
    batch([f"netns delete {name}" for name in names if exists(name)], force=True)
