"""Bulk requests: pairs of lines, an action and a document; and what the answer says of each.

Each document has an id of its own. A `create` that is sent a second time, because nobody knows what became of the first, is
answered with 409: it is there, once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.records.ecs import Origin, document
from fairlead.records.record import Record

_CONFLICT = 409
_BUSY = 429


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What became of one request. `again` are the places of those to be sent again, `says` why, or why some were refused."""

    taken: int
    again: tuple[int, ...] = ()
    busy: bool = False  # of those, one at least only because the cluster has too much to do
    refused: int = 0
    says: str = ""


def pair(record: Record, origin: Origin) -> bytes:
    """The two lines of one event."""
    action = f'{{"create":{{"_id":"{origin.run}-{record.number}"}}}}\n'
    return action.encode() + json.dumps(document(record, origin), separators=(",", ":")).encode("utf-8", "replace") + b"\n"


def judge(sent: int, answer: object) -> Verdicts | None:
    """The answer to a request of so many documents; None if it is none that can be believed."""
    if not isinstance(answer, Mapping) or not isinstance(answer.get("items"), Sequence):
        return None
    items = answer["items"]
    if len(items) != sent or not all(isinstance(item, Mapping) and isinstance(item.get("create"), Mapping) for item in items):
        return None
    return _judged([item["create"] for item in items])


def _judged(items: Iterable[Mapping[str, Any]]) -> Verdicts | None:
    taken, refused, again, says, busy = 0, 0, [], "", False
    for place, item in enumerate(items):
        status = item.get("status")
        if not isinstance(status, int):
            return None
        if 200 <= status < 300 or status == _CONFLICT:
            taken += 1
            continue
        says = says or f"{status}: {_reason(item.get('error'))}"
        if status == _BUSY or status >= 500:
            again.append(place)
            busy |= status == _BUSY
        else:
            refused += 1
    return Verdicts(taken, tuple(again), busy, refused, says)


def _reason(error: object) -> str:
    if isinstance(error, Mapping):
        cause = error.get("caused_by")
        inner = f": {cause['reason']}" if isinstance(cause, Mapping) and cause.get("reason") else ""
        return f"{error.get('type', 'no type')}: {error.get('reason', 'no reason')}{inner}"[:500]
    return str(error or "no reason")[:500]
