"""What people are told, and when: which events, how many as one message, and how often.

A trouble is told of once, and so is its end; an end that nobody waits for is not. What goes on happening within a while is one
message, and a message of each thing says the latest. Moments are of a clock that nobody sets, `at` is a Unix time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import NamedTuple

from fairlead import events
from fairlead.events import Event
from fairlead.model import Alert, Config, Delivery, Message, Notice, Trouble

HOUR = 3600.0
URGENT = 3  # an error or worse
MOST_NOTICES = 200  # of one message
_MOST_SAID = 2000  # texts and troubles that are remembered
_CONFIGURED = frozenset(["service", "vip", "backend", "peer"])  # fields of events
_UNKNOWN = ""  # the priority of a service that has none


class Subject(NamedTuple):
    """The thing that an event is about: what begins there is over when something ends there."""

    thing: str
    ends: bool


# Two events that belong together: what the first one begins the second one ends, for the same values of these fields.
_PAIRS: tuple[tuple[type[Event], type[Event], tuple[str, ...]], ...] = (
    (events.BackendDown, events.BackendUp, ("service", "backend")),
    (events.BackendSuppressed, events.BackendReleased, ("service", "backend")),
    (events.PanicBegan, events.PanicEnded, ("service",)),
    (events.BackupsUsed, events.BackupsRested, ("service",)),
    (events.VipDown, events.VipUp, ("vip",)),
    (events.PeerDown, events.PeerUp, ("peer",)),
    (events.ProgramLost, events.Attached, ("interface",)),
    (events.OperationFailed, events.Operated, ("text",)),
    (events.SinkTroubled, events.SinkRecovered, ("sink",)),
    (events.ReloadRefused, events.Reloaded, ()),
    (events.ReloadRefused, events.Applied, ()),
)
# Ends that are news of their own, too, where no trouble began.
_NEWS = (events.Attached, events.Operated, events.Reloaded, events.Applied)
_BEGINS = {begin: (begin.__name__, names) for begin, _, names in _PAIRS}
_ENDS = {end: (begin.__name__, names) for begin, end, names in _PAIRS}


# What makes two events the same, where that is not their text: strangers may make as many of them as they like.
_SAME: dict[type[Event], tuple[str, ...]] = {events.AccessRefused: ("why",)}


def _same(event: Event) -> str:
    names = _SAME.get(type(event))
    return f"{event.name} {event if names is None else ' '.join(str(getattr(event, name)) for name in names)}"


def subject(event: Event) -> Subject | None:
    """What the event begins or ends; None for one that stands for itself."""
    ends = type(event) in _ENDS
    found = (_ENDS if ends else _BEGINS).get(type(event))
    if found is None:
        return None
    name, which = found
    return Subject(" ".join([name, *(str(getattr(event, field)) for field in which)]), ends)


# ------------------------------------------------------------------------------------------------------------------- priorities

_ORDER = ("critical", "high", "medium", "low", _UNKNOWN)


class Priorities:
    """How important what an event is about is, by the configuration."""

    def __init__(self, config: Config) -> None:
        self._of: dict[object, str] = {}
        for service in config.services:
            for thing in (service.key, service.key.vip, *(b.address for b in service.backends)):
                found = (service.priority, self._of.get(thing, _UNKNOWN))
                self._of[thing] = min(found, key=_ORDER.index)
        self._names = {str(thing) for thing in self._of} | {str(peer.address) for peer in config.peers}

    def of(self, event: Event) -> str | None:
        """One of the grammar's, "" for a service without; None if it is about no service."""
        for field in ("service", "about", "vip", "backend"):
            thing = getattr(event, field, None)
            if thing in self._of:
                return self._of[thing]
        return None

    def knows(self, about: Iterable[tuple[str, str]]) -> bool:
        """Whether the service, VIP, backend and peer that an event with these fields was about are still configured."""
        return all(text in self._names for name, text in about if name in _CONFIGURED)


# --------------------------------------------------------------------------------------------------------------------- how often


class Allowance:
    """No more than `most` messages in any hour: half of them at once, the others come back one by one.

    A quarter of what may come at once is kept for errors, so that chatter cannot use up what they need.
    """

    def __init__(self, most: int) -> None:
        self._size = most / 2
        self._rate = most / 2 / HOUR
        self._kept = self._size / 4 if most >= 8 else 0.0
        self._left = self._size
        self._at: float | None = None

    def when(self, now: float, severity: int) -> float:
        """When the next message of this severity may leave; `now` if it may."""
        needed = 1.0 + (0.0 if severity <= URGENT else self._kept)
        return now + max(0.0, needed - self._now(now)) / self._rate

    def spend(self, now: float) -> None:
        """One has left."""
        self._left, self._at = self._now(now) - 1.0, now

    def _now(self, now: float) -> float:
        return self._left if self._at is None else min(self._size, self._left + (now - self._at) * self._rate)


# ---------------------------------------------------------------------------------------------------------------- what and when


