"""One look at everything that the reconciler knows, for status: service by service, so that a loop may breathe in between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fairlead.core.announce import Announcer
from fairlead.core.facts import Facts
from fairlead.core.moment import Moment
from fairlead.core.planner import Planner
from fairlead.core.progress import Progress
from fairlead.core.report import Report, limit_status, service_status, table_status, tables_hash, with_totals
from fairlead.core.tables import Have
from fairlead.core.totals import Rest
from fairlead.model import ServiceStatus


@dataclass(frozen=True, slots=True)
class Survey:
    """What is looked at. `flows` are the live flow entries by destination id, `sizes` rows and octets of each table."""

    have: Have
    facts: Facts
    planner: Planner
    progress: Progress
    announcer: Announcer
    rest: Rest
    flows: Sequence[int]
    now: Moment
    sizes: Mapping[str, tuple[int, int]]
    repairs: int

    def services(self) -> Iterator[ServiceStatus]:
        """Every service; 100,000 backends take seconds altogether."""
        for key, p in list(self.planner.services.items()):
            seen, applied = self.facts.seen(key, self.now), self.progress.applied(p.want)
            since = self.planner.since.get(key, 0.0)
            yield service_status(self.have, p.plan, seen, self.rest, self.flows, applied, since)

    def report(self, services: Sequence[ServiceStatus]) -> Report:
        """All of it, with the services that `services` gave."""
        vips = self.announcer.status(self.now.steady, self.progress.lacks)
        return Report(
            with_totals(vips, services, self.rest, self.planner.services),
            tuple(services),
            limit_status(self.have, self.facts.config, self.flows),
            table_status(self.have, self.flows, self.sizes),
            tables_hash(self.have, self.planner.services),
            self.repairs,
            tuple(self.progress.troubles()),
        )
