"""What an operator may ask of a daemon that runs: one method each. Errors are FairleadError, and then nothing was changed."""

from __future__ import annotations

import asyncio

from fairlead import preflight, succession
from fairlead._native import layout_hash
from fairlead.adapters import system
from fairlead.core import keys
from fairlead.errors import FairleadError, Refused
from fairlead.events import Reloaded, ReloadRefused
from fairlead.model import Config, Status
from fairlead.parts import Parts


class Commands:
    """Commands on the parts of one run; they are served by the API, and reload by SIGHUP too."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._reloading = asyncio.Lock()

    # -------------------------------------------------------------------------------------------------------------- configuration

    async def reload(self) -> str:
        """Read the configuration again and work by it; on any problem the running one stays, and the error says why."""
        parts = self._parts
        async with self._reloading:
            system.notify(system.reloading())
            try:
                config = await self._usable()
                changed = config != parts.config
                if changed:
                    await self._change(config)
            except FairleadError as e:
                parts.log(ReloadRefused(parts.options.config, str(e)))
                raise
            finally:
                system.notify("READY=1")
            event = Reloaded(parts.options.config, changed)
            parts.log(event)
            return str(event)

    async def restart(self) -> str:
        """Hand over to what is installed now, in this process: it adopts all that there is. Refused if it could not."""
        async with self._reloading:
            await self._usable()
            version = await succession.trial(layout_hash())
            self._parts.ending.hand_over()
            return f"fairlead {system.version()} hands over to fairlead {version}"

    async def _usable(self) -> Config:
        parts = self._parts
        config = preflight.load(parts.options.config)
        other = keys.derive(preflight.secret(config)) != parts.keys
        problems = [preflight.OTHER_KEY] if other else []
        problems += preflight.geometry_problems(parts.kernel.geometry, config)
        await parts.network.read_links()
        names = parts.options.interfaces or config.interfaces
        await preflight.require(parts.network, config, names, parts.options.bpffs, problems)
        return config

    async def _change(self, config: Config) -> None:
        parts = self._parts
        before, parts.config = parts.config, config
        parts.warn()
        if config.probe.mark != before.probe.mark:
            parts.kernel.probe_mark = config.probe.mark
            await parts.replace_programs()
        if config.address != before.address:
            parts.presence.warn("address", ["a new `address` becomes the router id with the next start"])
        parts.reconciler.set_config(config)
        await parts.watch()
        await parts.presence.look_after_plumbing(config, parts.managed())
        parts.speaker.configure(config.peers)
        parts.changed()

    # ----------------------------------------------------------------------------------------------------------------- interfaces

    async def reattach(self, name: str) -> str:
        """Put the programs on one of our interfaces anew, or on all members of a bond."""
        parts = self._parts
        ours = parts.managed()
        chosen = [link for link in ours if link.name == name or link in parts.network.managed([name])]
        if not chosen:
            there = ", ".join(link.name for link in ours) or "none"
            raise Refused([f"{name} is not an interface that Fairlead runs on; those are: {there}"])
        return await parts.presence.reattach(parts.kernel, chosen, parts.config.attach_delay)

    # --------------------------------------------------------------------------------------------------------------------- status

    async def status(self) -> Status:
        """All that is known now."""
        parts = self._parts
        flows = await asyncio.to_thread(parts.kernel.flow_counts)
        report = parts.reconciler.status(parts.kernel.counters, flows)
        names = parts.kernel.layout.verdict_names()
        return Status(
            version=system.version(),
            started=parts.started,
            config=parts.options.config,
            key_fingerprint=keys.printed(parts.keys.fingerprint),
            interfaces=parts.presence.interfaces(),
            vips=report.vips,
            services=report.services,
            peers=parts.speaker.status(),
            verdicts={names[n]: packets for n, (packets, _) in sorted(parts.kernel.verdicts().items()) if n in names},
            tables=report.tables,
            tables_hash=report.tables_hash,
            repairs=report.repairs,
            warnings=parts.presence.warnings(),
            tunnels=parts.underlay.status(),
        )
