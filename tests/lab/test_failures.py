"""Everything that breaks, broken for real; what should be so then is read from `fairlead status --json`."""

from __future__ import annotations

import json
import re
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.kit import (
    BALANCER_MAC,
    FAIRLEAD,
    MAC,
    PASS_OBJECT,
    ROUTER_MAC,
    SEGMENT,
    TOOLS,
    VIPS,
    WELL_OR_NOT,
    Lab,
    eventually,
    held,
    unharmed,
)

pytestmark = pytest.mark.root

WRONG = Path(__file__).with_name("wrong.py")
WALLCLOCK = Path(__file__).with_name("wallclock.c")
BACKENDS = {f"192.0.2.2{n}" for n in (1, 2, 3)}


def status(lab: Lab) -> dict[str, Any]:
    """What the command says."""
    found: dict[str, Any] = json.loads(lab.run("balancer1", FAIRLEAD, "status", "--json", fine=WELL_OR_NOT))
    return found


def backend(lab: Lab, address: str) -> dict[str, Any]:
    return next(b for s in status(lab)["services"] for b in s["backends"] if b["address"] == address)


def vip(lab: Lab, address: str = VIPS[4]) -> dict[str, Any]:
    return next(v for v in status(lab)["vips"] if v["address"] == address)


def becomes(lab: Lab, address: str, state: str, says: str = "", within: float = 10) -> dict[str, Any]:
    """Wait until a backend is in that state for a reason of that pattern."""
    return eventually(lambda: (b := backend(lab, address))["state"] == state and re.search(says, b["reason"]) and b, within, 0.2)


def others_serve(lab: Lab, version: int, but: str) -> None:
    """The VIP stays announced, and whoever asks is answered, by the others."""
    assert vip(lab, VIPS[version])["announced"]
    assert but not in {lab.get(VIPS[version]).split()[0] for _ in range(12)}


# ------------------------------------------------------------------------------------------------------------------- a backend


@pytest.mark.parametrize("version", [4, 6])
def test_frozen(lab: Lab, version: int) -> None:
    """A server that is stopped in its tracks: the kernel still takes connections for it, and nobody answers."""
    address = f"{SEGMENT[version]}21"
    lab.cli("kill", "--signal", "STOP", "backend1")
    try:
        found = becomes(lab, address, "down", "connected, but no answer within 0.5 s")
        assert re.match(
            rf"http GET /healthz on {address} for \S+:80: .*, \d+ failures in a row since \d\d:\d\d:\d\d$", found["reason"]
        )
        assert not found["checks"][0]["up"]
        others_serve(lab, version, "backend1")
    finally:
        lab.cli("kill", "--signal", "CONT", "backend1")
    becomes(lab, address, "up", "200 after")


@pytest.mark.parametrize("version", [4, 6])
def test_vip_taken_from_its_loopback(lab: Lab, version: int) -> None:
    """The server is well, and nobody there knows the VIP: said as such."""
    address, length = f"{SEGMENT[version]}23", {4: "32", 6: "128"}[version]
    where = (f"{VIPS[version]}/{length}", "dev", "lo")
    lab.run("backend3", "ip", "addr", "del", *where)
    try:
        becomes(lab, address, "down", f"{address} itself answers: is {VIPS[version]} on its loopback\\?")
        others_serve(lab, version, "backend3")
    finally:
        lab.run("backend3", "ip", "addr", "add", *where, *(["nodad"] if version == 6 else []))
    becomes(lab, address, "up", "200 after")


def test_its_link_down(lab: Lab) -> None:
    """Nothing answers for the machine at all; once the kernel has given its MAC up, that is the reason."""
    lab.run("backend2", "ip", "link", "set", "eth0", "down")
    try:
        becomes(lab, "192.0.2.22", "down", "does not answer either|no neighbour")
        becomes(lab, "192.0.2.22", "down", "no neighbour on eth0: nobody answers for its address", 20)
        others_serve(lab, 4, "backend2")
    finally:
        lab.run("backend2", "sh", "-ec", "ip link set eth0 up; ip route replace default via 192.0.2.1")
        lab.run("backend2", "ip", "-6", "addr", "replace", "fd1a:b:0:10::22/64", "dev", "eth0", "nodad")
        lab.run("backend2", "ip", "-6", "route", "replace", "default", "via", "fd1a:b:0:10::1")
    becomes(lab, "192.0.2.22", "up", "200 after", 20)
    becomes(lab, "fd1a:b:0:10::22", "up", "200 after", 20)


