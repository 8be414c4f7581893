"""`fairlead doctor` in network namespaces of its own: troubles are made for real, and gone once that is done which it says."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.kit import FAIRLEAD, PASS_OBJECT, eventually

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")]

CONFIG = """\
interfaces: [eth0]
services:
  - virtual: 192.0.2.10
    servers: [10.9.0.2, 10.9.0.3]
    policy: {http: , 22: }
"""
BGP = CONFIG + "address: 10.9.0.1\nbgp: {as_number: 64500, peers: [10.9.0.254]}\n"
STRICT = "sysctl -w net.ipv4.conf.eth0.rp_filter=0 net.ipv4.conf.all.rp_filter=0"


@dataclass
class Patient:
    """A namespace with `eth0`, one receive queue for each CPU, and a BPF file system outside of it."""

    name: str
    directory: Path

    @property
    def bpffs(self) -> Path:
        return self.directory / "bpffs"

    def sh(self, *commands: str) -> None:
        for command in commands:
            subprocess.run(["ip", "netns", "exec", self.name, "sh", "-euc", command], check=True, timeout=30)

    def fairlead(self, *words: str, prefix: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        argv = ["ip", "netns", "exec", self.name, *prefix, FAIRLEAD, *words]
        return subprocess.run(argv, env=self.env(), capture_output=True, text=True, timeout=60, check=False)

    def env(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("FAIRLEAD_")}
        places = {"BPFFS": self.bpffs / "x", "STATE": self.directory / "state", "SOCKET": self.directory / "api.sock"}
        return own | {f"FAIRLEAD_{name}": str(path) for name, path in places.items()}

    def config(self, text: str) -> str:
        path = self.directory / "x.yaml"
        path.write_text(text)
        return str(path)

    def findings(self, *words: str, prefix: Sequence[str] = ()) -> list[dict[str, str]]:
        """What is not well, but for the clock, which is this machine's own affair."""
        done = self.fairlead("doctor", *words, "--json", prefix=prefix)
        assert done.stderr == ""
        found = json.loads(done.stdout)
        levels = {f["level"] for f in found["findings"]}
        assert found["verdict"] == next(level for level in ("fail", "warn", "ok") if level in levels)
        assert done.returncode == {"ok": 0, "fail": 1, "warn": 3}[found["verdict"]]
        assert all(f["mend"] for f in found["findings"] if f["level"] != "ok" and f["topic"] not in {"interface", "config"})
        return [f for f in found["findings"] if f["level"] != "ok" and f["topic"] != "clock"]

    def topics(self, *words: str) -> list[str]:
        return sorted(f"{f['level']} {f['topic']}" for f in self.findings(*words))


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Patient]:
    made = Patient(f"doc{secrets.token_hex(3)}", tmp_path)
    queues = f"numrxqueues {os.cpu_count()} numtxqueues {os.cpu_count()}"
    made.bpffs.mkdir()
    subprocess.run(["mount", "-t", "bpf", "-o", "mode=0700", "bpf", made.bpffs], check=True)  # as systemd does
    subprocess.run(["ip", "netns", "add", made.name], check=True)
    try:
        made.sh(
            "sysctl -qw net.ipv6.conf.default.addr_gen_mode=1",  # link-local addresses come when they like
            f"ip link add eth0 {queues} type veth peer name peer0 {queues}",
            "ip link set lo up; ip link set eth0 up; ip link set peer0 up",
            "ip address add 10.9.0.1/24 dev eth0",
            "for each in all default eth0; do sysctl -qw net.ipv4.conf.$each.rp_filter=0; done",
            "ethtool -K eth0 rxvlan off txvlan off",
        )
        yield made
    finally:
        subprocess.run(["ip", "netns", "delete", made.name], check=True)
        subprocess.run(["umount", "-l", made.bpffs], check=True)


def test_a_good_machine(patient: Patient) -> None:
    """Nothing fails and nothing is to be warned of; every line says ok, and nothing has changed but the kernel's own counters."""
    before = state_of(patient)
    done = patient.fairlead("doctor", patient.config(CONFIG))

    assert done.returncode in {0, 3}, done.stdout
    assert {line.split()[0] for line in done.stdout.splitlines() if " clock " not in line} <= {"ok", "->"}
    topics = "config rights kernel btf bpffs lockdown clock files program address vip xdp mtu offloads queues rp_filter".split()
    topics.append("api")
    assert [line.split()[1] for line in done.stdout.splitlines() if "->" not in line] == topics
    assert patient.topics(patient.config(CONFIG)) == []
    assert state_of(patient) == before


