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
    """Programs and plumbing on the interfaces that are named."""

    def __init__(self, network: Network, log: Callable[[Event], None], *, generic: bool) -> None:
        self.attached: dict[int, InterfaceStatus] = {}
        self._warnings: dict[str, tuple[str, ...]] = {}
        self._network = network
        self._log = log
        self._generic = generic

    def warn(self, topic: str, texts: Sequence[str]) -> None:
        """What there is to warn of on this topic now: logged when it is new, in status for as long as it stands."""
        before = self._warnings.get(topic, ())
        self._warnings[topic] = tuple(texts)
        for text in texts:
            if text not in before:
                self._log(Warned(text))

    def warnings(self) -> tuple[str, ...]:
        """Everything to warn of at this moment."""
        return tuple(text for texts in self._warnings.values() for text in texts)

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
        native = [each.name for each in self.attached.values() if self._generic and each.mode != "generic"]
        self.warn("mode", [f"{name} stays in native mode until `fairlead detach`, whatever --generic says" for name in native])

    async def look_after_plumbing(self, config: Config, links: Sequence[Link]) -> None:
        """Rule, route and neighbour for probes, on the first of our interfaces; warn of what would swallow the answers."""
        if not links:
            return
        done, failed = await plumbing.ensure(config.probe, links[0].ifindex, {vip.version for vip in config.vips()})
        for text in done:
            self._log(Operated(text, None))
        self.warn("plumbing", failed + await self._swallowed(config, links[0]))

    async def _swallowed(self, config: Config, link: Link) -> list[str]:
        """An answer comes from the VIP: a filter that asks where the VIP is routed to may drop it."""
        strictness = plumbing.reverse_path(link.name)
        found: list[str] = []
        if not strictness:
            return found
        for vip in (vip for vip in config.vips() if vip.version == 4):
            answer = await self._network.route(vip)
            if answer.error or (strictness == plumbing.STRICT and answer.ifindex != link.ifindex):
                found.append(plumbing.reverse_path_warning(vip, link.name, strictness))
        return found

    async def take_down(self, bpffs: str) -> None:
        """Leave the machine as if we had never been there. Blocks for some milliseconds: it is the last that we do."""
        for text in [*detach_all(bpffs), *await plumbing.remove()]:
            self._log(Operated(text, None))