def test_nobody_answers_for_its_address(lab: Lab) -> None:
    """ARP fails, all else is well: no new flows, but connections that are known go on by its last MAC, over a restart as well."""
    address, own = "192.0.2.21", "192.0.2.11"
    drops = f'oifname "backend1" arp saddr ip {own} drop; iifname "backend1" arp daddr ip {own} drop;'
    with held(lab, 60) as use:
        assert use()["backends"]["backend1"] >= 5
        lab.run("switch", "nft", f"table bridge mute {{ chain c {{ type filter hook forward priority 0; {drops} }}; }}")
        try:
            lab.run("balancer1", "ip", "neigh", "change", address, "dev", "eth0", "nud", "failed")
            becomes(lab, address, "down", "no neighbour on eth0: nobody answers for its address")
            others_serve(lab, 4, "backend1")
            assert unharmed(use())
            lab.cli("kill", "balancer1")
            lab.cli("start", "balancer1")
            becomes(lab, address, "down", "no neighbour on eth0: nobody answers for its address")
            eventually(lambda: vip(lab)["announced"])
            others_serve(lab, 4, "backend1")
            assert unharmed(use())
        finally:
            lab.run("switch", "nft", "delete table bridge mute")
        becomes(lab, address, "up", "200 after", 5)
        assert unharmed(use())


def test_another_mac_that_nobody_announced(lab: Lab) -> None:
    """A machine replaced without a word: the old MAC would be believed in for half a minute, were it not for its silence."""
    began = time.monotonic()
    lab.run("backend1", "ip", "link", "set", "eth0", "address", f"{MAC}77")
    try:
        becomes(lab, "192.0.2.21", "down", within=5)
        becomes(lab, "192.0.2.21", "up", "200 after", 10)
        print(f"\nsilent change of MAC: {time.monotonic() - began:.1f} s")
        assert f"{MAC}77" in lab.run("balancer1", "ip", "neigh", "show", "192.0.2.21")
    finally:
        lab.run("backend1", "sysctl", "-q", "net.ipv4.conf.eth0.arp_notify=1", "net.ipv6.conf.eth0.ndisc_notify=1")
        lab.run("backend1", "ip", "link", "set", "eth0", "address", f"{MAC}21")


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("error", r": 503 after "),
        ("garbage", r": the answer is not HTTP after "),
        ("silent", r": connected, but no answer within 0\.5 s"),
        ("closing", r": (closed without an answer|connection reset) after "),
        ("", r": connection refused after "),
    ],
)
def test_wrong_answers(lab: Lab, kind: str, says: str) -> None:
    """Each has its words."""
    lab.cli("kill", "backend1")
    if not kind:
        becomes(lab, "192.0.2.21", "down", says)
        return
    with lab.running("backend1", "python3", str(WRONG), "80", kind) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        becomes(lab, "192.0.2.21", "down", says)
        becomes(lab, "fd1a:b:0:10::21", "down", says)
        others_serve(lab, 4, "backend1")


# ---------------------------------------------------------------------------------------------------------- the balancer's own


def test_our_link_down(lab: Lab) -> None:
    """Without a link nothing is reached: every backend says so, no VIP is announced; with it all of that is over."""
    lab.run("switch", "ip", "link", "set", "balancer1", "down")
    try:
        for address in BACKENDS:
            becomes(lab, address, "down", "^eth0 is down$")
        found = vip(lab)
        assert (found["state"], found["announced"], found["reason"]) == ("down", False, "80/tcp has 0 of 1 required backends")
    finally:
        lab.run("switch", "ip", "link", "set", "balancer1", "up")
    eventually(lab.all_up, 20)
    assert vip(lab)["announced"]
    assert lab.get(VIPS[4])


