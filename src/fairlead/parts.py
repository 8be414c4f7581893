"""What one run is made of: the parts that its life (`daemon`) and its commands (`commands`) share, and what both do with them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from fairlead.adapters import process
from fairlead.adapters.bgp_tcp import Speaker
from fairlead.adapters.kernel import Kernel
from fairlead.adapters.log import Log
from fairlead.adapters.netlink import Network
from fairlead.adapters.overrides import Overrides
from fairlead.adapters.underlay import Underlay
from fairlead.core.geometry import unmet
from fairlead.core.outcomes import Outcomes
from fairlead.core.overrides import overlaid
from fairlead.core.work import Work
from fairlead.ending import Ending
from fairlead.events import Probed
from fairlead.model import Config, Drained, Keys, Link, Override, ProbeKey, ProbeResult, WorkStatus
from fairlead.preflight import Options
from fairlead.presence import Presence
from fairlead.rehearse import Rehearsing
from fairlead.speaking.serving import Serving, warnings


@dataclass(slots=True)
class Parts:
    """The parts of a run that has come up.

    `config` is the running configuration as its file `source` says it, `overrides` what operators said over it; who
    changes any of them holds `changing`. `changed` wakes the pass and the look at the interfaces.
    """

    options: Options
    log: Log
    config: Config
    keys: Keys
    started: float  # Unix time
    kernel: Kernel
    reconciler: Rehearsing
    network: Network
    presence: Presence
    underlay: Underlay
    speaker: Speaker
    router_id: IPv4Address
    changed: Callable[[], None]
    ending: Ending
    source: str
    store: Overrides
    overrides: tuple[Override, ...]
    drained: Drained | None = None  # who sent this balancer away from its routers
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    work: Work = field(default_factory=Work)
    outcomes: Outcomes = field(default_factory=Outcomes)
    follow: Callable[[Config], None] = lambda _: None  # the log's sinks
    serving: Serving = field(kw_only=True)

    def names(self, config: Config) -> tuple[str, ...]:
        """The interfaces that a configuration means, as they are named: those of the command line win."""
        return self.options.interfaces or config.interfaces

    def overlaid(self, config: Config) -> Config:
        """A configuration as it is worked by, with what operators said over it."""
        return overlaid(config, self.overrides)

    def managed(self) -> list[Link]:
        """The interfaces that Fairlead runs on."""
        return self.network.managed(self.names(self.config))

    async def watch(self) -> None:
        """Follow whatever the running configuration depends on in the kernel's network."""
        backends = {b.address for service in self.config.services for b in service.backends}
        tunnels = {(b.address, s.tunnel) for s in self.config.services if s.tunnel for b in s.backends}
        self.presence.warn("underlay", self.underlay.watch(tunnels))
        await self.network.watch(backends, [link.ifindex for link in self.managed()], self.config.vlans)

    def speak(self, config: Config) -> None:
        """Sessions with these peers, and peers may dial us if it says so; events go where it says."""
        self.speaker.configure(config.peers, config.listen)
        self.follow(config)
        self.outcomes.keep(self.reconciler.targets())

    def probed(self, key: ProbeKey, result: ProbeResult) -> None:
        """One result of one check. After silence, rather than a refusal, the backend's MAC may not be what it was."""
        self.work.probed(passed=result.passed)
        changed = self.outcomes.turned(key, passed=result.passed)
        if changed or self.log.all_probes:
            self.log(Probed(key.vip, key.backend, str(key.check), result.passed, result.took, result.says, changed))
        self.reconciler.probed(key, result)
        if not result.passed and result.took >= key.check.timeout:
            self.network.doubt(key.backend)

    async def working(self) -> WorkStatus:
        """What the daemon itself does, and takes of the machine."""
        use = await asyncio.to_thread(process.use)
        known = self.work.status(asyncio.get_running_loop().time())
        return replace(known, events=self.log.count, memory=use.memory, descriptors=use.descriptors, cpu=use.cpu)

    async def replace_programs(self) -> None:
        """New programs on the same tables and links, without a gap."""
        async with self.presence.changing:
            await asyncio.to_thread(self.kernel.replace_programs)

    def warn(self) -> None:
        """What the running configuration gives cause to warn of."""
        here = {a.ip for found in self.network.addresses().values() for a in found}
        self.presence.warn("api", warnings(self.config.api, here))
        self.presence.warn("source", elsewhere(self.source, self.options.config))
        self.presence.warn("config", [str(problem) for problem in self.config.warnings])
        self.presence.warn("limits", unmet(self.kernel.geometry, self.config.limits, self.config.timeouts))


def elsewhere(source: str, started_with: str) -> list[str]:
    """A warning if the running configuration is not the one that the next reload or start will read."""
    if os.path.realpath(source) == os.path.realpath(started_with):
        return []
    return [f"the running configuration is that of {source}: the next reload or start reads {started_with}"]
