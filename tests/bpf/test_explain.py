"""The twin on a data plane of the daemon's making: flows, redirects, blocks, replaced programs; and nothing changes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network, ip_address

import pytest
from scapy.layers.inet import ICMP, IP, TCP, fragment

from fairlead._native import bpf
from fairlead.adapters.kernel import sources
from fairlead.core.explain import Ground, explained
from fairlead.errors import KernelError
from fairlead.model import NoPath, Path
from fairlead.model.explaining import Explanation, number
from tests.bpf.packets import CLIENT4, ether, tcp4, tcp6
from tests.bpf.pinned import pins, veth
from tests.bpf.plane import LO, Plane

pytestmark = pytest.mark.root
VIP, VIP6 = "192.0.2.10", "2001:db8:1::10"
TEXT = f"""
address: 10.1.0.1
services:
  - {{name: shop, virtual: {VIP}, servers: [10.1.0.11, 10.1.0.12, 10.1.0.13], policy: {{80/tcp*: }}}}
"""


@pytest.fixture(scope="module")
def plane(bpffs_module: str) -> Iterator[Plane]:
    with Plane(bpffs_module, TEXT) as made:
        yield made


def everything(plane: Plane) -> dict[str, object]:
    """Every table byte for byte, whatever there is of it, and every pin."""
    held = plane.kernel._tables
    found: dict[str, object] = {name: bytes(view) for name, view in held.readable.items()}
    found |= {name: sorted(bpf.map_read(fd)) for name, fd in held.fds.items() if name not in held.readable}
    return found | {"pins": pins(plane.kernel._places.root)}


def explain(plane: Plane, packet: object, ifindex: int = LO) -> Explanation:
    """What is said of it; nothing may change by that."""
    kernel, frame = plane.kernel, bytes(packet)  # type: ignore[call-overload]
    before = everything(plane)
    (trial,) = kernel.try_frames([(frame, ifindex)])
    after = everything(plane)
    changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    assert not changed
    ground = Ground(
        kernel.layout,
        kernel.geometry,
        bytes(kernel.view("settings")[:8]),
        {LO: "lo"},
        {service.key: service.name for service in plane.config.services},
    )
    return explained(ground, trial, frame, ifindex)


def agree(plane: Plane, packet: object) -> Explanation:
    """What is said, and then happens."""
    said = explain(plane, packet)
    done = plane.send(packet)
    assert (said.verdict, said.action) == (done.verdict, done.action)
    assert done.action == "drop" or said.bytes == done.frame.hex()
    return said


def test_a_connections_life(plane: Plane) -> None:
    """SYN, ACK, data, FIN: each is foretold, with the state of its entry; the entry says where to, not the slot."""
    plane.forget_flows()
    first = agree(plane, tcp4(VIP, 80, sport=41000))
    assert first.flow and (first.flow.state, first.flow.then) == ("", "an embryonic entry would be made")
    assert first.service and (first.service.service, first.service.name) == (f"{VIP}:80/tcp", "shop")
    states = []
    for flags in ("A", "A", "PA", "FA", "A"):
        said = agree(plane, tcp4(VIP, 80, sport=41000, flags=flags))
        assert said.flow and said.flow.followed and said.flow.slot is None
        assert said.backend == first.backend
        states.append((said.flow.state, said.flow.then))
    assert states[0] == ("embryonic", "would be seen once more within its tick")
    assert ("established", "would become closing") in states
    assert states[-1][0] == "closing"


def test_asked_again_and_again_it_says_the_same(plane: Plane) -> None:
    """Unlike packets, questions make no entry."""
    plane.forget_flows()
    packet = tcp4(VIP, 80, sport=41001)
    found = [explain(plane, packet).flow for _ in range(5)]

    assert all(flow and not flow.state for flow in found)


def test_where_the_reference_sends_it(plane: Plane) -> None:
    """Without an entry it is Maglev's backend, over many flows."""
    plane.forget_flows()
    named = plane.ids(VIP, 80)
    for sport in range(42000, 42064):
        packet = tcp4(VIP, 80, sport=sport)
        said, wanted = explain(plane, packet), str(plane.reference(packet, 0))
        assert said.backend and (said.backend.address, said.backend.id) == (wanted, named[wanted])


def test_a_backend_that_went_down(plane: Plane) -> None:
    """A known flow whose backend is gone from the slots: the entry, why it is not followed, and the slot that says where to."""
    plane.forget_flows()
    packet = tcp4(VIP, 80, sport=43000, flags="A")
    first = agree(plane, packet)
    agree(plane, packet)
    assert first.backend
    plane.configure(TEXT.replace(f"{first.backend.address}", "10.1.0.14"))
    said = agree(plane, packet)
    plane.configure(TEXT)

    assert said.flow and said.flow.state
    assert said.flow.backend == first.backend.address
    assert not said.flow.followed
    assert said.backend and said.backend.address != first.backend.address
    assert any("is gone and lets its flows go" in step.says for step in said.steps)


