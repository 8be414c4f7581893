"""Offloads that break XDP go off, are remembered, and come back."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead.adapters import offloads
from fairlead.adapters.offloads import Offloads, Prepared
from fairlead.errors import KernelError
from tests.bpf.pinned import sh, veth

pytestmark = pytest.mark.root
VLAN = {"rxvlan", "txvlan"}


@pytest.fixture
def eth0() -> Iterator[str]:
    with veth("flo0") as link:
        yield link.name


@pytest.fixture
def state(tmp_path: Path) -> Offloads:
    return Offloads(str(tmp_path / "fairlead"))


def written(tmp_path: Path) -> dict:
    return json.loads((tmp_path / "fairlead" / offloads.FILE).read_text())["interfaces"]


def said_by_ethtool(name: str) -> set[str]:
    """The same answer from another program."""
    names = {"large-receive-offload": "lro", "rx-vlan-offload": "rxvlan", "tx-vlan-offload": "txvlan"}
    lines = (line.split(":") for line in sh(f"ethtool -k {name}").splitlines())
    return {names[key] for key, value, *_ in lines if key in names and value.strip().startswith("on")}


def test_tags_stay_in_frames(state: Offloads, eth0: str, tmp_path: Path) -> None:
    """A veth starts with both VLAN offloads; they go off, and what was on is in the file."""
    assert offloads.switched_on(eth0) == said_by_ethtool(eth0) == VLAN

    assert state.prepare(eth0) == Prepared(("rxvlan", "txvlan"))

    assert offloads.switched_on(eth0) == said_by_ethtool(eth0) == set()
    assert list(written(tmp_path).values()) == [["rxvlan", "txvlan"]]


def test_detach_puts_them_back(state: Offloads, eth0: str, tmp_path: Path) -> None:
    """Another process, without configuration, restores what this one has found; a second time there is nothing to do."""
    state.prepare(eth0)
    other = Offloads(str(tmp_path / "fairlead"))

    assert other.restore() == [f"switched rxvlan of {eth0} on again", f"switched txvlan of {eth0} on again"]
    assert said_by_ethtool(eth0) == VLAN
    assert other.restore() == []


def test_what_the_user_had_off_stays_off(state: Offloads, eth0: str) -> None:
    """Only what was on comes back, however often the daemon has started in between."""
    sh(f"ethtool -K {eth0} txvlan off")
    state.prepare(eth0)
    state.prepare(eth0)

    assert state.restore(eth0) == [f"switched rxvlan of {eth0} on again"]
    assert said_by_ethtool(eth0) == {"rxvlan"}


def test_nothing_on_writes_nothing(state: Offloads, eth0: str, tmp_path: Path) -> None:
    """An interface without such offloads needs no file, and no directory to put it in."""
    sh(f"ethtool -K {eth0} rxvlan off txvlan off")

    assert state.prepare(eth0) == state.prepare("lo") == Prepared()
    assert state.restore() == []
    assert not (tmp_path / "fairlead").exists()


def test_one_interface_alone(state: Offloads, eth0: str, tmp_path: Path) -> None:
    """Restoring one interface leaves the entry of another."""
    with veth("flo1") as other:
        for name in (eth0, other.name):
            state.prepare(name)
        assert len(state.restore(other.name)) == 2
        assert said_by_ethtool(eth0) == set()
    assert len(written(tmp_path)) == 1


def test_an_interface_made_anew_is_left_alone(state: Offloads, tmp_path: Path) -> None:
    """The entry of an interface that has vanished is dropped; one of the same name starts with its own defaults."""
    with veth("flo2") as gone:
        state.prepare(gone.name)
    with veth("flo2") as again:
        sh(f"ethtool -K {again.name} rxvlan off")

        assert state.restore() == []
        assert said_by_ethtool(again.name) == {"txvlan"}
    assert written(tmp_path) == {}


def test_another_boot_and_another_namespace(state: Offloads, eth0: str, tmp_path: Path) -> None:
    """Entries of an earlier boot are forgotten; those of another network namespace are kept and not touched."""
    state.prepare(eth0)
    path = tmp_path / "fairlead" / offloads.FILE
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {"boot": "another"}))
    assert state.restore() == []
    assert said_by_ethtool(eth0) == set()

    path.write_text(json.dumps(found | {"interfaces": {"1/1": ["lro"]}}))
    assert state.restore() == []
    assert written(tmp_path) == {"1/1": ["lro"]}


def test_a_fixed_offload_is_named(state: Offloads, eth0: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the driver keeps on is told; the rest goes off."""
    change = offloads.switch

    def stubborn(name: str, offload: str, *, on: bool) -> None:
        if offload == "rxvlan":
            raise KernelError("ask the driver of", name, 22, "Invalid argument")
        change(name, offload, on=on)

    monkeypatch.setattr(offloads, "switch", stubborn)
    assert state.prepare(eth0) == Prepared(("txvlan",), (f"{eth0}: its driver keeps rxvlan on, which breaks XDP",))


def test_written_before_it_is_switched(state: Offloads, eth0: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process killed at the first switch leaves a file from which all comes back."""
    child = os.fork()
    if not child:
        monkeypatch.setattr(offloads, "switch", lambda *_, **__: os.kill(os.getpid(), 9))
        state.prepare(eth0)
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == 9

    assert list(written(tmp_path).values()) == [["rxvlan", "txvlan"]]
    state.restore()
    assert said_by_ethtool(eth0) == VLAN


def test_a_directory_that_cannot_be_written(eth0: str) -> None:
    """Without a place to remember it in, nothing is switched off."""
    with pytest.raises(KernelError, match="open /proc/nowhere"):
        Offloads("/proc/nowhere").prepare(eth0)
    assert said_by_ethtool(eth0) == VLAN


def test_a_damaged_file_is_named(state: Offloads, eth0: str, tmp_path: Path) -> None:
    """A file that is no JSON is named with what to do, and nothing is switched off."""
    (tmp_path / "fairlead").mkdir()
    (tmp_path / "fairlead" / offloads.FILE).write_text("{")

    with pytest.raises(KernelError, match="it is damaged"):
        state.prepare(eth0)
    assert said_by_ethtool(eth0) == VLAN


def test_an_interface_that_is_not_there(state: Offloads) -> None:
    """A name that no interface has is an error with that name."""
    with pytest.raises(KernelError, match="ask the driver of flo9"):
        state.prepare("flo9")


def test_ethtool_is_there() -> None:
    """These tests compare with ethtool(8)."""
    assert subprocess.run(["ethtool", "--version"], check=False, capture_output=True).returncode == 0
