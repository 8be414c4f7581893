"""Tells people: each place of `logging.alerts` is a sink of the log. `core/alerting.py` says what is told when."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial

from fairlead.adapters.alerts import Poster
from fairlead.adapters.troubles import Troubles
from fairlead.core.alerting import Alerting, Priorities, again, arrived
from fairlead.events import Event, SinkRecovered, SinkTroubled
from fairlead.model import Alert, Config, Delivery, Message, Probes, SinkStatus, Trouble
from fairlead.records import Record
from fairlead.records.chat import payload

Post = Callable[[bytes], Awaitable[Delivery]]
Keep = Callable[[Mapping[str, Trouble]], str]  # blocks; "" or what went wrong


def tellers(config: Config, running: Iterable[object], state: str, host: str, log: Callable[[Event], None]) -> list[Teller]:
    """A sink for each place of the configuration; of those `running`, what is wanted as it is goes on.

    `state` is the directory for what outlives this daemon, `host` this machine's name. What runs and is not in the answer must be
    closed. Blocking: it reads files.
    """
    found, there = [], {each.name: each for each in running if isinstance(each, Teller)}
    kept, rules = Troubles(state), config.logging.alerts
    for name, rule in zip(names(rules), rules, strict=True):
        old = there.get(name)
        if old is not None and old.rule == rule:
            old.configure(config)
            found.append(old)
            continue
        troubles = kept.load(name) if old is None else old.troubles
        poster, keep = Poster(rule), partial(kept.save, name)
        made = Teller(rule, name, config, host=host, log=log, post=poster.post, keep=keep, troubles=troubles)
        if says := poster.unusable():
            made.failed(says, "nothing can be told")
        found.append(made)
    return found


def names(rules: tuple[Alert, ...]) -> list[str]:
    """What each place is called in the status: `slack`, `slack 2`. No URL, since those are secrets."""
    found: list[str] = []
    for rule in rules:
        same = sum(1 for other in found if other.split()[0] == rule.kind)
        found.append(f"{rule.kind} {same + 1}" if same else rule.kind)
    return found


class Teller:
    """One place. It never waits and never blocks: a task of its own posts, and `keep` runs in a thread.

    `host` is this machine's name. Made within a running event loop; `close` ends it.
    """

    probes: Probes = "changes"

    def __init__(
        self,
        rule: Alert,
        name: str,
        config: Config,
        *,
        host: str,
        log: Callable[[Event], None],
        post: Post,
        keep: Keep,
        troubles: Mapping[str, Trouble],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.rule = rule
        self.name = name
        self._chance = chance
        self._host = host
        self._log = log
        self._post = post
        self._keep = keep
        self._alerting = Alerting(rule, Priorities(config), troubles)
        self._kept = dict(self._alerting.troubles)
        self._news = asyncio.Event()
        self._flying: Message | None = None
        self._saving: asyncio.Future[str] | None = None
        self._sent = self._dropped = self._refused = 0
        self._error, self._error_at, self._troubled = "", 0.0, False
        self._task = asyncio.get_running_loop().create_task(self._run())

    def __call__(self, record: Record) -> None:
        """Take one event."""
        if isinstance(record.event, SinkTroubled | SinkRecovered) and record.event.sink == self.name:
            return  # nobody there would hear of it in time
        before = self._alerting.deadline()
        self._alerting.heard(record.event, record.at, time.monotonic())
        if self._alerting.deadline() != before:
            self._news.set()

    @property
    def troubles(self) -> Mapping[str, Trouble]:
        """What people were told of, or are about to be, and what is not over."""
        return self._alerting.troubles

    def configure(self, config: Config) -> None:
        """Another configuration, in which this place is as it was."""
        self._alerting.set_priorities(Priorities(config))

    def failed(self, says: str, then: str) -> None:
        """Something keeps events from those who should be told; it is said when that begins."""
        self._error, self._error_at = says, time.time()
        if not self._troubled:
            self._troubled = True
            self._log(SinkTroubled(self.name, f"{says}; {then}"))

    def status(self) -> SinkStatus:
        """How it fares; in events, not in messages."""
        queued = self._alerting.waiting + (_size(self._flying) if self._flying else 0)
        return SinkStatus(
            self.name,
            self._sent,
            self._dropped,
            self._refused,
            queued,
            last_error=self._error,
            last_error_at=self._error_at,
            troubled=self._troubled,
        )

    async def close(self, within: float) -> None:
        """Send what waits, due or not; what has not arrived after so many seconds is dropped."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while message := self._flying or self._alerting.rest(time.monotonic()):
                    await self._deliver(message)
        self._dropped += self.status().queued
        await self._remember()

    async def _run(self) -> None:
        while True:
            self._news.clear()
            due, now = self._alerting.deadline(), time.monotonic()
            message = self._alerting.take(now)
            if message is not None:
                await self._deliver(message)
                await self._remember()
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else due - now):
                    await self._news.wait()

    async def _deliver(self, message: Message) -> None:
        """Until it has arrived, or never will."""
        self._flying = message
        body, tries = payload(self.rule.kind, message, self._host), 0
        while True:
            delivery = await self._post(body)
            tries += 1
            pause = again(delivery, tries, self._chance())
            if pause is None:
                break
            self.failed(delivery.says, "it is tried again")
            await asyncio.sleep(pause)
        self._flying = None
        self._settle(message, delivery)

    def _settle(self, message: Message, delivery: Delivery) -> None:
        if not arrived(delivery):
            self._refused += _size(message)
            self.failed(delivery.says, f"{_size(message)} events are not told")
            return
        self._sent += _size(message) - message.left_out
        self._dropped += message.left_out
        if self._troubled:
            self._troubled = False
            self._log(SinkRecovered(self.name, self._alerting.waiting))

    async def _remember(self) -> None:
        """One at a time, to its end: cancelling who waits for it does not stop the thread."""
        if self._saving is not None:
            await asyncio.shield(self._saving)
        if self._alerting.troubles == self._kept:
            return
        self._kept = dict(self._alerting.troubles)
        self._saving = asyncio.ensure_future(asyncio.to_thread(self._keep, self._kept))
        if says := await asyncio.shield(self._saving):
            self._error, self._error_at = f"what was told cannot be kept for the next start: {says}", time.time()


def _size(message: Message) -> int:
    return sum(notice.times for notice in message.notices) + message.left_out