def state_of(patient: Patient) -> str:
    ask = "ip -d link; ip -6 route show table all; ip route show table all; ip rule; ip neigh; nft list ruleset; bpftool net"
    argv = ["ip", "netns", "exec", patient.name, "sh", "-c", ask]
    found = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout
    return found + "".join(sorted(str(path) for path in patient.directory.rglob("*") if path.name != "x.yaml"))


@pytest.mark.parametrize(
    ("trouble", "finding", "says", "cure"),
    [
        ("ip link set eth0 down", "warn link", "eth0 is down", "ip link set dev eth0 up"),
        ("ip link set eth0 mtu 9000", "warn mtu", "an MTU of 9000", "ip link set dev eth0 mtu 3498"),
        ("ethtool -L eth0 rx 1", "warn queues", "1 receive queue for", ""),
        ("ethtool -K eth0 txvlan on", "warn offloads", "eth0 has txvlan on", "ethtool -K eth0 txvlan off"),
        ("ethtool -K eth0 rxvlan on", "warn offloads", "eth0 has rxvlan on", "ethtool -K eth0 rxvlan off"),
        (
            f"ip link set dev eth0 xdp obj {PASS_OBJECT} sec xdp.frags",
            "fail program",
            "is not Fairlead's",
            "ip link set dev eth0 xdp off",
        ),
        (
            "ip address add 192.0.2.10/32 dev lo",
            "fail vip",
            "is an address of this machine",
            "ip address delete 192.0.2.10/32 dev lo",
        ),
        ("ip route add local 192.0.2.0/24 dev lo", "fail vip", "is an address of this machine", ""),
        ("ip route add blackhole 192.0.2.0/24", "fail vip", "its route is a blackhole", ""),
        ("ip route add unreachable 192.0.2.10", "fail vip", "unreachable", ""),
        ("ip address flush dev eth0", "fail address", "no address", "ip address add 10.9.0.1/24 dev eth0"),
        ("sysctl -qw net.ipv4.conf.eth0.rp_filter=1", "warn rp_filter", "is strict", STRICT),
        ("sysctl -qw net.ipv4.conf.all.rp_filter=1", "warn rp_filter", "is strict", STRICT),
        ("ip link set eth0 name eth1", "fail interface", "there is no interface eth0; there are: eth1, peer0", ""),
    ],
)
def test_troubles(patient: Patient, trouble: str, finding: str, says: str, cure: str) -> None:
    """Each trouble is the only thing that is found, in words that name it; where a command is given, it mends that."""
    config = patient.config(CONFIG)
    patient.sh(trouble)
    found = patient.findings(config)

    assert finding in {f"{f['level']} {f['topic']}" for f in found}
    (one,) = [f for f in found if f"{f['level']} {f['topic']}" == finding]
    assert says in one["says"]
    if cure:
        assert cure in f"{one['says']} {one['mend']}" or finding == "fail address"
        patient.sh(f"{cure} >/dev/null")
        assert patient.topics(config) == []


@pytest.mark.parametrize("kind", ["bridge", "macvlan"])
def test_drivers_without_native_xdp(patient: Patient, kind: str) -> None:
    """The kernel says what drivers can do; generic mode is announced where they cannot."""
    patient.sh(f"ip link add soft0 {'link eth0' if kind == 'macvlan' else ''} type {kind}; ip link set soft0 up")
    (found,) = [f for f in patient.findings("", "soft0") if f["topic"] == "xdp"]

    assert f"soft0: {kind} has no native XDP" in found["says"]


def test_port_179(patient: Patient) -> None:
    """With BGP in the configuration somebody else's listener is named; it is nothing to those who speak no BGP."""
    bgp, plain = patient.config(BGP), str(patient.directory / "plain.yaml")
    Path(plain).write_text(CONFIG)
    assert patient.topics(bgp) == []
    listen = "import socket, sys; s = socket.socket(); s.bind(('', 179)); s.listen(); print('up', flush=True); sys.stdin.read()"
    argv = ["ip", "netns", "exec", patient.name, sys.executable, "-c", listen]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as daemon:
        assert daemon.stdout.readline()
        assert patient.topics(bgp) == ["warn port"]
        assert patient.topics(plain) == []
        daemon.stdin.close()


