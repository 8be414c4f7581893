"""Which checks of which services one probe answers.

Checks that ask the same of the same backend and VIP, by the same way, are one question, however different the rules are by which
each service judges the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fairlead.model import Address, Check, ProbeKey, Service, ServiceKey, Tunnel

_Users = list[tuple[ServiceKey, Tunnel | None, int, Check]]


class Questions:
    """All questions of one configuration. Equal ones are the same object, so that comparing them costs nothing."""

    def __init__(self, services: Iterable[Service] = ()) -> None:
        self._same: dict[Check, Check] = {}
        self._asked: dict[ServiceKey, tuple[Check, ...]] = {}
        self._users: dict[tuple[Address, int, str], _Users] = {}
        for service in services:
            self._add(service)

    def _add(self, service: Service) -> None:
        asked = tuple(self._same.setdefault(c, c) for c in map(Check.asked, service.checks))
        self._asked[service.key] = asked
        for index, check in enumerate(asked):
            users = self._users.setdefault((service.key.vip, check.port, check.type), [])
            users.append((service.key, service.tunnel, index, check))

    def asked(self, key: ServiceKey) -> tuple[Check, ...]:
        """The questions of a service, in the order of its checks."""
        return self._asked.get(key, ())

    def users(self, key: ProbeKey) -> Iterator[tuple[ServiceKey, int]]:
        """Who wants to know the answer: services with the number of the check; whether they have such a backend is not asked."""
        check = key.check
        for service, tunnel, index, asked in self._users.get((key.vip, check.port, check.type), ()):
            if (asked is check or asked == check) and tunnel == key.tunnel:
                yield service, index
