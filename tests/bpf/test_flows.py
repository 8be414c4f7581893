"""What becomes of flows: when an entry is made, confirmed, closed, moved, kept and replaced."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.packet import Packet

from tests.bpf.flowtable import FlowTable, Word
from tests.bpf.packets import ether, tcp4, tcp6, udp4
from tests.bpf.plane import Plane, backend_mac

V4, V6 = "192.0.2.10", "2001:db8::10"
SPORT = 20000


def text(servers: str, on_down: str = "keep", extra: str = "") -> str:
    """A web service on both families and a name service, over `servers`."""
    return f"""
address: 10.1.0.1
services:
  - {{name: web, virtual: {V4}, servers: [{servers}], on-down: {on_down}, policy: {{80/tcp*: , 53/udp*: }}}}
  - {{name: other, virtual: 192.0.2.20, servers: [10.1.0.30], policy: {{80/tcp*: }}}}
  - {{name: web6, virtual: "{V6}", servers: ["fd00::11", "fd00::12"], policy: {{80/tcp*: }}}}
{extra}
"""


THREE = "10.1.0.11, 10.1.0.12, 10.1.0.13"


@pytest.fixture
def plane(bpffs: str) -> Iterator[Plane]:
    with Plane(bpffs, text(THREE)) as made:
        yield made


@pytest.fixture
def table(plane: Plane) -> FlowTable:
    return FlowTable(plane)


def backend_of(plane: Plane, packet: Packet) -> str:
    """Which backend the packet leaves for, by its MAC."""
    outcome = plane.send(packet)
    assert outcome.verdict == "forwarded"
    known = {backend_mac(a): str(a) for a in plane.paths}
    return known[outcome.frame[:6]]


def flow_to(plane: Plane, address: str, port: int = 80) -> int:
    """A source port whose flow's Maglev choice is this backend; its entry is made on the way."""
    return next(s for s in range(20000, 30000) if backend_of(plane, tcp4(V4, port, "S", sport=s)) == address)


@pytest.mark.parametrize(
    "packet",
    [tcp4(V4, 80, "S"), tcp4(V4, 80, "A"), tcp4(V4, 80, "SA"), udp4(V4, 53), tcp6(V6, 80, "S"), tcp6(V6, 80, "PA")],
    ids=["SYN", "ACK", "SYN+ACK", "UDP", "IPv6 SYN", "IPv6 data"],
)
def test_first_packet_is_embryonic(plane: Plane, table: FlowTable, packet: Packet) -> None:
    """The first packet of any kind makes an embryonic entry, at the place that the Python twin of the hash says."""
    assert table.find(packet) is None

    plane.send(packet)

    word = table.find(packet)
    assert word is not None
    assert (word.state, word.seen) == ("embryonic", table.now("embryonic"))


def within_a_tick(plane: Plane, table: FlowTable, *packets: Packet) -> Word:
    """The entry after these packets, all of one tick: begun anew where the tick has changed meanwhile."""
    for _ in range(5):
        table.clear(packets[0])
        began = table.now("embryonic")
        for packet in packets:
            plane.send(packet)
        word = table.find(packets[0])
        assert word is not None
        if table.now("embryonic") == began:
            return word
    raise AssertionError("five ticks in a row changed within a few packets")


def test_a_repeat_in_the_same_tick_confirms_nothing(plane: Plane, table: FlowTable) -> None:
    """Two packets within one tick are no proof of a client: a flood sends two as easily as one."""
    for packets in ((tcp4(V4, 80, "S"), tcp4(V4, 80, "A")), (tcp4(V4, 80, "A"),) * 2, (udp4(V4, 53),) * 2):
        assert within_a_tick(plane, table, *packets).state == "embryonic"


