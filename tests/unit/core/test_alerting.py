"""What people are told, and when: troubles and their ends, groups, priorities, and how many messages there may be."""

from __future__ import annotations

import dataclasses
import random
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead import events
from fairlead.config import parse
from fairlead.core import alerting
from fairlead.core.alerting import Alerting, Allowance, Priorities, again, arrived
from fairlead.events import (
    BackendDown,
    BackendUp,
    Event,
    Operated,
    OperationFailed,
    PanicBegan,
    PanicEnded,
    PeerDown,
    PeerUp,
    Reloaded,
    ReloadRefused,
    VipDown,
    VipUp,
    Warned,
)
from fairlead.model import Alert, Delivery, Message, Protocol, ServiceKey

CONFIG = parse(
    """
services:
  - {virtual: 192.0.2.10, name: shop, priority: critical, servers: [10.1.0.11, 10.1.0.12], policy: {80: }}
  - {virtual: 192.0.2.10, name: chat, priority: low, servers: [10.1.0.12, 10.1.0.13], policy: {81: }}
  - {virtual: 192.0.2.11, name: plain, servers: [10.1.0.13, 10.1.0.14], policy: {80: }}
address: 10.1.0.5
bgp: {as_number: 64512, peers: [10.1.0.1]}
""",
    "x",
)
SHOP, CHAT, PLAIN = (
    ServiceKey(ip_address(vip), port, Protocol.TCP) for vip, port in (("192.0.2.10", 80), ("192.0.2.10", 81), ("192.0.2.11", 80))
)
VIP, ONE, TWO = ip_address("192.0.2.10"), ip_address("10.1.0.11"), ip_address("10.1.0.12")
PEER = ip_address("10.1.0.1")
AT = 1_700_000_000.0  # Unix time of moment 0


class Told:
    """An Alerting with a clock of its own."""

    def __init__(self, **rule: object) -> None:
        self.now = 0.0
        self.of = Alerting(Alert("slack", "https://x.example", **rule), Priorities(CONFIG))  # type: ignore[arg-type]

    def hears(self, *said: Event, at: float | None = None) -> Told:
        self.now = self.now if at is None else at
        for event in said:
            self.of.heard(event, AT + self.now, self.now)
        return self

    def says(self, at: float) -> Message | None:
        self.now = at
        return self.of.take(at)

    def texts(self, at: float) -> list[str]:
        message = self.says(at)
        return [notice.text for notice in message.notices] if message else []


# ------------------------------------------------------------------------------------------------------------------------- what


def test_level():
    """What is milder than the level is not told, and leaves no trace."""
    told = Told(level=4).hears(BackendDown(SHOP, ONE, "refused"), BackendUp(SHOP, ONE, "answers"))
    assert told.of.deadline() is None
    assert told.of.waiting == 0

    told.hears(VipDown(VIP, "no backend", "critical"))
    assert told.texts(10) == ["VIP 192.0.2.10 is down: no backend"]


def test_ends_of_what_was_told():
    """The end of a trouble is told, however mild; an end that nobody waits for is not, however severe."""
    told = Told(level=4).hears(VipUp(VIP, "critical"), PeerUp(PEER, 65000))
    assert told.of.deadline() is None

    told.hears(PeerDown(PEER, "hold timer expired"), PanicBegan(SHOP, "all down"))
    assert len(told.texts(10)) == 2
    told.hears(PeerUp(PEER, 65000), PanicEnded(SHOP), at=50)
    message = told.says(60)
    assert message is not None
    assert message.mended
    assert [n.name for n in message.notices] == ["peer-up", "panic-ended"]
    told.hears(PeerUp(PEER, 65000))
    assert told.of.deadline() is None


def attached(name: str) -> Event:
    return events.Attached(name, "native", replaced=False)


@pytest.mark.parametrize(
    ("begin", "other", "end"),
    [
        (OperationFailed("add 1", "no room"), Operated("add 2", None), Operated("add 1", None)),
        (ReloadRefused("/x", "line 1"), None, Reloaded("/x", changed=True)),
        (ReloadRefused("/x", "line 1"), None, events.Applied("/y", 3)),
        (events.ProgramLost("eth0"), attached("eth1"), attached("eth0")),
        (events.BackupsUsed(SHOP, "x"), events.BackupsRested(CHAT), events.BackupsRested(SHOP)),
        (events.BackendSuppressed(SHOP, ONE, "x"), events.BackendReleased(SHOP, TWO), events.BackendReleased(SHOP, ONE)),
        (events.SinkTroubled("elasticsearch", "x"), events.SinkRecovered("slack", 0), events.SinkRecovered("elasticsearch", 0)),
    ],
    ids=lambda value: value.name if isinstance(value, Event) else "",
)
def test_pairs(begin, other, end):
    """Every trouble ends by its own end, and by no other's."""
    told = Told(level=4).hears(begin)
    assert told.texts(10) == [str(begin)]
    if other is not None:
        assert told.hears(other).of.deadline() is None
    assert told.hears(end).texts(30) == [str(end)]


