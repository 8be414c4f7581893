"""The OpenAPI document (3.1), made of what is served: every route, its parameters, and the schemas of its answers.

Schemas follow from the types of the model; fields are only ever added, so a client that passes over unknown ones goes on working.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any

from fairlead.adapters.http.calls import JSON, Call, Word

_PLAIN: dict[Any, dict[str, object]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
}
_PROBLEM = {
    "type": "object",
    "required": ["path", "line", "column", "severity", "says", "hint"],
    "properties": {
        **{name: {"type": "string"} for name in ("path", "severity", "says", "hint")},
        **{name: {"type": "integer"} for name in ("line", "column")},
    },
}
_ERROR = {
    "description": "Why there is no other answer, in words; of a configuration that cannot be used each problem, with its place.",
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}, "problems": {"type": "array", "items": _PROBLEM}},
}
_ERRORS = {
    "400": "the request cannot be understood, a parameter does not fit, or the configuration in the body has problems",
    "401": "the token is missing or wrong",
    "403": "`Host` or `Origin` is that of somebody else",
    "404": "there is no such thing",
    "409": "it was refused, or did not work; nothing was changed",
    "default": "a request that is too large (413, 431) or too slow (408), too many connections (503), or a bug (500)",
}


def document(calls: Mapping[str, Call], version: str) -> dict[str, object]:
    """The whole document, ready for JSON."""
    schemas = _Schemas()
    paths: dict[str, dict[str, object]] = {}
    for name, call in calls.items():
        method, path = name.split()
        paths.setdefault(path, {})[method.lower()] = _operation(name, call, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Fairlead",
            "version": version,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "The API of one balancer. Times are Unix times or seconds, sizes octets, counters never go back.",
        },
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR, **dict(sorted(schemas.made.items()))},
            "responses": {code: _error(says) for code, says in _ERRORS.items()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "a line of `token-file`"}},
        },
        "security": [{"token": []}],
    }


def _operation(name: str, call: Call, schemas: _Schemas) -> dict[str, object]:
    method, path = name.split()
    found: dict[str, object] = {
        "operationId": "_".join([method.lower(), *path.replace(".", "/").replace("{", "").replace("}", "").split("/")[1:]]),
        "summary": call.says,
        "responses": {"200": _answer(call, schemas), **{code: {"$ref": f"#/components/responses/{code}"} for code in _ERRORS}},
    }
    if call.words:
        found["parameters"] = [_parameter(word, path) for word in call.words]
    if call.body:
        content = {call.body_media: {"schema": {"type": "string", "description": call.body}}}
        found["requestBody"] = {"description": call.body, "required": True, "content": content}
    if call.public:
        found["security"] = [{}]
    if "refused" in getattr(call.answer, "__dataclass_fields__", {}):
        either: list[object] = [{"$ref": "#/components/schemas/Error"}, schemas.of(call.answer)]
        said = typing.cast("dict[str, object]", found["responses"])
        said["409"] = {"description": _ERRORS["409"], "content": {JSON: {"schema": {"anyOf": either}}}}
    return found


def _answer(call: Call, schemas: _Schemas) -> dict[str, object]:
    media = call.media.partition(";")[0]
    return {"description": call.says, "content": {media: {"schema": schemas.of(call.answer)}}}


def _error(says: str) -> dict[str, object]:
    return {"description": says, "content": {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}}


def _parameter(word: Word, path: str) -> dict[str, object]:
    inside = f"{{{word.name}}}" in path
    schema = dict(_PLAIN[word.kind])
    schema |= {"enum": list(word.choices)} if word.choices else {}
    schema |= {"pattern": f"^(?:{word.fit})$"} if word.fit else {}
    schema |= {"minimum": word.low} if word.low is not None else {}
    schema |= {"maximum": word.high} if word.high is not None else {}
    schema |= {"minLength": 1} if inside else {}
    return {
        "name": word.name,
        "in": "path" if inside else "query",
        "required": word.required or inside,
        "description": word.says,
        "schema": schema,
        **({"example": word.example} if word.example else {}),
    }


class _Schemas:
    """Schemas of types; each dataclass once, by its name."""

    def __init__(self) -> None:
        self.made: dict[str, object] = {}

    def of(self, kind: Any) -> dict[str, object]:
        """The schema of one type, or where it is."""
        if kind in _PLAIN:
            return dict(_PLAIN[kind])
        if dataclasses.is_dataclass(kind):
            return self._dataclass(typing.cast("type", kind))
        origin, inner = typing.get_origin(kind), typing.get_args(kind)
        if origin is typing.Literal:
            return {"enum": list(inner)}
        if origin in (typing.Union, types.UnionType):
            return {"anyOf": [self.of(each) for each in inner]}
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self.of(inner[1])}
        if isinstance(origin, type) and issubclass(origin, collections.abc.Collection):
            return {"type": "array", "items": self.of(inner[0])}
        return {} if kind in (Any, object) else {"type": "string"}  # all else is written as its text

    def _dataclass(self, kind: type) -> dict[str, object]:
        name = kind.__name__
        if name not in self.made:
            self.made[name] = {}  # so that one that holds itself ends
            hints = typing.get_type_hints(kind)
            names = [f.name for f in dataclasses.fields(kind)]
            self.made[name] = {
                "type": "object",
                "description": inspect.cleandoc(kind.__doc__ or ""),
                "required": names,
                "properties": {each: self.of(hints[each]) for each in names},
            }
        return {"$ref": f"#/components/schemas/{name}"}
