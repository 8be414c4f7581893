"""How a balancer leaves its routers without a loss: a last resort first (RFC 8326), then no route at all; and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from ipaddress import ip_address

from fairlead.adapters.http import Call, Question, Word
from fairlead.adapters.overrides import Overrides
from fairlead.core.overrides import away
from fairlead.errors import FairleadError, Refused
from fairlead.events import SelfDrained
from fairlead.model import BgpStatus, Drained, Override, PeerStatus
from fairlead.parts import Parts
from fairlead.presence import Presence

_STOPPING = "fairlead is about to stop"
_UP = "Established"


def remembered(store: Overrides, presence: Presence) -> tuple[tuple[Override, ...], Drained | None]:
    """What was said before; a file that cannot be read must not keep a data plane from being looked after."""
    try:
        return store.load_all()
    except FairleadError as e:
        presence.warn("overrides", [f"no override is in effect: {e}"])
        return (), None


class Leaving:
    """`drain self`, `undrain`, and the way out of a daemon that is stopped."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def calls(self) -> dict[str, Call]:
        """What of this the API serves."""
        peer = Word("peer", "the address of a neighbour: of no other then", example="10.0.0.1")
        return {
            "POST /v1/drain": Call(self.drain, "Send this balancer away from its routers"),
            "POST /v1/undrain": Call(self.undrain, "Announce again whatever is up"),
            "GET /v1/bgp": Call(self.bgp, "BGP: us and every neighbour", BgpStatus, (peer,)),
        }

    def resume(self) -> None:
        """At the start: away is who was sent away, as far as that had got."""
        drained = self._parts.drained
        if drained is not None:
            left = drained.at + self._parts.config.drain_time - time.time()
            self._parts.reconciler.leave(max(left, 0.0), away(drained))

    async def drain(self, question: Question) -> dict[str, str]:
        """Send this balancer away; KernelError if that cannot be kept, and then nothing has changed."""
        parts = self._parts
        async with parts.changing:
            if not parts.config.peers:
                raise Refused(["there is nothing to withdraw: the configuration has no BGP peers"])
            if parts.drained is not None:
                return {"says": f"this balancer is {away(parts.drained)} already"}
            drained = Drained(question.who, time.time())
            await self._keep(drained)
            parts.reconciler.leave(parts.config.drain_time, away(drained))
            parts.log(SelfDrained(f"drained by {question.who}"))
            within = parts.config.drain_time
            marked = f"carry the graceful shutdown community for {within:g} s, and are withdrawn then"
            return {"says": f"this balancer is drained: its routes {marked if within else 'are withdrawn'}"}

    async def undrain(self, question: Question) -> dict[str, str]:
        """Announce again whatever is up."""
        parts = self._parts
        async with parts.changing:
            if parts.drained is None:
                return {"says": "this balancer is not drained"}
            await self._keep(None)
            parts.reconciler.stay()
            parts.log(SelfDrained(f"not drained any more, by {question.who}"))
            return {"says": "this balancer is not drained any more: what is up is announced"}

    async def _keep(self, drained: Drained | None) -> None:
        await asyncio.to_thread(self._parts.store.save, self._parts.overrides, drained)
        self._parts.drained = drained

    async def farewell(self) -> None:
        """Before a stop: `stop_time` as a last resort, where somebody hears it. A second signal, a bug, a handover do without."""
        parts, ending = self._parts, self._parts.ending
        within = parts.config.stop_time
        heard = parts.reconciler.offered() and any(peer.state == _UP for peer in parts.speaker.status())
        if within and heard and not (ending.succeed or ending.bug or ending.detach):
            parts.reconciler.leave(within, _STOPPING)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within):
                    await ending.hurried.wait()

    async def bgp(self, question: Question) -> BgpStatus:
        """Us and every peer, or the one that is named."""
        parts = self._parts
        found = parts.speaker.status()
        text = question.words.get("peer", "")
        if text:
            found = tuple(peer for peer in found if peer.address == _named(text, found))
        listen = parts.config.listen
        where = "" if listen is None else f"{', '.join(map(str, listen.addresses)) or 'every address'}, port {listen.port}"
        drained = "" if parts.drained is None else away(parts.drained)
        leaving = parts.drained is not None and parts.reconciler.offered()
        return BgpStatus(str(parts.router_id), where, drained, leaving, found)


def _named(text: str, peers: tuple[PeerStatus, ...]) -> str:
    """The address of a peer as status has it; Refused where there is none."""
    there = [peer.address for peer in peers]
    try:
        found = str(ip_address(text.strip("[]")))
    except ValueError:
        found = text
    if found not in there:
        raise Refused([f"there is no BGP peer {text}; there are: {', '.join(there) or 'none'}"])
    return found