@contextmanager
def daemon(lab: Lab, *words: str, config: str = "", before: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    """`fairlead run` on a bare lab's balancer, all up. It logs to a file: a pipe that nobody reads would stop it."""
    lab.config_path.write_text(config or lab.config)
    log = lab.home("balancer1") / "log"
    shell = ("sh", "-c", f'exec "$0" "$@" >{log} 2>&1')
    with lab.running("balancer1", *shell, *(before or ("env",)), FAIRLEAD, "run", str(lab.config_path), *words) as process:
        eventually(lambda: process.poll() is not None or lab.all_up(), 20)
        assert process.poll() is None, log.read_text()
        yield process


def reload(lab: Lab, config: str) -> None:
    lab.config_path.write_text(config)
    lab.run("balancer1", FAIRLEAD, "reload")


def with_limits(text: str, **limits: int) -> str:
    return text + "limits: {" + ", ".join(f"{name}: {number}" for name, number in limits.items()) + "}\n"


def forty(text: str, first: int) -> str:
    """Forty services of three backends each, from this VIP on."""
    lines = (
        f"  - {{name: s{n}, virtual: 203.0.113.{n}, servers: [{', '.join(sorted(BACKENDS))}], policy: web}}\n"
        for n in range(first, first + 40)
    )
    return text.partition("services:")[0] + "services:\n" + "".join(lines) + text[text.rindex("limits:") :]


def all_applied(lab: Lab, first: int) -> bool:
    """Exactly these services are there, each backend has its row, and nothing is pending."""
    services = status(lab)["services"]
    rows = [b["destination"] for s in services for b in s["backends"]]
    there = {s["vip"] for s in services} == {f"203.0.113.{n}" for n in range(first, first + 40)}
    return there and len(rows) == len(set(rows)) == 120 and all(rows) and {s["applied"] for s in services} == {"done"}


def test_tables_full(bare: Lab) -> None:
    """What the tables will never hold is refused; what they do not hold yet comes as room does; what runs goes on."""
    small = with_limits(bare.config, destinations=120, services=100, slots=1 << 17)
    with daemon(bare, config=small):
        tables = status(bare)["tables_hash"]
        bare.config_path.write_text(forty(small, 1).replace("192.0.2.23]", "192.0.2.23, 192.0.2.24]"))
        done = bare.try_run("balancer1", FAIRLEAD, "reload")
        assert done.returncode == 1
        assert "the file needs 160 destinations, but `limits.destinations` is 120" in done.stderr
        assert status(bare)["tables_hash"] == tables
        reload(bare, forty(small, 1))
        eventually(lambda: all_applied(bare, 1), 20)
        # All to other VIPs: more rows at once than there are. Those of the old are free again after a grace period and a sweep.
        assert next(t for t in status(bare)["tables"] if t["name"] == "destinations")["rows"] < 240
        reload(bare, forty(small, 101))
        eventually(lambda: all_applied(bare, 101), 20)
        reload(bare, small)
        eventually(bare.all_up, 20)
        assert bare.get(VIPS[4])


def test_flow_table_full(bare: Lab) -> None:
    """A flood of SYNs takes every place of the flow table: who comes now is served, and so is who was there (test_flood)."""
    pin = f"{bare.directory}/bpffs/flood"
    flood = PASS_OBJECT.with_name("flood.bpf.o")
    with daemon(bare, config=with_limits(bare.config, flows=1024)):
        subprocess.run(["bpftool", "prog", "load", flood, pin, "type", "xdp"], check=True)
        places = _flows(bare)["rows"]
        words = (pin, "balancer1", BALANCER_MAC, ROUTER_MAC, VIPS[4], "80", "syn", str(2 * places))
        bare.run("switch", "python3", str(TOOLS), "storm", *words, within=60)
        assert _flows(bare)["used"] > places * 0.6
        assert {bare.get(VIPS[4]).split()[0] for _ in range(12)} <= {"backend1", "backend2", "backend3"}
        assert {b["state"] for s in status(bare)["services"] for b in s["backends"]} == {"up"}
        assert vip(bare)["announced"]


def _flows(lab: Lab) -> dict[str, Any]:
    return next(t for t in status(lab)["tables"] if t["name"] == "flows")


def test_bpffs_unmounted(bare: Lab) -> None:
    """The pins are out of reach: packets flow on, changes take effect, status says what will happen and what mends it."""
    with daemon(bare) as process:
        where = bare.directory / "bpffs"
        inside = ("nsenter", "--target", str(process.pid), "--mount", "umount", "--lazy", str(where))
        subprocess.run(inside, check=True, capture_output=True)
        says = r"was unmounted: packets flow on .*mount -t bpf bpf "
        eventually(lambda: any(re.search(says, text) for text in status(bare)["warnings"]))
        assert [i["name"] for i in status(bare)["interfaces"]] == ["eth0"]
        bare.cli("kill", "backend1")
        becomes(bare, "192.0.2.21", "down", "refused")
        others_serve(bare, 4, "backend1")
        bare.cli("start", "backend1")
        becomes(bare, "192.0.2.21", "up")
        reload(bare, bare.config.replace("192.0.2.23]", '"192.0.2.23*"]'))
        becomes(bare, "192.0.2.23", "drain")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@contextmanager
def full_disk(lab: Lab) -> Iterator[Path]:
    """A state directory on a disk without room."""
    state = lab.home("balancer1") / "full"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k,nr_inodes=4", "tmpfs", state], check=True)
    try:
        (state / "fill").write_bytes(bytes(8192))
        yield state
    finally:
        subprocess.run(["umount", "--lazy", state], check=True)
        state.rmdir()


def test_disk_full(bare: Lab) -> None:
    """What should outlive a restart and cannot be written is refused, and changes nothing; the daemon runs."""
    bare.run("balancer1", "ethtool", "-K", "eth0", "txvlan", "on")
    with full_disk(bare) as state, daemon(bare, "--state", str(state)):
        assert any("No space left on device" in text for text in status(bare)["warnings"]), "offloads could not be written down"
        done = bare.try_run("balancer1", FAIRLEAD, "drain", "192.0.2.22")
        assert done.returncode == 1
        assert re.search(r"overrides\.json.*No space left on device", done.stderr), done.stderr
        assert "Traceback" not in done.stderr
        found = status(bare)
        assert found["overrides"] == []
        assert backend(bare, "192.0.2.22")["state"] == "up"
        (state / "fill").unlink()
        bare.run("balancer1", FAIRLEAD, "drain", "192.0.2.22")
        assert becomes(bare, "192.0.2.22", "drain")["override"]


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("clock") / "wallclock.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", made, WALLCLOCK], check=True)
    return made


