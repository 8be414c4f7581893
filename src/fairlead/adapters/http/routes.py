"""The routes: each Call as HTTP and JSON. Errors are `{"error": text}`, those of a configuration with its `problems` beside it.

Who asks over the unix socket is the user of the connecting process; root may say for whom it asks in the header `fairlead-user`.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from fairlead.adapters.http.calls import Absent, Act, Call, Handlers, Question, Says, Stream, Text, Word
from fairlead.adapters.http.openapi import document
from fairlead.adapters.http.replies import Streamed, encode, error, reply
from fairlead.adapters.http.views import Happened, views
from fairlead.adapters.http.words import checked
from fairlead.errors import ConfigError, FairleadError, UsageError
from fairlead.model import Problem, Status

_LONGEST_NAME = 64
_EVENTS = (
    Word("since", "only those after the event with this id", int, low=0, example="0"),
    Word("most", "only the youngest, so many", int, low=1, high=1000),
)


def table(handlers: Handlers) -> dict[str, Call]:
    """Every call that is served, by method and path."""

    def told(deed: Callable[[], Awaitable[str]]) -> Act:
        async def act(_: Question) -> Says:
            return Says(await deed())

        return act

    async def status(_: Question) -> Status:
        return await handlers.status()

    async def events(question: Question) -> list[dict[str, object]]:
        found = handlers.events(int(question.words.get("since", 0)))
        return found[-int(question.words["most"]) :] if "most" in question.words else found

    async def reattach(question: Question) -> Says:
        return Says(await handlers.reattach(question.words["interface"]))

    interface = Word("interface", "a network interface, or a bond for all its members", required=True, example="eth0")
    own = {
        "GET /v1/status": Call(status, "All that is known now", Status),
        **views(handlers.status),
        "GET /v1/events": Call(events, "The last thousand events, oldest first", list[Happened], _EVENTS),
        "POST /v1/reload": Call(told(handlers.reload), "Read the configuration again; on any problem the running one stays"),
        "POST /v1/restart": Call(told(handlers.restart), "Hand over to what is installed now, in the same process"),
        "POST /v1/confirm": Call(told(handlers.confirm), "Keep running: the answer to `run --confirm`"),
        "POST /v1/reattach": Call(reattach, "Put the programs on a NIC anew", words=(interface,)),
    }
    found = {**own, **handlers.calls}

    async def described(_: Question) -> dict[str, object]:
        return document(found, handlers.version)

    found["GET /openapi.json"] = Call(described, "This description", dict[str, Any])
    return found


def application(handlers: Handlers) -> Starlette:
    """The routes."""
    return Starlette(
        routes=[_route(name, call) for name, call in table(handlers).items()],
        exception_handlers={404: _no_such, 405: _no_such, 500: _broken},
    )


def _route(name: str, call: Call) -> Route:
    method, path = name.split()
    # a service's name has a slash in it: the last word of a path may hold some
    return Route(path.replace("}", ":path}") if path.endswith("}") else path, _called(call), methods=[method])


def _called(call: Call) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            given = [*request.path_params.items(), *request.query_params.multi_items()]
            words = checked(given, call.words)
            body = await _body(request) if call.body else ""
            found = await call.act(_question(request, words, body))
        except FairleadError as e:
            return _refusal(e)
        except ClientDisconnect:  # nobody is there to read it
            return error("the request did not arrive in full", 400)
        if isinstance(found, Stream):
            return Streamed(found) if request.method == "GET" else reply(b"", media=found.media)
        if isinstance(found, Text):
            return reply(found.body if isinstance(found.body, bytes) else found.body.encode(), media=found.media)
        code = 409 if getattr(found, "refused", "") else 200
        return reply(await asyncio.to_thread(encode, found), code)

    return answer


def _question(request: Request, words: Mapping[str, str], body: str) -> Question:
    headers = request.headers
    return Question(words, body, _who(request), headers.get("accept", ""), headers.get("last-event-id", ""))


def _refusal(refused: FairleadError) -> Response:
    if isinstance(refused, ConfigError):
        return error(str(refused), 400, problems=[_problem(each) for each in refused.problems])
    if isinstance(refused, UsageError):
        return error(str(refused), 400)
    return error(str(refused), 404 if isinstance(refused, Absent) else 409)


def _problem(problem: Problem) -> Mapping[str, object]:
    return {
        **dataclasses.asdict(problem.position),
        "severity": problem.severity.value,
        "says": problem.says,
        "hint": problem.hint,
    }


async def _body(request: Request) -> str:
    parts = [part async for part in request.stream()]  # the connection bounds it
    return b"".join(parts).decode("utf-8", "surrogateescape")  # the parser says where it is not UTF-8


def _who(request: Request) -> str:
    name, uid = request.client or ("somebody", -1)
    if uid < 0:
        return f"a token from {name}"
    says = request.headers.get("fairlead-user", "")
    return f"{says} ({name})" if uid == 0 and says.isprintable() and 0 < len(says) <= _LONGEST_NAME else name


async def _no_such(request: Request, failed: Exception) -> Response:
    known = isinstance(failed, HTTPException) and failed.status_code == 405
    says = f"{request.url.path} is not for {request.method}" if known else f"there is no {request.method} {request.url.path}"
    return error(says, 405 if known else 404, getattr(failed, "headers", None))


async def _broken(_: Request, bug: Exception) -> Response:
    return error(f"{type(bug).__name__}: {bug}", 500)
