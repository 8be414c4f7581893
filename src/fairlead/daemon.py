"""The composition root: the only file that knows everyone. Facts in, one pass at a time, results out.

    netlink ──┐                              ┌── kernel   (tables, programs)
    probes  ──┼─ facts ─> wake ─> one pass ──┼── probes   (whom to ask)
    config  ──┘                              └── BGP      (what to announce)

Wake-ups carry no data and may merge; a pass always starts from the facts as they are. Work that blocks (loading programs, grace
periods) runs in threads, all else in the one event loop. A bug ends the process, and the pinned data plane forwards on.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import replace
from ipaddress import IPv4Address, ip_address

from fairlead import preflight, succession
from fairlead._native import maglev, rendezvous
from fairlead.adapters import system
from fairlead.adapters.bgp_tcp import Speaker
from fairlead.adapters.http import Handlers, Kept
from fairlead.adapters.kept import KeptTotals
from fairlead.adapters.kernel import Kernel
from fairlead.adapters.log import Log
from fairlead.adapters.netlink import Network
from fairlead.adapters.offloads import Offloads
from fairlead.adapters.overrides import Overrides
from fairlead.adapters.probes import Prober
from fairlead.adapters.underlay import Underlay
from fairlead.commands import Commands
from fairlead.commands.leaving import remembered
from fairlead.core import keys
from fairlead.core.geometry import geometry_for
from fairlead.ending import Ending
from fairlead.errors import Refused
from fairlead.events import HandedOver, Started, Stopped, Warned
from fairlead.jobs import Jobs, Wakes
from fairlead.parts import Parts
from fairlead.preflight import Options
from fairlead.presence import Presence
from fairlead.pulse import Pulse
from fairlead.rehearse import Rehearsing
from fairlead.speaking.serving import Serving
from fairlead.speaking.sinks import Sinks
from fairlead.succession import Legacy

RESOLVE_WITHIN = 0.5  # seconds
LAST_WORDS = 1.0  # seconds for the log to leave, at the end; what a cluster has not taken by then waits on disk


def run_daemon(options: Options) -> int:
    """Run until told to stop; the exit code. FairleadError if it could not start, and then nothing was changed."""
    legacy = succession.inherit()
    if legacy is not None:  # who was confirmed before is confirmed
        options = replace(options, confirm=None)
    daemon = Daemon(options, Log(), legacy)
    code = asyncio.run(daemon.run())
    if daemon.will is not None:
        try:
            succession.bequeath(daemon.will)
        except OSError as e:
            raise Refused([f"cannot restart, {sys.executable}: {e.strerror}; the data plane forwards on"]) from None
    return code


class Daemon:
    """One run of Fairlead on one machine."""

    kernel: Kernel
    reconciler: Rehearsing
    prober: Prober
    speaker: Speaker
    parts: Parts
    commands: Commands
    jobs: Jobs

    def __init__(self, options: Options, log: Log, legacy: Legacy | None = None) -> None:
        self.options = options
        self.log = log
        self.legacy = legacy or Legacy()
        self.will: Legacy | None = None
        self.config = preflight.load(options.config)  # to start with; what runs is in parts
        self.keys = keys.derive(preflight.secret(self.config))
        self.instance = system.Instance()
        self.started = time.time()
        self.wakes = Wakes()
        self.sinks = Sinks(log, options.state)
        self.ending = Ending(log, options.confirm)
        self.network = Network(self.wakes.network, self.wakes.plumb.set, log)
        self.totals = KeptTotals(options.state, options.bpffs)
        self.presence = Presence(self.network, log, Offloads(options.state), generic=options.generic)
        self.underlay = Underlay(log)
        self.pulse = Pulse(self.wakes.facts.set, lambda: self.reconciler.breathed, system.notify)
        self.store = Overrides(options.state)
        self.serving = Serving(options.socket, log, time.monotonic)

    # --------------------------------------------------------------------------------------------------------------- whole life

    async def run(self) -> int:
        """Start, serve, stop. FairleadError if it could not start; nothing is left behind then."""
        self.sinks.follow(self.config)
        self.ending.take_signals(self.wakes.reloads.set)
        succession.release_signals()
        await self.network.open()
        try:
            problems = self.instance.claim(self.options.socket, self.legacy.name)
            for text in await preflight.admit(self.network, self.config, self.options, problems):
                self.log(Warned(text))
            await self._start()
            await self._serve()
        finally:
            await self.network.close()
            self.instance.release()
            await self.sinks.close(LAST_WORDS)
        if self.ending.bug is not None:
            raise self.ending.bug
        return 1 if self.ending.detach else 0

    async def _start(self) -> None:
        system.raise_file_limit()
        self.instance.serve()
        geometry = geometry_for(self.config.limits, self.config.timeouts)
        mark, lock = self.config.probe.mark, self.legacy.lock
        self.kernel = await asyncio.to_thread(Kernel.open, self.options.bpffs, geometry, self.keys, mark, lock)
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
        managed = self.network.managed(self.options.interfaces or self.config.interfaces)
        if not self.options.generic:
            for text in await preflight.carriers(self.network, managed, self.options.bpffs):
                self.log(Warned(text))
        router_id, inherited = preflight.router_id(self.network, self.config, managed), self.legacy.sessions
        self.speaker = Speaker(router_id, self.log, inherited=inherited, restarted=self.kernel.adopted)
        told, keep, clocks = self.speaker.announce, self.totals.save, {"clock": time.time, "steady": time.monotonic}
        self.reconciler = Rehearsing(
            self.kernel, keys=self.keys, log=self.log, **clocks, maglev=maglev, rendezvous=rendezvous, announce=told, keep=keep
        )
        self.reconciler.wake = self.wakes.facts.set
        self.parts = self._parts(router_id)
        self.commands = Commands(self.parts)
        self.prober = Prober(self.parts.probed)
        self.jobs = Jobs(self.parts, self.commands, self.prober, self.pulse, self.wakes)
        kept = self.totals.load(adopted=self.kernel.adopted)
        self.reconciler.adopt({ip_address(vip) for vip in self.legacy.announced}, kept)
        self.reconciler.set_config(self.parts.overlaid(self.config))
        self.commands.leaving.resume()
        await self.parts.watch()
        if self.kernel.adopted:  # traffic flows: do not take a path away only because its neighbour is asked for the first time
            await self.network.settle(RESOLVE_WITHIN)
        self.jobs.take_facts()
        await self.reconciler.run_pass()
        await self.commands.blocking.start()
        if self.kernel.outdated():  # adopted, or made before it was known what to ask of a packet's source
            await self.parts.replace_programs()
        await self.presence.attach(self.kernel, self.parts.managed(), self.config.attach_delay)
        await self.presence.look_after_plumbing(self.config, self.parts.managed())
        self.prober.set(self.reconciler.targets())
        of = self.commands
        reload, confirm = of.changes.reload, self.ending.confirm
        handlers = Handlers(of.status, self.log.recent, reload, confirm, of.reattach, of.restart, of.calls(), system.version())
        await self.serving.start(handlers, Kept(self.legacy.api, self.legacy.listening), self.config.api)
        self.parts.speak(self.config)
        self.parts.warn()

    def _parts(self, router_id: IPv4Address) -> Parts:
        return Parts(
            self.options,
            self.log,
            self.config,
            self.keys,
            self.started,
            self.kernel,
            self.reconciler,
            self.network,
            self.presence,
            self.underlay,
            self.speaker,
            router_id,
            self.wakes.network,
            self.ending,
            self.options.config,
            self.store,
            *remembered(self.store, self.presence),
            follow=self.sinks.follow,
            serving=self.serving,
        )

    async def _serve(self) -> None:
        """Everything that goes on until the daemon is told to stop."""
        jobs = (*self.jobs.all(), self.ending.await_confirmation)
        self.wakes.facts.set()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(job()) for job in jobs]
                await self.ending.asked.wait()
                await self.commands.leaving.farewell()
                for task in tasks:
                    task.cancel()
        finally:
            await self._wind_down()

    async def _wind_down(self) -> None:
        """Withdraw first, so that traffic is led elsewhere; then end what asks, and let go of the kernel's objects."""
        if self.ending.succeed:
            await self._hand_over()
            return
        system.notify("STOPPING=1")
        await self.speaker.close(f"fairlead stopped: {self.ending.why}")
        self.underlay.close()
        await self.prober.close()
        if not self.ending.detach:
            self.log(Stopped(self.ending.why))
        self.log.end()
        await self.commands.streaming.close()
        await self.serving.close()
        await self._let_go()
        if self.ending.detach:
            await self.presence.take_down(self.options.bpffs)
            self.totals.remove()

    async def _hand_over(self) -> None:
        """End all that is ours alone; what others hold on to goes to the successor as it is."""
        system.notify(system.reloading() + "\nWATCHDOG=1")
        self.log(HandedOver())
        succession.hold_signals()
        self.underlay.close()
        await self.prober.close()
        sessions = await self.speaker.hand_over()
        self.log.end()
        await self.commands.streaming.close()
        kept = await self.serving.keep()
        await self.serving.close()
        lock, name = self.kernel.keep_lock(), self.instance.keep()
        await self._let_go()
        announced = tuple(str(route.prefix.network_address) for route in self.reconciler.routes())
        numbers = (kept.api, *(number for _, _, number in kept.listening), *(session["descriptor"] for session in sessions))
        self.will = Legacy(lock, name, kept.api, announced, tuple(sessions), (lock, name, *numbers), kept.listening)

    async def _let_go(self) -> None:
        """Close the kernel's objects, but not under a thread that still works on them: cancelling its job did not stop it."""
        await asyncio.get_running_loop().shutdown_default_executor()
        self.kernel.close()
