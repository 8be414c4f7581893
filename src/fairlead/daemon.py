"""The composition root: the only file that knows everyone. Facts in, one pass at a time, results out.

    netlink ──┐                              ┌── kernel   (tables, programs)
    probes  ──┼─ facts ─> wake ─> one pass ──┼── probes   (whom to ask)
    config  ──┘                              └── BGP      (what to announce)

Wake-ups carry no data and may merge; a pass always starts from the facts as they are. Work that blocks (loading programs, grace
periods) runs in threads, all else in the one event loop. A bug ends the process, and the pinned data plane forwards on.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

from fairlead import preflight
from fairlead._native import maglev, rendezvous
from fairlead.adapters import system
from fairlead.adapters.bgp_tcp import Speaker
from fairlead.adapters.http import Handlers, Server, application
from fairlead.adapters.kept import KeptTotals
from fairlead.adapters.kernel import Kernel
from fairlead.adapters.log import Log
from fairlead.adapters.netlink import Network
from fairlead.adapters.offloads import Offloads
from fairlead.adapters.probes import Prober
from fairlead.adapters.underlay import Underlay
from fairlead.core import keys
from fairlead.core.geometry import geometry_for, unmet
from fairlead.ending import Ending
from fairlead.errors import FairleadError, Refused
from fairlead.events import OperationFailed, Reloaded, ReloadRefused, Started, Stopped, Warned
from fairlead.model import Config, Link, Status, VerdictStatus
from fairlead.preflight import Options
from fairlead.presence import Presence
from fairlead.reconcile import Reconciler

VERIFY_EVERY = 60.0  # seconds; probe plumbing is looked after at the same pace
LOOK_EVERY = 0.5  # seconds between two looks whether our programs are still on the interfaces; link events bring more
RESOLVE_WITHIN = 0.5  # seconds


def run_daemon(options: Options) -> int:
    """Run until told to stop; the exit code. FairleadError if it could not start, and then nothing was changed."""
    return asyncio.run(Daemon(options, Log()).run())


class Daemon:
    """One run of Fairlead on one machine."""

    kernel: Kernel
    reconciler: Reconciler
    prober: Prober
    speaker: Speaker
    server: Server

    def __init__(self, options: Options, log: Log) -> None:
        self.options = options
        self.log = log
        self.config = preflight.load(options.config)
        self.keys = keys.derive(preflight.secret(self.config))
        self.instance = system.Instance()
        self.started = time.time()
        self._wake = asyncio.Event()
        self._plumb = asyncio.Event()
        self._rubbish = asyncio.Event()
        self._links = asyncio.Event()
        self._reloads = asyncio.Event()
        self._reloading = asyncio.Lock()
        self.ending = Ending(log, options.confirm)
        self.network = Network(self._network_changed, self._plumb.set)
        self.totals = KeptTotals(options.state, options.bpffs)
        self.presence = Presence(self.network, log, Offloads(options.state), generic=options.generic)
        self.underlay = Underlay(log)

    # --------------------------------------------------------------------------------------------------------------- whole life

    async def run(self) -> int:
        """Start, serve, stop. FairleadError if it could not start; nothing is left behind then."""
        self.ending.take_signals(self._reloads.set)
        await self.network.open()
        try:
            problems = system.machine_problems(self.options.bpffs) + self.instance.claim(self.options.socket)
            await preflight.require(self.network, self.config, self._names(), self.options.bpffs, problems)
            await self._start()
            await self._serve()
        finally:
            await self.network.close()
            self.instance.release()
        if self.ending.bug is not None:
            raise self.ending.bug
        return 1 if self.ending.detach else 0

    async def _start(self) -> None:
        system.raise_file_limit()
        self.instance.serve()
        geometry = geometry_for(self.config.limits, self.config.timeouts)
        self.kernel = await asyncio.to_thread(Kernel.open, self.options.bpffs, geometry, self.keys, self.config.probe.mark)
        fresh = not self.kernel.adopted
        try:
            preflight.require_fitting(self.kernel.geometry, self.config)
            await self._bring_up()
        except BaseException:
            self.underlay.close()
            await self._let_go()
            if fresh:
                await self.presence.take_down(self.options.bpffs)
            raise
        system.notify("READY=1")
        self.log(Started(system.version(), self.options.config, not fresh))

    async def _bring_up(self) -> None:
        """Tables first, then programs, then whatever makes traffic come."""
        if not self.options.generic:
            for text in await preflight.carriers(self.network, self._managed(), self.options.bpffs):
                self.log(Warned(text))
        self.speaker = Speaker(preflight.router_id(self.network, self.config, self._managed()), self.log)
        told, keep, keys = self.speaker.announce, self.totals.save, self.keys
        self.reconciler = Reconciler(
            self.kernel, keys=keys, log=self.log, clock=time.time, maglev=maglev, rendezvous=rendezvous, announce=told, keep=keep
        )
        self.reconciler.wake = self._wake.set
        self.prober = Prober(self.reconciler.probed)
        self.reconciler.adopt(self.totals.load(adopted=self.kernel.adopted))
        self.reconciler.set_config(self.config)
        await self._watch()
        if self.kernel.adopted:  # traffic flows: do not take a path away only because its neighbour is asked for the first time
            await self.network.settle(RESOLVE_WITHIN)
        self._take_facts()
        await self.reconciler.run_pass()
        if self.kernel.adopted:
            await self._replace_programs()
        await self.presence.attach(self.kernel, self._managed(), self.config.attach_delay)
        await self.presence.look_after_plumbing(self.config, self._managed())
        self.prober.set(self.reconciler.targets())
        handlers = Handlers(self.status, self.log.recent, self.reload, self.ending.confirm, self.reattach)
        self.server = Server(self.options.socket, application(handlers))
        try:
            await self.server.start()
        except OSError as e:
            raise Refused([f"cannot listen on {self.options.socket}: {e.strerror or e}"]) from None
        self.speaker.configure(self.config.peers)
        self._warn()

    async def _serve(self) -> None:
        """Everything that goes on until the daemon is told to stop."""
        jobs = (
            self._passes,
            self._following,
            self._collecting,
            self._upkeep,
            self._sweeping,
            self._plumbing,
            self._follow_reloads,
            self.ending.await_confirmation,
        )
        self._wake.set()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(job()) for job in jobs]
                await self.ending.asked.wait()
                for task in tasks:
                    task.cancel()
        finally:
            await self._wind_down()

    async def _wind_down(self) -> None:
        """Withdraw first, so that traffic is led elsewhere; then end what asks, and let go of the kernel's objects."""
        system.notify("STOPPING=1")
        await self.speaker.close(f"fairlead stopped: {self.ending.why}")
        self.underlay.close()
        await self.prober.close()
        await self.server.close()
        await self._let_go()
        if self.ending.detach:
            await self.presence.take_down(self.options.bpffs)
            self.totals.remove()
        else:
            self.log(Stopped(self.ending.why))

    async def _let_go(self) -> None:
        """Close the kernel's objects, but not under a thread that still works on them: cancelling its job did not stop it."""
        await asyncio.get_running_loop().shutdown_default_executor()
        self.kernel.close()

    # -------------------------------------------------------------------------------------------------------------------- facts

    def _names(self) -> tuple[str, ...]:
        return self.options.interfaces or self.config.interfaces

    def _managed(self) -> list[Link]:
        return self.network.managed(self._names())

    def _network_changed(self) -> None:
        self._wake.set()
        self._links.set()

    async def _watch(self) -> None:
        backends = {b.address for service in self.config.services for b in service.backends}
        tunnels = {(b.address, s.tunnel) for s in self.config.services if s.tunnel for b in s.backends}
        self.presence.warn("underlay", self.underlay.watch(tunnels))
        await self.network.watch(backends, [link.ifindex for link in self._managed()], self.config.vlans)

    def _take_facts(self) -> None:
        self.reconciler.set_links(self._managed())
        self.reconciler.set_paths(self.network.paths())

    # --------------------------------------------------------------------------------------------------------------------- jobs

    async def _passes(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._take_facts()
            await self.reconciler.run_pass()
            self.prober.set(self.reconciler.targets())
            self._rubbish.set()

    async def _following(self) -> None:
        """An interface came, went, was made anew, joined or left a bond, is named no longer, or lost its program."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    await self._links.wait()
            self._links.clear()
            try:
                complete = await self.presence.complete(self.kernel, self._managed())
            except FairleadError:  # a link that goes while we look
                complete = False
            if not complete:
                await self._watch()
                await self.presence.follow(self.kernel, self._managed(), self.config.attach_delay)
                self._wake.set()

    async def _collecting(self) -> None:
        """Free what passes have unpointed; grace periods are long, so passes go on meanwhile."""
        while True:
            await self._rubbish.wait()
            self._rubbish.clear()
            await self.reconciler.collect()

    async def _upkeep(self) -> None:
        while True:
            await asyncio.sleep(VERIFY_EVERY)
            await self.reconciler.verify()
            self._plumb.set()

    async def _sweeping(self) -> None:
        """Clear expired flows each quarter of the time in which a fine tick comes round again."""
        geometry = self.kernel.geometry
        while True:
            await asyncio.sleep((64 << geometry.fine_shift) / geometry.hz)
            try:
                await asyncio.to_thread(self.kernel.sweep, self.reconciler.owned())
            except FairleadError as e:
                self.log(OperationFailed("clear expired flows", str(e)))

    async def _plumbing(self) -> None:
        while True:
            await self._plumb.wait()
            self._plumb.clear()
            await self.presence.look_after_plumbing(self.config, self._managed())

    async def _follow_reloads(self) -> None:
        while True:
            await self._reloads.wait()
            self._reloads.clear()
            with contextlib.suppress(FairleadError):  # it is in the log
                await self.reload()

    # ------------------------------------------------------------------------------------------------------------------ commands

    async def reload(self) -> str:
        """Read the configuration again and work by it; on any problem the running one stays, and the error says why."""
        async with self._reloading:
            try:
                config = await self._usable()
            except FairleadError as e:
                self.log(ReloadRefused(self.options.config, str(e)))
                raise
            changed = config != self.config
            if changed:
                await self._change(config)
            event = Reloaded(self.options.config, changed)
            self.log(event)
            return str(event)

    async def _usable(self) -> Config:
        config = preflight.load(self.options.config)
        other = keys.derive(preflight.secret(config)) != self.keys
        problems = [preflight.OTHER_KEY] if other else []
        problems += preflight.geometry_problems(self.kernel.geometry, config)
        await self.network.read_links()
        await preflight.require(self.network, config, self.options.interfaces or config.interfaces, self.options.bpffs, problems)
        return config

    async def _change(self, config: Config) -> None:
        before, self.config = self.config, config
        self._warn()
        if config.probe.mark != before.probe.mark:
            self.kernel.probe_mark = config.probe.mark
            await self._replace_programs()
        if config.address != before.address:
            self.presence.warn("address", ["a new `address` becomes the router id with the next start"])
        self.reconciler.set_config(config)
        await self._watch()
        await self.presence.look_after_plumbing(self.config, self._managed())
        self.speaker.configure(config.peers)
        self._network_changed()

    async def _replace_programs(self) -> None:
        async with self.presence.changing:
            await asyncio.to_thread(self.kernel.replace_programs)

    def _warn(self) -> None:
        self.presence.warn("config", [str(problem) for problem in self.config.warnings])
        self.presence.warn("limits", unmet(self.kernel.geometry, self.config.limits, self.config.timeouts))

    async def reattach(self, name: str) -> str:
        """Put the programs on one of our interfaces anew, or on all members of a bond."""
        return await self.presence.reattach(self.kernel, name, self._managed(), self.config.attach_delay)

    # -------------------------------------------------------------------------------------------------------------------- status

    async def status(self) -> Status:
        """All that is known now."""
        flows = await asyncio.to_thread(self.kernel.flow_counts)
        report = self.reconciler.status(self.kernel.counters, flows)
        names = self.kernel.layout.verdict_names()
        return Status(
            version=system.version(),
            started=self.started,
            config=self.options.config,
            key_fingerprint=keys.printed(self.keys.fingerprint),
            interfaces=self.presence.interfaces(),
            vips=report.vips,
            services=report.services,
            peers=self.speaker.status(),
            verdicts={names[n]: VerdictStatus(*v) for n, v in sorted(self.kernel.verdicts().items()) if n in names},
            tables=report.tables,
            tables_hash=report.tables_hash,
            repairs=report.repairs,
            warnings=self.presence.warnings(),
            tunnels=self.underlay.status(),
            limits=report.limits,
            memory=sum(table.bytes for table in report.tables),
        )