def test_errors_about_a_flow(plane: Plane) -> None:
    """An ICMP error is told with the flow that it is about, and goes where that one goes."""
    plane.forget_flows()
    flow = agree(plane, tcp4(VIP, 80, sport=43100))
    answer = IP(src=VIP, dst=CLIENT4) / TCP(sport=80, dport=43100, flags="SA")
    said = agree(plane, ether() / IP(src="198.51.100.1", dst=VIP, ttl=60) / ICMP(type=3, code=4, nexthopmtu=1400) / answer)

    assert said.verdict == "icmp_relayed"
    assert said.backend == flow.backend
    assert said.flow
    assert (said.flow.state, said.flow.followed, said.flow.then) == ("embryonic", True, "would stay as it is")


def test_later_fragments(plane: Plane) -> None:
    """One whose first was seen goes after it; asking does not make the first one's entry younger, for it is not even touched."""
    plane.forget_flows()
    first, later = fragment(tcp4(VIP, 80, sport=43200, data=b"x" * 64), fragsize=48)
    assert agree(plane, later).verdict == "fragment"
    sent = agree(plane, first)
    said = agree(plane, later)

    assert (said.verdict, said.backend, said.flow) == ("forwarded", sent.backend, None)


def test_replaced_programs(plane: Plane) -> None:
    """A twin ends with its generation; the next one is asked then, and nothing of either is pinned."""
    packet = tcp4(VIP, 80, sport=44000)
    before = explain(plane, packet)
    plane.kernel.replace_programs()

    assert explain(plane, packet) == before
    assert not [name for name in pins(plane.kernel._places.root) if "twin" in name or "trace" in name]


def test_redirects_to_what_is_attached(plane: Plane) -> None:
    """The way out by another interface is open while Fairlead is on it, for the twin as for the programs."""
    with veth("fl-x1") as link:
        away: dict[str, Path | NoPath] = {
            each: Path(link.ifindex, b"\2\0\xbe\0\0\x0b", b"\2\0\0\0\1\1", 1500, None)
            for each in ("10.1.0.11", "10.1.0.12", "10.1.0.13")
        }
        plane.resolve(away)
        plane.forget_flows()
        assert agree(plane, tcp4(VIP, 80, sport=45000)).verdict == "no_redirect"
        plane.kernel.attach(link, generic=True)
        said = agree(plane, tcp4(VIP, 80, sport=45000))
        assert (said.verdict, said.action) == ("redirected", "redirect")
        plane.kernel.detach(link.ifindex)
        assert agree(plane, tcp4(VIP, 80, sport=45000)).verdict == "no_redirect"
        plane.resolve({str(each): plane.path_to(ip_address(each)) for each in away})


def test_another_interface(plane: Plane) -> None:
    """The ingress interface is the true one: what arrives where Fairlead is not is left to the kernel."""
    with veth("fl-x2") as link:
        assert explain(plane, tcp4(VIP, 80), link.ifindex).verdict == "no_interface"
    with pytest.raises(KernelError):
        plane.kernel.try_frames([(bytes(tcp4(VIP, 80)), 987654)])


def test_blocked_sources(plane: Plane) -> None:
    """A blocked source is said to be, and neither that nor the question counts; sources that are counted are not."""
    kernel = plane.kernel
    kernel.sources.want([IPv4Network("198.51.100.0/24")], counted=True)
    kernel.replace_programs()
    packet = tcp4(VIP, 80, src="198.51.100.7", sport=46000)
    try:
        said = agree(plane, packet)
        assert (said.verdict, said.vip, said.backend) == ("blocked", VIP, None)
        assert {"blocks", "blocked", "sources4", "sources6"} == set(sources.NAMES) & set(everything(plane))
    finally:
        kernel.sources.want([], counted=False)
        kernel.replace_programs()


def test_many_at_once(plane: Plane) -> None:
    """Several may ask at a time, while programs are replaced: every answer is right."""
    plane.forget_flows()
    packets = [bytes(tcp4(VIP, 80, sport=sport)) for sport in range(47000, 47050)]
    alone = [trial.frame for trial in plane.kernel.try_frames([(each, LO) for each in packets])]
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(plane.kernel.try_frames, [(each, LO) for each in packets]) for _ in range(12)]
        for _ in range(3):
            plane.kernel.replace_programs()
        found = [[trial.frame for trial in each.result()] for each in asked]

    assert all(each == alone for each in found)


def test_no_such_family(plane: Plane) -> None:
    """IPv6 without a VIP of that family is the kernel's."""
    (trial,) = plane.kernel.try_frames([(bytes(tcp6(VIP6, 80)), LO)])

    assert plane.names[number(trial.trace, "verdict") - plane.kernel.layout.constants["VERDICT_BASE"]] == "not_a_vip"
