"""The devmap of each generation holds the interfaces that Fairlead is on, and no other; frames cross from one to the other."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from fairlead._native import bpf
from fairlead.adapters.kernel import links, pins, ports
from fairlead.adapters.kernel.pins import Places
from fairlead.errors import Refused
from fairlead.model import Link, Path
from tests.bpf.packets import forwarded, tcp4
from tests.bpf.pinned import killed_before, link_of, opened, require_whole, sh
from tests.bpf.plane import OWN_MAC, Plane
from tests.bpf.test_tail import verdict_of

pytestmark = pytest.mark.root
VIP, BACKEND = "192.0.2.10", "10.1.0.11"
TEXT = f"address: 10.1.0.1\nservices: [{{virtual: {VIP}, servers: [{BACKEND}], policy: {{80/tcp*: }}}}]"
BACKEND_MAC = bytes.fromhex("0200be00000b")
SYN = tcp4(VIP, 80)


class Pair:
    """A veth pair: the data plane on `link`, this test on its peer, which takes redirected frames whatever the mode."""

    def __init__(self, name: str) -> None:
        peer = f"{name}-p"
        sh(f"ip link add {name} up address {OWN_MAC.hex(':')} type veth peer name {peer} && ip link set {peer} up")
        sh(f"ethtool -K {peer} tx off gso off gro on")  # a veth takes redirected frames only for a peer with NAPI
        self.link = Link(socket.if_nametoindex(name), name, OWN_MAC, True, 1500)
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        self.socket.bind((peer, 0))
        self.socket.settimeout(0.2)

    def close(self) -> None:
        """Remove the pair."""
        self.socket.close()
        subprocess.run(["ip", "link", "del", self.link.name], check=False, capture_output=True)

    def got(self, frame: bytes) -> bool:
        """Whether this frame arrives in time."""
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            try:
                if self.socket.recv(2048) == frame:
                    return True
            except TimeoutError:
                continue
        return False


@contextmanager
def paired(name: str) -> Iterator[Pair]:
    made = Pair(name)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def front() -> Iterator[Pair]:
    with paired("flr0") as made:
        yield made


@pytest.fixture
def back() -> Iterator[Pair]:
    with paired("flr1") as made:
        yield made


def start(bpffs: str, front: Pair, back: Pair) -> Plane:
    """A data plane whose only backend is behind `back`; nothing is attached yet."""
    plane = Plane(bpffs, TEXT)
    plane.reconciler.set_links([front.link, back.link])
    plane.resolve({BACKEND: Path(back.link.ifindex, BACKEND_MAC, OWN_MAC, 1500)})
    return plane


def crosses(front: Pair, back: Pair) -> bool:
    """Whether a SYN that comes in at `front` leaves at `back`, as it should look."""
    front.socket.send(bytes(SYN))
    return back.got(forwarded(SYN, BACKEND_MAC))


@pytest.mark.parametrize("generic", [False, True], ids=["native", "generic"])
def test_frames_cross(bpffs: str, front: Pair, back: Pair, generic: bool) -> None:
    """What belongs to a backend behind another NIC leaves by that NIC, under a verdict of its own."""
    with start(bpffs, front, back) as plane:
        for pair in (front, back):
            plane.kernel.attach(pair.link, generic=generic)

        assert crosses(front, back)
        name = plane.names[plane.kernel.layout.constants["REDIRECT_FORWARDED"]]
        assert verdict_of(plane.kernel, lambda: front.socket.send(bytes(SYN)), name)


def test_only_attached_interfaces(bpffs: str, front: Pair, back: Pair) -> None:
    """Frames for an interface without our program are dropped under a name, before it is attached and after it is detached."""
    with start(bpffs, front, back) as plane:
        name = plane.names[plane.kernel.layout.constants["DROP_NO_REDIRECT"]]
        plane.kernel.attach(front.link)
        assert verdict_of(plane.kernel, lambda: front.socket.send(bytes(SYN)), name)

        plane.kernel.attach(back.link)
        assert crosses(front, back)

        plane.kernel.detach(back.link.ifindex)
        assert verdict_of(plane.kernel, lambda: front.socket.send(bytes(SYN)), name)


def test_the_devmap_outlives_the_daemon(bpffs: str, front: Pair, back: Pair) -> None:
    """Redirects go on when the process was killed, and when its successor has replaced the programs."""
    child = os.fork()
    if not child:
        plane = start(bpffs, front, back)
        for pair in (front, back):
            plane.kernel.attach(pair.link)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert crosses(front, back)

    with start(bpffs, front, back) as plane:  # it replaces the programs
        assert crosses(front, back)
        plane.kernel.replace_programs()
        assert crosses(front, back)


def test_filled_before_the_swap(bpffs: str, front: Pair, back: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """While links are swapped one by one, frames cross at every moment: the new generation knew every interface before."""
    seen = []
    swap = links.update

    def observed(path: str, program: int, known: dict[int, int]) -> bool:
        seen.append(crosses(front, back))
        done = swap(path, program, known)
        seen.append(crosses(front, back))
        return done

    with start(bpffs, front, back) as plane:
        for pair in (front, back):
            plane.kernel.attach(pair.link)
        monkeypatch.setattr(links, "update", observed)
        plane.kernel.replace_programs()

    assert len(seen) >= 4
    assert all(seen)


def test_the_devmap_follows_interfaces(bpffs: str) -> None:
    """Interfaces come and go: each generation's devmap has those that are attached, and a vanished one leaves by itself."""
    places = Places(bpffs)
    kernel = opened(bpffs)
    with ExitStack() as stack:
        first, second = (stack.enter_context(paired(name)).link for name in ("flr2", "flr3"))
        kernel.attach(first)
        kernel.attach(second)
        assert ports.of(places, 1) == sorted([first.ifindex, second.ifindex])
        kernel.replace_programs()
        assert ports.of(places, 2) == sorted([first.ifindex, second.ifindex])
        sh(f"ip link del {first.name}")
        assert ports.of(places, 2) == [second.ifindex]
        again = stack.enter_context(paired("flr2")).link
        kernel.attach(again)
        assert ports.of(places, 2) == sorted([second.ifindex, again.ifindex])
        kernel.detach(second.ifindex)
        kernel.replace_programs()
        assert ports.of(places, 3) == [again.ifindex]
    kernel.close()


