"""Sources that are kept out, and packets by where they come from: what operators said and the configuration asks for, in effect.

Level-triggered like a pass: what is wanted follows from what was said, the configuration and the time; the tables are brought to
that on every change, when a block's time is over, and once a minute whatever happened. What the programs need not ask of a source
they do not even contain: the first block and the last replace them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence

from fairlead import preflight
from fairlead.adapters.http import Absent, Call, Question, Says, Text, Word
from fairlead.adapters.overrides import Blocks
from fairlead.core import blocks
from fairlead.errors import FairleadError, Refused
from fairlead.events import OperationFailed, SourceBlocked, SourceUnblocked
from fairlead.model import Address, Block, BlockStatus, Config, Prefix, SourcesStatus, SourceStatus
from fairlead.parts import Parts

_LOOK_EVERY, _TRY_EVERY = 60.0, 5.0  # seconds
_MOST = 100  # prefixes of each family, if nobody asks for more
_PREFIX = Word("prefix", "a prefix, or one address", example="198.51.100.0/24")
_BLOCK = (
    _PREFIX,
    Word("for", "how long; without it until it is taken back", example="1h"),
    Word("why", "a word for whoever wonders", fit="[^\\x00-\\x1f\\x7f]{0,200}"),
    Word("force", "even if it holds something that Fairlead lives by", bool),
)
_UNBLOCK = (_PREFIX, Word("all", "every one that was said at a shell", bool))


class Blocking:
    """The file is written before anything changes: what is in effect survives a crash at any instant."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._store = Blocks(parts.options.state)
        self._said: tuple[Block, ...] = ()
        self._kick = asyncio.Event()
        self._working = asyncio.Lock()
        self._failed = ""
        self._warned_of: Config | None = None

    def calls(self) -> dict[str, Call]:
        """What the API serves of it."""
        most = Word("most", "so many of each family", int, low=1, high=10000)
        listed = "Every blocked prefix, and what it has dropped"
        counts = "Packets for VIPs by the first 20 bits of an IPv4 source, 1,048,576 numbers, as VC5 had it"
        return {
            "GET /v1/blocks": Call(self.listed, listed, tuple[BlockStatus, ...]),
            "POST /v1/block": Call(self.block, "Drop whatever comes from a prefix and is for a VIP", words=_BLOCK),
            "POST /v1/unblock": Call(self.unblock, "Take back the block of a prefix", words=_UNBLOCK),
            "GET /v1/sources": Call(self.sources, "The prefixes that most packets come from", SourcesStatus, (most,)),
            "GET /prefixes.json": Call(self.prefixes, counts, list[int]),
        }

    # ----------------------------------------------------------------------------------------------------------------- in effect

    async def start(self) -> None:
        """Before the programs are put to work; what fails is told, and tried again by `follow`."""
        try:
            self._said = await asyncio.to_thread(self._store.load)
        except FairleadError as e:  # who is kept out stays so, until somebody says otherwise
            found = await asyncio.to_thread(self._parts.kernel.sources.blocked)
            configured = self._parts.config.blocked
            self._said = tuple(Block(prefix, "somebody", time.time()) for prefix in found if prefix not in configured)
            self._parts.presence.warn("blocks file", [f"blocks stay as they are, and cannot be kept: {e}"])
        await self._end_due()
        await self._try(self._put)

    async def follow(self) -> None:
        """See to it, for as long as the daemon runs."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience()):
                    await self._kick.wait()
            self._kick.clear()
            async with self._parts.changing:
                await self._end_due()
            await self.work()

    def _patience(self) -> float:
        """Seconds until time alone calls for a look. A clock that is set is noticed within a minute."""
        end = blocks.next_end(self._said)
        within = _LOOK_EVERY if end is None else min(max(end - time.time(), 0.0), _LOOK_EVERY)
        return min(within, _TRY_EVERY) if self._failed else within

    async def _end_due(self) -> None:
        left, over = blocks.ended(self._said, time.time())
        self._said = left
        if not over:
            return
        for each in over:
            self._parts.log(SourceUnblocked(each.prefix, ""))
        try:
            await asyncio.to_thread(self._store.save, left)
        except FairleadError as e:  # no matter: the file says when they end
            self._parts.log(OperationFailed("forget blocks that are over", str(e)))

    def wanted(self) -> frozenset[Prefix]:
        """All that is to be blocked now."""
        return blocks.wanted(self._said, self._parts.config.blocked)

    async def work(self) -> str:
        """Bring tables and programs to what is wanted; "" or what went wrong, which is tried again."""
        return await self._try(self._put_and_replace)

    async def _try(self, deed: Callable[[], Awaitable[None]]) -> str:
        async with self._working:
            try:
                await deed()
                says = ""
            except FairleadError as e:
                says = str(e)
        if says and says != self._failed:
            self._parts.log(OperationFailed("block sources", says))
        self._failed = says
        self._parts.presence.warn("blocks", [f"the blocks are not all in effect: {says}"] if says else [])
        return says

    async def _put(self) -> None:
        await self._warn_of_configured()
        want, counted = self._parts.kernel.sources.want, self._parts.config.count_prefixes
        await asyncio.to_thread(want, self.wanted(), counted=counted)

    async def _warn_of_configured(self) -> None:
        config = self._parts.config
        if config is self._warned_of:
            return
        guarded = await self._guarded() if config.blocked else {}
        found = await asyncio.to_thread(blocks.objections, config.blocked, guarded)
        self._parts.presence.warn("blocked by the configuration", [f"block: {text}" for text in found])
        self._warned_of = config

    async def _put_and_replace(self) -> None:
        await self._put()
        if self._parts.kernel.outdated():
            await self._parts.replace_programs()

    # ------------------------------------------------------------------------------------------------------------- what is said

    async def block(self, question: Question) -> Says:
        """Drop what comes from a prefix from now on; Refused, and nothing has changed, if that would hit what we live by."""
        parts, words = self._parts, question.words
        async with parts.changing:
            prefix, now = blocks.prefix_of(words.get("prefix", "").strip()), time.time()
            until = now + blocks.seconds_of(words["for"]) if words.get("for") else 0.0
            problems = blocks.objections([prefix], await self._guarded())
            if problems and words.get("force") != "true":
                raise Refused([*problems, "say --force if it is meant so: only packets for VIPs are dropped"])
            new = Block(prefix, question.who, now, until, words.get("why", "").strip())
            most = parts.kernel.layout.constants["BLOCKS_MOST"]
            if len(self.wanted() | {prefix}) > most:
                raise Refused([f"{most:,} prefixes are blocked, and there is no room for more: block wider ones"])
            await self._keep(blocks.told(self._said, new))
            parts.log(SourceBlocked(prefix, question.who, blocks.says(new), new.why))
            await self._require_work([prefix])
            return Says(f"{prefix} is blocked {blocks.says(new)}: what it sends to a VIP is dropped")

    async def unblock(self, question: Question) -> Says:
        """Take back a block, or all that were said at a shell."""
        async with self._parts.changing:
            if question.words.get("all") == "true":
                over = [b.prefix for b in self._said]
            else:
                over = [
                    blocks.said_of(blocks.prefix_of(question.words.get("prefix", "").strip()), self._said, self._configured())
                ]
            if not over:
                return Says("there is nothing to take back: no block was said")
            await self._keep(tuple(b for b in self._said if b.prefix not in over))
            for prefix in over:
                self._parts.log(SourceUnblocked(prefix, question.who))
            await self._require_work(over)
            still = self._configured() & set(over)
            return Says("\n".join(_taken_back(prefix, still=prefix in still) for prefix in over))

    def _configured(self) -> frozenset[Prefix]:
        return frozenset(self._parts.config.blocked)

    async def _keep(self, left: tuple[Block, ...]) -> None:
        await asyncio.to_thread(self._store.save, left)
        self._parts.presence.warn("blocks file", [])
        self._said = left

    async def _require_work(self, prefixes: Sequence[Prefix]) -> None:
        """In effect before it is answered; Refused if it is not, and it is tried again."""
        says = await self.work()
        self._kick.set()  # `follow` has another deadline now
        if says:
            raise Refused([f"{', '.join(map(str, prefixes[:3]))}: this is kept and tried again, but not in effect yet: {says}"])

    async def _guarded(self) -> dict[Address, str]:
        """The addresses that we live by, and what each is."""
        parts, config = self._parts, self._parts.config
        own = {a.ip: "this balancer's own address" for found in parts.network.addresses().values() for a in found}
        peers = {peer.address: "the BGP peer" for peer in config.peers}
        backends = {b.address: "the backend" for service in config.services for b in service.backends}
        return {**dict.fromkeys(await preflight.routers(parts.network), "the router"), **backends, **peers, **own}

    # ------------------------------------------------------------------------------------------------------------ what is shown

    async def listed(self, _: Question) -> tuple[BlockStatus, ...]:
        """Every block, by address."""
        parts = self._parts
        dropped = await asyncio.to_thread(parts.kernel.sources.blocked)
        if parts.kernel.outdated():  # the programs do not look yet
            dropped = {}
        return blocks.statuses(self._said, parts.config.blocked, parts.started, dropped)

    async def prefixes(self, _: Question) -> Text:
        """The array, as VC5 had it; Absent while nobody counts."""
        found = await asyncio.to_thread(self._parts.kernel.sources.json)
        if found is None:
            raise Absent(["packets are not counted by source: `count-prefixes: true` in the configuration has them counted"])
        return Text(found, "application/json")

    async def sources(self, question: Question) -> SourcesStatus:
        """Who sends most."""
        most = int(question.words.get("most") or _MOST)
        ipv4, ipv6 = await asyncio.to_thread(self._parts.kernel.sources.largest, most)
        shown4, shown6 = (tuple(SourceStatus(str(prefix), packets) for prefix, packets in found) for found in (ipv4, ipv6))
        return SourcesStatus(self._parts.config.count_prefixes, shown4, shown6)


def _taken_back(prefix: Prefix, *, still: bool) -> str:
    return f"{prefix} {'stays blocked, by the configuration' if still else 'is not blocked any more'}"
