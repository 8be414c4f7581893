"""For Elasticsearch and OpenSearch: a document by the Elastic Common Schema, what Fairlead alone has under `fairlead.`.

`MAPPING` names every field that a document can have; the index template is made of it, and a test holds the dashboard to it.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.events import Event, Operated, Probed
from fairlead.model import ServiceKey
from fairlead.records.record import SEVERITIES, Fact, Record, facts, stamp

ECS_VERSION = "8.11.0"
Mapping = dict[str, object]
_KEYWORD: Mapping = {"type": "keyword", "ignore_above": 1024}
_TEXT: Mapping = {"type": "match_only_text"}
_LONG: Mapping = {"type": "long"}
_IP: Mapping = {"type": "ip"}
# What OpenSearch calls otherwise, or has in its later versions only.
_OPENSEARCH = {"match_only_text": "text", "flattened": "flat_object"}

# Dotted name -> mapping.
MAPPING: dict[str, Mapping] = {
    "@timestamp": {"type": "date"},
    "ecs.version": _KEYWORD,
    "message": _TEXT,
    "log.level": _KEYWORD,
    "log.syslog.severity.code": _LONG,
    "event.kind": _KEYWORD,
    "event.module": _KEYWORD,
    "event.dataset": _KEYWORD,
    "event.action": _KEYWORD,
    "event.category": _KEYWORD,
    "event.type": _KEYWORD,
    "event.outcome": _KEYWORD,
    "event.reason": _KEYWORD,
    "event.severity": _LONG,
    "event.duration": _LONG,
    "event.sequence": _LONG,
    "host.name": _KEYWORD,
    "process.pid": _LONG,
    "service.name": _KEYWORD,
    "service.type": _KEYWORD,
    "service.version": _KEYWORD,
    "destination.ip": _IP,
    "destination.port": _LONG,
    "network.transport": _KEYWORD,
    "server.ip": _IP,
    "error.message": _TEXT,
    "user.name": _KEYWORD,
    "client.ip": _IP,
    "fairlead.service": _KEYWORD,
    "fairlead.vip": _IP,
    "fairlead.backend": _IP,
    "fairlead.peer": _IP,
    "fairlead.remote_as": _LONG,
    "fairlead.check": _KEYWORD,
    "fairlead.passed": {"type": "boolean"},
    "fairlead.changed": {"type": "boolean"},
    "fairlead.priority": _KEYWORD,
    "fairlead.config": _KEYWORD,
    "fairlead.interface": _KEYWORD,
    "fairlead.prefix": _KEYWORD,
    "fairlead.mode": _KEYWORD,
    "fairlead.operation": _KEYWORD,
    "fairlead.operations": _LONG,
    "fairlead.sink": _KEYWORD,
    "fairlead.waited": _LONG,
    "fairlead.other": {"type": "flattened"},
}  # fmt: skip

# Fields of events that stand elsewhere in a document, or under another name.
_NAMES = {"text": "operation", "about": "service"}
_ELSEWHERE = frozenset("says why took who".split())
_STARTS = frozenset("started backend-up vip-up peer-up panic-began backups-used attached".split())
_ENDS = frozenset("stopped backend-down vip-down peer-down panic-ended backups-rested program-lost".split())
_OWN = frozenset(name.partition(".")[2] for name in MAPPING if name.startswith("fairlead."))


@dataclass(frozen=True, slots=True)
class Origin:
    """Who says it: one run of the daemon on one machine. `run` is another each time."""

    host: str
    process: int
    version: str
    run: str


def document(record: Record, origin: Origin) -> dict[str, Fact | list[str] | dict[str, Fact]]:
    """One event, dotted names as they are: Elasticsearch and OpenSearch make objects of them."""
    event = record.event
    found: dict[str, Fact | list[str] | dict[str, Fact]] = {
        "@timestamp": stamp(record.at),
        "ecs.version": ECS_VERSION,
        "message": str(event),
        "log.level": SEVERITIES[event.severity],
        "log.syslog.severity.code": event.severity,
        "event.kind": "alert" if event.severity <= 3 else "event",
        "event.module": "fairlead",
        "event.dataset": "fairlead.probes" if isinstance(event, Probed) else "fairlead.events",
        "event.action": event.name,
        "event.category": ["network"],
        "event.type": [_kind(event)],
        "event.severity": event.severity,
        "event.sequence": record.number,
        "host.name": origin.host,
        "process.pid": origin.process,
        "service.name": "fairlead",
        "service.type": "fairlead",
        "service.version": origin.version,
    }
    own = facts(event)
    found |= _common(event, own)
    other: dict[str, Fact] = {}
    for name, value in own.items():
        if value is None or value == "" or name in _ELSEWHERE:
            continue
        known = _NAMES.get(name, name)
        if known in _OWN:
            found[f"fairlead.{known}"] = value
        else:
            other[known] = str(value)
    return found | ({"fairlead.other": other} if other else {})


def _kind(event: Event) -> str:
    """ECS's `event.type`."""
    if event.name in _STARTS:
        return "start"
    if event.name in _ENDS:
        return "end"
    return "error" if event.severity <= 3 else "info" if isinstance(event, Probed) else "change"


def _common(event: Event, own: dict[str, Fact]) -> dict[str, Fact]:
    """What the schema has names for: whom it is about, how it went and why."""
    found: dict[str, Fact] = {}
    service = event.about if isinstance(event, Operated) else getattr(event, "service", None)
    if isinstance(service, ServiceKey):
        found |= {"destination.ip": str(service.vip), "network.transport": str(service.protocol)}
        found |= {"destination.port": service.port} if service.port else {}
    elif own.get("vip"):
        found["destination.ip"] = own["vip"]
    if own.get("backend"):
        found["server.ip"] = own["backend"]
    if own.get("who"):
        name = "user.name" if isinstance(getattr(event, "who", None), str) else "client.ip"  # an operator, or a stranger
        found[name] = own["who"]
    if reason := own.get("says") or own.get("why"):
        found["error.message" if event.severity <= 4 else "event.reason"] = reason
    if isinstance(event, Probed):
        found |= {"event.duration": round(event.took * 1e9), "event.outcome": "success" if event.passed else "failure"}
        if not event.passed:
            found["error.message"] = event.says
    return found


def template(stream: str, kind: str = "elasticsearch") -> dict[str, object]:
    """The index template of a data stream: Elasticsearch 7.14 and later, OpenSearch 2.7 and later."""
    return {
        "index_patterns": [stream],
        "data_stream": {},
        "priority": 500,
        "template": {
            "settings": {"index": {"refresh_interval": "5s"}},
            "mappings": {"dynamic": False, "date_detection": False, "properties": _properties(kind)},
        },
        "_meta": {"description": "Events of Fairlead", "ecs": ECS_VERSION},
    }


def _properties(kind: str) -> dict[str, object]:
    """`MAPPING` as a cluster wants it: objects in objects."""
    root: dict[str, object] = {}
    for name, mapping in MAPPING.items():
        *path, leaf = name.split(".")
        at = root
        for part in path:
            inner = at.setdefault(part, {"properties": {}})
            assert isinstance(inner, dict)
            at = inner["properties"]
        own = str(mapping["type"])
        at[leaf] = mapping | ({"type": _OPENSEARCH.get(own, own)} if kind == "opensearch" else {})
    return root