def test_ends_that_are_news():
    """A reload, an operation and a program on an interface are told where the level asks for them, trouble or not."""
    said = (Reloaded("/x", changed=True), Operated("add 1", None), attached("eth0"))
    assert Told(level=4).hears(*said).of.deadline() is None
    assert len(Told(level=6).hears(*said).texts(10)) == 3


def test_every_pair_is_of_one_thing():
    """Both events of a pair have the fields by which they belong together."""
    for begin, end, names in alerting._PAIRS:
        for kind in (begin, end):
            assert set(names) <= {field.name for field in dataclasses.fields(kind)}


def test_in_one_message_the_latest_counts():
    """A backend that came back before anybody was told is told of once: how it is, what it was, how often it changed."""
    told = Told(level=5).hears(BackendDown(SHOP, ONE, "refused"))
    told.hears(BackendUp(SHOP, ONE, "answers"), at=2).hears(BackendDown(SHOP, ONE, "timed out"), at=3)
    told.hears(BackendUp(SHOP, ONE, "answers"), at=8)
    message = told.says(10)
    assert message is not None
    (notice,) = message.notices
    assert (notice.name, notice.mended, notice.times, notice.since, notice.at) == ("backend-up", True, 4, AT, AT + 8)
    assert notice.before == str(BackendDown(SHOP, ONE, "timed out"))
    assert notice.about == str(SHOP)
    assert dict(notice.details) == {"service": str(SHOP), "backend": "10.1.0.11", "says": "answers"}


def test_worst_first():
    """Troubles by severity and time, then what is over."""
    told = Told(level=5).hears(BackendDown(PLAIN, ONE, "x"))
    assert told.says(10)
    told.hears(BackendUp(PLAIN, ONE, "x"), BackendDown(SHOP, ONE, "x"), Warned("w"), VipDown(VIP, "x", "critical"))
    message = told.says(40)
    assert message is not None
    assert [n.name for n in message.notices] == ["vip-down", "warned", "backend-down", "backend-up"]
    assert message.severity == 3
    assert not message.mended


def test_the_same_again():
    """The same text without an end is told once an hour, and then how often it was; a trouble in new words at once."""
    told = Told(level=4).hears(Warned("clock"))
    assert told.texts(10) == ["clock"]
    for at in (60, 120, 3000):
        assert told.hears(Warned("clock"), at=at).of.deadline() is None
    message = told.hears(Warned("clock"), at=3700).says(3710)
    assert message is not None
    assert message.notices[0].times == 4

    told.hears(PeerDown(PEER, "refused"))
    assert told.texts(3800) == ["BGP peer 10.1.0.1 is down: refused"]
    assert told.hears(PeerDown(PEER, "refused")).of.deadline() is None
    assert told.hears(PeerDown(PEER, "no route")).texts(3900) == ["BGP peer 10.1.0.1 is down: no route"]
    assert told.hears(PeerDown(PEER, "no route"), at=9000).texts(9010) == ["BGP peer 10.1.0.1 is down: no route"]


def test_strangers_make_no_noise():
    """Whoever knocks at the API, from wherever and however often: it is told once an hour."""
    told = Told(level=4)
    for n in range(50):
        told.hears(events.AccessRefused(ip_address(f"198.51.100.{n}"), "no token", n), at=n * 60.0)
        told.says(n * 60.0 + 30)
    assert told.of._number == 1


def test_priorities():
    """Only services of these priorities, their VIPs and backends; what is about no service is told all the same."""
    told = Told(level=5, priorities=("critical", "high"))
    told.hears(BackendDown(SHOP, ONE, "x"), BackendDown(CHAT, TWO, "x"), BackendDown(PLAIN, ONE, "x"), PeerDown(PEER, "x"))
    message = told.says(10)
    assert message is not None
    assert [(n.name, n.about) for n in message.notices] == [("peer-down", ""), ("backend-down", str(SHOP))]
    of = Priorities(CONFIG).of
    assert of(events.PathChanged(TWO, "x")) == "critical"  # the more important of its two services
    assert of(events.PathChanged(ip_address("10.1.0.14"), "x")) == ""
    assert of(VipDown(VIP, "x")) == "critical"
    assert of(Operated("x", CHAT)) == "low"
    assert of(Warned("x")) is None


