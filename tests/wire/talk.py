"""Helpers of the wire tests: a session and whoever it talks to, with the link and the clock made of plain Python.

What a session sends is read by `lines_of`, a second reading of the RFCs that shares no code with the encoder but the cutting of
messages; each message becomes one line or more, so that a dialogue in a test reads like one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from fairlead.bgp import Dial, HangUp, Session, Side, State, wire
from fairlead.bgp.notifications import in_words
from fairlead.bgp.wire import Keepalive, Notification, Open, RouteRefresh, Update
from fairlead.model import Address, PeerConfig, Route

OURS = ip_address("10.0.0.1")
THEIRS = ip_address("10.0.0.2")
ROUTER_ID = IPv4Address("192.0.2.1")


def peer(**changes) -> PeerConfig:
    return PeerConfig(**({"address": THEIRS, "as_number": 64512, "next_hop_6": IPv6Address("2001:db8::1")} | changes))


def routes(*prefixes: str) -> tuple[Route, ...]:
    return tuple(Route(ip_network(prefix)) for prefix in prefixes)


def lines_of(data: bytes, *, four_octet: bool = True, longest: int = wire.LONGEST_MESSAGE) -> list[str]:
    """Every message in the bytes as a line; the bytes must be whole messages."""
    buffer = bytearray(data)
    lines = [line for message in wire.messages(buffer, lambda: longest) for line in _lines(message, four_octet)]
    assert not buffer
    return lines


def _lines(message: wire.Message, four_octet: bool) -> Iterator[str]:
    match message:
        case Open():
            yield f"OPEN AS {message.as_number} hold {message.hold_time} id {message.identifier}"
        case Keepalive():
            yield "KEEPALIVE"
        case Notification(code, subcode, data):
            yield f"NOTIFICATION {in_words(code, subcode, data)}"
        case RouteRefresh():
            names = {(1, 1): "IPv4", (2, 1): "IPv6"}
            what = ("ROUTE-REFRESH", "BEGIN", "END OF")[message.subtype]
            yield f"{what} {names[message.afi, message.safi]}"
        case Update():
            yield from _update_lines(message, four_octet)


def _update_lines(update: Update, four_octet: bool) -> Iterator[str]:
    if update == Update():
        yield "END IPv4"
    for prefix in read_prefixes(update.withdrawn, 4):
        yield f"withdraw {prefix}"
    said = read_attributes(update.attributes)
    if 15 in said:
        assert said[15][:3] == b"\x00\x02\x01"
        yield from (f"withdraw {prefix}" for prefix in read_prefixes(said[15][3:], 6))
        if len(said[15]) == 3:
            yield "END IPv6"
    link_local = ""
    reached: list[IPv4Network | IPv6Network] = list(read_prefixes(update.nlri, 4))
    next_hop: Address | None = IPv4Address(said[3]) if 3 in said else None
    if 14 in said:
        assert said[14][:3] in {b"\x00\x02\x01", b"\x00\x01\x01"}
        assert said[14][3] in {16, 32}
        next_hop = IPv6Address(said[14][4:20])
        link_local = f" {IPv6Address(said[14][20:36])}" if said[14][3] == 32 else ""
        assert said[14][4 + said[14][3]] == 0
        reached = list(read_prefixes(said[14][5 + said[14][3] :], 6 if said[14][1] == 2 else 4))
    for prefix in reached:
        yield f"announce {prefix} via {next_hop}{link_local}" + _about(said, four_octet)


def _about(said: dict[int, bytes], four_octet: bool) -> str:
    assert said[1] == b"\0"
    text = f" path {read_path(said[2], 4 if four_octet else 2)}"
    text += f" med {int.from_bytes(said[4], 'big')}" if 4 in said else ""
    text += f" pref {int.from_bytes(said[5], 'big')}" if 5 in said else ""
    if 8 in said:
        text += " communities " + " ".join(f"{a}:{b}" for a, b in struct.iter_unpack(">HH", said[8]))
    if 16 in said:
        text += " ext " + " ".join(f"{c:016x}" for (c,) in struct.iter_unpack(">Q", said[16]))
    if 32 in said:
        text += " large " + " ".join(f"{a}:{b}:{c}" for a, b, c in struct.iter_unpack(">III", said[32]))
    return text + (f" path4 {read_path(said[17], 4)}" if 17 in said else "")


def read_path(data: bytes, size: int) -> str:
    if not data:
        return "empty"
    assert data[0] == 2
    numbers = [int.from_bytes(data[i : i + size], "big") for i in range(2, len(data), size)]
    assert len(numbers) == data[1]
    return " ".join(map(str, numbers))


# Flags that the RFCs demand of each attribute: well-known ones 0x40, optional ones 0x80, optional transitive ones 0xc0.
FLAGS = {1: 0x40, 2: 0x40, 3: 0x40, 4: 0x80, 5: 0x40, 8: 0xC0, 14: 0x80, 15: 0x80, 16: 0xC0, 17: 0xC0, 32: 0xC0}


def read_attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        flags, kind = data[at], data[at + 1]
        extended = flags & 0x10
        start = at + (4 if extended else 3)
        length = int.from_bytes(data[at + 2 : start], "big")
        assert flags & ~0x10 == FLAGS[kind]
        assert kind not in found
        found[kind] = data[start : start + length]
        at = start + length
    assert at == len(data)
    return found


def read_prefixes(data: bytes, version: int) -> Iterator[IPv4Network | IPv6Network]:
    at = 0
    while at < len(data):
        size = (data[at] + 7) // 8
        packed = data[at + 1 : at + 1 + size].ljust(4 if version == 4 else 16, b"\0")
        yield ip_network((packed, data[at]))
        at += 1 + size


class Talk:
    """One session, and a test that plays the peer: `say` and `hear`, with a clock that the test moves."""

    def __init__(self, config: PeerConfig | None = None, *, chance: float = 1.0, **options) -> None:
        self.now = 1000.0
        self.session = Session(config or peer(), ROUTER_ID, lambda: chance, self.now, **options)
        self.four_octet = True
        self.longest = wire.LONGEST_MESSAGE
        self._events: list[str] = []
        self._parting: dict[Side, bytes] = {}

    def hear(self, side: Side = Side.DIALLED) -> list[str]:
        """What the session has sent on a connection since, and before it was closed."""
        self._note()
        data = self._parting.pop(side, b"") + self.session.take_output(side)
        return lines_of(data, four_octet=self.four_octet, longest=self.longest)

    def events(self) -> list[str]:
        """What the session has asked for or reported since."""
        self._note()
        taken, self._events = self._events, []
        return taken

    def _note(self) -> None:
        for event in self.session.take_events():
            if isinstance(event, HangUp):
                self._parting[event.side] = self._parting.get(event.side, b"") + event.parting
                self._events.append("hang up" if event.side is Side.DIALLED else "hang up on the peer")
            else:
                self._events.append("dial" if isinstance(event, Dial) else str(event))

    def say(self, *messages: wire.Message | bytes) -> None:
        for message in messages:
            data = message if isinstance(message, bytes) else wire.encode(message)
            self.session.receive(data, self.now)

    def wait(self, seconds: float) -> None:
        """Move the clock, with every tick on its way."""
        end = self.now + seconds
        while (due := self.session.deadline()) is not None and due <= end:
            self.now = max(due, self.now)
            self.session.tick(self.now)
        self.now = end

    def reach(self, state: State, **their_open) -> Talk:
        """Walk to a state by the straight way, and forget what was said on it."""
        self.wait(0)
        if state is State.ACTIVE:
            self.session.disconnected(self.now, "connection refused")
        elif state is not State.CONNECT:
            self.session.connected(self.now, OURS)
            if state is not State.OPEN_SENT:
                self.say(their_open.get("message") or router_open(**their_open))
            if state is State.ESTABLISHED:
                self.say(Keepalive())
        assert self.session.state is state
        self.hear()
        self.events()
        return self


def router_open(as_number: int = 64500, hold_time: int = 90, identifier: str = "192.0.2.2") -> Open:
    """An OPEN of a modern router."""
    return wire.our_open(as_number, hold_time, IPv4Address(identifier))


class Pair:
    """Two sessions and the link between them."""

    def __init__(self, left: PeerConfig, right: PeerConfig) -> None:
        self.now = 0.0
        self.left = Session(left, IPv4Address("192.0.2.1"), lambda: 1.0, self.now)
        self.right = Session(right, IPv4Address("192.0.2.2"), lambda: 1.0, self.now)
        self.said: list[str] = []
        self.linked = False
        self.cut = False
        self._parting: dict[str, bytes] = {}

    def run(self, seconds: float) -> None:
        """Let both talk, and time pass, until nothing is due any more within the time."""
        end = self.now + seconds
        while True:
            self._exchange()
            due = [at for at in (self.left.deadline(), self.right.deadline()) if at is not None]
            if not due or min(due) > end:
                break
            self.now = max(self.now, min(due))
            self.left.tick(self.now)
            self.right.tick(self.now)
        self.now = end

    def _exchange(self) -> None:
        while self._connect() or self._carry("left", self.left, self.right) or self._carry("right", self.right, self.left):
            pass

    def _connect(self) -> bool:
        events = []
        for name, session in (("left", self.left), ("right", self.right)):
            taken = session.take_events()
            events += taken
            self._parting[name] = b"".join(event.parting for event in taken if isinstance(event, HangUp))
        if self.linked and any(isinstance(event, HangUp) for event in events):
            self._carry("left", self.left, self.right)
            self._carry("right", self.right, self.left)
            self.linked = False
            for session in (self.left, self.right):
                if session.state in {State.OPEN_SENT, State.OPEN_CONFIRM, State.ESTABLISHED}:
                    session.disconnected(self.now, "the peer closed the connection")
            return True
        if not self.linked and not self.cut and self.left.state is State.CONNECT and self.right.state is State.CONNECT:
            self.linked = True
            self.left.connected(self.now, OURS)
            self.right.connected(self.now, THEIRS)
            return True
        return False

    def _carry(self, name: str, sender: Session, receiver: Session) -> bool:
        data = self._parting.pop(name, b"") + sender.take_output()
        self.said += [f"{name}: {line}" for line in lines_of(data)]
        if data and not self.cut:
            receiver.receive(data, self.now)
        return bool(data)
