"""What Fairlead is on this machine's interfaces: programs attached, and the plumbing that probes need; kept as wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from fairlead.adapters import plumbing
from fairlead.adapters.kernel import Kernel, detach_all
from fairlead.adapters.netlink import Network
from fairlead.events import Attached, Event, Operated, Warned
from fairlead.model import Config, InterfaceStatus, Link


class Presence:
    """Programs and plumbing on the interfaces that are named; `warnings` are sentences that stand until the next reload."""

    def __init__(self, network: Network, log: Callable[[Event], None], *, generic: bool) -> None:
        self.attached: dict[int, InterfaceStatus] = {}
        self.warnings: dict[str, None] = {}  # as a set that keeps its order
        self._network = network
        self._log = log
        self._generic = generic

    def warn(self, text: str) -> None:
        """Say it once, and show it in status from then on."""
        if text not in self.warnings:
            self.warnings[text] = None
            self._log(Warned(text))

    async def attach(self, kernel: Kernel, links: Sequence[Link]) -> None:
        """Our programs on exactly these interfaces; one that went, or is not ours any more, is let go. FairleadError."""
        wanted = {link.ifindex: link for link in links}
        for index in set(self.attached) - set(wanted):
            del self.attached[index]
            await asyncio.to_thread(kernel.detach, index)
        for index in [index for index in wanted if index not in self.attached]:
            link = wanted[index]
            mode, replaced = await asyncio.to_thread(kernel.attach, link, generic=self._generic)
            self.attached[index] = InterfaceStatus(link.name, mode)
            self._log(Attached(link.name, mode, replaced))

    async def look_after_plumbing(self, config: Config, links: Sequence[Link]) -> None:
        """Rule, route and neighbour for probes, on the first of our interfaces; warn of what would swallow the answers."""
        if not links:
            return
        done, failed = await plumbing.ensure(config.probe, links[0].ifindex, {vip.version for vip in config.vips()})
        for text in done:
            self._log(Operated(text, None))
        for text in failed:
            self.warn(text)
        await self._check_reverse_path(config, links[0])

    async def _check_reverse_path(self, config: Config, link: Link) -> None:
        """An answer comes from the VIP: a filter that asks where the VIP is routed to may drop it."""
        strictness = plumbing.reverse_path(link.name)
        if not strictness:
            return
        for vip in (vip for vip in config.vips() if vip.version == 4):
            answer = await self._network.route(vip)
            if answer.error or (strictness == plumbing.STRICT and answer.ifindex != link.ifindex):
                self.warn(plumbing.reverse_path_warning(vip, link.name, strictness))

    async def take_down(self, bpffs: str) -> None:
        """Leave the machine as if we had never been there. Blocks for some milliseconds: it is the last that we do."""
        for text in [*detach_all(bpffs), *await plumbing.remove()]:
            self._log(Operated(text, None))
