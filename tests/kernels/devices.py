"""Runs inside a virtual machine: a balancer on a trunk of real 802.1Q devices, or on a bond of two, under `fairlead run`.

    client, on VLAN 10  ---+
                           switch === both tagged === balancer: eth0, or bond0 of m0 and m1, with .10 and .20
    b1, b2, on VLAN 20  ---+

The switch is a bridge that filters VLANs; it routes the servers' replies, too. What is sent comes in by VLAN 10 and leaves by 20.
Checks of the servers run all the time, so that the probe program is needed, however it is attached.

    devices.py serve NAME                      an HTTP server that says who it is, and what it was sent
    devices.py upload VIP COUNT BYTES SECONDS  that many connections at once, each as slow as that; a JSON list of the answers
"""

from __future__ import annotations

import hashlib
import http.client
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PLACE = Path("/run/fairlead-devices")
VIP = "192.0.2.10"
SERVERS = {"b1": "10.20.0.11", "b2": "10.20.0.12"}
BOND_MAC = "02:00:00:00:00:b0"
WITHIN = 300  # seconds: everything is ten times slower without KVM, and the verifier works, too
CONFIG = f"""
services:
  - name: web
    virtual: {VIP}
    servers: [{", ".join(SERVERS.values())}]
    interval: 2
    timeout: 10
    rise: 1
    policy:
      http:
"""

# ------------------------------------------------------------------------------------------------------------- servers and client


class Handler(http.server.BaseHTTPRequestHandler):
    """GET answers with the server's name, POST with that, length and digest of what came."""

    protocol_version = "HTTP/1.1"
    name = ""

    def do_GET(self) -> None:
        self.answer({"server": self.name})

    def do_POST(self) -> None:
        digest, left = hashlib.sha256(), int(self.headers["Content-Length"])
        length = left
        while left and (data := self.rfile.read1(left)):
            digest.update(data)
            left -= len(data)
        self.answer({"server": self.name, "length": length - left, "digest": digest.hexdigest()})

    def answer(self, found: dict[str, Any]) -> None:
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


def serve(name: str) -> None:
    Handler.name = name
    http.server.ThreadingHTTPServer.request_queue_size = 64
    http.server.ThreadingHTTPServer(("0.0.0.0", 80), Handler).serve_forever()


