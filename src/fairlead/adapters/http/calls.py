"""How others add to the API: a Call says what is behind a route, and enough about it that the OpenAPI document follows."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from fairlead.errors import Refused
from fairlead.model import Status

JSON = "application/json"


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """One request: its parameters by name (those of the path too), its body, a name for who asks, and its Accept header."""

    words: Mapping[str, str]
    body: str  # UTF-8; octets that are none are surrogates: .encode("utf-8", "surrogateescape") gives what was sent
    who: str
    accept: str = ""
    resume: str = ""  # the Last-Event-ID header: what a stream is to go on after


@dataclasses.dataclass(frozen=True, slots=True)
class Word:
    """A parameter, behind the `?` or in braces in the path. A call is not made with one that does not fit: 400 says why.

    `kind` is str, int, float or bool ("true", "false"); numbers are within `low` and `high`. `fit` is a regular expression that
    a str matches as a whole, `choices` all that it may be.
    """

    name: str
    says: str  # for people: what it is, one line
    kind: type[str | int | float | bool] = str
    required: bool = False
    choices: tuple[str, ...] = ()
    fit: str = ""
    low: float | None = None
    high: float | None = None
    example: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Says:
    """A deed's answer: what was done, in sentences."""

    says: str


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """An answer that is no JSON of ours, such as metrics; `media` with the charset, where it is text."""

    body: str | bytes
    media: str = "text/plain; charset=utf-8"


@dataclasses.dataclass(frozen=True, slots=True)
class Stream:
    """An answer that goes on: its parts as they come. The iterator is closed when the client has gone."""

    parts: AsyncIterator[bytes]
    media: str = "text/event-stream"


class Absent(Refused):
    """What is asked for does not exist: 404 instead of 409."""


Act = Callable[[Question], Awaitable[object]]


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """What is behind one method and path, as in "POST /v1/plan" or "GET /v1/services/{service}".

    `act` answers with a value of type `answer` - a dataclass, or a list or mapping of what JSON has a form for -, or with Text.
    It raises ConfigError (400), Absent (404) or any other FairleadError (409); an answer whose `refused` is not "" is a 409 too.
    GET reads, everything else changes and needs the token over TCP. `public` ones need none: they must tell nothing.
    """

    act: Act
    says: str  # one line for people: the summary in OpenAPI
    answer: Any = Says
    words: tuple[Word, ...] = ()
    body: str = ""  # what the body is, for people; "" where there is none
    media: str = JSON  # of the answer: Text's, where it is one
    body_media: str = "application/yaml"
    public: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Handlers:
    """What the API serves. All but two answer with sentences, or raise FairleadError; `calls` are by method and path."""

    status: Callable[[], Awaitable[Status]]
    events: Callable[[int], list[dict[str, object]]]  # those after the one with this number
    reload: Callable[[], Awaitable[str]]
    confirm: Callable[[], Awaitable[str]]
    reattach: Callable[[str], Awaitable[str]]
    restart: Callable[[], Awaitable[str]]
    calls: Mapping[str, Call] = dataclasses.field(default_factory=dict)
    version: str = ""
