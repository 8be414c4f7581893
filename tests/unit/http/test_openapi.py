"""The OpenAPI document: all that is served, nothing else, and the page for people has the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from fairlead.adapters.http import Call, Handlers, Question, encode, table
from fairlead.adapters.http.openapi import document
from fairlead.adapters.http.words import checked
from fairlead.errors import UsageError
from fairlead.model import Change, FlowTable, Moved, StatusDelta
from tests.unit.http.tcp import handlers
from tests.unit.sample import STATUS

ROOT = Path(__file__).parents[3]
ROUTE = re.compile(r"(GET|POST|PUT|DELETE) /[^\"` ]*")


def described() -> dict[str, Any]:
    async def none(_: Question) -> object:
        raise NotImplementedError

    more = {
        "POST /v1/plan": Call(none, "what it would do", Change, body="a configuration"),
        "GET /v1/flows": Call(none, "flows", FlowTable),
        "GET /v1/delta": Call(none, "what changed", StatusDelta),
    }
    base = handlers([])
    made = Handlers(base.status, base.events, base.reload, base.confirm, base.reattach, base.restart, more, "1.2.3")
    return document(table(made), "1.2.3")


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_every_route_is_in_the_reference() -> None:
    """docs/reference/api.md has each route that the code names, and no other."""
    code = {
        m[0]
        for path in (ROOT / "src").rglob("*.py")
        for m in re.finditer(r"(?<=\")(GET|POST|PUT|DELETE) /[^\"]*", path.read_text())
    }
    page = {
        m[0]
        for line in (ROOT / "docs/reference/api.md").read_text().splitlines()
        if line.startswith("| `")
        for m in ROUTE.finditer(line)
    }
    assert len(code) > 20
    assert page == code


def test_it_holds_together() -> None:
    """Each reference leads somewhere, each operation has a name of its own, each parameter of a path is required."""
    found = described()
    for reference in references(found):
        place: Any = found
        for name in reference.removeprefix("#/").split("/"):
            place = place[name]
    operations = [operation for path in found["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    parameter = found["paths"]["/v1/services/{service}"]["get"]["parameters"][0]
    assert (parameter["in"], parameter["required"]) == ("path", True)
    assert found["paths"]["/healthz"]["get"]["security"] == [{}]
    assert found["security"] == [{"token": []}]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Status", STATUS),
        ("ServiceStatus", STATUS.services[0]),
        ("Change", Change("x", changed=True, operations=(), moved=Moved(), services=())),
    ],
)
def test_answers_are_as_described(name: str, value: object) -> None:
    """What is encoded is valid by its schema; and a schema says something: one field less is not."""
    schema = described() | {"$ref": f"#/components/schemas/{name}"}
    judge = jsonschema_rs.validator_for({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
    plain = json.loads(encode(value))
    judge.validate(plain)
    plain.pop(next(iter(plain)))
    assert not judge.is_valid(plain)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([("n", "10")], "n is 9 at most"),
        ([("n", "0")], "n is 1 at least"),
        ([("n", "1.5")], "n is a whole number"),
        ([("n", "\uff11")], "n is a whole number"),
        ([("n", "")], "n is a whole number"),
        ([("n", "nan")], "n is a whole number"),
        ([("n", "1"), ("n", "1")], "n is given twice"),
        ([("m", "1")], "there is no parameter 'm' here: there are n"),
    ],
)
def test_parameters(given: list[tuple[str, str]], says: str) -> None:
    """What does not fit is refused with the reason, never passed over."""
    words = table(handlers([]))["POST /v1/echo"].words
    with pytest.raises(UsageError, match=says.replace("(", r"\(")):
        checked(given, words)
    assert checked([("n", "9")], words) == {"n": "9"}
