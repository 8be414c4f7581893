"""Runs inside a virtual machine as its root: the real objects, loaded, filled by the real planner, and given packets.

    inside.py MODPROBE RESULT [SCENARIO...]

MODPROBE is the program that the kernel shall call for its modules, RESULT the file for what was found: JSON, for each scenario
either facts by name or, under "error", the traceback. tests/kernels/test_kernels.py starts it and reads the result, and asserts.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from typing import Any

from tests.kernels import devices, receivers

CONFIG = """
services:
  - name: web
    virtual: 192.0.2.10
    servers: [10.1.0.11, 10.1.0.12]
    policy:
      80/tcp*:
"""
BPFFS = "/sys/fs/bpf/fairlead"
ROUTER = bytes.fromhex("020000000001")
CLIENT, VIP, ELSEWHERE = (IPv4Address(a).packed for a in ("198.18.1.2", "192.0.2.10", "10.1.0.99"))


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def ipv4(destination: bytes, protocol: int, payload: bytes) -> bytes:
    """An IPv4 packet from the client with TTL 63."""
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 63, protocol, 0, CLIENT, destination)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def frames(mac: bytes) -> dict[str, bytes]:
    """Frames to the interface with this MAC, by what they are."""
    ip = mac + ROUTER + b"\x08\x00"
    tcp = struct.pack("!HHIIBBHHH", 40000, 80, 1, 0, 0x50, 2, 65535, 0, 0)
    echo = struct.pack("!BBHHH", 8, 0, 0, 7, 1)
    echo = echo[:2] + struct.pack("!H", checksum(echo)) + echo[4:]
    return {
        "arp": b"\xff" * 6 + ROUTER + b"\x08\x06" + bytes(46),
        "not for a VIP": ip + ipv4(ELSEWHERE, 6, tcp),
        "syn": ip + ipv4(VIP, 6, tcp),
        "ack": ip + ipv4(VIP, 6, tcp[:13] + b"\x10" + tcp[14:]),
        "ping": ip + ipv4(VIP, 1, echo),
        "unknown port": ip + ipv4(VIP, 6, tcp[:2] + struct.pack("!H", 81) + tcp[4:]),
    }


def prepare(modprobe: str) -> None:
    """Where the kernel finds its modules, and those that it would not ask for by itself."""
    Path("/proc/sys/kernel/modprobe").write_text(modprobe)
    tunnels = ("ipip", "sit", "ip_gre", "fou", "ip6_tunnel", "ip6_gre", "fou6")
    subprocess.run([modprobe, "-a", "8021q", "bonding", "bridge", *tunnels], check=True)


def veth() -> tuple[int, bytes]:
    """A BPF file system and a pair of veth; the ifindex and MAC of the end that will be balanced."""
    subprocess.run(["mount", "-t", "bpf", "bpf", "/sys/fs/bpf"], check=True)
    subprocess.run(["ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"], check=True)
    for name in ("v0", "v1"):
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
    at = Path("/sys/class/net/v0")
    return int((at / "ifindex").read_text()), bytes.fromhex((at / "address").read_text().strip().replace(":", ""))


def device() -> str:
    """What `ip` and `tc` say of the balanced interface: XDP programs and queueing disciplines show here."""
    commands = (
        ["ip", "-o", "link", "show", "v0"],
        ["tc", "qdisc", "show", "dev", "v0"],
        ["tc", "filter", "show", "dev", "v0", "egress"],
    )
    return "".join(subprocess.run(c, capture_output=True, text=True, check=False).stdout for c in commands)


async def fill(kernel: Any, keys: Any, ifindex: int, mac: bytes) -> list[str]:
    """Two servers behind one VIP, by the same reconcile pass as in the daemon; the text of every event."""
    from fairlead import config
    from fairlead._native import maglev
    from fairlead.model import Link
    from fairlead.model import Path as Way
    from fairlead.reconcile import Reconciler

    said: list[str] = []
    reconciler = Reconciler(kernel, keys=keys, log=lambda event: said.append(str(event)), clock=lambda: 1000.0, maglev=maglev)
    reconciler.adopt()
    reconciler.set_config(config.parse(CONFIG, "inside.yaml"))
    reconciler.set_links([Link(ifindex, "v0", mac, up=True, mtu=1500)])
    reconciler.set_paths({IPv4Address(f"10.1.0.{n}"): Way(ifindex, bytes([2, 0, 0, 0, 1, n]), mac, 1500, None) for n in (11, 12)})
    await reconciler.run_pass()
    return said


def sources(kernel: Any, packets: dict[str, bytes], ifindex: int) -> dict[str, Any]:
    """With programs that block the client's prefix and count where packets come from; then with those that do neither again."""
    actions = {}
    for name, blocked in (("asked", ["198.18.0.0/15", "2001:db8::/32"]), ("not asked", [])):
        kernel.sources.want([ip_network(prefix) for prefix in blocked], counted=bool(blocked))
        kernel.replace_programs()
        actions[name] = {
            each: kernel.test_run("balancer", packets[each], ifindex)[0] for each in ("syn", "ping", "not for a VIP")
        }
        if blocked:
            dropped = {str(prefix): packets for prefix, (packets, _) in kernel.sources.blocked().items()}
            counted = [[str(prefix), packets] for prefix, packets in kernel.sources.largest(5)[0]]
    return {"actions": actions, "dropped": dropped, "counted": counted}