@pytest.mark.parametrize(
    ("packets", "state"),
    [
        ((tcp4(V4, 80, "S"), tcp4(V4, 80, "A"), tcp4(V4, 80, "PA", data=b"GET /")), "established"),
        ((tcp4(V4, 80, "A"),) * 3, "established"),
        ((udp4(V4, 53),) * 3, "datagram"),
        ((tcp4(V4, 80, "S"),) * 5, "embryonic"),
        ((tcp4(V4, 80, "S"), tcp4(V4, 80, "A"), tcp4(V4, 80, "S")), "embryonic"),
    ],
    ids=["handshake and request", "three of TCP", "three of UDP", "SYNs", "a SYN between"],
)
def test_the_third_packet_in_a_tick_confirms(plane: Plane, table: FlowTable, packets: tuple[Packet, ...], state: str) -> None:
    """A connection that asks at once and then falls silent has the time of a confirmed one; SYNs do not count."""
    word = within_a_tick(plane, table, *packets)
    assert (word.state, word.seen) == (state, table.now(state))


@pytest.mark.parametrize(
    ("packet", "state"), [(tcp4(V4, 80, "A"), "established"), (udp4(V4, 53), "datagram")], ids=["TCP", "UDP"]
)
def test_a_later_packet_confirms(plane: Plane, table: FlowTable, packet: Packet, state: str) -> None:
    """A further packet at a later tick confirms the flow, on the same destination, stamped in the new state's ticks."""
    plane.send(packet)
    before = table.age(packet)

    plane.send(packet)

    after = table.find(packet)
    assert after == Word(before.tag, before.destination, table.now(state), state)


def test_a_later_syn_confirms_nothing(plane: Plane, table: FlowTable) -> None:
    """A SYN repeated at a later tick neither confirms the flow nor makes it younger."""
    plane.send(tcp4(V4, 80, "S"))
    aged = table.age(tcp4(V4, 80))

    plane.send(tcp4(V4, 80, "S"))

    assert table.find(tcp4(V4, 80)) == aged


@pytest.mark.parametrize("flags", ["FA", "R", "RA", "F"])
def test_fin_and_rst_close(plane: Plane, table: FlowTable, flags: str) -> None:
    """FIN and RST mark the entry as closing; packets still follow it."""
    packet = tcp4(V4, 80, "A")
    plane.send(packet)
    word = table.age(packet, 0, state="established")

    plane.send(tcp4(V4, 80, flags))

    closing = table.find(packet)
    assert closing is not None
    assert (closing.state, closing.destination) == ("closing", word.destination)


def test_a_forged_fin_does_not_stick(plane: Plane, table: FlowTable) -> None:
    """A flow that goes on after a FIN or RST is confirmed again: anyone can forge one, and a half-closed transfer may last."""
    packet = tcp4(V4, 80, "A")
    plane.send(packet)
    table.age(packet, 1, state="closing")

    plane.send(packet)

    word = table.find(packet)
    assert word is not None
    assert word.state == "established"


def test_known_flows_stay_when_the_table_changes(plane: Plane, table: FlowTable) -> None:
    """A new backend takes no known flow, whatever slot the flow has now."""
    ports = range(20000, 20300)
    before = {s: backend_of(plane, tcp4(V4, 80, "A", sport=s)) for s in ports}

    plane.configure(text(THREE + ", 10.1.0.14"))

    assert {s: backend_of(plane, tcp4(V4, 80, "A", sport=s)) for s in ports} == before
    for s in ports:
        table.clear(tcp4(V4, 80, sport=s))
    moved = sum(backend_of(plane, tcp4(V4, 80, "A", sport=s)) != before[s] for s in ports)
    assert 0.15 * len(ports) < moved < 0.40 * len(ports), "without entries about a quarter has a new slot"


def test_a_syn_stays_with_a_live_confirmed_flow(plane: Plane, table: FlowTable) -> None:
    """A forged SYN on a live flow does not move it, even if its Maglev slot has gone elsewhere."""
    sport = flow_to(plane, "10.1.0.11")
    packet = tcp4(V4, 80, "A", sport=sport)
    other = plane.ids(V4, 80)["10.1.0.12"]
    staged = table.age(packet, 0, state="established", destination=other)

    assert backend_of(plane, tcp4(V4, 80, "S", sport=sport)) == "10.1.0.12"

    assert table.find(packet) == staged


