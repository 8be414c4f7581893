"""Blocked sources as decisions: what operators write, whom it would hit, what ends when."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from fairlead.core import blocks
from fairlead.core.notes import notes
from fairlead.errors import Refused
from fairlead.model import Block, Config

NOW = 1_000_000.0
A, B = ip_network("198.51.100.0/24"), ip_network("2001:db8:bad::/48")


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("198.51.100.0/24", "198.51.100.0/24"),
        ("198.51.100.7", "198.51.100.7/32"),
        ("2001:DB8:0::/32", "2001:db8::/32"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_prefixes(text: str, means: str) -> None:
    """A prefix however it is spelled, or one address."""
    assert str(blocks.prefix_of(text)) == means


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "nothing is no prefix"),
        ("elsewhere", "write for example 198.51.100.0/24"),
        ("198.51.100.0/33", "is no prefix"),
        ("198.51.100.7/24", "write 198.51.100.0/24, or 198.51.100.7 for that one address"),
        ("2001:db8::1/32", "write 2001:db8::/32"),
        ("::ffff:192.0.2.1", "write it as IPv4"),
        ("fe80::1%eth0", "leave out what begins with %"),
    ],
)
def test_no_prefixes(text: str, says: str) -> None:
    """What is none is refused, with what to write."""
    with pytest.raises(Refused) as caught:
        blocks.prefix_of(text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("30m", 1800), ("1h", 3600), ("1h30m", 5400), ("2d", 172800), ("1 w", 604800)]
)
def test_times(text: str, seconds: float) -> None:
    """Seconds, or numbers with units."""
    assert blocks.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1", "0", "1.5h", "1y", "h", "1h30", "9999w"])
def test_no_times(text: str) -> None:
    """Nothing, less than a second, more than ten years."""
    with pytest.raises(Refused):
        blocks.seconds_of(text)


def test_whom_it_would_hit() -> None:
    """Each prefix with those it holds, the first five by name; wide ones; one family says nothing of the other."""
    guarded = {ip_address(f"10.1.0.{n}"): "the backend" for n in range(1, 9)} | {ip_address("fd00::1"): "the router"}
    wide, narrow, other = ip_network("10.0.0.0/7"), ip_network("10.1.0.8/32"), ip_network("10.1.0.9/32")

    assert blocks.objections([other, A], guarded) == []
    assert blocks.objections([narrow], guarded) == ["10.1.0.8/32 holds the backend 10.1.0.8"]
    first, second = blocks.objections([wide], guarded)
    assert first == "10.0.0.0/7 is wider than a /8: that is a large part of the Internet"
    assert second.endswith("the backend 10.1.0.4, the backend 10.1.0.5 and 3 more")
    assert blocks.objections([ip_network("::/0")], guarded)[1] == "::/0 holds the router fd00::1"


def test_what_is_said_again_replaces() -> None:
    """Another time or reason for the same prefix; since when it is blocked stays."""
    first = blocks.told((), Block(A, "alice", NOW, NOW + 60, "flood"))
    second = blocks.told(first, Block(B, "bob", NOW))
    third = blocks.told(second, Block(A, "bob", NOW + 30))

    assert third == (Block(B, "bob", NOW), Block(A, "bob", NOW, 0.0, ""))
    assert blocks.wanted(third, [A, ip_network("10.0.0.0/8")]) == {A, B, ip_network("10.0.0.0/8")}


def test_what_ends() -> None:
    """Those with a time, at that very moment; the next one says when to look again."""
    said = (Block(A, "alice", NOW, NOW + 60), Block(B, "bob", NOW))

    assert blocks.next_end(said) == NOW + 60
    assert blocks.ended(said, NOW + 59.9) == (said, ())
    assert blocks.ended(said, NOW + 60) == (said[1:], said[:1])
    assert blocks.next_end(said[1:]) is None


def test_what_can_be_taken_back() -> None:
    """What was said; the configuration's is its own affair, and a part of a prefix is no block."""
    said = [Block(A, "alice", NOW)]
    assert blocks.said_of(A, said, [B]) == A
    for prefix, says in ((B, "take it out of `block` there"), (ip_network("198.51.100.8/32"), "it lies in 198.51.100.0/24")):
        with pytest.raises(Refused) as caught:
            blocks.said_of(prefix, said, [B])
        assert says in str(caught.value)
    with pytest.raises(Refused, match=r"10\.0\.0\.0/8 is not blocked"):
        blocks.said_of(ip_network("10.0.0.0/8"), said, [B])


def test_statuses() -> None:
    """By address; what was said wins over the configuration; what is not in effect says so."""
    said = [Block(B, "bob", NOW, NOW + 60, "scan"), Block(A, "alice", NOW)]
    found = blocks.statuses(said, [A, ip_network("10.0.0.0/8")], 5.0, {A: (7, 700)})

    assert [(b.prefix, b.who, b.since, b.packets, b.applied) for b in found] == [
        ("10.0.0.0/8", "the configuration", 5.0, 0, False),
        ("198.51.100.0/24", "alice", NOW, 7, True),
        ("2001:db8:bad::/48", "bob", NOW, 0, False),
    ]
    assert (found[2].until, found[2].why) == (NOW + 60, "scan")


def test_notes_of_a_change() -> None:
    """`plan` names each prefix that is blocked from now on, and each that is not any more."""
    before, after = Config((), blocked=(A,)), Config((), blocked=(B,), count_prefixes=True)

    assert notes(before, after) == [f"block {B}", f"block {A} no longer", "count packets by source"]
    assert notes(after, after) == []
