"""The hub: numbers that rise, readers that miss nothing unsaid, probes for those alone who want them."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

from fairlead.adapters.log import KEPT, Log
from fairlead.events import Probed, Warned
from fairlead.model import Probes, SinkStatus
from fairlead.records import Record


class Taking:
    """A sink that keeps what it is given."""

    def __init__(self, probes: Probes) -> None:
        self.probes = probes
        self.records: list[Record] = []

    def __call__(self, record: Record) -> None:
        self.records.append(record)

    def status(self) -> SinkStatus:
        return SinkStatus("taking", len(self.records))

    async def close(self, within: float) -> None:
        """Nothing waits."""


def probe(*, changed: bool) -> Probed:
    return Probed(ip_address("192.0.2.10"), ip_address("10.1.0.11"), "tcp port 80", True, 0.001, "connected", changed)


def test_numbers_rise() -> None:
    """Whatever the clock does, each number is greater than the one before; after a restart they go on from the time."""
    times = iter([100.0, 100.0, 99.0, 101.0])
    log = Log(clock=lambda: next(times))
    log.use(())
    for _ in range(4):
        log(Warned("x"))
    numbers = [event["id"] for event in log.recent()]
    assert numbers == [100_000_000, 100_000_001, 100_000_002, 101_000_000]
    assert [event["id"] for event in log.recent(since=100_000_001)] == numbers[2:]


def test_probes() -> None:
    """A run that changed nothing goes to the sinks that want all, and is not kept: thousands come each second."""
    log, every, few = Log(), Taking("all"), Taking("changes")
    log.use((few,))
    assert not log.all_probes
    log.use((every, few))
    assert log.all_probes
    log(probe(changed=False))
    log(probe(changed=True))
    assert (len(every.records), len(few.records), len(log.recent())) == (2, 1, 1)
    assert [record.event.severity for record in every.records] == [7, 6]


async def test_readers() -> None:
    """A reader gets what was before, if it asks, then all that comes, then the end."""
    log = Log()
    log.use(())
    log(Warned("one"))
    log(Warned("two"))
    first = int(str(log.recent()[0]["id"]))
    new, since = log.subscribe(), log.subscribe(first)
    log(Warned("three"))
    log.end()
    assert [event["text"] async for event in since] == ["two", "three"]
    assert [event["text"] async for event in new] == ["three"]
    assert await new.next() is None


async def test_a_slow_reader() -> None:
    """It loses the oldest, and knows how many; nobody waits for it."""
    log = Log()
    log.use(())
    reader = log.subscribe()
    for number in range(KEPT + 10):
        log(Warned(str(number)))
    assert reader.missed == 10
    event = await reader.next()
    assert event is not None
    assert event["text"] == "10"
    reader.close()
    log(Warned("for nobody"))
    assert [event["text"] async for event in reader][-1] == str(KEPT + 9)


async def test_waiting() -> None:
    """A reader that waits is woken by the next event."""
    log = Log()
    log.use(())
    reader = log.subscribe()
    task = asyncio.create_task(reader.next())
    await asyncio.sleep(0)
    log(Warned("now"))
    event = await asyncio.wait_for(task, 2)
    assert event is not None
    assert event["text"] == "now"