@pytest.mark.parametrize(
    ("state", "ticks"), [("closing", 0), ("established", 100), ("embryonic", 50)], ids=["closing", "an hour old", "old"]
)
def test_a_syn_on_a_finished_flow_chooses_afresh(plane: Plane, table: FlowTable, state: str, ticks: int) -> None:
    """A SYN on a closing or expired entry is a new connection: it gets its Maglev choice and starts as embryonic."""
    sport = flow_to(plane, "10.1.0.11")
    packet = tcp4(V4, 80, "S", sport=sport)
    ids = plane.ids(V4, 80)
    table.age(packet, ticks, state=state, destination=ids["10.1.0.12"])

    assert backend_of(plane, packet) == "10.1.0.11"

    word = table.find(packet)
    assert word is not None
    assert (word.state, word.destination) == ("embryonic", ids["10.1.0.11"])


EXPIRED = [
    ("established", 100, tcp4(V4, 80, "A", sport=SPORT)),
    ("established", 100, tcp4(V4, 80, "FA", sport=SPORT)),
    ("established", 100, tcp4(V4, 80, "R", sport=SPORT)),
    ("closing", 50, tcp4(V4, 80, "A", sport=SPORT)),
    ("embryonic", 50, tcp4(V4, 80, "A", sport=SPORT)),
    ("datagram", 100, udp4(V4, 53, sport=SPORT)),
    ("embryonic", 50, udp4(V4, 53, sport=SPORT)),
    ("established", 191, tcp4(V4, 80, "A", sport=SPORT)),
]


@pytest.mark.parametrize(("state", "ticks", "packet"), EXPIRED, ids=[f"{s}, {t} ticks: {p.summary()}" for s, t, p in EXPIRED])
def test_an_expired_entry_is_none(plane: Plane, table: FlowTable, state: str, ticks: int, packet: Packet) -> None:
    """Whatever comes for an entry that was silent for too long, it takes its Maglev choice and begins as embryonic."""
    choice = backend_of(plane, packet)
    ids = plane.ids(V4, 80) if TCP in packet else plane.ids(V4, 53, 17)
    other = next(a for a in ids if a != choice)
    table.age(packet, ticks, state=state, destination=ids[other])

    assert backend_of(plane, packet) == choice

    word = table.find(packet)
    assert word == Word(table.place(packet)[1], ids[choice], table.now("embryonic"), "embryonic")


@pytest.mark.parametrize(
    ("state", "packet"),
    [
        ("established", tcp4(V4, 80, "A", sport=SPORT)),
        ("closing", tcp4(V4, 80, "A", sport=SPORT)),
        ("embryonic", tcp4(V4, 80, "A", sport=SPORT)),
        ("datagram", udp4(V4, 53, sport=SPORT)),
    ],
    ids=["established", "closing", "embryonic", "datagram"],
)
def test_the_last_tick_still_counts(plane: Plane, table: FlowTable, state: str, packet: Packet) -> None:
    """An entry whose age is its timeout, not more, is followed and renewed; one tick later it is not."""
    choice = backend_of(plane, packet)
    ids = plane.ids(V4, 80) if TCP in packet else plane.ids(V4, 53, 17)
    other = next(a for a in ids if a != choice)
    timeout = table.timeout(state)

    table.age(packet, timeout - 1, state=state, destination=ids[other])  # the clock may move on meanwhile
    assert backend_of(plane, packet) == other

    table.age(packet, timeout + 1, state=state, destination=ids[other])
    assert backend_of(plane, packet) == choice


def test_an_expired_flow_is_not_reset(plane: Plane, table: FlowTable) -> None:
    """`on-down: reset` is for flows that are known; an expired one is not, and takes its Maglev choice."""
    sport = flow_to(plane, "10.1.0.11")
    packet = tcp4(V4, 80, "A", sport=sport)
    plane.configure(text("{address: 10.1.0.11, state: disabled}, 10.1.0.12, 10.1.0.13", "reset"))
    assert plane.send(packet).verdict == "reset"
    table.age(packet, 100, state="established")

    assert backend_of(plane, packet) != "10.1.0.11"


