"""Whom to probe: every question about every backend that has a destination, whatever its state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fairlead.core.hashes import mapped
from fairlead.core.plan import ServiceFacts
from fairlead.core.questions import Questions
from fairlead.core.rows import service_key
from fairlead.core.tables import Have
from fairlead.model import Address, Check, Config, Path, ProbeKey, ProbeTarget, ServiceKey

_Part = dict[ProbeKey, ProbeTarget]


class Targets:
    """Kept per service, so that what did not change is not made again."""

    def __init__(self) -> None:
        self._config: Config | None = None
        self._stale: set[ServiceKey] = set()
        self._parts: dict[ServiceKey, _Part] = {}
        self._all: Mapping[ProbeKey, ProbeTarget] = {}

    def touch(self, key: ServiceKey) -> None:
        """A service's destinations or paths may have changed."""
        self._stale.add(key)

    def now(
        self, config: Config, services: Mapping[ServiceKey, ServiceFacts], questions: Questions, have: Have
    ) -> Mapping[ProbeKey, ProbeTarget]:
        """All targets; the same object as the last time if they are equal.

        A question of several services is asked by the mark of the first that has it.
        """
        if config is not self._config:
            self._config, self._stale = config, {*services, *self._parts}
        changed = False
        for key in self._stale:
            facts = services.get(key)
            part = dict(_targets(config, facts, questions.asked(key), have)) if facts is not None else {}
            if part != self._parts.get(key, {}):
                changed = True
                self._parts[key] = part
        self._stale = set()
        if changed:
            self._all = {k: target for key in reversed(list(services)) for k, target in self._parts.get(key, {}).items()}
        return self._all


def _targets(config: Config, facts: ServiceFacts, asked: Sequence[Check], have: Have) -> Iterator[tuple[ProbeKey, ProbeTarget]]:
    service, prefix = facts.service, config.probe.mark << 20
    vip, row = service.key.vip, service_key(service.key)
    for backend, path in zip(service.backends, facts.paths, strict=True):
        number = have.destination_id(row, mapped(backend.address))
        if not number:
            continue
        source = _source(config, vip, path.source if isinstance(path, Path) else None)
        for check in asked:
            target = ProbeTarget(vip, backend.address, check, prefix | number, source)
            yield ProbeKey(vip, backend.address, service.tunnel, check), target


def _source(config: Config, vip: Address, source: Address | None) -> Address | None:
    """Probes go to the VIP, so their source must be of its family: that of the path, else the configured one."""
    if source is not None and source.version == vip.version:
        return source
    return config.address if vip.version == 4 else config.address6