def upload_one(vip: str, number: int, size: int, seconds: float) -> dict[str, Any]:
    """Twenty pieces over so many seconds; what the server said, and whether that is what was sent."""
    data = hashlib.sha256(str(number).encode()).digest() * (size // 32)
    piece = len(data) // 20
    connection = http.client.HTTPConnection(vip, 80, timeout=WITHIN)
    try:
        connection.putrequest("POST", "/")
        connection.putheader("Content-Length", str(len(data)))
        connection.endheaders()
        for at in range(0, len(data), piece):
            connection.send(data[at : at + piece])
            time.sleep(seconds / 20)
        found: dict[str, Any] = json.loads(connection.getresponse().read())
    except OSError as error:
        return {"error": repr(error)}
    finally:
        connection.close()
    return found | {"whole": found["digest"] == hashlib.sha256(data).hexdigest()}


def upload(vip: str, count: int, size: int, seconds: float) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = []
    threads = [threading.Thread(target=lambda n=n: answers.append(upload_one(vip, n, size, seconds))) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


# ------------------------------------------------------------------------------------------------------------------------ network


def run(*command: str, env: dict[str, str] | None = None) -> str:
    """Output of a command; what went wrong, with its words."""
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}"
    return done.stdout


def ip(host: str, *lines: str) -> None:
    """Lines for `ip -batch` on a host: a process for each would take half a minute here."""
    batch = PLACE / "batch"
    batch.write_text("\n".join(lines) + "\n")
    run("ip", "-n", host, "-batch", str(batch))


def on(host: str, *command: str) -> str:
    return run("ip", "netns", "exec", host, *command)


def cable(host: str, device: str, port: str) -> str:
    return f"link add {device} netns {host} type veth peer name {port} netns switch"


def trunk(*, bond: bool) -> list[str]:
    """Make the balancer's devices; the switch ports that face it."""
    ports = ["trunk0", "trunk1"] if bond else ["trunk0"]
    members = ["m0", "m1"] if bond else ["eth0"]
    ip("switch", *(cable("balancer", device, port) for device, port in zip(members, ports, strict=True)))
    lines = [f"link set {device} up" for device in members]
    if bond:
        made = f"link add bond0 address {BOND_MAC} type bond mode active-backup miimon 100"
        lines = [made, "link set m0 master bond0", "link set m1 master bond0", "link set bond0 up"]
    top = "bond0" if bond else "eth0"
    for number in (10, 20):
        lines.append(f"link add link {top} name {top}.{number} type vlan id {number}")
        lines += [f"addr add 10.{number}.0.1/24 dev {top}.{number}", f"link set {top}.{number} up"]
    ip("balancer", *lines)
    return ports


def wire(host: str, vlan: int, address: str) -> list[str]:
    """A host on an untagged port; the lines for `bridge` in the switch."""
    ip("switch", cable(host, "eth0", f"to-{host}"))
    ip(host, "link set lo up", "link set eth0 up", f"addr add {address}/24 dev eth0", f"route add default via 10.{vlan}.0.254")
    return [f"vlan add dev to-{host} vid {vlan} pvid untagged"]


def build(*, bond: bool) -> None:
    """All hosts, wired."""
    for host in ("switch", "balancer", "client", *SERVERS):
        run("ip", "netns", "add", host)
    ip("switch", "link set lo up", "link add br0 type bridge vlan_filtering 1 vlan_default_pvid 0", "link set br0 up")
    ports = trunk(bond=bond)
    bridge = [f"vlan add dev {port} vid {number}" for port in ports for number in (10, 20)]
    bridge += wire("client", 10, "10.10.0.2")
    for name, address in SERVERS.items():
        bridge += wire(name, 20, address)
        on(name, "sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.arp_announce=2")
        ip(name, f"addr add {VIP}/32 dev lo")
    ip("client", f"route add {VIP} via 10.10.0.1")
    ends = [*ports, "to-client", *(f"to-{name}" for name in SERVERS)]
    ip("switch", *(f"link set {port} master br0 up" for port in ends))
    for number in (10, 20):
        gateway = f"addr add 10.{number}.0.254/24 dev br0.{number}"
        ip("switch", f"link add link br0 name br0.{number} type vlan id {number}", f"link set br0.{number} up", gateway)
    (PLACE / "batch").write_text("\n".join([*bridge, *(f"vlan add dev br0 vid {n} self" for n in (10, 20))]) + "\n")
    run("bridge", "-n", "switch", "-batch", str(PLACE / "batch"))
    on("switch", "sysctl", "-qw", "net.ipv4.ip_forward=1")
    for port in ports:
        prepare_port(port)


def prepare_port(port: str) -> None:
    """What a veth needs so that XDP at its other end sees frames as from a NIC, and may send them back; as in the lab."""
    on("switch", "ethtool", "-K", port, "tx", "off", "txvlan", "off", "tso", "off", "gso", "off")
    program = ROOT / "src" / "fairlead" / "_objects" / "pass.bpf.o"
    on("switch", "ip", "link", "set", "dev", port, "xdpdrv", "object", str(program), "section", "xdp.frags")


# ------------------------------------------------------------------------------------------------------------------- the balancer


def environment() -> dict[str, str]:
    own = {"FAIRLEAD_BPFFS": f"{PLACE}/bpf/fairlead", "FAIRLEAD_SOCKET": f"{PLACE}/api.sock", "FAIRLEAD_STATE": f"{PLACE}/state"}
    return os.environ | own | {"PYTHONPATH": str(ROOT / "src")}


def fairlead(*arguments: str) -> list[str]:
    return ["ip", "netns", "exec", "balancer", sys.executable, "-c", "from fairlead.cli import main; main()", *arguments]


def status() -> dict[str, Any]:
    """The daemon's status; OSError while it does not answer."""
    found: dict[str, Any] = api("/v1/status")
    return found


def api(path: str) -> Any:
    """What the daemon answers to a GET; OSError while it does not."""
    connection = http.client.HTTPConnection("fairlead", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(30)
    try:
        connection.sock.connect(f"{PLACE}/api.sock")
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def usable() -> list[str]:
    """Servers that the checks call up."""
    try:
        found = status()
    except OSError:
        return []
    return [b["address"] for service in found["services"] for b in service["backends"] if b["state"] == "up"]


def wait(what: str, ready: Callable[[], bool], process: subprocess.Popen[bytes] | None = None) -> None:
    """Until ready; AssertionError with the daemon's words when its process ended or time ran out."""
    deadline = time.monotonic() + WITHIN
    while not ready():
        ended = process is not None and process.poll() is not None
        assert not ended and time.monotonic() < deadline, (
            f"{what}: not within {WITHIN} s; the daemon said:\n{daemon_log()[-3000:]}"
        )
        time.sleep(0.3)


def daemon_log() -> str:
    log = PLACE / "daemon.log"
    return log.read_text(errors="replace") if log.exists() else ""


@contextmanager
def place(names: Iterable[str]) -> Iterator[None]:
    """An empty directory with a BPF file system; afterwards that goes, and the hosts of these names."""
    shutil.rmtree(PLACE, ignore_errors=True)
    (PLACE / "bpf").mkdir(parents=True)
    run("mount", "-t", "bpf", "bpf", f"{PLACE}/bpf")
    try:
        yield
    finally:
        for host in names:
            run("ip", "netns", "del", host)
        run("umount", f"{PLACE}/bpf")


@contextmanager
def hosts(*, bond: bool) -> Iterator[None]:
    """The network with its servers."""
    with place(("switch", "balancer", "client", *SERVERS)):
        build(bond=bond)
        me = [sys.executable, __file__, "serve"]
        servers = [subprocess.Popen(["ip", "netns", "exec", name, *me, name]) for name in SERVERS]
        try:
            yield
        finally:
            for server in servers:
                server.kill()
                server.wait()


@contextmanager
def daemon(interface: str, config: str = CONFIG, servers: int = len(SERVERS)) -> Iterator[None]:
    """`fairlead run`, until that many servers are up; stopped and detached afterwards."""
    (PLACE / "fairlead.yaml").write_text(config)
    with (PLACE / "daemon.log").open("wb") as log:
        command = fairlead("run", f"{PLACE}/fairlead.yaml", interface)
        process = subprocess.Popen(command, env=environment(), stdout=log, stderr=subprocess.STDOUT)
    try:
        wait("all servers up", lambda: len(usable()) == servers, process)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(WITHIN)
        subprocess.run(fairlead("detach"), env=environment(), check=True, stdout=subprocess.DEVNULL)


def start_upload(count: int, size: int, seconds: float, vip: str = VIP) -> subprocess.Popen[str]:
    command = ["ip", "netns", "exec", "client", sys.executable, __file__, "upload", vip, str(count), str(size), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def answers(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(process.communicate(timeout=WITHIN * 2)[0])
    return found


def connections() -> int:
    """Established connections from the client to port 80."""
    lines = [line.split() for line in on("client", "cat", "/proc/net/tcp").splitlines()]
    return sum(fields[2].endswith(":0050") and fields[3] == "01" for fields in lines)


def facts(devices: list[str]) -> dict[str, Any]:
    """How things stand while the balancer works: verdicts, and what `ip` and `tc` say of the balanced devices."""
    found = status()
    return {
        "status": found,
        "links": {d: on("balancer", "ip", "-d", "-o", "link", "show", d) for d in devices},
        "filters": {d: on("balancer", "tc", "filter", "show", "dev", d, "egress") for d in devices},
        "qdiscs": {d: on("balancer", "tc", "qdisc", "show", "dev", d) for d in devices},
    }


def left(devices: list[str]) -> list[str]:
    """What a detached balancer has left behind."""
    links = [d for d in devices if "xdp" in on("balancer", "ip", "-o", "link", "show", d)]
    queues = [d for d in devices if "clsact" in on("balancer", "tc", "qdisc", "show", "dev", d)]
    return links + queues + [str(path) for path in (PLACE / "bpf").glob("fairlead*")]  # other directories are iproute2's


def tagged() -> dict[str, Any]:
    """Transfers from VLAN 10 to VLAN 20 over one trunk."""
    with hosts(bond=False):
        with daemon("eth0"):
            found = {"answers": answers(start_upload(16, 100_000, 2))} | facts(["eth0"])
        return found | {"left": left(["eth0"]), "log": daemon_log()}


def bonded() -> dict[str, Any]:
    """The same over a bond that loses its active member in the middle of the transfers, and gets it back later."""
    with hosts(bond=True):
        with daemon("bond0"):
            before = facts(["m0", "m1"])
            transfers = start_upload(16, 100_000, 12)
            wait("connections", lambda: connections() == 16)
            ip("balancer", "link set m0 nomaster")
            still = connections()
            found: dict[str, Any] = {"before": before, "answers": answers(transfers), "still": still} | facts(["m0", "m1"])
            ip("balancer", "link set m0 down", "link set m0 master bond0")
            wait("the member back", lambda: len(status()["interfaces"]) == 2)
            found["afterwards"] = answers(start_upload(4, 20_000, 1))
            found["status afterwards"] = status()
        return found | {"left": left(["m0", "m1"]), "log": daemon_log()}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", name]:
            serve(name)
        case ["upload", vip, count, size, seconds]:
            print(json.dumps(upload(vip, int(count), int(size), float(seconds))))
