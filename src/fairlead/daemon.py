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
import pathlib
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from typing import Any

from fairlead import config as configuration
from fairlead._native import maglev
from fairlead.adapters import plumbing, system
from fairlead.adapters.bgp_tcp import Speaker
from fairlead.adapters.http import Handlers, Server, application
from fairlead.adapters.kernel import Kernel, detach_all
from fairlead.adapters.log import Log
from fairlead.adapters.netlink import RTN_LOCAL, Network
from fairlead.adapters.probes import Prober
from fairlead.core import keys
from fairlead.errors import FairleadError, Refused
from fairlead.events import Attached, Operated, Reloaded, ReloadRefused, Started, Stopped, Warned
from fairlead.model import Config, Geometry, InterfaceStatus, Link, ProbeKey, ProbeResult, Status
from fairlead.reconcile import Reconciler

VERIFY_EVERY = 60.0  # seconds; probe plumbing is looked after at the same pace
_RELOAD = (signal.SIGHUP, signal.SIGUSR2, signal.SIGINT)
_STOP = (signal.SIGTERM, signal.SIGQUIT)
_SOMEWHERE = (ip_address("203.0.113.1"), ip_address("2001:db8:ffff::1"))  # RFC 5737, 3849: looked up, never sent to


@dataclass(frozen=True, slots=True)
class Options:
    """The words of `fairlead run`; `confirm` in seconds."""

    config: str
    interfaces: tuple[str, ...]
    socket: str
    bpffs: str
    generic: bool
    confirm: float | None


def run_daemon(options: Options) -> int:
    """Run until told to stop; the exit code. FairleadError if it could not start, and then nothing was changed."""
    return asyncio.run(Daemon(options, Log()).run())


def load(path: str) -> Config:
    """Read and parse; ConfigError, or Refused if the file cannot be read."""
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except OSError as e:
        raise Refused([f"cannot read {path}: {e.strerror}"]) from None
    except UnicodeError:
        raise Refused([f"cannot read {path}: it is not UTF-8"]) from None
    return configuration.parse(text, path)


