"""Is the machine fit? Every finding, with its level and its way out."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from fairlead.core import doctor, doctor_bgp
from fairlead.model import Address, Backend, Check, Config, Link, Listen, PeerConfig, Protocol, Service, ServiceKey
from fairlead.model.machine import BpfFileSystem, Clock, Finding, Level, Machine, Nic

ETH0 = Link(2, "eth0", bytes.fromhex("020000000001"), up=True, mtu=1500)
LO = Link(1, "lo", b"", up=True, mtu=65536)
OWN = ip_address("10.1.0.1")
VIP = ip_address("192.0.2.10")
SERVICE = Service(ServiceKey(VIP, 80, Protocol.TCP), "web", (Backend(ip_address("10.1.0.11")), Backend(ip_address("10.1.0.12"))))
SERVICE6 = replace(SERVICE, key=ServiceKey(ip_address("2001:db8::10"), 80, Protocol.TCP))
FOREIGN = "eth0 already runs an XDP program that is not Fairlead's, id 77: ip link set dev eth0 xdp off  (if nobody needs it)"
ALL = (1 << 41) - 1
MACHINE = Machine(
    "6.12.0", True, ALL, BpfFileSystem("/sys/fs/bpf/fairlead", "/sys/fs/bpf"), Clock(1e9, True, 1e9 + 1, 1e9), 1 << 20, jit=True
)
NIC = Nic(ETH0, False, "ixgbe", 0x7F, frozenset(), 8)


def levels(*findings: Finding) -> dict[str, str]:
    return {f.topic: f.level.value for f in findings}


def test_a_good_machine() -> None:
    """Everything is well, and said so line by line; nothing is to be mended."""
    findings = [*doctor.machine(MACHINE, Config((SERVICE,))), *doctor.nic(NIC, 8, several=True)]

    assert {f.level for f in findings} == {Level.OK}
    assert not any(f.mend for f in findings)
    assert doctor.worst(findings) is Level.OK
    assert not doctor.refusals(findings)


@pytest.mark.parametrize(
    ("bits", "says"),
    [
        ((12, 38, 39), ""),
        ((12, 21), ""),
        ((), "CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF"),
        ((12, 39), "CAP_PERFMON"),
        ((21,), "CAP_NET_ADMIN"),
    ],
)
def test_rights(bits: tuple[int, ...], says: str) -> None:
    """CAP_SYS_ADMIN stands for the two newer capabilities, as the kernel has it."""
    found = doctor.rights(sum(1 << bit for bit in bits))

    assert (found.level is Level.FAIL) == bool(says)
    assert says in found.says


def test_raw_checks_need_a_capability_more() -> None:
    """Of a configuration with syn or icmp checks CAP_NET_RAW is asked, of others it is not."""
    most = ALL & ~(1 << 13)
    config = Config((replace(SERVICE, checks=(Check("icmp", 0), Check("tcp", 80))),))

    assert doctor.rights(most).level is Level.OK
    assert doctor.rights(most, Config((replace(SERVICE, checks=(Check("tcp", 80),)),))).level is Level.OK
    assert doctor.rights(most, config).says.startswith("icmp checks need the capability that it lacks: CAP_NET_RAW")
    assert doctor.rights(ALL, config).level is Level.OK


@pytest.mark.parametrize(
    ("release", "level"), [("5.14.21", "fail"), ("5.15.0-101-generic", "ok"), ("6.1", "ok"), ("7.0-rc1+", "ok"), ("4", "fail")]
)
def test_kernels(release: str, level: str) -> None:
    """The floor is 5.15, however the rest of the release is written."""
    assert doctor.kernel(release).level.value == level


@pytest.mark.parametrize(
    ("change", "topic", "level", "mend"),
    [
        ({"btf": False}, "btf", "fail", ""),
        ({"bpffs": BpfFileSystem("/sys/fs/bpf/x")}, "bpffs", "fail", "mount -t bpf bpf /sys/fs/bpf"),
        ({"bpffs": BpfFileSystem("/run/x")}, "bpffs", "fail", "mount -t bpf bpf DIRECTORY"),
        ({"bpffs": BpfFileSystem("/b/x", "/b", outlives=False)}, "bpffs", "fail", "nsenter --mount --target 1"),
        ({"bpffs": BpfFileSystem("/b/x", "/b", writable=False), "user": "lb"}, "bpffs", "fail", "install -d -o lb -m 0700 /b/x"),
        ({"bpffs": BpfFileSystem("/b/x", "/b", writable=False, passable=False)}, "bpffs", "fail", "sudo chmod a+x /b && sudo"),
        ({"lockdown": "integrity"}, "lockdown", "ok", ""),
        ({"lockdown": "confidentiality"}, "lockdown", "warn", "lockdown=integrity"),
        ({"jit": False}, "jit", "warn", "sysctl -w net.core.bpf_jit_enable=1"),
        ({"clock": Clock(1e9, False)}, "clock", "warn", "set-ntp"),
        ({"clock": Clock(1e9, None)}, "clock", "ok", ""),
        ({"clock": Clock(1e9, True, newest=1e9 + 61)}, "clock", "warn", "timedatectl"),
        ({"clock": Clock(1e9, True, newest=1e9 + 59)}, "clock", "ok", ""),
        ({"clock": Clock(1e9, True, 1e9 + 61)}, "clock", "warn", "hwclock"),
        ({"clock": Clock(1e9, True, 1e9 - 3600 * 24 * 400 - 400)}, "clock", "warn", "hwclock"),
        ({"clock": Clock(1e9, True, 1e9 + 3600)}, "clock", "ok", ""),
        ({"descriptors": 257}, "files", "warn", "ulimit -Hn 258"),
        ({"descriptors": -1}, "files", "ok", ""),
    ],
)
def test_what_is_wrong_with_a_machine(change: dict[str, object], topic: str, level: str, mend: str) -> None:
    """One thing is wrong: its finding says so, with the command that mends it, and all others stay as they were."""
    config = Config((replace(SERVICE, checks=(Check("tcp", 80),)),))
    findings = doctor.machine(replace(MACHINE, **change), config)

    assert {t: v for t, v in levels(*findings).items() if v != "ok"} == ({topic: level} if level != "ok" else {})
    (found,) = [f for f in findings if f.topic == topic]
    assert mend in found.mend
    assert bool(found.mend) == (level != "ok")
    assert doctor.worst(findings).value == level


def test_clocks_in_words() -> None:
    """How far a clock jumped is said in the unit that tells most."""
    (back,) = doctor.clock(Clock(1e9, True, newest=1e9 + 86400 * 3))
    (behind,) = doctor.clock(Clock(1e9, True, 1e9 + 100))

    assert "set back by 3 days or more" in back.says
    assert "100 seconds behind the hardware's" in behind.says


@pytest.mark.parametrize(
    ("names", "links", "says"),
    [
        (["eth0"], [LO, ETH0], []),
        ([], [LO, ETH0], ["no interface is named: give one on the command line, or `interfaces:` in the configuration"]),
        (["eth1"], [LO, ETH0], ["there is no interface eth1; there are: eth0"]),
        (["eth1"], [LO], ["there is no interface eth1; there are: none"]),
        (["lo"], [LO, ETH0], ["lo does not carry Ethernet frames, as it has no MAC address"]),
        (["eth0"], [replace(ETH0, foreign_xdp=77)], [FOREIGN]),
    ],
)
def test_interfaces_must_be_fit(names: list[str], links: list[Link], says: list[str]) -> None:
    """Missing, unnamed, without a MAC or taken by somebody else: each is said with what helps."""
    assert doctor.refusals(doctor.interfaces(names, links, ())) == says


def test_our_own_program_is_no_stranger() -> None:
    """A program on an interface where a link of ours is pinned is ours."""
    assert not doctor.refusals(doctor.interfaces(["eth0"], [replace(ETH0, foreign_xdp=77)], [2]))


@pytest.mark.parametrize(
    ("change", "topic", "mend"),
    [
        ({"link": replace(ETH0, up=False)}, "link", "ip link set dev eth0 up"),
        ({"link": replace(ETH0, mtu=9000)}, "mtu", "ip link set dev eth0 mtu 3498"),
        ({"features": 0}, "xdp", "ethtool -i eth0"),
        ({"features": 3}, "xdp", "ethtool -i eth0"),
        ({"offloads": frozenset(["lro"])}, "offloads", "ethtool -K eth0 lro off"),
        ({"queues": 2}, "queues", "ethtool -L eth0 combined 8"),
    ],
)
def test_what_an_interface_lacks(change: dict[str, object], topic: str, mend: str) -> None:
    """One thing is wrong with an interface: it is warned of, with the command that mends it, and the rest is well."""
    found = [f for f in doctor.nic(replace(NIC, **change), 8, several=True) if f.level is not Level.OK]

    assert [(f.level, f.topic) for f in found] == [(Level.WARN, topic)]
    assert mend in found[0].mend


def test_what_a_kernel_does_not_say_is_no_fault() -> None:
    """Before Linux 6.3 nobody knows what a driver can do, and some do not say how many queues they have."""
    old = replace(NIC, features=None, driver="", queues=0)

    assert levels(*doctor.nic(old, 8, several=True)) == {"xdp": "ok", "mtu": "ok", "offloads": "ok"}


def test_a_single_interface_need_not_redirect() -> None:
    """What others redirect matters only where there are others."""
    assert levels(*doctor.nic(replace(NIC, features=3), 8, several=False))["xdp"] == "ok"


def problems(config: Config, own: set[Address], here: set[Address]) -> list[str]:
    return doctor.refusals(doctor.addresses(config, own, here))


def test_probes_need_an_address() -> None:
    """An interface without an address needs a configured one of the VIPs' version, and it must be this machine's."""
    four, six = Config((SERVICE,)), Config((SERVICE6,))
    assert problems(four, {OWN}, {OWN}) == []
    assert problems(four, set(), {OWN})[0].startswith("no address: the interface has no IPv4 address")
    assert "set `address6:`" in problems(six, {OWN}, {OWN})[0]
    assert problems(six, {ip_address("fe80::1")}, set())[0].startswith("no address")
    assert problems(replace(four, address=IPv4Address("10.1.0.1")), set(), {OWN}) == []
    assert "is not an address of this machine" in problems(replace(four, address=IPv4Address("10.9.9.9")), set(), {OWN})[0]
    assert problems(replace(six, address6=IPv6Address("2001:db8::1")), set(), {ip_address("2001:db8::1")}) == []


def test_bgp_needs_a_router_id() -> None:
    """Only IPv6 everywhere: a router id must be given."""
    config = Config((SERVICE6,), peers=(PeerConfig(ip_address("2001:db8::2"), 64500),))
    assert problems(config, {ip_address("2001:db8::1")}, set()) == [
        "no address: BGP needs an IPv4 address as router id: set `address:`"
    ]


def test_vips_must_be_elsewhere() -> None:
    """A VIP on this machine would cut off what listens there; a blackhole swallows what probes bring back."""
    assert levels(*doctor.vips({VIP: (False, ""), OWN: (False, "no route")}, {})) == {"vip": "ok"}
    own, routed, swallowed = (
        doctor.vips({VIP: answer, OWN: (False, "")}, holders)[0]
        for answer, holders in (((True, ""), {VIP: "lo"}), ((True, ""), {}), ((False, "its route is a blackhole"), {}))
    )
    assert "is an address of this machine" in own.says
    assert own.mend.startswith("ip address delete 192.0.2.10/32 dev lo")
    assert "ip route show table local match 192.0.2.10" in routed.mend
    assert "its route is a blackhole" in swallowed.says
    assert "ip route show match 192.0.2.10" in swallowed.mend


def test_port_179() -> None:
    """Somebody else's BGP daemon is warned of, one that is a peer is not; without BGP nobody asks."""
    config = Config((SERVICE,), peers=(PeerConfig(ip_address("10.1.0.254"), 64500),))
    local = replace(config, peers=(PeerConfig(ip_address("127.0.0.1"), 64500),))

    anywhere = [ip_address("0.0.0.0")]
    assert levels(*doctor_bgp.port(config, {OWN}, [])) == {"port": "ok"}
    assert levels(*doctor_bgp.port(config, {OWN}, anywhere)) == {"port": "warn"}
    assert levels(*doctor_bgp.port(local, {OWN}, anywhere)) == {"port": "ok"}
    assert doctor_bgp.port(Config((SERVICE,)), {OWN}, anywhere) == []


