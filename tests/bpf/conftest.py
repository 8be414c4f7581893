"""What packet tests share: a private network namespace and a BPF file system of their own. They need root."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

CLONE_NEWNET = 0x40000000


@pytest.fixture(scope="session", autouse=True)
def own_network() -> Iterator[None]:
    """Everything here runs in a network namespace of its own, so that no test sees or touches the machine's interfaces."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    assert libc.unshare(CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    yield
    assert libc.setns(home, CLONE_NEWNET) == 0
    os.close(home)


@pytest.fixture(scope="module")
def veth_index() -> Iterator[int]:
    """The index of an interface that is up and that nobody has put into a table."""
    subprocess.run("ip link add fl-a up type veth peer name fl-b && ip link set fl-b up", shell=True, check=True)
    yield socket.if_nametoindex("fl-a")
    subprocess.run(["ip", "link", "del", "fl-a"], check=True)


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[tuple[int, ...]]:
    """Indices of three interfaces that frames may leave by."""
    from tests.bpf import fuzz

    yield fuzz.make_interfaces()
    fuzz.remove_interfaces()


def _mount(directory: Path) -> Iterator[str]:
    subprocess.run(["mount", "-t", "bpf", "fairlead-test", str(directory)], check=True)
    yield str(directory / "fairlead")
    subprocess.run(["umount", "-l", str(directory)], check=True)


@pytest.fixture
def bpffs(tmp_path: Path) -> Iterator[str]:
    """A fresh BPF file system for one test."""
    yield from _mount(tmp_path)


@pytest.fixture(scope="module")
def bpffs_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A fresh BPF file system for the tests of one module."""
    yield from _mount(tmp_path_factory.mktemp("bpffs"))
