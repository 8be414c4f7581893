"""Is the machine fit? The sentences that answer, each with a way out."""

from __future__ import annotations

import os
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest

from fairlead.adapters import system
from fairlead.model import Address, Backend, Config, Link, PeerConfig, Protocol, Service, ServiceKey

ETH0 = Link(2, "eth0", bytes.fromhex("020000000001"), up=True, mtu=1500)
LO = Link(1, "lo", b"", up=True, mtu=65536)
OWN = ip_address("10.1.0.1")
SERVICE = Service(ServiceKey(ip_address("192.0.2.10"), 80, Protocol.TCP), "web", (Backend(ip_address("10.1.0.11")),))
FOREIGN = "eth0 already runs an XDP program that is not Fairlead's, id 77: ip link set dev eth0 xdp off  (if nobody needs it)"
SERVICE6 = replace(SERVICE, key=ServiceKey(ip_address("2001:db8::10"), 80, Protocol.TCP))


@pytest.mark.parametrize(
    ("names", "links", "says"),
    [
        (["eth0"], [LO, ETH0], []),
        ([], [LO, ETH0], ["no interface is named: give one on the command line, or `interfaces:` in the configuration"]),
        (["eth1"], [LO, ETH0], ["there is no interface eth1; there are: eth0"]),
        (["eth1"], [LO], ["there is no interface eth1; there are: none"]),
        (["lo"], [LO, ETH0], ["lo has no MAC address: it does not carry Ethernet frames"]),
        (["eth0"], [replace(ETH0, foreign_xdp=77)], [FOREIGN]),
    ],
)
def test_interfaces_must_be_fit(names: list[str], links: list[Link], says: list[str], tmp_path: Path) -> None:
    """Missing, unnamed, without a MAC or taken by somebody else: each is said with what helps."""
    assert system.interface_problems(names, links, str(tmp_path)) == says


def test_our_own_program_is_no_stranger(tmp_path: Path) -> None:
    """Where a link of ours is pinned, the program on the interface is ours."""
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "xdp-2").touch()
    assert system.interface_problems(["eth0"], [replace(ETH0, foreign_xdp=77)], str(tmp_path)) == []


def test_what_may_not_be_seen_is_not_accused(tmp_path: Path) -> None:
    """Whoever may not look at the pins is not told that the program is a stranger's, nor shown a traceback."""
    tmp_path.chmod(0)
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        assert system.interface_problems(["eth0"], [replace(ETH0, foreign_xdp=77)], str(tmp_path)) == []
    finally:
        os.seteuid(user)
        tmp_path.chmod(0o700)


def problems(config: Config, own: set[Address], here: set[Address]) -> list[str]:
    return system.address_problems(config, own, here)


def test_probes_need_an_address() -> None:
    """An interface without an address needs a configured one of the VIPs' version, and it must be this machine's."""
    four, six = Config((SERVICE,)), Config((SERVICE6,))
    assert problems(four, {OWN}, {OWN}) == []
    assert problems(four, set(), {OWN})[0].startswith("no address: the interface has no IPv4 address")
    assert problems(six, {OWN}, {OWN})[0].endswith("set `address6:`")
    assert problems(six, {ip_address("fe80::1")}, set())[0].startswith("no address")
    assert problems(replace(four, address=IPv4Address("10.1.0.1")), set(), {OWN}) == []
    assert "is not an address of this machine" in problems(replace(four, address=IPv4Address("10.9.9.9")), set(), {OWN})[0]
    assert problems(replace(six, address6=IPv6Address("2001:db8::1")), set(), {ip_address("2001:db8::1")}) == []


def test_bgp_needs_a_router_id() -> None:
    """Only IPv6 everywhere: a router id must be given."""
    config = Config((SERVICE6,), peers=(PeerConfig(ip_address("2001:db8::2"), 64500),))
    assert problems(config, {ip_address("2001:db8::1")}, set()) == [
        "no address: BGP needs an IPv4 address as router id; set `address:`"
    ]


def test_vips_must_be_elsewhere() -> None:
    """A VIP on this machine would cut off what listens there; a blackhole swallows what probes bring back."""
    vip = ip_address("192.0.2.10")
    assert system.vip_problem(vip, local=False, error="") == ""
    assert system.vip_problem(vip, local=False, error="no route") == ""
    assert "is an address of this machine" in system.vip_problem(vip, local=True, error="")
    assert "its route is a blackhole" in system.vip_problem(vip, local=False, error="its route is a blackhole")


def test_a_directory_on_disk_is_no_bpffs(tmp_path: Path) -> None:
    """The command that mends it is part of the sentence."""
    assert "mount -t bpf bpf DIRECTORY" in system.bpf_file_system(str(tmp_path / "x"))


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
