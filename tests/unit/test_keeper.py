"""Neighbours that do not answer: what is remembered of them, and when they are asked again."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import Any

from fairlead.adapters.netlink import wire
from fairlead.adapters.netlink.keeper import Keeper
from fairlead.adapters.netlink.messages import NUD_FAILED, NUD_INCOMPLETE, PROTOCOL, Neighbour, NeighbourKey
from fairlead.adapters.netlink.picture import Picture

MAC = bytes.fromhex("020000009999")
REACHABLE = 0x02


class Asker:
    """Takes orders, and answers that they were carried out."""

    def __init__(self) -> None:
        self.orders: list[bytes] = []

    def ask(self, orders: list[bytes]) -> list[wire.Message]:
        self.orders += orders
        return [next(wire.messages(struct.pack("=IHHIIi", 20, 2, 0, 0, 0, 0))) for _ in orders]


def event(key: NeighbourKey, state: int, mac: bytes = b"") -> wire.Message:
    """What the kernel says of an entry of ours."""
    return next(wire.messages(wire.keep_neighbour(key, mac, state, 0, 1, PROTOCOL)))


class Table:
    """A keeper, and the kernel's neighbours as it sees them."""

    def __init__(self) -> None:
        self.asker, self.picture = Asker(), Picture()
        self.keeper = Keeper(self.asker, self.picture)  # type: ignore[arg-type]

    def says(self, key: NeighbourKey, state: int, mac: bytes = b"") -> None:
        news = self.picture.take(event(key, state, mac))
        if news is not None and news.silent:
            self.keeper.failed(key)

    def asked(self) -> list[Any]:
        """Whom the kernel was told to ask since the last time, by the last number of their addresses."""
        found, self.asker.orders = self.asker.orders, []
        return [wire.neighbour_of(next(wire.messages(order)))[0][1].packed[-1] for order in found]  # type: ignore[index]


def key(number: int) -> NeighbourKey:
    return 2, ip_address(f"10.1.0.{number}")


def test_a_mac_is_remembered_while_nobody_answers() -> None:
    """The kernel forgets it when it asks in vain; a path of known flows needs it. An entry that was deleted is another matter."""
    table = Table()
    table.says(key(1), REACHABLE, MAC)
    for state in (NUD_FAILED, NUD_INCOMPLETE, NUD_FAILED):
        table.says(key(1), state)
        assert table.picture.neighbours[key(1)] == Neighbour(b"", state, managed=True, protocol=PROTOCOL, last=MAC)
    table.says(key(1), REACHABLE, b"\2\0\0\0\0\1")
    assert table.picture.neighbours[key(1)].last == b""
    table.picture.take(next(wire.messages(wire.drop_neighbour(key(1)))))
    table.says(key(1), NUD_INCOMPLETE)
    assert table.picture.neighbours[key(1)].last == b""


def test_who_fails_is_asked_again() -> None:
    """At once, then in turns, so many at a time; not who is being asked just now, nor who has answered or was let go."""
    table = Table()
    for number in range(1, 6):
        table.says(key(number), NUD_FAILED)
    assert table.asked() == [1, 2, 3, 4, 5]
    for turn in ([1, 2], [3, 4], [5, 1]):
        table.keeper.ask_again(2)
        assert table.asked() == turn
    table.says(key(2), NUD_INCOMPLETE)
    table.says(key(3), REACHABLE, MAC)
    table.keeper.release([key(4)])
    table.asked()
    for turn in ([5, 1], [5, 1]):
        table.keeper.ask_again(9)
        assert sorted(table.asked()) == sorted(turn)
    table.says(key(2), NUD_FAILED)
    assert table.asked() == [], "its turn comes with the others'"
    table.keeper.ask_again(9)
    assert sorted(table.asked()) == [1, 2, 5]


def test_what_a_start_finds_failed_is_asked_too() -> None:
    """No event tells of it."""
    table = Table()
    table.picture.take(event(key(1), NUD_FAILED))
    table.keeper.hold([key(1)])
    table.keeper.ask_again(9)
    assert table.asked() == [1]
