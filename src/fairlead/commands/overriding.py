"""What operators say of backends at a shell: kept in a file, laid over the configuration, and worked by at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address

from fairlead.adapters.http import Call, Question, Word
from fairlead.core import overrides
from fairlead.core.flow_table import flow_table
from fairlead.errors import Refused
from fairlead.events import Cleared, Overridden
from fairlead.model import Address, AdminState, FlowTable, Override, ServiceKey
from fairlead.parts import Parts

_HEAVIEST = 1000  # as in the configuration
_BACKEND = Word("backend", "the address of a backend", example="10.1.0.11")
_SERVICE = Word("service", "the name of a service, or its VIP, port and protocol", example="192.0.2.10:80/tcp")


class Overriding:
    """The file is written before anything changes: what is in effect survives a crash at any instant."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def calls(self) -> dict[str, Call]:
        """What of this the API serves."""
        states = tuple(each.value for each in AdminState)
        state = Word("state", "what it is from now on; active takes the word back", choices=states)
        weight = Word("weight", "its weight from now on", int, low=0, high=_HEAVIEST)
        backend = replace(_BACKEND, required=True)
        over = (backend, _SERVICE, state, weight)
        return {
            "POST /v1/override": Call(self.override, "Lay a state or a weight of a backend over the configuration", words=over),
            "POST /v1/clear": Call(self.clear, "Take back what was said of a backend, or of all", words=(_BACKEND, _SERVICE)),
            "GET /v1/flows": Call(
                self.flows, "The live entries of the flow table by service and backend", FlowTable, (_BACKEND, _SERVICE)
            ),
        }

    async def override(self, question: Question) -> dict[str, str]:
        """State, weight or both of one backend, for one service or all; KernelError if it cannot be kept, and nothing changes."""
        parts = self._parts
        async with parts.changing:
            backend, service = self._whom(question)
            overrides.require_backend(parts.config, backend, service)
            new = Override(backend, service, _state(question), _weight(question), question.who, time.time())
            if new.state is AdminState.ACTIVE:
                left = overrides.enabled(parts.config, parts.overrides, new)
            elif new.state is None and new.weight is None:
                raise Refused(["say a state (active, drain, disabled), a weight or both"])
            else:
                left = overrides.told(parts.overrides, new)
            await self._work_by(left)
            event = Overridden(backend, service, overrides.says(new), question.who)
            parts.log(event)
            return {"says": str(event)}

    async def clear(self, question: Question) -> dict[str, str]:
        """Take back what was said of one backend, or of all."""
        parts = self._parts
        async with parts.changing:
            backend, service = self._whom(question) if "backend" in question.words else (None, None)
            left, gone = overrides.cleared(parts.overrides, backend, service)
            if not gone:
                of = f" of {backend}" if backend is not None else ""
                return {"says": f"there is nothing to clear: nothing was said{of}"}
            await self._work_by(left)
            for each in gone:
                parts.log(Cleared(each.backend, each.service, overrides.says(each), question.who))
            texts = [f"cleared: {o.backend} for {o.service or 'all services'}: {overrides.described(o)}" for o in gone]
            return {"says": "\n".join(texts)}

    async def flows(self, question: Question) -> FlowTable:
        """The live entries of the flow table, of one backend and service or of all."""
        parts = self._parts
        backend, service = self._whom(question) if "backend" in question.words else (None, None)
        if backend is None and "service" in question.words:
            service = overrides.named_service(parts.config, question.words["service"])
        owners = {
            number: (key, address)
            for number, (key, address) in parts.reconciler.owners().items()
            if backend in {None, address} and service in {None, key}
        }
        ids = list(owners)
        scanned = await asyncio.to_thread(parts.kernel.flow_survey, ids)
        rows = parts.kernel.geometry.buckets * parts.kernel.layout.constants["FLOW_WAYS"]
        return flow_table(parts.kernel.layout, owners, dict(zip(ids, scanned, strict=True)), rows, time.time())

    def _whom(self, question: Question) -> tuple[Address, ServiceKey | None]:
        text, service = question.words.get("backend", ""), question.words.get("service", "")
        try:
            backend = ip_address(text)
        except ValueError:
            raise Refused([f"{text or 'nothing'} is no address of a backend"]) from None
        return backend, overrides.named_service(self._parts.config, service) if service else None

    async def _work_by(self, left: Sequence[Override]) -> None:
        parts = self._parts
        await asyncio.to_thread(parts.store.save, left, parts.drained)
        parts.overrides = tuple(left)
        await parts.reconciler.change(parts.overlaid(parts.config), parts.managed())
        parts.changed()


def _state(question: Question) -> AdminState | None:
    text = question.words.get("state", "")
    try:
        return AdminState(text) if text else None
    except ValueError:
        raise Refused([f"{text} is no state: there are active, drain and disabled"]) from None


def _weight(question: Question) -> int | None:
    text = question.words.get("weight", "")
    if not text:
        return None
    if not text.isdecimal() or not text.isascii() or int(text) > _HEAVIEST:
        raise Refused([f"{text} is no weight: it is a number from 0 to {_HEAVIEST}"])
    return int(text)