def test_what_is_not_configured_any_more_has_no_end():
    """Troubles with services, VIPs and peers that left the configuration are forgotten, the others stay."""
    told = Told(level=5).hears(BackendDown(SHOP, ONE, "x"), VipDown(VIP, "x"), PeerDown(PEER, "x"), OperationFailed("a", "b"))
    told.of.set_priorities(Priorities(parse("services: [{virtual: 192.0.2.11, servers: [10.1.0.13], policy: {80: }}]", "x")))
    assert [trouble.text for trouble in told.of.troubles.values()] == ["failed, will be tried again: a: b"]


def test_troubles_are_handed_on():
    """Who comes after tells of the end."""
    before = Told(level=4).hears(VipDown(VIP, "x", "high"))
    after = Alerting(Alert("teams", "https://x.example"), Priorities(CONFIG), before.of.troubles)
    after.heard(VipUp(VIP, "high"), AT, 0)
    message = after.rest(0)
    assert message is not None
    assert message.mended


# ------------------------------------------------------------------------------------------------------------------------- when


def test_groups():
    """A message leaves `group` seconds after its first event, whatever comes meanwhile; 0 is at once."""
    told = Told(group=10.0).hears(Warned("a"))
    assert told.of.deadline() == 10
    told.hears(Warned("b"), at=9.9)
    assert told.says(9.99) is None
    assert told.texts(10) == ["a", "b"]
    assert told.of.deadline() is None
    assert Told(group=0.0).hears(Warned("a")).texts(0) == ["a"]


def test_much_at_once():
    """A message has so many notices and no more; the rest is counted."""
    told = Told()
    told.hears(*(Warned(f"{n}") for n in range(alerting.MOST_NOTICES + 50)))
    assert told.of.waiting == alerting.MOST_NOTICES + 50
    message = told.says(10)
    assert message is not None
    assert (len(message.notices), message.left_out) == (alerting.MOST_NOTICES, 50)
    assert told.of.waiting == 0


def test_memory_is_bounded():
    """Ever new troubles and texts are not remembered for ever."""
    told = Told()
    for n in range(5000):
        told.hears(OperationFailed(f"{n}", "x"), Warned(f"{n}"))
        told.of.rest(0)
    assert len(told.of.troubles) == len(told.of._said) == 2000


def test_errors_have_what_is_kept_for_them():
    """After chatter has used up its share, an error leaves at once, and what has waited with it."""
    told, sent = Told(group=0.0, most=16), 0
    for n in range(20):
        sent += told.hears(Warned(f"{n}")).says(0) is not None
    assert sent == 6
    message = told.hears(OperationFailed("a", "b")).says(0)
    assert message is not None
    assert len(message.notices) == 15
    assert told.hears(Warned("later")).says(0) is None
    assert told.of.deadline() == pytest.approx(3600 / 8 * 2)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 80), st.integers(0, 1 << 32))
def test_never_more_in_an_hour(most, seed):
    """However events come, no hour sees more messages than `most`, and none waits once it may leave."""
    chance = random.Random(seed)
    allowance, sent, now = Allowance(most), [], 0.0
    while now < 4 * 3600:
        severity = chance.choice((3, 4))
        now = max(now, allowance.when(now, severity)) + chance.choice((0.0, 1.0, 300.0))
        assert allowance.when(now, severity) == pytest.approx(now)
        allowance.spend(now)
        sent.append(now)
    for first, at in enumerate(sent):
        assert sum(at <= other < at + 3599.999 for other in sent[first:]) <= most


# -------------------------------------------------------------------------------------------------------------- trying again


def test_again():
    """What may pass is tried again, more and more slowly; what is refused is not."""
    assert [again(Delivery(503), tries, 1.0) for tries in (1, 2, 3, 9, 10, 99)] == [1, 2, 4, 256, 300, 300]
    assert again(Delivery(503), 3, 0.0) == 2
    assert [status for status in range(600) if again(Delivery(status), 1, 1.0)] == [0, 408, 425, 429, *range(500, 600)]
    assert arrived(Delivery(202))
    assert not arrived(Delivery(0))
    assert not arrived(Delivery(302))


def test_again_as_asked():
    """Retry-After counts if it is longer, up to an hour."""
    assert again(Delivery(429, wait=30), 1, 1.0) == 30
    assert again(Delivery(429, wait=0), 1, 1.0) == 1
    assert again(Delivery(429, wait=1e9), 1, 1.0) == 3600
