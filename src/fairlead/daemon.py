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
import signal
import time
from typing import Any

from fairlead import preflight
from fairlead._native import maglev
from fairlead.adapters import system
from fairlead.adapters.bgp_tcp import Speaker
from fairlead.adapters.http import Handlers, Server, application
from fairlead.adapters.kernel import Kernel
from fairlead.adapters.log import Log
from fairlead.adapters.netlink import Network
from fairlead.adapters.probes import Prober
from fairlead.core import keys
from fairlead.errors import FairleadError, Refused
from fairlead.events import OperationFailed, Reloaded, ReloadRefused, Started, Stopped, Warned
from fairlead.model import Config, Geometry, Link, Status
from fairlead.preflight import Options
from fairlead.presence import Presence
from fairlead.reconcile import Reconciler

VERIFY_EVERY = 60.0  # seconds; probe plumbing is looked after at the same pace
RETRY_AFTER = 5.0  # seconds, when a program could not be attached
RESOLVE_WITHIN = 0.5  # seconds
_RELOAD = (signal.SIGHUP, signal.SIGUSR2, signal.SIGINT)
_STOP = (signal.SIGTERM, signal.SIGQUIT)


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
        self._stop = asyncio.Event()
        self._reloads = asyncio.Event()
        self._confirmed = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._why = "asked to"
        self._bug: BaseException | None = None
        self._detach_at_end = False
        self.network = Network(self._wake.set, self._plumb.set)
        self.presence = Presence(self.network, log, generic=options.generic)

    # --------------------------------------------------------------------------------------------------------------- whole life

    async def run(self) -> int:
        """Start, serve, stop. FairleadError if it could not start; nothing is left behind then."""
        self._take_signals()
        await self.network.open()
        try:
            problems = system.machine_problems(self.options.bpffs) + self.instance.claim(self.options.socket)
            await preflight.require(self.network, self.config, self._names(), self.options.bpffs, problems)
            await self._start()
            await self._serve()
        finally:
            await self.network.close()
            self.instance.release()
        if self._bug is not None:
            raise self._bug
        return 1 if self._detach_at_end else 0

    async def _start(self) -> None:
        system.raise_file_limit()
        self.instance.serve()
        self.kernel = await asyncio.to_thread(Kernel.open, self.options.bpffs, Geometry(), self.keys, self.config.probe.mark)
        fresh = not self.kernel.adopted
        try:
            await self._bring_up()
        except BaseException:
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
        told = self.speaker.announce
        self.reconciler = Reconciler(self.kernel, keys=self.keys, log=self.log, clock=time.time, maglev=maglev, announce=told)
        self.reconciler.wake = self._wake.set
        self.prober = Prober(self.reconciler.probed)
        self.reconciler.adopt()
        self.reconciler.set_config(self.config)
        await self._watch()
        if self.kernel.adopted:  # traffic flows: do not take a path away only because its neighbour is asked for the first time
            await self.network.settle(RESOLVE_WITHIN)
        self._take_facts()
        await self.reconciler.run_pass()
        if self.kernel.adopted:
            await asyncio.to_thread(self.kernel.replace_programs)
        await self.presence.attach(self.kernel, self._managed())
        await self.presence.look_after_plumbing(self.config, self._managed())
        self.prober.set(self.reconciler.targets())
        self.server = Server(self.options.socket, application(Handlers(self.status, self.log.recent, self.reload, self.confirm)))
        try:
            await self.server.start()
        except OSError as e:
            raise Refused([f"cannot listen on {self.options.socket}: {e.strerror or e}"]) from None
        self.speaker.configure(self.config.peers)
        self.presence.warn("config", [str(problem) for problem in self.config.warnings])

    async def _serve(self) -> None:
        """Everything that goes on until the daemon is told to stop."""
        jobs = (
            self._passes,
            self._collecting,
            self._upkeep,
            self._sweeping,
            self._plumbing,
            self._follow_reloads,
            self._await_confirmation,
        )
        self._wake.set()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(job()) for job in jobs]
                await self._stop.wait()
                for task in tasks:
                    task.cancel()
        finally:
            await self._wind_down()

    async def _wind_down(self) -> None:
        """Withdraw first, so that traffic is led elsewhere; then end what asks, and let go of the kernel's objects."""
        system.notify("STOPPING=1")
        await self.speaker.close(f"fairlead stopped: {self._why}")
        await self.prober.close()
        await self.server.close()
        await self._let_go()
        if self._detach_at_end:
            await self.presence.take_down(self.options.bpffs)
        else:
            self.log(Stopped(self._why))

    async def _let_go(self) -> None:
        """Close the kernel's objects, but not under a thread that still works on them: cancelling its job did not stop it."""
        await asyncio.get_running_loop().shutdown_default_executor()
        self.kernel.close()

    # -------------------------------------------------------------------------------------------------------------------- facts

    def _names(self) -> tuple[str, ...]:
        return self.options.interfaces or self.config.interfaces

    def _managed(self) -> list[Link]:
        return preflight.managed(self.network, self._names())

    async def _watch(self) -> None:
        backends = {b.address for service in self.config.services for b in service.backends}
        await self.network.watch(backends, [link.ifindex for link in self._managed()])

    def _take_facts(self) -> None:
        self.reconciler.set_links(self._managed())
        self.reconciler.set_paths(self.network.paths())

    # --------------------------------------------------------------------------------------------------------------------- jobs

    async def _passes(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if {link.ifindex for link in self._managed()} != set(self.presence.attached):
                await self._attach_again()
            self._take_facts()
            await self.reconciler.run_pass()
            self.prober.set(self.reconciler.targets())
            self._rubbish.set()

    async def _attach_again(self) -> None:
        """An interface came, went or was made anew, or is named no longer. What fails is tried again."""
        await self._watch()
        try:
            await self.presence.attach(self.kernel, self._managed())
        except FairleadError as e:
            self.log(OperationFailed("attach", str(e)))
            asyncio.get_running_loop().call_later(RETRY_AFTER, self._wake.set)

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

    async def _await_confirmation(self) -> None:
        if self.options.confirm is None:
            return
        try:
            async with asyncio.timeout(self.options.confirm):
                await self._confirmed.wait()
        except TimeoutError:
            self.log(Warned(f"no `fairlead confirm` within {self.options.confirm:g} s: detaching"))
            self._detach_at_end = True
            self._end("not confirmed")

    # ------------------------------------------------------------------------------------------------------------------ commands

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in _RELOAD:
            loop.add_signal_handler(number, self._reloads.set)
        for number in _STOP:
            loop.add_signal_handler(number, self._end, number.name)
        loop.set_exception_handler(self._surprised)

    def _surprised(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback raised. Peers that vanish are no surprise; anything else is a bug and ends the daemon."""
        error = context.get("exception")
        loop.default_exception_handler(context)
        if isinstance(error, BaseException) and not isinstance(error, OSError):
            self._bug = self._bug or error
            self._end("a bug")

    def _end(self, why: str) -> None:
        self._why = why
        self._stop.set()

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
        await preflight.require(self.network, config, self.options.interfaces or config.interfaces, self.options.bpffs, problems)
        return config

    async def _change(self, config: Config) -> None:
        before, self.config = self.config, config
        self.presence.warn("config", [str(problem) for problem in config.warnings])
        if config.probe.mark != before.probe.mark:
            self.kernel.probe_mark = config.probe.mark
            await asyncio.to_thread(self.kernel.replace_programs)
        if config.address != before.address:
            self.presence.warn("address", ["a new `address` becomes the router id with the next start"])
        self.reconciler.set_config(config)
        await self._watch()
        await self.presence.look_after_plumbing(self.config, self._managed())
        self.speaker.configure(config.peers)
        self._wake.set()

    async def confirm(self) -> str:
        """Keep what was started with `--confirm`."""
        if self.options.confirm is None or self._confirmed.is_set():
            raise Refused(["nothing waits to be confirmed"])
        self._confirmed.set()
        return "confirmed: Fairlead stays"

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
            interfaces=tuple(self.presence.attached.values()),
            vips=report.vips,
            services=report.services,
            peers=self.speaker.status(),
            verdicts={names[n]: packets for n, (packets, _) in sorted(self.kernel.verdicts().items()) if n in names},
            tables=report.tables,
            tables_hash=report.tables_hash,
            repairs=report.repairs,
            warnings=self.presence.warnings(),
        )
