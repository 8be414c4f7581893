"""`fairlead log`: the events that the daemon keeps, and those to come."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead import render
from fairlead.cli.online import Denied, NoDaemon, complain, decode, get, stream
from fairlead.cli.showing import INTERRUPTED, How, Shown, dressed, show
from fairlead.model import Status
from fairlead.render.told import SEVERITIES

_AGAIN = 0.5  # seconds until a daemon that is gone is asked again
Told = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events: so severe (a word of RFC 5424) or worse, about these services (none: all), the last `most` of them."""

    level: str
    services: frozenset[str]
    most: int

    def has(self, event: Told) -> bool:
        """Whether it is meant."""
        return event["level"] <= SEVERITIES.index(self.level) and (not self.services or event["about"] in self.services)

    def last(self, found: Sequence[Told]) -> list[Told]:
        """The last of those that are meant."""
        meant = [event for event in found if self.has(event)]
        return meant[len(meant) - self.most :] if self.most < len(meant) else meant


def log(path: str, level: str, service: str | None, most: int, how: How, *, follow: bool) -> int:
    """`fairlead log`."""
    try:
        wanted = Wanted(level, _meant(path, service), most)
    except (NoDaemon, Denied) as e:
        return complain(str(e))
    if follow:
        return _follow(path, wanted, how)

    def look() -> Shown:
        found = wanted.last(get(path, "/v1/events"))
        return Shown(render.events(found), found)

    return show(look, how)


def _meant(path: str, service: str | None) -> frozenset[str]:
    """A service by its name or VIP too; one that is gone may still be in the log."""
    if service is None:
        return frozenset()
    found = decode(Status, get(path, "/v1/status")).services
    return frozenset([service, *(render.service_name(s) for s in found if service in {s.name, s.vip})])


def _follow(path: str, wanted: Wanted, how: How) -> int:
    """Those that are kept, then whatever comes, until Ctrl-C: over restarts of the daemon too."""
    try:
        found = get(path, "/v1/events")
        _tell(wanted.last(found), how)
        for event in _coming(path, found[-1]["id"] if found else 0):
            if wanted.has(event):
                _tell([event], how)
    except (NoDaemon, Denied) as e:
        return complain(str(e))
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _coming(path: str, last: int) -> Iterator[Told]:
    """Every event after the number `last`, as it comes. A daemon that is gone is waited for, which is said once."""
    gone = False
    while True:
        try:
            for event in stream(path, "/v1/events/stream?status=false", last):
                gone, last = False, max(last, event["id"])
                yield event
        except NoDaemon as e:
            if not gone:
                print(f"fairlead: {e}; waiting for it", file=sys.stderr, flush=True)
            gone = True
        time.sleep(_AGAIN)


def _tell(events: Sequence[Told], how: How) -> None:
    for event in events:
        print(json.dumps(event) if how.as_json else dressed(render.event(event), how.color), flush=True)