def secret(config: Config) -> bytes:
    """What the cluster shares; nothing where no key file is named."""
    path = config.cluster.key_file
    try:
        return pathlib.Path(path).read_bytes() if path else b""
    except OSError as e:
        raise Refused([f"cannot read the cluster's key {path}: {e.strerror}"]) from None


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
        self.config = load(options.config)
        self.keys = keys.derive(secret(self.config))
        self.instance = system.Instance()
        self.started = time.time()
        self.attached: dict[int, InterfaceStatus] = {}
        self.warnings: set[str] = set()
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

    # --------------------------------------------------------------------------------------------------------------- whole life

    async def run(self) -> int:
        """Start, serve, stop. FairleadError if it could not start; nothing is left behind then."""
        self._take_signals()
        await self.network.open()
        try:
            await self._preflight()
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
        self.kernel = await asyncio.to_thread(Kernel.open, self.options.bpffs, Geometry(), self.keys, self.config.probe.mark)
        fresh = not self.kernel.adopted
        try:
            await self._bring_up()
        except BaseException:
            await asyncio.to_thread(self.kernel.close)
            if fresh:
                await self._take_down()
            raise
        system.notify("READY=1")
        self.log(Started(system.version(), self.options.config, not fresh))

    async def _bring_up(self) -> None:
        """Tables first, then programs, then whatever makes traffic come."""
        self.prober = Prober(self._probed)
        self.speaker = Speaker(self._router_id(), self.log)
        told = self.speaker.announce
        self.reconciler = Reconciler(self.kernel, keys=self.keys, log=self.log, clock=time.time, maglev=maglev, announce=told)
        self.reconciler.wake = self._wake.set
        self.reconciler.adopt()
        self.reconciler.set_config(self.config)
        await self._watch()
        self._take_facts()
        await self.reconciler.run_pass()
        if self.kernel.adopted:
            await asyncio.to_thread(self.kernel.replace_programs)
        await self._attach()
        await self._look_after_plumbing()
        self.prober.set(self.reconciler.targets())
        self.server = Server(self.options.socket, application(self._handlers()))
        try:
            await self.server.start()
        except OSError as e:
            raise Refused([f"cannot listen on {self.options.socket}: {e.strerror}"]) from None
        self.speaker.configure(self.config.peers)
        for problem in self.config.warnings:
            self._warn(str(problem))

    async def _serve(self) -> None:
        """Everything that goes on until the daemon is told to stop."""
        jobs: tuple[Callable[[], Awaitable[None]], ...] = (
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
                tasks = [group.create_task(_as_coroutine(job)) for job in jobs]
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
        await asyncio.to_thread(self.kernel.close)
        if self._detach_at_end:
            await self._take_down()
        else:
            self.log(Stopped(self._why))

    async def _take_down(self) -> None:
        for text in [*await asyncio.to_thread(detach_all, self.options.bpffs), *await plumbing.remove()]:
            self.log(Warned(text))

    # ---------------------------------------------------------------------------------------------------------------- before it

    def _names(self) -> tuple[str, ...]:
        return self.options.interfaces or self.config.interfaces

    def _managed(self) -> list[Link]:
        """The interfaces that we run on, as far as they exist, in the order in which they are named."""
        found = (self.network.link(name) for name in self._names())
        return [link for link in found if link is not None]

    async def _preflight(self) -> None:
        """Every reason not to start, at once, and before anything is changed."""
        problems = system.machine_problems(self.options.bpffs)
        problems += self.instance.claim(self.options.socket)
        problems += system.interface_problems(self._names(), self.network.links(), self.options.bpffs)
        problems += await self._problems_of(self.config)
        if problems:
            raise Refused(problems)
        if not self.options.generic:
            await self._warn_of_carriers()

    async def _problems_of(self, config: Config) -> list[str]:
        """What of this configuration does not fit this machine."""
        managed = self._managed()
        here = {a.ip for found in self.network.addresses().values() for a in found}
        own = {a.ip for link in managed for a in self.network.addresses().get(link.ifindex, ())}
        problems = system.address_problems(config, own, here) if managed else []
        for vip in config.vips():
            answer = await self.network.route(vip)
            problem = system.vip_problem(vip, local=answer.kind == RTN_LOCAL or vip in here, error=answer.error)
            problems += [problem] if problem else []
        return problems

    async def _warn_of_carriers(self) -> None:
        """Name the interfaces whose loss would hurt, before a driver resets them."""
        default = {(await self.network.route(address)).ifindex for address in _SOMEWHERE}
        ssh = system.ssh_address()
        for link in self._managed():
            if system.our_link(self.options.bpffs, link.ifindex):
                continue
            mine = {str(a.ip) for a in self.network.addresses().get(link.ifindex, ())}
            carried = ["this ssh session"] if ssh in mine else []
            carried += ["the default route"] if link.ifindex in default else []
            if carried:
                self.log(Warned(f"{link.name} carries {' and '.join(carried)}; {system.NATIVE_ATTACH_HINT}"))

    def _router_id(self) -> IPv4Address:
        if self.config.address is not None:
            return self.config.address
        own = [a.ip for link in self._managed() for a in self.network.addresses().get(link.ifindex, ())]
        four = sorted(a for a in own if isinstance(a, IPv4Address))
        return four[0] if four else IPv4Address("127.0.0.1")

    # -------------------------------------------------------------------------------------------------------------------- facts

    def _probed(self, key: ProbeKey, result: ProbeResult) -> None:
        self.reconciler.probed(key, result)

    async def _watch(self) -> None:
        backends = {b.address for service in self.config.services for b in service.backends}
        await self.network.watch(backends, [link.ifindex for link in self._managed()])

    def _take_facts(self) -> None:
        self.reconciler.set_links(self._managed())
        self.reconciler.set_paths(self.network.paths())

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.add(text)
            self.log(Warned(text))

    # --------------------------------------------------------------------------------------------------------------------- jobs

    async def _passes(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if {link.ifindex for link in self._managed()} != set(self.attached):
                await self._watch()
                await self._attach()
            self._take_facts()
            await self.reconciler.run_pass()
            self.prober.set(self.reconciler.targets())
            self._rubbish.set()

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
            await asyncio.to_thread(self.kernel.sweep, self.reconciler.owned())

    async def _plumbing(self) -> None:
        while True:
            await self._plumb.wait()
            self._plumb.clear()
            await self._look_after_plumbing()

    async def _look_after_plumbing(self) -> None:
        """Rule, route and neighbour for probes, on the first of our interfaces; warn of what would swallow the answers."""
        link = next(iter(self._managed()), None)
        if link is None:
            return
        versions = {vip.version for vip in self.config.vips()}
        done, failed = await plumbing.ensure(self.config.probe, link.ifindex, versions)
        for text in done:
            self.log(Operated(text, None))
        for text in failed:
            self._warn(text)
        strictness = plumbing.reverse_path(link.name)
        for vip in (vip for vip in self.config.vips() if vip.version == 4 and strictness):
            answer = await self.network.route(vip)
            if answer.error or (strictness == 1 and answer.ifindex != link.ifindex):
                self._warn(plumbing.reverse_path_warning(vip, link.name, strictness))

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

    # ----------------------------------------------------------------------------------------------------------------- programs

    async def _attach(self) -> None:
        """Our programs on each of our interfaces; an interface that went is forgotten, and so is one that is no longer ours."""
        wanted = {link.ifindex: link for link in self._managed()}
        for index in set(self.attached) - set(wanted):
            del self.attached[index]
            await asyncio.to_thread(self.kernel.detach, index)
        for index in [index for index in wanted if index not in self.attached]:
            link = wanted[index]
            mode, replaced = await asyncio.to_thread(self._attach_one, link)
            self.attached[index] = InterfaceStatus(link.name, mode)
            self.log(Attached(link.name, mode, replaced))

    def _attach_one(self, link: Link) -> tuple[str, bool]:
        attach: Callable[..., tuple[str, bool]] = self.kernel.attach
        return attach(link, generic=True) if self.options.generic else attach(link)

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
        config = load(self.options.config)
        names = self.options.interfaces or config.interfaces
        problems = system.interface_problems(names, self.network.links(), self.options.bpffs) + await self._problems_of(config)
        if keys.derive(secret(config)) != self.keys:
            problems.append("the cluster's key cannot change while flows hang on it: `fairlead detach`, then start again")
        if problems:
            raise Refused(problems)
        return config

    async def _change(self, config: Config) -> None:
        before, self.config = self.config, config
        self.warnings.clear()
        for problem in config.warnings:
            self._warn(str(problem))
        if config.probe.mark != before.probe.mark:
            self.kernel.probe_mark = config.probe.mark
            await asyncio.to_thread(self.kernel.replace_programs)
        if config.address != before.address:
            self._warn("a new `address` becomes the router id with the next start")
        self.reconciler.set_config(config)
        await self._watch()
        await self._look_after_plumbing()
        self.speaker.configure(config.peers)
        self._wake.set()

    async def confirm(self) -> str:
        """Keep what was started with `--confirm`."""
        if self.options.confirm is None or self._confirmed.is_set():
            raise Refused(["nothing waits to be confirmed"])
        self._confirmed.set()
        return "confirmed: Fairlead stays"

    # -------------------------------------------------------------------------------------------------------------------- status

    def _handlers(self) -> Handlers:
        async def reload() -> str:
            return await self.reload()

        return Handlers(self.status, self.log.recent, reload, self.confirm)

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
            interfaces=tuple(self.attached.values()),
            vips=report.vips,
            services=report.services,
            peers=self.speaker.status(),
            verdicts={names[n]: packets for n, (packets, _) in sorted(self.kernel.verdicts().items()) if n in names},
            tables=report.tables,
            tables_hash=report.tables_hash,
            repairs=report.repairs,
            warnings=tuple(sorted(self.warnings)),
        )


async def _as_coroutine(job: Callable[[], Awaitable[None]]) -> None:
    await job()