def test_two_interfaces_redirect(patient: Patient) -> None:
    """With several interfaces a veth is warned of until its peer runs XDP: only then it sends what others redirect to it."""
    patient.sh("ip link add eth1 type veth peer name peer1; ip link set eth1 up; ip link set peer1 up")
    assert "warn xdp" in patient.topics(patient.config(CONFIG), "eth0", "eth1")
    patient.sh(*(f"ip link set dev {peer} xdp obj {PASS_OBJECT} sec xdp.frags" for peer in ("peer0", "peer1")))
    assert "warn xdp" not in patient.topics(patient.config(CONFIG), "eth0", "eth1")


def test_a_bpffs_that_is_none(patient: Patient) -> None:
    """A directory on disk, and a BPF file system that ends with the mount namespace: each with the command that helps."""
    (disk,) = patient.findings("--bpffs", str(patient.directory / "disk"))
    assert (disk["level"], disk["topic"]) == ("fail", "bpffs")
    assert disk["mend"].startswith("mount -t bpf bpf DIRECTORY")
    inner = patient.directory / "inner"
    inner.mkdir()
    private = ("unshare", "--mount", "sh", "-c", f'mount -t bpf bpf {inner} && exec "$@"', "sh")
    (gone,) = patient.findings("--bpffs", str(inner / "x"), prefix=private)
    assert f"{inner} is mounted in this mount namespace only" in gone["says"]
    assert f"mount -t bpf bpf {inner}" in gone["mend"]


@pytest.mark.parametrize(
    ("capabilities", "missing"),
    [
        ("", "CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF"),
        ("net_admin,bpf,perfmon", "CAP_NET_RAW"),
        ("net_admin,bpf,perfmon,net_raw", ""),
    ],
)
def test_rights_of_others(patient: Patient, capabilities: str, missing: str) -> None:
    """Who is not root is told which capabilities are missing; with them only the directory for pins has to be theirs, too."""
    config = patient.config(CONFIG)
    own = ",".join(f"+{name}" for name in ["dac_read_search", *capabilities.split(",")] if name)
    prefix = ("setpriv", "--reuid", "65534", "--clear-groups", f"--inh-caps=-all,{own}", f"--ambient-caps=-all,{own}")
    found = patient.findings(config, prefix=prefix)

    rights = [f for f in found if f["topic"] == "rights"]
    assert [missing in f["says"] for f in rights] == ([True] if missing else [])
    (pins,) = [f for f in found if f["topic"] == "bpffs"]
    assert pins["mend"] == f"sudo install -d -o nobody -m 0700 {patient.bpffs}/x"
    subprocess.run(["sh", "-euc", pins["mend"].replace("sudo ", "")], check=True)
    assert not [f for f in patient.findings(config, prefix=prefix) if f["topic"] == "bpffs"]


def test_a_wrong_configuration(patient: Patient) -> None:
    """Every mistake of the file is a line of its own, and the machine is looked at all the same."""
    found = patient.findings(patient.config("services: []\nfoo: 1\nbar: 2\n"))
    assert [(f["level"], f["topic"]) for f in found] == [("fail", "config"), ("fail", "config")]
    (missing,) = patient.findings(str(patient.directory / "nowhere.yaml"))
    assert "No such file" in missing["says"]


def test_a_start_is_refused_on_the_same(patient: Patient) -> None:
    """What fails refuses a start in the same words, with exit code 1, and nothing is left behind; warnings go to its log."""
    config = patient.config(CONFIG)
    patient.sh("ip route add blackhole 192.0.2.10", "ip link set eth0 mtu 4000")
    before = state_of(patient)
    (vip,) = [f for f in patient.findings(config) if f["level"] == "fail"]
    refused = patient.fairlead("run", config)

    assert refused.returncode == 1
    assert refused.stderr == f"fairlead: {vip['says']}: {vip['mend']}\n"
    assert state_of(patient) == before
    patient.sh("ip route delete blackhole 192.0.2.10")
    argv = ["ip", "netns", "exec", patient.name, FAIRLEAD, "run", config]
    log = patient.directory / "log"
    with log.open("w") as out, subprocess.Popen(argv, env=patient.env(), stdout=out, stderr=out) as daemon:
        try:
            eventually((patient.directory / "api.sock").exists)
            (mtu,) = [f for f in patient.findings(config) if f["topic"] == "mtu"]
            assert f"{mtu['says']}: {mtu['mend']}" in log.read_text()
            assert "fail program" not in patient.topics(config)
        finally:
            daemon.terminate()
            daemon.wait(30)
            patient.fairlead("detach")
