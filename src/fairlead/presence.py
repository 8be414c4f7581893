"""What Fairlead is on this machine's interfaces: programs attached, and the plumbing that probes need; kept as wanted.

A NIC that vanished and returned, that joined a bond, or whose program was taken off by somebody or lost in a driver's reset gets
it again: `complete` compares what the kernel says of our links with what is wanted, on each link event and twice a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from fairlead import doctor
from fairlead.adapters import plumbing
from fairlead.adapters.kernel import Kernel, detach_all
from fairlead.adapters.netlink import Network
from fairlead.adapters.offloads import Offloads
from fairlead.errors import FairleadError, KernelError, Refused
from fairlead.events import Attached, Event, Operated, OperationFailed, ProgramLost, Warned
from fairlead.model import Address, Config, InterfaceStatus, Link
from fairlead.model.machine import Level


class Presence:
    """Programs and plumbing on the interfaces that are named.

    `changing` is held while programs or links change; who replaces programs holds it too.
    """

    def __init__(self, network: Network, log: Callable[[Event], None], offloads: Offloads, *, generic: bool) -> None:
        self.attached: dict[int, InterfaceStatus] = {}
        self.changing = asyncio.Lock()
        self._warnings: dict[str, tuple[str, ...]] = {}
        self._network = network
        self._log = log
        self._offloads = offloads
        self._generic = generic
        self._failed = ""

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

    def interfaces(self) -> tuple[InterfaceStatus, ...]:
        """What is attached, and how each stands to its bond now."""
        links = {link.ifindex: link for link in self._network.links()}
        return tuple(self._standing(status, links.get(index)) for index, status in self.attached.items())

    def _standing(self, status: InterfaceStatus, link: Link | None) -> InterfaceStatus:
        if link is None or not link.bond:
            return status
        return replace(status, bond=self._network.name(link.bond), active=link.active)

    # ----------------------------------------------------------------------------------------------------------------- programs

    async def complete(self, kernel: Kernel, links: Sequence[Link]) -> bool:
        """Whether our programs are on exactly these interfaces. Those that lost them are forgotten, and `attach` sees to it."""
        async with self.changing:
            lost = kernel.lost()
            self.warn("pins", [lost] if lost else [])
            if lost:  # they cannot be asked, nor made anew; what they hold works on
                return True
            held = {index for index, _, mode in await asyncio.to_thread(kernel.attached) if mode}
            for index in set(self.attached) - held:
                self._log(ProgramLost(self.attached.pop(index).name))
        return {link.ifindex for link in links} == set(self.attached)

    async def attach(self, kernel: Kernel, links: Sequence[Link], delay: float = 0.0) -> None:
        """Our programs on exactly these interfaces, `delay` seconds between two. FairleadError.

        An interface that went, or is not ours any more, is let go.
        """
        async with self.changing:
            wanted = {link.ifindex: link for link in links}
            held = {index for index, _, _ in await asyncio.to_thread(kernel.attached)}  # perhaps by a run before this one
            for index in (held | set(self.attached)) - set(wanted):
                self.attached.pop(index, None)
                await asyncio.to_thread(kernel.detach, index)
                if self._network.name(index):
                    self._put_back(self._network.name(index))
            missing = [link for index, link in wanted.items() if index not in self.attached]
            for number, link in enumerate(missing):
                await asyncio.sleep(delay if number else 0)
                await self._attach(kernel, link)
        native = [each.name for each in self.attached.values() if self._generic and each.mode != "generic"]
        self.warn("mode", [f"{name} stays in native mode until `fairlead detach`, whatever --generic says" for name in native])

    async def follow(self, kernel: Kernel, links: Sequence[Link], delay: float) -> None:
        """The same for a daemon that runs: what fails is logged once, and tried again by the next call."""
        try:
            await self.attach(kernel, links, delay)
        except FairleadError as e:
            if str(e) != self._failed:
                self._log(OperationFailed("attach", str(e)))
            self._failed = str(e)
        else:
            self._failed = ""

    async def reattach(self, kernel: Kernel, name: str, ours: Sequence[Link], delay: float) -> str:
        """Take the programs off one of our interfaces, or all members of a bond, and put them on anew. FairleadError."""
        links = [link for link in ours if link.name == name or link in self._network.managed([name])]
        if not links:
            there = ", ".join(link.name for link in ours) or "none"
            raise Refused([f"{name} is not an interface that Fairlead runs on; those are: {there}"])
        done = []
        async with self.changing:
            for number, link in enumerate(links):
                await asyncio.sleep(delay if number else 0)
                self.attached.pop(link.ifindex, None)
                await asyncio.to_thread(kernel.detach, link.ifindex)
                await self._attach(kernel, link)
                done.append(f"attached to {link.name} anew in {self.attached[link.ifindex].mode} mode")
        return "\n".join(done)

    async def _attach(self, kernel: Kernel, link: Link) -> None:
        await self._prepare(link.name)
        mode, replaced = await asyncio.to_thread(kernel.attach, link, generic=self._generic)
        self.attached[link.ifindex] = InterfaceStatus(link.name, mode)
        self._log(Attached(link.name, mode, replaced))

    async def _prepare(self, name: str) -> None:
        """Offloads that break XDP go first; one that cannot be switched off is warned of, and the driver may refuse XDP then."""
        try:
            prepared = await asyncio.to_thread(self._offloads.prepare, name)
        except KernelError as e:
            self.warn(f"offloads {name}", [f"the offloads of {name} are left as they are: {e}"])
            return
        for each in prepared.off:
            self._log(Operated(f"switched {each} of {name} off", None))
        self.warn(f"offloads {name}", prepared.problems)

    def _put_back(self, name: str = "") -> None:
        """Blocks for a moment, and uses no thread: at the very end there are none any more."""
        try:
            for text in self._offloads.restore(name):
                self._log(Operated(text, None))
        except KernelError as e:
            self._log(OperationFailed("switch offloads on again", str(e)))

    # ----------------------------------------------------------------------------------------------------------------- plumbing

    async def look_after_plumbing(self, config: Config, links: Sequence[Link]) -> None:
        """Rule, route and neighbour for probes, on one of our interfaces; warn of what would swallow the answers.

        The probe program waits on every interface and leads each probe to the one that its backend is behind; so one route will
        do, over the first that is up. Over a bond rather than a member: only the bond knows which member may send.
        """
        if not links:
            return
        first = next((link for link in links if link.up and link.active), links[0])
        done, failed = await plumbing.ensure(config.probe, first.bond or first.ifindex, {vip.version for vip in config.vips()})
        for text in done:
            self._log(Operated(text, None))
        self.warn("plumbing", failed + await self._swallowed(config))

    async def _swallowed(self, config: Config) -> list[str]:
        """An answer comes from the VIP over the device to its backend: a filter there may ask how the VIP is reached."""
        devices = _devices_by_vip(config, self._network)
        return [str(found) for found in await doctor.filtered(self._network, devices) if found.level is not Level.OK]

    async def take_down(self, bpffs: str) -> None:
        """Leave the machine as if we had never been there. Blocks for some milliseconds: it is the last that we do."""
        for text in [*detach_all(bpffs), *await plumbing.remove()]:
            self._log(Operated(text, None))
        self._put_back()


def _devices_by_vip(config: Config, network: Network) -> dict[Address, set[str]]:
    """Over which devices the answers to probes of each IPv4 VIP come."""
    found: dict[Address, set[str]] = {}
    for service in config.services:
        if service.key.vip.version == 4:
            found.setdefault(service.key.vip, set()).update(network.devices_to(b.address for b in service.backends))
    return found