def look() -> dict[str, Any]:
    """Load, fill, run packets, attach, replace, detach: what came out, by name."""
    from fairlead.adapters.kernel import Kernel, detach_all
    from fairlead.core.keys import derive
    from fairlead.model import Geometry, Link

    ifindex, mac = veth()
    link = Link(ifindex, "v0", mac, up=True, mtu=1500)
    geometry = Geometry(services=1024, destinations=4096, nexthops=1024, slots=4096, buckets=65536, cpus=os.cpu_count() or 1)
    keys = derive(b"")
    found: dict[str, Any] = {"mac": mac.hex(), "device before": device()}
    kernel = Kernel.open(BPFFS, geometry, keys, 0xFA1)
    kernel.replace_programs()
    found["operations"] = asyncio.run(fill(kernel, keys, ifindex, mac))
    found["runs"], found["foretold"] = {}, {}
    for name, frame in frames(mac).items():
        (trial,) = kernel.try_frames([(frame, ifindex)])
        found["foretold"][name] = [trial.action, trial.frame.hex()]
        action, out = kernel.test_run("balancer", frame, ifindex)
        found["runs"][name] = [action, out.hex()]
    found["verdicts"] = {str(number): packets for number, (packets, _) in kernel.verdicts().items() if packets}
    found["sources"] = sources(kernel, frames(mac), ifindex)
    found["attached"] = kernel.attach(link)
    kernel.replace_programs()
    found["attached after replace"] = kernel.attached()
    kernel.close()
    again = Kernel.open(BPFFS, geometry, keys, 0xFA1)
    found["adopted"] = again.adopted
    again.close()
    found["detached"] = list(detach_all(BPFFS))
    found["left"] = sorted(str(path) for path in Path("/sys/fs/bpf").iterdir())
    found["device after"] = device()
    return found


def attempt(scenario: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a scenario found, or its traceback."""
    try:
        return scenario()
    except BaseException:  # noqa: BLE001 - whatever it was, it is reported
        return {"error": traceback.format_exc() + "\n" + devices.daemon_log()[-3000:]}


def main() -> None:
    modprobe, result, *wanted = sys.argv[1:]
    scenarios = {"objects": look, "tagged": devices.tagged, "bonded": devices.bonded}
    scenarios |= {"tunnelled": receivers.tunnelled, "queues": receivers.queues, "staggered": receivers.staggered}
    prepare(modprobe)
    found: dict[str, Any] = {"kernel": platform.release()}
    for name in wanted or scenarios:
        found[name] = attempt(scenarios[name])
    Path(result).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