def test_an_error_about_an_expired_flow(plane: Plane, table: FlowTable) -> None:
    """An ICMP error follows the entry of its flow as the flow's packets do, and changes nothing."""
    packet = tcp4(V4, 80, "A", sport=SPORT)
    reply = IP(src=V4, dst=packet[IP].src) / TCP(sport=80, dport=SPORT)
    error = ether() / IP(src="203.0.113.1", dst=V4) / ICMP(type=3, code=4) / reply
    choice, ids = backend_of(plane, packet), plane.ids(V4, 80)
    other = next(a for a in ids if a != choice)
    for ticks, expected in ((0, other), (100, choice)):
        aged = table.age(packet, ticks, state="established", destination=ids[other])
        assert plane.send(error).frame[:6] == backend_mac(ip_address(expected))
        assert table.find(packet) == aged


def test_a_drained_backend_keeps_its_flows(plane: Plane) -> None:
    """A drained backend keeps the packets of known flows and gets no new connection, not even a SYN on an old tuple."""
    sport = flow_to(plane, "10.1.0.11")

    plane.configure(text("10.1.0.11*, 10.1.0.12, 10.1.0.13"))

    assert backend_of(plane, tcp4(V4, 80, "A", sport=sport)) == "10.1.0.11"
    assert backend_of(plane, tcp4(V4, 80, "S", sport=sport)) != "10.1.0.11"
    assert "10.1.0.11" not in {backend_of(plane, tcp4(V4, 80, "S", sport=s)) for s in range(31000, 31200)}


@pytest.mark.parametrize(("on_down", "stays"), [("keep", True), ("move", False)])
def test_disabled_follows_on_down(plane: Plane, on_down: str, stays: bool) -> None:
    """The flows of a disabled backend stay or move, as the service's on-down says."""
    sport = flow_to(plane, "10.1.0.11")

    plane.configure(text("{address: 10.1.0.11, state: disabled}, 10.1.0.12, 10.1.0.13", on_down))

    assert (backend_of(plane, tcp4(V4, 80, "A", sport=sport)) == "10.1.0.11") is stays


def test_the_flows_of_a_removed_backend_move(plane: Plane, table: FlowTable) -> None:
    """A backend taken out of the configuration black-holes nothing: its flows take their Maglev choice and stay there."""
    sport = flow_to(plane, "10.1.0.11")
    packet = tcp4(V4, 80, "A", sport=sport)

    plane.configure(text("10.1.0.12, 10.1.0.13"))

    moved = backend_of(plane, packet)
    assert moved in ("10.1.0.12", "10.1.0.13")
    word = table.find(packet)
    assert word is not None
    assert word.destination == plane.ids(V4, 80)[moved]


def test_a_colliding_tag_never_crosses_services(plane: Plane, table: FlowTable) -> None:
    """An entry with this flow's tag on another service's destination is neither followed nor overwritten."""
    packet = tcp4(V4, 80, "A")
    tag = table.place(packet)[1]
    foreign = Word(tag, plane.ids("192.0.2.20", 80)["10.1.0.30"], table.now("established"), "established")
    table.stage(packet, [foreign])

    assert backend_of(plane, packet) != "10.1.0.30"

    assert [Word.of(w) for w in table.bucket(packet) if w] == [foreign]


def test_the_first_of_two_entries_wins(plane: Plane, table: FlowTable) -> None:
    """Two CPUs may enter one flow at once: the first way is followed, the second is cleared when the entry is next written."""
    packet = tcp4(V4, 80, "A")
    ids = plane.ids(V4, 80)
    tag, old = table.place(packet)[1], table.now("embryonic") - 1 & 0xFF
    table.stage(
        packet, [None, Word(tag, ids["10.1.0.12"], old, "embryonic"), None, Word(tag, ids["10.1.0.13"], old, "embryonic")]
    )

    assert backend_of(plane, packet) == "10.1.0.12"

    assert [Word.of(w).destination for w in table.bucket(packet) if w] == [ids["10.1.0.12"]]


def strangers(plane: Plane, table: FlowTable, states: list[tuple[str, int]]) -> list[Word | None]:
    """Eight entries of other flows: (state, age in ticks) each."""
    someone = plane.ids(V4, 80)["10.1.0.12"]
    return [Word(0xABC00000 + i, someone, table.now(state) - age & 0xFF, state) for i, (state, age) in enumerate(states)]


