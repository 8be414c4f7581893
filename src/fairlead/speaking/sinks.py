"""The places that events go to, as the configuration names them: made, kept over reloads where they are the same, and closed."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial

from fairlead.adapters import system
from fairlead.adapters.log import Journal, Lines, Log, Sink, SyslogSink, connected
from fairlead.adapters.search import SearchSink
from fairlead.events import SinkRecovered, SinkTroubled
from fairlead.model import Config, Logging, Search
from fairlead.records.ecs import Origin
from fairlead.speaking.telling import tellers

SPOOLS = "spool"  # below the state directory
ON_RELOAD = 5.0  # seconds for a place that is named no longer to take what waits


class Sinks:
    """All sinks of one run; `state` is the directory for what outlives it."""

    def __init__(self, log: Log, state: str) -> None:
        self._log = log
        self._state = state
        self._host = socket.gethostname()
        self._origin = Origin(self._host, os.getpid(), system.version(), secrets.token_hex(6))
        self._said: Logging | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def follow(self, config: Config) -> None:
        """Work by a configuration: not one event is lost on the way, and none goes to a place twice."""
        before = {id(sink): sink for sink in self._log.sinks}
        wanted = [*self._plain(config.logging), *self._searches(config.logging)]
        wanted += tellers(config, self._log.sinks, self._state, self._host, self._log)
        self._said = config.logging
        self._log.use(wanted)
        for sink in wanted:
            before.pop(id(sink), None)
        for sink in before.values():
            task = asyncio.get_running_loop().create_task(sink.close(ON_RELOAD))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self, within: float) -> None:
        """The last event has come; seconds for all together."""
        sinks = self._log.sinks
        self._log.use(())
        await asyncio.gather(*(sink.close(within) for sink in sinks), *self._closing)

    # ------------------------------------------------------------------------------------------------------------------- making

    def _plain(self, said: Logging) -> Iterator[Sink]:
        """Standard error, and syslog: those in use, if nothing about them has changed."""
        old, sinks = self._said, self._log.sinks
        if old is not None and (old.format, old.probes) == (said.format, said.probes):
            yield sinks[0]
        else:
            yield self._own(said)
        if said.syslog is None:
            return
        if old is not None and old.syslog == said.syslog:
            yield next(sink for sink in sinks if isinstance(sink, SyslogSink))
        else:
            yield SyslogSink(said.syslog, self._host, self._teller(f"syslog {said.syslog.address}"))

    def _own(self, said: Logging) -> Sink:
        journal = said.format == "journal" or (said.format == "auto" and connected(os.environ, sys.stderr.fileno()))
        if journal:
            return Journal(self._teller("journal"), probes=said.probes)
        json = said.format == "json" or (said.format == "auto" and not sys.stderr.isatty())
        return Lines(sys.stderr, json=json, probes=said.probes)

    def _searches(self, said: Logging) -> Iterator[Sink]:
        """One for each cluster; one that is in use goes on, over the new addresses if there are new ones."""
        there = {sink.name: sink for sink in self._log.sinks if isinstance(sink, SearchSink)}
        for name, search in named(said.searches):
            sink = there.get(name)
            if sink is not None:
                sink.renew(search)
            else:
                spools = os.path.join(self._state, SPOOLS)  # noqa: PTH118 - a text, as all paths of options are
                sink = SearchSink(name, search, spools, self._origin, partial(self._told, name))
            yield sink

    def _teller(self, name: str) -> Callable[[str | None], None]:
        return lambda says: self._told(name, says, 0)

    def _told(self, name: str, says: str | None, waited: int) -> None:
        self._log(SinkRecovered(name, waited) if says is None else SinkTroubled(name, says))


def named(searches: tuple[Search, ...]) -> list[tuple[str, Search]]:
    """Each cluster with the name of its sink, which is that of its spool: `elasticsearch-logs-fairlead-default`."""
    found: list[tuple[str, Search]] = []
    for search in searches:
        stem = f"{search.kind}-{search.stream}"
        same = sum(1 for _, other in found if (other.kind, other.stream) == (search.kind, search.stream))
        found.append((f"{stem}-{same + 1}" if same else stem, search))
    return found
