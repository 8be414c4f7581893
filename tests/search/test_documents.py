"""What is sent, what the template knows, what the dashboard shows and what the reference says: one list of events and fields."""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from collections.abc import Iterator
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from fairlead import events
from fairlead.model import Protocol, ServiceKey
from fairlead.records import SEVERITIES, Record, shown
from fairlead.records.bulk import pair
from fairlead.records.ecs import MAPPING, Origin, document
from fairlead.records.journal import datagram
from fairlead.records.syslog import rfc5424
from fairlead.records.text import line, text
from scripts import dashboards

ROOT = Path(__file__).parents[2]
TYPES = [getattr(events, name) for name in events.__all__ if name != "Event"]
ORIGIN = Origin("balancer1", 1, "0.1.0", "0123456789ab")
SAMPLES: dict[Any, object] = {
    str: "some text",
    int: 3,
    float: 0.5,
    bool: True,
    ServiceKey: ServiceKey(ip_address("192.0.2.10"), 80, Protocol.TCP),
    IPv4Address: ip_address("192.0.2.10"),
    IPv6Address: ip_address("2001:db8::10"),
    IPv4Network: ip_network("192.0.2.0/24"),
    IPv6Network: ip_network("2001:db8::/32"),
    types.NoneType: None,
}


def sample(hint: Any, pick: int) -> object:
    """A value of a type; of several the one of this place, as far as there is one."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        options = typing.get_args(hint)
        return sample(options[min(pick, len(options) - 1)], pick)
    if typing.get_origin(hint) is tuple:
        return (sample(typing.get_args(hint)[0], pick),)
    return SAMPLES[hint]


def made(kind: type[events.Event]) -> Iterator[events.Event]:
    """Events of a type, with the values that its fields can have."""
    hints = typing.get_type_hints(kind)
    for pick in range(2):
        yield kind(**{field.name: sample(hints[field.name], pick) for field in dataclasses.fields(kind)})


def fits(value: object, kind: str) -> bool:
    match kind:
        case "date":
            return datetime.fromisoformat(str(value)).tzinfo is not None
        case "ip":
            return bool(ip_address(str(value)))
        case "long":
            return isinstance(value, int) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "flattened":
            return isinstance(value, dict)
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(v, str) for v in value))


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_every_event_can_be_written(kind: type[events.Event]) -> None:
    """For people, as JSON, for journald, for syslog, and as a document whose fields the template has, with their types."""
    for event in made(kind):
        record = Record(7, 1_700_000_000.5, event)
        assert text(record)
        assert json.loads(line(record))["name"] == event.name
        assert f"FAIRLEAD_EVENT={event.name}\n".encode() in datagram(record)
        assert rfc5424(record, facility=3, host="x", process=1).startswith(b"<")
        assert json.dumps(shown(record))
        assert pair(record, ORIGIN).count(b"\n") == 2
        for name, value in document(record, ORIGIN).items():
            assert fits(value, str(MAPPING[name]["type"])), (name, value)


def test_the_reference_has_every_event() -> None:
    """docs/reference/events.md: each type with its severity and its fields, and no other."""
    rows = re.findall(
        r"^\| `([a-z-]+)` \| (\w+) \| ((?:`\w+`(?:, )?)*) \|", (ROOT / "docs/reference/events.md").read_text(), re.MULTILINE
    )
    found = {name: (severity, re.findall(r"\w+", names)) for name, severity, names in rows}

    assert len(found) == len(rows)
    assert found == {
        kind.__new__(kind).name: (SEVERITIES[kind.level], [field.name for field in dataclasses.fields(kind)]) for kind in TYPES
    }


@pytest.mark.parametrize("path", dashboards.files(), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_ships_is_what_is_sent(path: Path) -> None:
    """Template and dashboard in deploy/ are what scripts/dashboards.py makes of the fields."""
    assert path.read_text() == dashboards.files()[path]


def test_the_daemon_puts_the_template_that_ships() -> None:
    """What the sink puts under the usual name is the file."""
    shipped = json.loads((ROOT / "deploy/elasticsearch/template.json").read_text())
    assert shipped["index_patterns"] == ["logs-fairlead-default"]
    assert set(leaves(shipped["template"]["mappings"]["properties"])) == set(MAPPING)


def leaves(properties: dict[str, Any], above: str = "") -> Iterator[str]:
    for name, value in properties.items():
        if "properties" in value:
            yield from leaves(value["properties"], f"{above}{name}.")
        else:
            yield above + name


def fields(value: Any) -> Iterator[str]:
    """Every field that a saved object names: in aggregations, columns, sorting, and queries; JSON within JSON is opened."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("field", "timeFieldName"):
                yield inner
            elif key == "columns":
                yield from inner
            elif key == "sort":
                yield from (name for name, _ in inner)
            elif key == "query" and isinstance(inner, str):
                yield from re.findall(r"([\w@.]+)\s*:", inner)
            elif isinstance(inner, str) and inner.startswith("{"):
                yield from fields(json.loads(inner))
            else:
                yield from fields(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from fields(inner)


@pytest.mark.parametrize("kind", dashboards.KINDS)
def test_every_field_of_the_dashboard_is_in_the_template(kind: str) -> None:
    """Nothing is shown that is never sent, and all references lead to objects of the file."""
    properties = json.loads((ROOT / "deploy" / kind / "template.json").read_text())["template"]["mappings"]["properties"]
    objects = [json.loads(each) for each in (ROOT / "deploy" / kind / "dashboard.ndjson").read_text().splitlines()]
    named = set(fields(objects))
    there = {(each["type"], each["id"]) for each in objects}

    assert {"@timestamp", "event.action", "event.duration", "server.ip", "log.level", "message"} <= named
    assert named <= set(leaves(properties))
    assert all((reference["type"], reference["id"]) in there for each in objects for reference in each["references"])


def test_values_of_the_dashboard_exist() -> None:
    """Types and data sets that queries name are those that documents have."""
    said = (ROOT / "deploy/elasticsearch/dashboard.ndjson").read_text()
    actions = set(re.findall(r"event\.action : ([a-z-]+)", said))
    sent = {document(Record(1, 1.0, event), ORIGIN)["event.action"] for kind in TYPES for event in made(kind)}

    assert actions
    assert actions <= sent
