"""Writes what ships for Elasticsearch and OpenSearch: index template and dashboard, from the one list of fields in `records.ecs`.

    .venv/bin/python scripts/dashboards.py     writes deploy/elasticsearch and deploy/opensearch; a test compares

The dashboard is saved objects in the form of version 7.10, which Kibana brings up to date when it imports them, and which
OpenSearch Dashboards, made of that version, has kept.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fairlead.records.ecs import template

ROOT = Path(__file__).parents[1] / "deploy"
KINDS = ("elasticsearch", "opensearch")
STREAM = "logs-fairlead-default"
PATTERN = "fairlead-events"
VERSIONS = {"index-pattern": "7.6.0", "visualization": "7.10.0", "search": "7.9.3", "dashboard": "7.9.3"}

FAILED = "event.action : probed and event.outcome : failure"
CHANGES = "event.dataset : fairlead.events and not event.action : operated"


def saved(kind: str, name: str, attributes: dict[str, Any], references: list[dict[str, str]]) -> dict[str, Any]:
    """One saved object."""
    return {
        "id": name,
        "type": kind,
        "attributes": attributes,
        "references": references,
        "migrationVersion": {kind: VERSIONS[kind]},
    }


def to_pattern(name: str = "kibanaSavedObjectMeta.searchSourceJSON.index") -> dict[str, str]:
    """A reference to the pattern of all data streams."""
    return {"id": PATTERN, "name": name, "type": "index-pattern"}


def source(query: str) -> dict[str, str]:
    """What is looked at."""
    found = {
        "query": {"query": query, "language": "kuery"},
        "filter": [],
        "indexRefName": "kibanaSavedObjectMeta.searchSourceJSON.index",
    }
    return {"searchSourceJSON": json.dumps(found)}


def agg(number: int, kind: str, schema: str, **params: Any) -> dict[str, Any]:
    """One aggregation."""
    return {"id": str(number), "enabled": True, "type": kind, "schema": schema, "params": params}


def terms(number: int, schema: str, field: str, size: int = 10) -> dict[str, Any]:
    """By the values of a field, the most frequent first."""
    return agg(number, "terms", schema, field=field, orderBy="1", order="desc", size=size, otherBucket=False, missingBucket=False)


def over_time(number: int) -> dict[str, Any]:
    """By time."""
    return agg(number, "date_histogram", "segment", field="@timestamp", interval="auto", min_doc_count=1, extended_bounds={})


COUNT = agg(1, "count", "metric")


def visual(name: str, title: str, kind: str, query: str, aggs: list[dict[str, Any]], **params: Any) -> dict[str, Any]:
    """One visualization."""
    state = {
        "title": title,
        "type": kind,
        "aggs": aggs,
        "params": {"type": kind, "addLegend": True, "addTooltip": True, **params},
    }
    attributes = {
        "title": title,
        "visState": json.dumps(state),
        "uiStateJSON": "{}",
        "description": "",
        "version": 1,
        "kibanaSavedObjectMeta": source(query),
    }
    return saved("visualization", f"fairlead-{name}", attributes, [to_pattern()])


def axes(mode: str = "stacked", label: str = "Events", series: str = "histogram") -> dict[str, Any]:
    """What a diagram over time needs besides its aggregations."""
    return {
        "grid": {"categoryLines": False},
        "categoryAxes": [
            {"id": "CategoryAxis-1", "type": "category", "position": "bottom", "show": True, "labels": {"show": True}}
        ],
        "valueAxes": [
            {
                "id": "ValueAxis-1",
                "name": "LeftAxis-1",
                "type": "value",
                "position": "left",
                "show": True,
                "scale": {"type": "linear", "mode": "normal"},
                "labels": {"show": True},
                "title": {"text": label},
            }
        ],
        "seriesParams": [
            {
                "show": True,
                "type": series,
                "mode": mode,
                "data": {"label": label, "id": "1"},
                "valueAxis": "ValueAxis-1",
                "drawLinesBetweenPoints": True,
                "showCircles": True,
            }
        ],
    }


def visuals() -> list[dict[str, Any]]:
    """All of them, in the order in which they stand."""
    quantiles = agg(1, "percentiles", "metric", field="event.duration", percents=[50, 95, 99])
    rows = {"perPage": 12, "showPartialRows": False, "showMetricsAtAllLevels": False, "showTotal": False, "totalFunc": "sum"}
    return [
        visual(
            "levels",
            "Events by severity",
            "histogram",
            CHANGES,
            [COUNT, over_time(2), terms(3, "group", "log.level", 8)],
            **axes(),
        ),
        visual(
            "failures",
            "Failed checks by server",
            "histogram",
            FAILED,
            [COUNT, over_time(2), terms(3, "group", "server.ip", 20)],
            **axes(label="Failed checks"),
        ),
        visual(
            "durations",
            "Duration of checks in nanoseconds: 50th, 95th and 99th percentile",
            "line",
            "event.action : probed",
            [quantiles, over_time(2)],
            **axes("normal", "Duration", "line"),
        ),
        visual("types", "Events by type", "table", CHANGES, [COUNT, terms(2, "bucket", "event.action", 40)], **rows),
        visual(
            "down",
            "Servers that went down, by service",
            "table",
            "event.action : backend-down",
            [COUNT, terms(2, "bucket", "fairlead.service", 20), terms(3, "bucket", "fairlead.backend", 20)],
            **rows,
        ),
        visual(
            "reasons",
            "Why checks fail",
            "table",
            FAILED,
            [
                COUNT,
                terms(2, "bucket", "fairlead.check", 10),
                terms(3, "bucket", "server.ip", 10),
                terms(4, "bucket", "host.name", 10),
            ],
            **rows,
        ),
    ]


def search() -> dict[str, Any]:
    """The events themselves."""
    attributes = {
        "title": "Events of Fairlead",
        "description": "",
        "columns": ["host.name", "log.level", "event.action", "message"],
        "sort": [["@timestamp", "desc"]],
        "version": 1,
        "kibanaSavedObjectMeta": source(CHANGES),
    }
    return saved("search", "fairlead-log", attributes, [to_pattern()])


def dashboard(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Two beside each other, the log below them."""
    panels, references = [], []
    for number, part in enumerate(parts):
        wide = part["type"] == "search"
        where = {"x": 0 if wide else number % 2 * 24, "y": number // 2 * 14, "w": 48 if wide else 24, "h": 20 if wide else 14}
        panels.append(
            {
                "version": "7.10.0",
                "panelIndex": str(number),
                "gridData": where | {"i": str(number)},
                "panelRefName": f"panel_{number}",
                "embeddableConfig": {},
            }
        )
        references.append({"id": part["id"], "name": f"panel_{number}", "type": part["type"]})
    attributes = {
        "title": "Fairlead",
        "description": "What Fairlead's balancers log: events, and every health check",
        "hits": 0,
        "panelsJSON": json.dumps(panels),
        "optionsJSON": json.dumps({"useMargins": True, "hidePanelTitles": False}),
        "version": 1,
        "timeRestore": True,
        "timeFrom": "now-24h",
        "timeTo": "now",
        "refreshInterval": {"pause": False, "value": 30000},
        "kibanaSavedObjectMeta": {"searchSourceJSON": json.dumps({"query": {"query": "", "language": "kuery"}, "filter": []})},
    }
    return saved("dashboard", "fairlead", attributes, references)


def objects() -> list[dict[str, Any]]:
    """What is imported."""
    pattern = saved("index-pattern", PATTERN, {"title": "logs-fairlead-*", "timeFieldName": "@timestamp"}, [])
    parts = [*visuals(), search()]
    return [pattern, *parts, dashboard(parts)]


def files() -> dict[Path, str]:
    """Path -> text of everything that ships."""
    found = {}
    for kind in KINDS:
        found[ROOT / kind / "template.json"] = json.dumps(template(STREAM, kind), indent=2) + "\n"
        found[ROOT / kind / "dashboard.ndjson"] = "".join(json.dumps(each) + "\n" for each in objects())
    return found


if __name__ == "__main__":
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
