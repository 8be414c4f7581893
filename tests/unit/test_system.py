"""The process among others, and what it reads of its machine."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from fairlead.adapters import machine, process, system


def test_what_may_not_be_seen_is_not_accused(tmp_path: Path) -> None:
    """Whoever may not look at the pins is not told that a program is a stranger's, nor shown a traceback."""
    tmp_path.chmod(0)
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        assert system.our_link(str(tmp_path), 2)
    finally:
        os.seteuid(user)
        tmp_path.chmod(0o700)


def test_our_own_program_is_known_by_its_pin(tmp_path: Path) -> None:
    """Where a link of ours is pinned, the program on the interface is ours."""
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "xdp-2").touch()

    assert system.our_link(str(tmp_path), 2)
    assert not system.our_link(str(tmp_path), 3)


def test_a_directory_on_disk_is_no_bpffs(tmp_path: Path) -> None:
    """Pins need a BPF file system; whatever else covers the path is not its mount point."""
    assert not machine.bpf_file_system(str(tmp_path / "x")).point


def test_this_machine_is_read(tmp_path: Path) -> None:
    """Every fact has a value of its kind, and nothing is made where the state would be."""
    state = tmp_path / "state"
    found = machine.read(str(tmp_path / "pins"), str(state))

    assert found.release == os.uname().release
    assert found.capabilities == machine.capabilities() >= 0
    assert found.descriptors > 0
    assert found.clock.newest is None
    assert not state.exists()
    state.mkdir()
    (state / "offloads.json").touch()
    assert machine.read(str(tmp_path), str(state)).clock.newest == (state / "offloads.json").stat().st_mtime


@pytest.mark.parametrize(("family", "own"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_listeners_are_found(family: socket.AddressFamily, own: str) -> None:
    """Whoever listens, on IPv4 or IPv6, is seen; whoever has a port and does not listen is not."""
    with socket.socket(family) as taken:
        taken.bind((own, 0))
        port = taken.getsockname()[1]
        assert not machine.listeners(port)
        taken.listen()
        assert machine.listeners(port)


def test_the_loopback_has_no_native_xdp() -> None:
    """What the kernel says of drivers is read; of an interface that is not there it says nothing."""
    assert machine.xdp_features(socket.if_nametoindex("lo")) in {0, None}
    assert machine.xdp_features(0x7FFFFFFF) is None


def test_queues_are_counted() -> None:
    """One for the loopback, none for what is not there."""
    assert machine.queues("lo") == 1
    assert machine.queues("nowhere0") == 0


def test_the_ssh_session_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The local address of the session comes from the environment, where sshd puts it."""
    monkeypatch.setenv("SSH_CONNECTION", "198.51.100.7 51000 10.1.0.1 22")
    assert system.ssh_address() == "10.1.0.1"
    monkeypatch.delenv("SSH_CONNECTION")
    assert system.ssh_address() == ""


def test_one_instance_at_a_time(tmp_path: Path) -> None:
    """The second claim names the process that has the first; a released claim is free again."""
    path = str(tmp_path / "api.sock")
    first, second = system.Instance(), system.Instance()
    assert first.claim(path) == []
    assert second.claim(path)[0].startswith("another fairlead runs in this network namespace (process ")
    first.release()
    assert second.claim(path) == []
    second.release()


def test_use_is_what_the_kernel_counts() -> None:
    """Memory that is touched and descriptors that are open show; a mapped file's pages do not count as the process's own."""
    before = process.use()
    page = bytearray(os.urandom(64 << 20))
    read, write = os.pipe()
    after = process.use()

    assert after.memory - before.memory > 60 << 20
    assert after.descriptors - before.descriptors == 2
    assert after.cpu > before.cpu
    assert page
    os.close(read)
    os.close(write)