def test_a_bucket_full_of_confirmed_flows_takes_nobody(plane: Plane, table: FlowTable) -> None:
    """No newcomer, SYN or not, TCP or UDP, evicts a confirmed flow; it is forwarded all the same."""
    for packet in (tcp4(V4, 80, "S"), tcp4(V4, 80, "A"), tcp4(V4, 80, "SA"), udp4(V4, 53)):
        full = strangers(plane, table, [("established", 1), ("datagram", 3)] * 4)
        table.stage(packet, full)

        assert plane.send(packet).verdict == "forwarded"

        assert [Word.of(w) for w in table.bucket(packet)] == full


@pytest.mark.parametrize(
    ("states", "victim"),
    [
        ([("established", 1)] * 5 + [("closing", 2), ("embryonic", 1), ("established", 100)], 7),
        ([("established", 1)] * 5 + [("closing", 2), ("embryonic", 1), ("datagram", 1)], 6),
        ([("established", 1)] * 5 + [("closing", 2), ("embryonic", 100), ("established", 1)], 6),
        ([("established", 1)] * 5 + [("closing", 2), ("established", 1), ("datagram", 1)], 5),
        ([("embryonic", 1)] * 3 + [("embryonic", 3)] + [("embryonic", 2)] * 4, 3),
        ([("closing", 1)] * 2 + [("closing", 4)] + [("established", 2)] * 5, 2),
        ([("datagram", 100)] + [("embryonic", 1)] * 7, 0),
    ],
    ids=[
        "expired first",
        "then embryonic",
        "expired embryonic",
        "then closing",
        "the oldest embryonic",
        "the oldest closing",
        "expired UDP",
    ],
)
def test_who_makes_room(plane: Plane, table: FlowTable, states: list[tuple[str, int]], victim: int) -> None:
    """In a full bucket the expired go first, then embryonic, then closing entries, the oldest of each first."""
    packet = tcp4(V4, 80, "S")
    full = strangers(plane, table, states)
    table.stage(packet, full)

    plane.send(packet)

    words = [Word.of(w) for w in table.bucket(packet)]
    assert [i for i in range(8) if words[i] != full[i]] == [victim]
    assert words[victim].tag == table.place(packet)[1]


def test_an_empty_way_is_taken_before_any_other(plane: Plane, table: FlowTable) -> None:
    """Nobody is replaced while there is room."""
    packet = tcp4(V4, 80, "S")
    full = strangers(plane, table, [("embryonic", 100)] * 8)
    full[4] = None
    table.stage(packet, full)

    plane.send(packet)

    assert Word.of(table.bucket(packet)[4]).tag == table.place(packet)[1]


def test_counters_tell_flows_from_packets(plane: Plane) -> None:
    """A destination counts packets, bytes and the entries made."""
    packet = tcp4(V4, 80, "A", data=b"x" * 60)
    backend = backend_of(plane, packet)
    one = plane.ids(V4, 80)[backend]
    before = plane.kernel.counters([one])[0]

    for _ in range(4):
        plane.send(packet)

    after = plane.kernel.counters([one])[0]
    assert tuple(b - a for a, b in zip(before, after, strict=True)) == (4, 400, 0)
    assert before[2] == 1


def test_slots_are_those_of_the_reference(plane: Plane) -> None:
    """Without an entry a packet goes where core/maglev.py and core/hashes.py say, IPv4 and IPv6, with a given cluster key too."""
    for sport in range(33000, 33200):
        for packet, service in ((tcp4(V4, 80, "S", sport=sport), 0), (tcp6(V6, 80, "S", sport=sport), 1)):
            assert backend_of(plane, packet) == str(plane.reference(packet, service)), f"port {sport}"


def test_ids_name_their_backends(plane: Plane) -> None:
    """The helper used above reads ids from the table itself."""
    assert set(plane.ids(V4, 80)) == {str(ip_address(a.strip())) for a in THREE.split(",")}
