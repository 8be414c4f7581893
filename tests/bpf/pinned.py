"""What the tests of pins and adoption share: interfaces, small tables, a child process that is killed at a chosen step."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fairlead._native import bpf, memory
from fairlead.adapters.kernel import Kernel
from fairlead.model import Geometry, Keys, Link

SMALL = Geometry(services=64, destinations=256, nexthops=64, slots=256, buckets=1 << 16)
KEYS = Keys((1, 3, 5, 7), (9, 11, 13, 15), 0xABCDEF)
MARK = 0xFA1
# Everything through which the adapter changes the world, one step each.
STEPS = [
    *(
        (bpf, name)
        for name in ("map_create", "map_put", "map_drop", "pin", "link_create", "link_update", "link_detach", "filter_attach")
    ),
    *((bpf, name) for name in ("clsact_create", "clsact_destroy", "filter_detach")),
    (bpf.Object, "load"),
    *((memory, name) for name in ("store", "publish")),
    *((Path, name) for name in ("mkdir", "rmdir", "unlink")),
]


def sh(command: str) -> str:
    return subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout


@contextmanager
def veth(name: str) -> Iterator[Link]:
    """An interface `name` that is up, and its peer."""
    sh(f"ip link add {name} up type veth peer name {name}-p && ip link set {name}-p up")
    try:
        yield link_of(name)
    finally:
        subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)


def link_of(name: str) -> Link:
    return Link(socket.if_nametoindex(name), name, bytes(6), up=True, mtu=1500)


def opened(bpffs: str, keys: Keys = KEYS, geometry: Geometry = SMALL) -> Kernel:
    return Kernel.open(bpffs, geometry, keys, MARK)


def pins(bpffs: str) -> list[str]:
    """Every path below the directory."""
    return sorted(str(path.relative_to(bpffs)) for path in Path(bpffs).rglob("*"))


def generations(bpffs: str) -> list[str]:
    return [name for name in pins(bpffs) if name.startswith("gen-") and "/" not in name]


def program_of(path: str) -> int:
    """Id of the program that a pinned link runs."""
    fd = bpf.open_pin(path)
    facts = bpf.link_facts(fd)
    os.close(fd)
    return facts.program


TAILS = ("rare", "too_big", "reset", "unreachable")


def require_whole(bpffs: str, *interfaces: Link) -> None:
    """Each link's program is pinned in a generation whose tail calls lead to its own programs, and which redirects to each."""
    whole = {}
    for name in generations(bpffs):
        if {"balancer", *TAILS, "tails", "ports"} <= set(pins(f"{bpffs}/{name}")):
            fds = {each: bpf.open_pin(f"{bpffs}/{name}/{each}") for each in ("balancer", *TAILS, "tails", "ports")}
            if [bpf.map_take(fds["tails"], n) for n in range(4)] == [bpf.program_id(fds[each]) for each in TAILS]:
                places = {link.ifindex: bpf.map_take(fds["ports"], link.ifindex % 1024) for link in interfaces}
                whole[bpf.program_id(fds["balancer"])] = all(here == there for here, there in places.items())
            for fd in fds.values():
                os.close(fd)
    for link in interfaces:
        running = program_of(f"{bpffs}/links/xdp-{link.ifindex}")
        assert whole.get(running)
        assert bpf.xdp_query(link.ifindex).program == running


def killed_before(step: int, action: Callable[[], object]) -> bool:
    """Run `action` in a child that kills itself before its step number `step`; False if it ended before that."""
    child = os.fork()
    if child == 0:
        try:
            _arm(step)
            action()
            os._exit(0)
        except BaseException:  # noqa: BLE001  the child must not return into pytest
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


def _arm(step: int) -> None:
    left = [step]

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return function(*arguments, **named)

        return call

    for owner, name in STEPS:
        setattr(owner, name, counted(getattr(owner, name)))
