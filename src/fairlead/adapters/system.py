"""The process among others: one instance, the service manager, the ssh session it was started from, its limits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import resource
import socket
import struct
import time
from importlib import metadata

NATIVE_ATTACH_HINT = (
    "some drivers drop the link for seconds when a native XDP program is attached "
    "(`--confirm SECONDS` detaches again unless `fairlead confirm` comes in time, `--generic` avoids it)"
)
BEAT = "WATCHDOG=1"
_INSTANCE = "\0fairlead-instance"  # an abstract address: one for each network namespace, gone with its process


def our_link(bpffs: str, ifindex: int) -> bool:
    """Whether a link of ours is pinned for this interface: then the program on it is no stranger.

    True where we may not look: that we need root is said elsewhere, and to advise removing what may be our own would be wrong.
    """
    try:
        return pathlib.Path(bpffs, "links", f"xdp-{ifindex}").exists()
    except PermissionError:
        return True


def ssh_address() -> str:
    """The local address of the ssh session that this process belongs to, "" when there is none."""
    words = os.environ.get("SSH_CONNECTION", "").split()
    return words[2] if len(words) == 4 else ""


def answers(path: str) -> bool:
    """Whether somebody listens on this unix socket."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
        probe.settimeout(2)
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


class Instance:
    """The right to be the one daemon of a network namespace and a socket path; the kernel adapter locks the bpffs directory."""

    def __init__(self) -> None:
        self._name: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def claim(self, path: str, inherited: int = -1) -> list[str]:
        """Claim network namespace and socket path; why not, if somebody else has them. Leaves no trace on the system.

        `inherited` is what `keep` of a run before gave, in this process: then nothing was let go, and it goes on.
        """
        if inherited >= 0:
            self._name = socket.socket(fileno=inherited)
            self._name.setblocking(False)
            return []
        problems = [f"a daemon answers on {path} already"] if answers(path) else []
        name = socket.socket(socket.AF_UNIX)
        try:
            name.bind(_INSTANCE)
            name.listen()
            name.setblocking(False)
        except OSError:
            name.close()
            return [*problems, f"another fairlead runs in this network namespace{_owner()}"]
        self._name = name
        return problems

    def serve(self) -> None:
        """Let those who connect to learn our process id go again, for as long as the running event loop does."""
        assert self._name is not None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._name, self._answer, self._name)

    @staticmethod
    def _answer(name: socket.socket) -> None:
        with contextlib.suppress(OSError):
            name.accept()[0].close()

    def keep(self) -> int:
        """A second descriptor of the claim, which stands for as long as either is open."""
        assert self._name is not None
        return os.dup(self._name.fileno())

    def release(self) -> None:
        """Give both back."""
        if self._name is not None:
            if self._loop is not None:
                self._loop.remove_reader(self._name)
            self._name.close()
        self._name = None


def _owner() -> str:
    """` (process 123)`, as far as the kernel says."""
    pid = instance_owner()
    return "" if pid is None else f" (process {pid})"


def instance_owner() -> int | None:
    """The process that is the one daemon of this network namespace, as far as the kernel says."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as asking:
        asking.settimeout(1)
        try:
            asking.connect(_INSTANCE)
            pid, _, _ = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        except OSError:
            return None
        return int(pid)


def version() -> str:
    """The version of the installed package."""
    try:
        return metadata.version("fairlead")
    except metadata.PackageNotFoundError:  # run from a source tree
        return "0+source"


def reloading() -> str:
    """What to notify of before a reload, with the time that a late message is known by (sd_notify(3)); `READY=1` ends it."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def notify(state: str) -> None:
    """Tell the service manager (sd_notify(3)); nothing happens where there is none.

    One that reads nothing, so that its queue is full, holds us up for a second at most, and by a mere beat not at all.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as out, contextlib.suppress(OSError):
        out.settimeout(0.0 if state == BEAT else 1.0)
        out.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


def raise_file_limit() -> None:
    """Take as many file descriptors as are allowed: each probe under way is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
