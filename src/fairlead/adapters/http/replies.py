"""Answers as octets: JSON of our values, and errors, which all have one form."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from fairlead.adapters.http.calls import JSON, Stream

# Nobody is to keep an answer, guess at its type, or build it into a page of another site.
ALWAYS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}


def encode(value: object) -> bytes:
    """JSON of dataclasses, mappings and sequences."""
    return json.dumps(value, default=_plain, separators=(",", ":")).encode()


def _plain(value: Any) -> object:
    if dataclasses.is_dataclass(value):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return str(value)


def reply(body: bytes, code: int = 200, media: str = JSON, headers: Mapping[str, str] | None = None) -> Response:
    """An answer with the headers that all have."""
    return Response(body, code, {**ALWAYS, "content-type": media, **(headers or {})})


class Streamed(StreamingResponse):
    """An answer whose parts are sent as they come, until they end or the client goes."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream.parts, headers={**ALWAYS, "content-type": stream.media})
        self._parts = stream.parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send; whatever the parts hold on to is let go at once."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if isinstance(self._parts, AsyncGenerator):
                await self._parts.aclose()


def error(says: str, code: int, headers: Mapping[str, str] | None = None, **more: object) -> Response:
    """`{"error": text}`."""
    return reply(encode({"error": says, **more}), code, headers=headers)
