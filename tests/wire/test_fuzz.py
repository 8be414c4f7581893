"""100,000 streams that are almost right: only protocol errors come out, and each byte is looked at a bounded number of times.

Not hypothesis but plain chance with a fixed seed: it makes ten times as many cases in the same time, and a case that fails is
found again by its number.
"""

from __future__ import annotations

import random
from ipaddress import IPv4Address

import pytest

from fairlead.bgp.capabilities import Family, Restart, in_words, offer
from fairlead.bgp.notifications import in_words as notification_in_words
from fairlead.bgp.received import AdjRibIn, examine
from fairlead.bgp.terms import agree
from fairlead.bgp.wire import Keepalive, Message, Notification, Open, RouteRefresh, Update, encode, messages, our_open
from fairlead.errors import ProtocolError
from tests.wire.talk import OURS
from tests.wire.test_rib import EXTERNAL, terms

CASES = 100_000
OUR_OPEN = our_open(64512, 10, IPv4Address("192.0.2.1"), offer(extended_next_hop=True, restart=Restart(120)))
TERMS = (EXTERNAL, terms(remote_as=64512), terms(via_ipv6=True, four_octet=False))

ATTRIBUTES = bytes.fromhex(
    "40010100 400206 0201 0000fbf4 4003040a000002 80040400000005 c00804fbf40001 c010080002fbf400000001"
    "c0200c 0000fbf4 00000001 00000002 c0070800 00fbf40a000002 800e1a00020110 20010db8000000000000000000000002 00 2020010db8"
)
FULL = tuple((family, True) for family in Family)
SEEDS: tuple[Message, ...] = (
    OUR_OPEN,
    our_open(4200000001, 0, IPv4Address("10.9.9.9"), offer(restart=Restart(4095, True, True, FULL))),
    Update(),
    Update(b"\x20\xc0\x00\x02\x0a", ATTRIBUTES, b"\x18\xc6\x33\x64\x00"),
    Update(attributes=b"\x80\x0f\x14\x00\x02\x01\x80" + bytes(16)),
    Notification(6, 2, b"\x05hello"),
    Notification(6, 9, b"\x06\x02\x05hello"),
    Keepalive(),
    RouteRefresh(1, 1, 1),
)
STREAMS = tuple(map(encode, SEEDS))


def mutated(chance: random.Random) -> bytearray:
    """One or two messages with a few bytes changed, put in, taken out or doubled; most of the time the length is right again."""
    stream = bytearray(chance.choice(STREAMS))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(stream))
        match chance.randrange(5):
            case 0:
                stream[at] = chance.randrange(256)
            case 1:
                stream[at] ^= 1 << chance.randrange(8)
            case 2:
                stream[at:at] = chance.randbytes(chance.randint(1, 8))
            case 3 if len(stream) > 20:
                del stream[at : at + chance.randint(1, 8)]
            case _:
                stream[at:at] = stream[at : at + chance.randint(1, 40)]
    if chance.random() < 0.8:
        stream[:16] = b"\xff" * 16
        stream[16:18] = min(len(stream), 65535).to_bytes(2, "big")
    return stream + chance.choice(STREAMS)


def judge(message: Message, chance: random.Random) -> None:
    """All that a session would do with a message."""
    match message:
        case Open():
            agreed = agree(OUR_OPEN, message, OURS)
            assert agreed.hold_time <= 10
            assert len(in_words(message.capabilities)) <= len(message.capabilities)
        case Notification(code, subcode, data):
            assert notification_in_words(code, subcode, data).isprintable()
        case Update():
            heard = examine(message, chance.choice(TERMS))
            size = len(message.withdrawn) + len(message.attributes) + len(message.nlri)
            assert len(heard.reached) + len(heard.gone) <= size
            AdjRibIn().hear(message, EXTERNAL, 5)
        case _:
            assert message


def sendable(error: ProtocolError) -> None:
    encode(Notification(error.code, error.subcode, error.data))
    assert notification_in_words(error.code, error.subcode).isprintable()
    assert str(error)


@pytest.mark.parametrize("part", range(4))
def test_only_protocol_errors_come_out(part):
    """Each case ends in whole messages or in one ProtocolError, whose NOTIFICATION can be sent and read."""
    for case in range(part, CASES, 4):
        chance = random.Random(case)
        stream = mutated(chance)
        length, count = len(stream), 0
        try:
            for message in messages(stream, lambda: 65535):
                count += 1
                judge(message, chance)
        except ProtocolError as error:
            sendable(error)
        except Exception as error:
            raise AssertionError(f"case {case}") from error
        assert count <= length // 19
