"""Safe on a real server: refusals change nothing, and a detach leaves the machine as it was before the run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.kit import FAIRLEAD, PASS_OBJECT, VIPS, Lab, eventually
from tests.lab.snapshot import differences, snapshot

pytestmark = pytest.mark.root

NO_ADDRESSES = "ip -4 addr flush dev eth0; ip -6 addr flush dev eth0 scope global"
ADDRESSES = (
    "ip addr add 192.0.2.11/24 dev eth0; ip addr add fd1a:b:0:10::11/64 dev eth0 nodad; "
    "ip route replace default via 192.0.2.1; ip route replace default via fd1a:b:0:10::1"
)
EXAMPLES = sorted(Path(__file__).parents[2].glob("examples/*.yaml"))


@contextmanager
def started(lab: Lab, *words: str, config: str = "") -> Iterator[subprocess.Popen[str]]:
    """`fairlead run` on balancer1 beside the block; it is up once status answers."""
    lab.config_path.write_text(config or lab.config)
    with lab.running("balancer1", FAIRLEAD, "run", str(lab.config_path), *words) as daemon:
        eventually(lambda: daemon.poll() is not None or lab.status(), 15)
        assert daemon.poll() is None, daemon.stdout and daemon.stdout.read()
        yield daemon


def test_detach_leaves_no_trace(bare: Lab) -> None:
    """The nft ruleset, ip rules, all route tables, offloads and sysctls before a run and after stop and detach are the same."""
    before = snapshot(bare)
    with started(bare) as daemon:
        eventually(bare.all_up, 15)
        during = snapshot(bare)
        assert during["nft"] == before["nft"], "no netfilter rule, not even while it runs"
        assert during["sysctls"] == before["sysctls"], "no sysctl, not even while it runs"
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(60) == 0
    stopped = snapshot(bare)
    assert stopped["pins"] != before["pins"], "the data plane forwards on after a stop"
    done = bare.try_run("balancer1", FAIRLEAD, "detach")
    assert done.returncode == 0, done.stderr
    assert not differences(before, snapshot(bare))
    again = bare.try_run("balancer1", FAIRLEAD, "detach")
    assert again.returncode == 0, "a second detach finds nothing and is content"


def test_detach_after_kill(bare: Lab) -> None:
    """Detach needs neither daemon nor configuration: after kill -9 and without the file it leaves no trace either."""
    before = snapshot(bare)
    with started(bare) as daemon:
        eventually(bare.all_up, 15)
        daemon.kill()
        daemon.wait()
    bare.config_path.unlink()
    bare.run("balancer1", FAIRLEAD, "detach")
    assert not differences(before, snapshot(bare))


def test_foreign_filter_stays(bare: Lab) -> None:
    """A tc program of somebody else on the same interface works on while Fairlead runs, and after its detach."""
    bare.run("balancer1", "tc", "qdisc", "add", "dev", "eth0", "clsact")
    match = ("protocol", "ip", "pref", "5", "u32", "match", "u32", "0", "0")
    bare.run("balancer1", "tc", "filter", "add", "dev", "eth0", "egress", *match)
    try:
        before = snapshot(bare)
        with started(bare) as daemon:
            eventually(bare.all_up, 15)
            assert "u32" in bare.run("balancer1", "tc", "filter", "show", "dev", "eth0", "egress")
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(60)
        bare.run("balancer1", FAIRLEAD, "detach")
        assert not differences(before, snapshot(bare))
    finally:
        bare.run("balancer1", "tc", "qdisc", "del", "dev", "eth0", "clsact")


# ---------------------------------------------------------------------------------------------------------------- refusals


@dataclass(frozen=True)
class Refusal:
    """Run with what `edit` makes of the configuration, under `wrap`; it must end at once with `says` and `code`."""

    edit: Callable[[str], str]
    says: str
    code: int = 1
    wrap: str = "exec {fairlead} run {config}"
    before: str = ""
    after: str = ""


def _same(text: str) -> str:
    return text


REFUSALS = {
    "bad YAML": Refusal(lambda c: c.replace("interfaces: [eth0]", "interfaces: [eth0"), r"fairlead\.yaml:\d+:\d+: "),
    "unknown key": Refusal(lambda c: c + "virtuals: 1\n", r"fairlead\.yaml:\d+:1: .*virtuals"),
    "missing interface": Refusal(lambda c: c.replace("[eth0]", "[eth7]"), r"no interface eth7; there are: eth0"),
    "no interface": Refusal(lambda c: c.replace("interfaces: [eth0]\n", ""), r"no interface is named"),
    "duplicate VIP:port": Refusal(lambda c: c.replace("fd1a:b:0:ff::1\n", "203.0.113.1\n"), r"203\.0\.113\.1:80"),
    "no router id": Refusal(lambda c: c.replace("address: 192.0.2.11\n", ""), r"fairlead\.yaml:\d+:\d+: .*BGP needs a router ID"),
    "no address": Refusal(
        lambda c: re.sub(r"(?m)^(address6?|bgp|  (as_number|hold_time|next_hop_6|peers)):.*\n", "", c),
        r"no address: ",
        before=NO_ADDRESSES,
        after=ADDRESSES,
    ),
    "VIP is a local address": Refusal(
        _same,
        r"VIP 203\.0\.113\.1 is an address of this machine",
        before="ip addr add 203.0.113.1/32 dev lo",
        after="ip addr del 203.0.113.1/32 dev lo",
    ),
    "VIP is a backend": Refusal(lambda c: c.replace("virtual: 203.0.113.1", "virtual: 192.0.2.21"), r"192\.0\.2\.21"),
    "VIP is a BGP peer": Refusal(lambda c: c.replace("virtual: 203.0.113.1", "virtual: 192.0.2.1"), r"192\.0\.2\.1"),
    "blackhole route": Refusal(
        _same,
        r"203\.0\.113\.1.*blackhole",
        before="ip route add blackhole 203.0.113.1",
        after="ip route del blackhole 203.0.113.1",
    ),
    "foreign XDP": Refusal(
        _same,
        r"eth0 already (runs|has) (an|the) XDP program .*: .*ip link set dev eth0 xdp off",
        before=f"ip link set dev eth0 xdpgeneric object {PASS_OBJECT} section xdp.frags",
        after="ip link set dev eth0 xdpgeneric off",
    ),
    "no root": Refusal(_same, r"needs root", wrap="exec setpriv --bounding-set=-all --inh-caps=-all {fairlead} run {config}"),
    "no BTF": Refusal(
        _same, r"BTF", wrap="exec unshare -m sh -c 'mount -t tmpfs none /sys/kernel/btf; exec {fairlead} run {config}'"
    ),
    "no bpffs": Refusal(
        _same, r"not in a BPF file system: mount -t bpf", wrap="exec {fairlead} run --bpffs /tmp/nowhere {config}"
    ),
    "bpffs of a private mount namespace": Refusal(
        _same,
        r"in this mount namespace only",
        wrap="exec unshare -m sh -c 'mount -t bpf bpf /mnt; exec {fairlead} run --bpffs /mnt/fairlead {config}'",
    ),
    "no such file": Refusal(_same, r"No such file", wrap="exec {fairlead} run {config}.missing"),
    "no file at all": Refusal(_same, r"Missing argument 'CONFIG'", 2, wrap="exec {fairlead} run"),
    "no such option": Refusal(_same, r"No such option", 2, wrap="exec {fairlead} run --frobnicate {config}"),
    "no such command": Refusal(_same, r"No such command", 2, wrap="exec {fairlead} frobnicate"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refused(bare: Lab, name: str) -> None:
    """What cannot work is refused in clear lines with exit code 1, wrong usage with 2, and nothing is changed on the system."""
    case = REFUSALS[name]
    bare.config_path.write_text(case.edit(bare.config))
    if case.before:
        bare.run("balancer1", "sh", "-ec", case.before)
    try:
        before = snapshot(bare)
        done = bare.try_run("balancer1", "sh", "-c", case.wrap.format(fairlead=FAIRLEAD, config=bare.config_path), within=15)
        after = snapshot(bare)
    finally:
        if case.after:
            bare.run("balancer1", "sh", "-ec", case.after)
    assert done.returncode == case.code, done.stderr
    assert re.search(case.says, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 8, done.stderr
    assert not differences(before, after)


def test_all_problems_at_once(bare: Lab) -> None:
    """Every problem of the machine is named in one go, not one for each attempt."""
    bare.config_path.write_text(bare.config.replace("[eth0]", "[eth7, eth8]"))
    done = bare.try_run("balancer1", FAIRLEAD, "run", str(bare.config_path), within=15)
    assert done.returncode == 1
    assert "eth7" in done.stderr
    assert "eth8" in done.stderr


def test_second_instance(lab: Lab) -> None:
    """A second instance is refused, and the first one does not notice."""
    before, tables = snapshot(lab), lab.status()["tables_hash"]
    done = lab.try_run("balancer1", FAIRLEAD, "run", str(lab.config_path), within=15)
    assert done.returncode == 1
    assert re.search("already|another fairlead", done.stderr), done.stderr
    elsewhere = ("--socket", str(lab.home("balancer1") / "other.sock"), "--bpffs", str(lab.directory / "bpffs" / "other"))
    done = lab.try_run("balancer1", FAIRLEAD, "run", *elsewhere, str(lab.config_path), within=15)
    assert done.returncode == 1, "another socket and bpffs do not help: the interface is taken"
    assert not differences(before, snapshot(lab))
    assert lab.status()["tables_hash"] == tables
    assert lab.get(VIPS[4])


def test_check(bare: Lab) -> None:
    """`fairlead check` says what is wrong and exits with 1; its --expand gives a file that it accepts."""
    bare.config_path.write_text(bare.config.replace("servers: [", "severs: ["))
    done = bare.try_run("balancer1", FAIRLEAD, "check", str(bare.config_path))
    assert done.returncode == 1
    assert done.stderr.count("severs") + done.stdout.count("severs") >= 2, "both services, in one go"
    bare.config_path.write_text(bare.config)
    bare.config_path.write_text(bare.run("balancer1", FAIRLEAD, "check", "--expand", str(bare.config_path)))
    assert bare.try_run("balancer1", FAIRLEAD, "check", str(bare.config_path)).returncode == 0


# ----------------------------------------------------------------------------------------------------------------- --confirm


def test_unconfirmed_run_detaches(bare: Lab) -> None:
    """`--confirm SECONDS` without an answer: the daemon ends with 1 and the machine is as before the run."""
    before = snapshot(bare)
    at = time.monotonic()
    with started(bare, "--confirm", "6") as daemon:
        assert "xdp" in bare.run("balancer1", "bpftool", "net")
        assert daemon.wait(60) == 1
        assert time.monotonic() - at >= 6
    assert not differences(before, snapshot(bare))


def test_confirmed_run_stays(bare: Lab) -> None:
    """`fairlead confirm` in time: the run goes on past its deadline; a second confirm is refused."""
    with started(bare, "--confirm", "6") as daemon:
        bare.run("balancer1", FAIRLEAD, "confirm")
        at = time.monotonic()
        eventually(lambda: time.monotonic() - at > 6.5 and bare.all_up(), 15)
        assert daemon.poll() is None
        assert bare.try_run("balancer1", FAIRLEAD, "confirm").returncode == 1


def test_default_route_is_named(bare: Lab) -> None:
    """Before a native attach to the interface of the default route a warning says so, and names --confirm."""
    with started(bare):
        warned = [e["text"] for e in bare.events() if e["name"] == "warned"]
    assert any("eth0 carries the default route" in text and "--confirm" in text for text in warned), warned


# ------------------------------------------------------------------------------------------------------------------ examples


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example(bare: Lab, path: Path, tmp_path: Path) -> None:
    """Every file in examples/ is accepted, and a balancer runs with it."""
    done = bare.try_run("balancer1", FAIRLEAD, "check", str(path))
    assert done.returncode == 0, done.stderr
    secret = tmp_path / "secret"
    secret.write_text("a password\n")
    secret.chmod(0o600)
    text = re.sub(r"(?<=_file: )/etc/fairlead/\w+\.key", str(secret), path.read_text())
    # the machine gets the example's addresses; its backends are not there, so nothing comes up, but everything is loaded
    own = re.findall(r"^address6?: *(\S+)", text, re.MULTILINE) or ["10.1.0.5"]
    bare.run("balancer1", "sh", "-ec", NO_ADDRESSES)
    for address in own:
        bare.run("balancer1", "ip", "addr", "add", f"{address}/{64 if ':' in address else 24}", "dev", "eth0")
    try:
        with started(bare, config=text) as daemon:
            status = bare.status()
            assert status["services"]
            assert {b["state"] for s in status["services"] for b in s["backends"]} <= {"up", "down", "drain", "disabled"}
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(60) == 0
    finally:
        bare.run("balancer1", "sh", "-ec", f"{NO_ADDRESSES}; {ADDRESSES}")


def test_there_are_examples() -> None:
    """The directory with examples is not empty, so the test above tests something."""
    assert EXAMPLES
    assert os.geteuid() == 0
