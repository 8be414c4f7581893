"""Rare packets live behind a tail call: it must go on working when the daemon is gone, and at every moment of a replacement.

A program array that a new generation shares with the running one, or that dies with the daemon, fails here and nowhere else.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from scapy.layers.inet import IP, IPOption_Router_Alert
from scapy.packet import Packet

from fairlead.adapters.kernel import Kernel, links
from fairlead.model import Link
from tests.bpf.packets import CLIENT4, ether, ping4
from tests.bpf.plane import OWN_MAC, Plane

VIP = "192.0.2.10"
TEXT = f"address: 10.1.0.1\nservices: [{{virtual: {VIP}, servers: [10.1.0.11], policy: {{80/tcp*: }}}}]"
RARE = {
    "echo_reply": ping4(VIP),
    "fragment": ether() / IP(src=CLIENT4, dst=VIP, frag=100) / (b"x" * 24),
    "unsupported_protocol": ether() / IP(src=CLIENT4, dst=VIP, options=[IPOption_Router_Alert()], proto=47) / (b"x" * 24),
}


class Wire:
    """A veth pair: the data plane on one end, this test on the other."""

    def __init__(self) -> None:
        subprocess.run("ip link add fl-x up type veth peer name fl-y && ip link set fl-y up", shell=True, check=True)
        mac = OWN_MAC.hex(":")
        subprocess.run(f"ip link set fl-x address {mac} && ethtool -K fl-y tx off gso off >/dev/null", shell=True, check=True)
        self.link = Link(socket.if_nametoindex("fl-x"), "fl-x", OWN_MAC, True, 1500)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        self._socket.bind(("fl-y", 0))
        self._socket.settimeout(0.2)

    def close(self) -> None:
        """Remove the pair."""
        self._socket.close()
        subprocess.run(["ip", "link", "del", "fl-x"], check=True)

    def send(self, packet: Packet) -> None:
        """A frame towards the data plane."""
        self._socket.send(bytes(packet))

    def pinged(self) -> bool:
        """Whether a ping of the VIP is answered in time."""
        self.send(ping4(VIP))
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            try:
                frame = self._socket.recv(2048)
            except TimeoutError:
                continue
            if frame[6:12] == OWN_MAC and frame[34:36] == b"\0\0":
                return True
        return False


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()


def start(bpffs: str, wire: Wire) -> Plane:
    """A filled data plane on the wire, in generic mode: a veth's native XDP_TX wants a program on its peer."""
    plane = Plane(bpffs, TEXT)
    plane.reconciler.set_links([wire.link])
    plane.run_pass()
    plane.kernel.attach(wire.link, generic=True)
    return plane


def verdict_of(kernel: Kernel, act: Callable[[], None], wanted: str) -> bool:
    """Whether `wanted` is counted after `act`."""
    number = next(v for v, name in kernel.layout.verdict_names().items() if name == wanted)
    before = kernel.verdicts()[number][0]
    act()
    deadline = time.monotonic() + 2
    while kernel.verdicts()[number][0] == before:
        if time.monotonic() > deadline:
            return False
    return True


@pytest.mark.parametrize("verdict", RARE)
def test_rare_packets_reach_their_program(bpffs: str, wire: Wire, verdict: str) -> None:
    """Ping, fragment and options meet their verdicts on a wire, none fails at the tail call."""
    with start(bpffs, wire) as plane:
        assert verdict_of(plane.kernel, lambda: wire.send(RARE[verdict]), verdict)


def test_ping_outlives_the_daemon(bpffs: str, wire: Wire) -> None:
    """When the daemon has ended, the tail call goes on."""
    with start(bpffs, wire):
        assert wire.pinged()

    assert wire.pinged()


def test_ping_outlives_sigkill(bpffs: str, wire: Wire) -> None:
    """Likewise when it was killed."""
    child = os.fork()
    if not child:
        start(bpffs, wire)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)

    assert wire.pinged()


def test_ping_at_every_moment_of_a_replacement(bpffs: str, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a new generation loaded but not yet swapped in, right after the swap, and once the old one is removed."""
    seen = []
    swap = links.update

    def observed(path: str, program: int, known: dict[int, int]) -> None:
        seen.append(wire.pinged())
        swap(path, program, known)
        seen.append(wire.pinged())

    with start(bpffs, wire) as plane:
        monkeypatch.setattr(links, "update", observed)
        plane.kernel.replace_programs()
        seen.append(wire.pinged())

    assert len(seen) >= 3
    assert all(seen)
