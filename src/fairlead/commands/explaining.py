"""What the running data plane would do with a packet: asked of its twin, told in the words of operators."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence

from fairlead.adapters.http import Call, Question, Word
from fairlead.adapters.kernel import LARGEST
from fairlead.core import frames
from fairlead.core.explain import Ground, explained
from fairlead.errors import Refused, UsageError
from fairlead.model import Link
from fairlead.model.explaining import Explanation
from fairlead.parts import Parts

_MOST = 1000  # frames in one question
_LEAST = 14  # bytes of an Ethernet header
_ON = Word("interface", "where it arrives; without it, the first that forwards", example="eth0")
_WORDS = (
    Word("source", "who sends it", example="198.51.100.7:40000"),
    Word("destination", "a VIP, port and protocol", example="192.0.2.10:443/tcp"),
    Word("flags", "of TCP: fin, syn, rst, psh, ack, urg, ece, cwr, none; syn if nobody says otherwise", example="ack+psh"),
    Word("size", "of the IP packet in bytes; without it, the least", int, low=0, high=65535),
    Word("vlan", "the tag of the frame; without it, none", int, low=0, high=4094),
    Word("frame", "a whole Ethernet frame in hex instead", fit="([0-9a-fA-F]{2})+"),
    _ON,
)


class Explaining:
    """Nothing that is asked here changes anything."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def calls(self) -> dict[str, Call]:
        """What the API serves of it."""
        many = f'{{"frames": [...]}}: at most {_MOST:,} Ethernet frames in hex'
        return {
            "GET /v1/explain": Call(self.explain, "What would become of a packet, and why", Explanation, _WORDS),
            "POST /v1/explain": Call(
                self.explain_all,
                "What would become of each of many frames; nothing is changed",
                tuple[Explanation, ...],
                (_ON,),
                body=many,
                body_media="application/json",
            ),
        }

    async def explain(self, question: Question) -> Explanation:
        """One packet, by what it is or byte for byte."""
        link = self._link(question.words.get("interface", ""))
        return (await self._explained([_frame(question.words, self._mac(link))], link))[0]

    async def explain_all(self, question: Question) -> Sequence[Explanation]:
        """Each frame as if it were the next to arrive: none changes anything for those behind it."""
        return await self._explained(_frames(question.body), self._link(question.words.get("interface", "")))

    async def _explained(self, asked: Sequence[bytes], link: Link) -> list[Explanation]:
        for frame in asked:
            if not _LEAST <= len(frame) <= LARGEST:
                raise UsageError(f"a frame of {len(frame)} bytes cannot be tried: {_LEAST} to {LARGEST:,} can")
        return await asyncio.to_thread(self._try, asked, link, self._ground())

    def _try(self, asked: Sequence[bytes], link: Link, ground: Ground) -> list[Explanation]:
        trials = self._parts.kernel.try_frames([(frame, link.ifindex) for frame in asked])
        return [explained(ground, trial, frame, link.ifindex) for frame, trial in zip(asked, trials, strict=True)]

    def _ground(self) -> Ground:
        parts = self._parts
        return Ground(
            layout=parts.kernel.layout,
            geometry=parts.kernel.geometry,
            timeouts=bytes(parts.kernel.view("settings")[:8]),
            interfaces={link.ifindex: link.name for link in parts.managed()},
            services={service.key: service.name for service in parts.config.services},
        )

    def _link(self, name: str) -> Link:
        """The interface of that name; of no name at all, the first that is active."""
        links = self._parts.managed()
        if not links:
            raise Refused(["no interface forwards"])
        active = [link for link in links if link.active] or links
        if not name:
            return active[0]
        found = next((link for link in links if link.name == name), None)
        if found is None:
            raise UsageError(f"{name} is no interface that Fairlead forwards on: there are {', '.join(x.name for x in links)}")
        return found

    def _mac(self, link: Link) -> bytes:
        """What frames for us are addressed to on this interface, by its row."""
        row = self._parts.kernel.layout.structs["interface"]
        at = link.ifindex % self._parts.kernel.layout.constants["INTERFACE_ROWS"] * row.size
        return bytes(self._parts.kernel.view("interfaces")[at + row.offset("live") :][:6])


def _frame(words: Mapping[str, str], mac: bytes) -> bytes:
    if "frame" in words:
        return bytes.fromhex(words["frame"])
    if "source" not in words or "destination" not in words:
        raise UsageError("say source and destination, or a whole frame")
    flags, size, vlan = words.get("flags", "syn"), int(words.get("size", 0)), int(words.get("vlan", 0))
    return frames.made(frames.asked(words["source"], words["destination"], flags, size, vlan), mac)


def _frames(body: str) -> list[bytes]:
    try:
        listed = json.loads(body)["frames"]
        found = [bytes.fromhex(each) for each in listed]
    except (ValueError, KeyError, TypeError):
        raise UsageError('the body is no {"frames": [...]} of frames in hex') from None
    if not 0 < len(found) <= _MOST:
        raise UsageError(f"{len(found):,} frames: from 1 to {_MOST:,} at a time")
    return found