def test_older_generations_follow_too(bpffs: str, front: Pair, back: Pair) -> None:
    """A crash between two swaps leaves two live generations: both learn of an interface that is attached afterwards."""
    kernel = opened(bpffs)
    kernel.attach(front.link)
    kernel.attach(back.link)
    kernel.close()

    def half() -> None:
        swap, calls = links.update, []

        def once(path: str, program: int, known: dict[int, int]) -> bool:
            if calls:
                os.kill(os.getpid(), signal.SIGKILL)
            calls.append(path)
            return swap(path, program, known)

        found = opened(bpffs)
        links.update = once
        found.replace_programs()

    assert killed_before(1000, half)
    with paired("flr4") as late:
        kernel = opened(bpffs)
        kernel.attach(late.link)

        assert [len(ports.of(Places(bpffs), number)) for number in Places(bpffs).generations()] == [3, 3]
        kernel.close()


def test_places_are_not_shared(bpffs: str, front: Pair) -> None:
    """Two interfaces whose numbers are 1,024 apart would have one place in the tables: the second is refused by name."""
    kernel = opened(bpffs)
    kernel.attach(front.link)
    far = front.link.ifindex + 1024
    sh(f"ip link add flr9 index {far} up type veth peer name flr9-p")
    try:
        with pytest.raises(Refused, match=rf"flr9 \(interface {far}\) and interface {front.link.ifindex} would have the same"):
            kernel.attach(link_of("flr9"))
        assert bpf.xdp_query(far).program == 0
        assert ports.of(Places(bpffs), 1) == [front.link.ifindex]
    finally:
        sh("ip link del flr9")
    kernel.close()


def test_reattach(bpffs: str, front: Pair, back: Pair) -> None:
    """Detached and attached again, as `fairlead reattach` does, an interface has a new link, even if it had lost the old one."""
    with start(bpffs, front, back) as plane:
        for pair in (front, back):
            plane.kernel.attach(pair.link)
        pin = f"{bpffs}/links/xdp-{back.link.ifindex}"
        with pins.opened(pin) as fd:
            before = bpf.link_facts(fd).id

        plane.kernel.detach(back.link.ifindex)
        assert plane.kernel.attach(back.link) == ("native", False)

        with pins.opened(pin) as fd:
            assert bpf.link_facts(fd).id != before
            bpf.link_detach(fd)  # as a driver that has lost it
        assert plane.kernel.attached() == [(front.link.ifindex, front.link.name, "native")]
        plane.kernel.detach(back.link.ifindex)
        plane.kernel.attach(back.link)
        assert crosses(front, back)
    require_whole(bpffs, front.link, back.link)


def test_reattach_survives_a_kill(bpffs: str, front: Pair) -> None:
    """Killed at whatever step of a reattach, the next start has the program on the interface again."""
    kernel = opened(bpffs)
    kernel.attach(front.link)
    kernel.close()
    step = 0
    while killed_before(step, lambda: detached_and_attached(bpffs, front.link)):
        kernel = opened(bpffs)
        kernel.attach(front.link)
        kernel.close()
        require_whole(bpffs, front.link)
        step += 1
    assert step > 4


def detached_and_attached(bpffs: str, link: Link) -> None:
    kernel = opened(bpffs)
    kernel.detach(link.ifindex)
    kernel.attach(link)