class Alerting:
    """One place that people look at. `troubles` are those that they were told of by whoever ran before."""

    def __init__(self, rule: Alert, priorities: Priorities, troubles: Mapping[str, Trouble] | None = None) -> None:
        self._rule = rule
        self._allowance = Allowance(rule.most)
        self._waiting: dict[str, Notice] = {}
        self._left_out = 0
        self._due = 0.0  # when the group of those that wait is complete
        self._said: dict[str, tuple[float, int]] = {}  # texts: when they were told, how often they were heard since
        self._number = 0
        self.troubles: dict[str, Trouble] = dict(troubles or {})
        self.set_priorities(priorities)

    def set_priorities(self, priorities: Priorities) -> None:
        """Another configuration. Troubles with what it has not are forgotten: nobody will say that they are over."""
        self._priorities = priorities
        self.troubles = {thing: trouble for thing, trouble in self.troubles.items() if priorities.knows(trouble.about)}

    @property
    def waiting(self) -> int:
        """Events for a message that has not left yet."""
        return sum(notice.times for notice in self._waiting.values()) + self._left_out

    def heard(self, event: Event, at: float, now: float) -> None:
        """An event, which may be one to tell of."""
        about = subject(event)
        if about is not None and about.ends:
            if self.troubles.pop(about.thing, None) is not None:
                self._add(about.thing, event, at, now, mended=True)
                return
            if not isinstance(event, _NEWS):
                return
            about = None
        if event.severity <= self._rule.level and self._concerns(event):
            if about is not None:
                self._begins(about.thing, event, at, now)
            elif times := self._fresh(thing := _same(event), now):
                self._add(thing, event, at, now, times=times)

    def _concerns(self, event: Event) -> bool:
        wanted = self._rule.priorities
        return not wanted or (found := self._priorities.of(event)) is None or found in wanted

    def _begins(self, thing: str, event: Event, at: float, now: float) -> None:
        known, text = self.troubles.get(thing), str(event)
        if known is not None and known.text == text and abs(at - known.at) < HOUR:
            return
        self.troubles[thing] = Trouble(text, at, tuple(_details(event)))
        _limit(self.troubles)
        self._add(thing, event, at, now)

    def _fresh(self, thing: str, now: float) -> int:
        """How often it was heard since it was told of last, if it is to be told of now; 0 if it was a moment ago."""
        told, count = self._said.pop(thing, (None, 0))
        if told is not None and now < told + HOUR:
            self._said[thing] = (told, count + 1)
            return 0
        self._said[thing] = (now, 0)
        _limit(self._said)
        return count + 1

    def _add(self, thing: str, event: Event, at: float, now: float, *, mended: bool = False, times: int = 1) -> None:
        if not self._waiting:
            self._due = now + self._rule.group
        was = self._waiting.pop(thing, None)
        if was is None and len(self._waiting) >= MOST_NOTICES:
            self._left_out += times
            return
        service = getattr(event, "service", None) or getattr(event, "about", None)
        about, details = str(service) if service else "", tuple(_details(event))
        fresh = Notice(at, event.name, event.severity, str(event), about, mended, times, at, details=details)
        self._waiting[thing] = fresh if was is None else _merged(was, fresh)

    def deadline(self) -> float | None:
        """When the next message may leave; None while there is nothing to say."""
        if not self._waiting:
            return None
        return self._allowance.when(self._due, min(n.severity for n in self._waiting.values()))

    def take(self, now: float) -> Message | None:
        """The message that is due, which counts as sent; None if none is."""
        due = self.deadline()
        return None if due is None or now < due else self.rest(now)

    def rest(self, now: float) -> Message | None:
        """Whatever there is to say, due or not; None for nothing."""
        if not self._waiting:
            return None
        self._allowance.spend(now)
        self._number += 1
        told = sorted(self._waiting.values(), key=lambda n: (n.mended, n.severity, n.at))
        message = Message(self._number, tuple(told), self._left_out)
        self._waiting, self._left_out = {}, 0
        return message


def _merged(was: Notice, now: Notice) -> Notice:
    """Two notices of one thing in one message: how it is now, and the trouble that it was."""
    before = was.before if was.mended or was.text == now.text else was.text
    times, severity = was.times + now.times, min(was.severity, now.severity)
    return replace(now, severity=severity, times=times, since=was.since, before="" if before == now.text else before)


def _details(event: Event) -> Iterable[tuple[str, str]]:
    for field in fields(event):
        value = getattr(event, field.name)
        if value not in (None, ""):
            yield field.name, str(value)


def _limit(kept: dict[str, tuple[float, int]] | dict[str, Trouble]) -> None:
    """Let go of the oldest."""
    while len(kept) > _MOST_SAID:
        kept.pop(next(iter(kept)))


# ------------------------------------------------------------------------------------------------------------------ trying again

_FIRST, _LONGEST = 1.0, 300.0  # seconds between two tries
_LATER = frozenset([0, 408, 425, 429])  # what is worth another try, besides 5xx


def arrived(delivery: Delivery) -> bool:
    """Whether the other side has it."""
    return 200 <= delivery.status < 300  # RFC 9110 section 15.3


def again(delivery: Delivery, tries: int, chance: float) -> float | None:
    """Seconds until the next try after so many; None if there is none. What the other side asks for counts, up to an hour.

    `chance` is from 0 to 1: several balancers that lost the same receiver are not to come back as one.
    """
    if delivery.status not in _LATER and delivery.status < 500:  # RFC 9110 section 15.6
        return None
    pause = min(_FIRST * (1 << min(tries - 1, 16)), _LONGEST) * (0.5 + chance / 2)
    return pause if delivery.wait is None else max(pause, min(delivery.wait, HOUR))
