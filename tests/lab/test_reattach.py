"""Programs stay on what is named: taken off, vanished, returned, named anew, or asked for with `fairlead reattach`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.kit import FAIRLEAD, V4, Lab, eventually

pytestmark = pytest.mark.root

SECOND = 1.0
LIMIT = 5 * SECOND  # how long a test waits; how long it took is compared with a second


def programs(lab: Lab) -> dict[str, int]:
    """Interface -> id of its XDP program, as the kernel has it now."""
    shown = json.loads(lab.run("balancer1", "ip", "-j", "link", "show"))
    return {each["ifname"]: each["xdp"]["prog"]["id"] for each in shown if "xdp" in each}


def interfaces(lab: Lab) -> set[str]:
    return {each["name"] for each in lab.status()["interfaces"]}


def timed(seen: Callable[[], Any]) -> float:
    """How long it took from now until it was seen, in seconds."""
    began = time.monotonic()
    eventually(seen, LIMIT, every=0.02)
    return time.monotonic() - began


def take_off(lab: Lab) -> None:
    """What nobody but an administrator does: our own link is detached under us.

    It may be on again before anybody can look, for the daemon needs some 30 ms: its event tells that it was off.
    """
    (link,) = Path(lab.env()["FAIRLEAD_BPFFS"], "links").glob("xdp-*")
    lab.run("balancer1", "bpftool", "link", "detach", "pinned", str(link))


def lost(lab: Lab, since: float) -> int:
    """How often the daemon has said that a program had gone."""
    return sum(event["name"] == "program-lost" for event in lab.events(since))


@contextmanager
def spare_nic(lab: Lab) -> Iterator[Callable[[], None]]:
    """A second NIC on the balancer, a cable to nowhere; what is yielded makes it, or makes it anew."""

    def make() -> None:
        lab.run("balancer1", "ip", "link", "add", "nic1", "type", "veth", "peer", "name", "far1")
        for name in ("nic1", "far1"):
            lab.run("balancer1", "ip", "link", "set", name, "up")

    make()
    try:
        yield make
    finally:
        lab.run("balancer1", "ip", "link", "del", "nic1", check=False)


def with_spare(lab: Lab) -> str:
    return lab.config.replace("interfaces: [eth0]", "interfaces: [eth0, nic1]")


def test_a_program_taken_off_is_back_within_a_second(either: Lab) -> None:
    """Whatever took our program off, it is attached again within a second, in the same mode, and it is said."""
    at, before = time.time(), either.status()["interfaces"]
    took = []
    for _ in range(3):  # a second is promised of the daemon, not of a busy machine: the best of three counts
        take_off(either)
        took.append(timed(lambda: programs(either)))
        eventually(lambda: lost(either, at) >= len(took))
    assert min(took) < SECOND
    assert eventually(lambda: either.event("program-lost", at))["text"] == "the program on eth0 has gone: attaching it again"
    assert eventually(lambda: either.status()["interfaces"] == before)
    eventually(either.all_up, 15)
    assert either.get(V4)


def test_a_nic_that_vanishes_and_returns_is_followed(lab: Lab) -> None:
    """A driver that is unloaded and loaded again makes a new interface of the old name: it has our program within a second."""
    with spare_nic(lab) as make:
        lab.reload(with_spare(lab))
        eventually(lambda: "nic1" in programs(lab) and interfaces(lab) == {"eth0", "nic1"})
        lab.run("balancer1", "ip", "link", "del", "nic1")
        eventually(lambda: interfaces(lab) == {"eth0"})
        assert lab.get(V4)
        make()
        eventually(lambda: "nic1" in programs(lab), LIMIT)
        eventually(lambda: interfaces(lab) == {"eth0", "nic1"})
        lab.reload(lab.config)
        eventually(lambda: set(programs(lab)) == {"eth0"})


def test_a_nic_with_its_old_number_is_followed(lab: Lab) -> None:
    """An interface that is made anew with the very number it had is not taken for the one that went."""
    with spare_nic(lab):
        lab.reload(with_spare(lab))
        eventually(lambda: "nic1" in programs(lab))
        number = lab.run("balancer1", "cat", "/sys/class/net/nic1/ifindex").strip()
        words = f"ip link del nic1; ip link add nic1 index {number} type veth peer name far1; ip link set nic1 up"
        lab.run("balancer1", "sh", "-c", words)
        eventually(lambda: "nic1" in programs(lab), LIMIT)


def test_a_nic_that_is_named_no_longer_is_let_go_at_the_next_start(lab: Lab) -> None:
    """The configuration changed while no daemon ran: the next one takes the program off what is not named any more."""
    with spare_nic(lab):
        lab.reload(with_spare(lab))
        eventually(lambda: "nic1" in programs(lab))
        lab.cli("kill", "--signal", "TERM", "balancer1")
        eventually(lambda: "exited with 0" in lab.cli("status", check=False).stdout)
        lab.config_path.write_text(lab.config)
        lab.cli("start", "balancer1")
        eventually(lambda: set(programs(lab)) == {"eth0"})
        eventually(lab.all_up, 15)


def test_two_are_attached_one_after_the_other(lab: Lab) -> None:
    """`attach-delay` lies between two interfaces, so that a bond keeps a member that is up."""
    with spare_nic(lab):
        lab.run("balancer1", "ip", "link", "add", "nic2", "type", "veth", "peer", "name", "far2")
        try:
            at = time.time()
            both = lab.config.replace("interfaces: [eth0]", "interfaces: [eth0, nic1, nic2]\nattach-delay: 1.5")
            lab.reload(both)
            eventually(lambda: interfaces(lab) == {"eth0", "nic1", "nic2"})
            moments = [event["at"] for event in lab.events(at) if event["name"] == "attached"]
            lab.reload(lab.config)
            eventually(lambda: interfaces(lab) == {"eth0"})
        finally:
            lab.run("balancer1", "ip", "link", "del", "nic2")
    assert len(moments) == 2
    assert 1.4 < moments[1] - moments[0] < 3


def test_reattach_on_demand(either: Lab) -> None:
    """`fairlead reattach` gives the interface a link of its own anew, and requests go on; other names are refused with ours."""
    before = eventually(lambda: programs(either).get("eth0"))
    mode = either.xdp
    assert either.run("balancer1", FAIRLEAD, "reattach", "eth0") == f"attached to eth0 anew in {mode} mode\n"
    assert programs(either)["eth0"] == before, "the program is the same, its link is new"
    assert either.get(V4)
    refused = either.try_run("balancer1", FAIRLEAD, "reattach", "eth9")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "fairlead: eth9 is not an interface that Fairlead runs on; those are: eth0\n"


def test_offloads_that_break_xdp_are_put_back(bare: Lab, tmp_path: Path) -> None:
    """Tags are kept in frames while Fairlead runs; `detach` switches on again what was on."""

    def features() -> list[str]:
        shown = bare.run("balancer1", "ethtool", "-k", "eth0").splitlines()
        return [line for line in shown if line.startswith(("rx-vlan-offload", "large-receive-offload", "tx-vlan-offload"))]

    state = f"FAIRLEAD_STATE={tmp_path}"
    before = features()
    assert any(line.split()[1] == "on" for line in before)
    with bare.running("balancer1", "env", state, FAIRLEAD, "run", str(bare.config_path)) as daemon:
        eventually(lambda: programs(bare) and bare.status())
        assert all(line.split()[1] == "off" for line in features())
        assert (tmp_path / "offloads.json").exists()
        daemon.terminate()
        daemon.wait(10)
    assert all(line.split()[1] == "off" for line in features()), "the data plane is still there"
    assert "of eth0 on again" in bare.run("balancer1", "env", state, FAIRLEAD, "detach")
    assert features() == before


def test_tables_that_are_there_keep_their_size(lab: Lab) -> None:
    """Timeouts that the running tables cannot count to are refused; a changed limit is warned of and waits for `detach`."""
    lab.config_path.write_text(lab.config + "timeouts: {confirmed: 604800}\n")
    refused = lab.try_run("balancer1", FAIRLEAD, "reload")
    assert refused.returncode == 1
    assert "timeouts: a timeout of 604800 s" in refused.stderr
    assert "`fairlead detach` first" in refused.stderr
    lab.reload(lab.config + "limits: {flows: 1000000}\ntimeouts: {udp: 60}\n")
    (warning,) = lab.status()["warnings"]
    assert warning.startswith("limits: flows: the running tables have")
    lab.reload(lab.config)
    assert not lab.status()["warnings"]