def test_clock_stepped(bare: Lab, shim: Path, tmp_path: Path) -> None:
    """An hour forward, two back: nobody goes down, no session ends, nothing is repaired, and what waits does not wait for ever.

    The daemon's wall clock is stepped, not the machine's, which belongs to others: see wallclock.c.
    """
    step = tmp_path / "step"

    def set_clock(seconds: int) -> None:
        with step.open("r+b") as file:
            file.write(struct.pack("q", seconds))

    step.write_bytes(bytes(4096))
    with daemon(bare, before=("env", f"LD_PRELOAD={shim}", f"WALLCLOCK={step}"), config=bare.config) as process:
        events = len(bare.events())
        for seconds in (3600, -3600):
            set_clock(seconds)
            at = time.monotonic()
            eventually(lambda at=at: time.monotonic() - at > 2.5)  # four checks of each, and a BGP keepalive
            checked = [b["checks"][0]["at"] for s in status(bare)["services"] for b in s["backends"]]
            assert all(abs(when - time.time() - seconds) < 60 for when in checked), "it took effect"
        new = [e for e in bare.events()[events:] if e["name"] != "warned"]
        assert not new, new
        found = status(bare)
        assert (bare.all_up(), found["repairs"]) == (True, 0)
        bare.cli("kill", "backend1")
        becomes(bare, "192.0.2.21", "down", "refused")
        bare.cli("start", "backend1")
        becomes(bare, "192.0.2.21", "up")
        set_clock(0)
        _waits_for(bare, lambda: set_clock(-7200))
        assert process.poll() is None


def _waits_for(lab: Lab, change: Callable[[], None]) -> None:
    """A VIP that is held back: its time goes on, whatever the clock says."""
    reload(lab, lab.config.replace("hold: 0", "hold: 3"))
    for name in ("backend1", "backend2", "backend3"):
        lab.cli("kill", name)
    eventually(lambda: not vip(lab)["announced"], 10)
    for name in ("backend1", "backend2", "backend3"):
        lab.cli("start", name)
    eventually(lambda: vip(lab)["state"] == "up", 10)
    change()
    eventually(lambda: vip(lab)["announced"], 6)


FLOOD = 150_000


def test_netlink_overrun(lab: Lab) -> None:
    """More events than the kernel keeps for us: everything is read again, and what changed among them is known."""
    at = time.time()
    lab.cli("kill", "--signal", "STOP", "balancer1")
    try:
        toggles = "".join(
            f"neigh replace 192.0.2.250 lladdr 02:00:00:00:{n >> 8 & 255:02x}:{n & 255:02x} dev eth0\n" for n in range(FLOOD)
        )
        subprocess.run(["ip", "-n", f"{lab.name}-balancer1", "-batch", "-"], input=toggles, text=True, check=True)
        lab.run("balancer1", "ip", "route", "add", "unreachable", "192.0.2.22")
    finally:
        lab.cli("kill", "--signal", "CONT", "balancer1")
    try:
        eventually(lambda: any("dropped network events" in e["text"] for e in lab.events(at)), 10)
        becomes(lab, "192.0.2.22", "down", "^its route is unreachable$")
        assert {b["state"] for s in status(lab)["services"] for b in s["backends"]} == {"up", "down"}
    finally:
        lab.run("balancer1", "ip", "route", "del", "unreachable", "192.0.2.22")
        lab.run("balancer1", "ip", "neigh", "del", "192.0.2.250", "dev", "eth0")
    becomes(lab, "192.0.2.22", "up", "200 after")
    others_serve(lab, 4, "nobody")