def test_a_port_to_listen_on() -> None:
    """`listen` fails where somebody else has the port: on the same address, or either on all of them."""
    config = Config((SERVICE,), peers=(PeerConfig(ip_address("10.1.0.254"), 64500),), listen=Listen())
    some = replace(config, listen=Listen((OWN,)))
    loopback, anywhere = [ip_address("127.0.0.1")], [ip_address("::")]

    assert levels(*doctor_bgp.port(config, {OWN}, [])) == {"port": "ok"}
    assert "(127.0.0.1)" in doctor.refusals(doctor_bgp.port(config, {OWN}, loopback))[0]
    assert levels(*doctor_bgp.port(some, {OWN}, loopback)) == {"port": "ok"}
    assert levels(*doctor_bgp.port(some, {OWN}, anywhere)) == {"port": "fail"}
    assert levels(*doctor_bgp.port(some, {OWN}, [OWN])) == {"port": "fail"}


def test_passwords() -> None:
    """A file without a password fails, one that all may read is a warning; each is looked at once."""
    names = ("/a", "/a", "/b", "/c", "")
    peers = tuple(PeerConfig(ip_address(f"10.1.0.{n}"), 64500, password_file=name) for n, name in enumerate(names, 1))
    found = doctor_bgp.passwords(Config((SERVICE,), peers=peers), {"/b": "it is empty"}, {"/c"})

    assert [(f.level.value, f.topic) for f in found] == [("ok", "password"), ("fail", "password"), ("warn", "password")]


def test_reverse_path_filters() -> None:
    """Strict wants the route to leave there, loose wants any; the command names the interface."""
    strict, loose = doctor.reverse_path(VIP, "eth0", 1), doctor.reverse_path(VIP, "eth0", 2)

    assert "rp_filter on eth0 is strict and its route does not leave by eth0" in strict.says
    assert "rp_filter on eth0 is loose and there is no route to it" in loose.says
    assert "sysctl -w net.ipv4.conf.eth0.rp_filter=0" in strict.mend
