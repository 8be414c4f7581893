"""/metrics: what others' parsers make of it; dashboard, alert rules and reference page speak of metrics that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as plain_families

from fairlead import metrics
from fairlead.metrics import vc5
from fairlead.metrics.family import PIECE, Family, Group
from fairlead.model import (
    BackendStatus,
    CheckStatus,
    InterfaceStatus,
    LimitStatus,
    OverrideStatus,
    PeerCounters,
    PeerStatus,
    ServiceStatus,
    SinkStatus,
    Status,
    TableStatus,
    TunnelStatus,
    VerdictStatus,
    VipStatus,
    WorkStatus,
)

ROOT = Path(__file__).parents[2]
NOW = 1_000_000.0
CHECK = CheckStatus("http GET / port 80", True, "200 after 2 ms", NOW - 1, 0.002)
UP = BackendStatus("10.1.0.11", 80, "up", NOW - 75, "200", 3, 18204, 1_500_000, 12, 30, 1, checks=(CHECK, CHECK))
DOWN = replace(UP, address="10.1.0.12", state="down", cause="checks", checks=(replace(CHECK, up=False, failures=4),))
SERVICE = ServiceStatus("web", "192.0.2.10", 80, "tcp", "up", "", 1, 1, 251, (UP, DOWN), 20000, 1_600_000, 12, 40, since=NOW - 90)
SIX = replace(SERVICE, name='a "b" \\c\nd', vip="2001:db8::10", port=0, protocol="udp", backends=(), applied="pending: room")
STATUS = Status(
    version="0.1.0",
    started=NOW - 3700,
    config="/etc/fairlead.yaml",
    key_fingerprint="00",
    interfaces=(InterfaceStatus("eth0", "native", "bond0", active=False),),
    vips=(
        VipStatus("192.0.2.10", "up", True, "", 20000, 1_600_000, 12, 40, NOW - 90),
        VipStatus("2001:db8::10", "down", False, ""),
    ),
    services=(SERVICE, SIX),
    peers=(PeerStatus("10.1.0.1", "Established", NOW - 5, 64500, ("192.0.2.10/32",), "", counters=PeerCounters(established=2)),),
    verdicts={
        "forwarded": VerdictStatus(18204, 1_500_000, "tx"),
        "too_big": VerdictStatus(2, 200, "tx"),
        "dropped_too_big": VerdictStatus(3, 4500, "drop"),
    },
    tables=(TableStatus("flows", 12, 1024, 8192), TableStatus("limits", None, 8, 128)),
    tables_hash="00000000000100000000000000000000",
    repairs=1,
    warnings=("one",),
    tunnels=(TunnelStatus("10.1.0.12", "gue", 6080, 7, "", NOW),),
    overrides=(OverrideStatus("10.1.0.11", "", "drain", "root", NOW, effective=True),),
    limits=(LimitStatus("services", 2, 4, "limits.services"),),
    memory=8320,
    at=NOW,
    work=WorkStatus(passes=3, pass_seconds=0.5, probes=10, probe_failures=4, cpu=1.25),
    sinks=(SinkStatus("webhook", sent=4), SinkStatus("webhook", dropped=2)),
)


def text(status: Status = STATUS, form: str = metrics.TEXT, compat: str = "") -> str:
    return "".join(metrics.exposition(status, form, compat))


def samples(status: Status = STATUS, compat: str = "") -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every series, as another's parser reads it; no two are alike."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    known = set(re.findall(r"^(\w+)", (said := text(status, compat=compat)), re.MULTILINE))
    for family in plain_families(said):
        for sample in family.samples:
            name = sample.name if sample.name in known else sample.name.removesuffix("_total")  # the parser adds it to counters
            key = (name, frozenset(sample.labels.items()))
            assert key not in found, key
            found[key] = sample.value
    return found


def value(metric: str, compat: str = "", **labels: str) -> float:
    return samples(compat=compat)[metric, frozenset(labels.items())]


def test_others_read_it() -> None:
    """Both formats parse, OpenMetrics strictly; the same figures stand in both."""
    openly = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in open_families(text(form=metrics.OPEN))
        for sample in family.samples
    }

    assert samples() == openly


@pytest.mark.parametrize("compat", ["", "vc5"])
def test_all_is_described(compat: str) -> None:
    """Every metric has help and a type."""
    for family in plain_families(text(compat=compat)):
        assert family.documentation and family.type != "unknown", family.name


def test_figures() -> None:
    """Some of each kind, with their labels."""
    assert value("fairlead_packets_total", verdict="forwarded", action="tx") == 18204
    assert value("fairlead_service_packets_total", service="192.0.2.10:80/tcp", name="web") == 20000
    assert value("fairlead_service_backends", service="192.0.2.10:80/tcp", name="web", state="down") == 1
    assert value("fairlead_service_applied", service="[2001:db8::10]:any/udp", name='a "b" \\c\nd') == 0
    assert value("fairlead_backend_up", service="192.0.2.10:80/tcp", backend="10.1.0.12") == 0
    assert value("fairlead_backend_info", service="192.0.2.10:80/tcp", backend="10.1.0.12", state="down", cause="checks") == 1
    assert value("fairlead_check_failures", service="192.0.2.10:80/tcp", backend="10.1.0.12", check=CHECK.check) == 4
    assert value("fairlead_bgp_peer_established_total", peer="10.1.0.1") == 2
    assert value("fairlead_tunnel_errors_total", backend="10.1.0.12", kind="gue", port="6080") == 7
    assert value("fairlead_interface_active", interface="eth0", mode="native", bond="bond0") == 0
    assert value("fairlead_tables_fingerprint") == 0x1_0
    assert value("fairlead_pass_duration_seconds_sum") == 0.5
    assert value("fairlead_probes_total", result="passed") == 6
    assert value("fairlead_overrides") == 1


def test_no_two_series_are_alike() -> None:
    """Checks that read alike and sinks of the same name are numbered."""
    assert value("fairlead_check_up", service="192.0.2.10:80/tcp", backend="10.1.0.11", check=f"{CHECK.check} (2)") == 1
    assert value("fairlead_sink_dropped_total", sink="webhook (2)") == 2


def test_what_nobody_counts_is_not_there() -> None:
    """A table whose rows nobody counts has no figure of use."""
    assert ("fairlead_table_rows", frozenset({("table", "limits")})) in samples()
    assert ("fairlead_table_used_rows", frozenset({("table", "limits")})) not in samples()


def test_names_of_vc5() -> None:
    """Its labels, `service` in both of its ways; what is not known has a name and no series."""
    assert value("vc5_service_sessions", "vc5", service="192.0.2.10:tcp:80", name="web") == 12
    assert value("vc5_backend_status", "vc5", service="192.0.2.10:tcp:80", name="web", backend="10.1.0.11:80") == 1
    assert value("vc5_vip_status_duration", "vc5", vip="192.0.2.10", status="up") == 90
    assert value("xvs_global_too_big", "vc5") == 5
    assert value("xvs_global_errors", "vc5") == 3
    where = {"address": "192.0.2.10", "port": "80", "protocol": "tcp", "service": "192.0.2.10:80:tcp"}
    assert value("xvs_service_octets", "vc5", **where) == 1_600_000
    assert value("xvs_destination_flows", "vc5", destination="10.1.0.11", **where) == 30
    assert "# TYPE xvs_service_syn counter" in text(compat="vc5")
    assert not [name for name, _ in samples(compat="vc5") if name == "xvs_service_syn"]
    assert not [name for name, _ in samples() if not name.startswith("fairlead_")]


def test_all_of_vc5s_names() -> None:
    """As many of each as VC5 has."""
    names = [f.name for group in vc5.GROUPS for f in group.families]
    count = {front: sum(n.startswith(front) for n in names) for front in ("vc5_service_", "vc5_backend_", "vc5_vip_")}
    assert count == {"vc5_service_": 9, "vc5_backend_": 9, "vc5_vip_": 2}
    count = {
        level: sum(n.startswith(f"xvs_{level}_") for n in names) for level in ("global", "service", "virtual", "destination")
    }
    assert count == {"global": 33, "service": 32, "virtual": 32, "destination": 12}


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", metrics.TEXT),
        ("*/*", metrics.TEXT),
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;q=0.5",
            metrics.OPEN,
        ),
        ("application/openmetrics-text;q=0.1, text/plain;q=0.5", metrics.TEXT),
        ("application/openmetrics-text;q=much", metrics.TEXT),
    ],
)
def test_format_as_asked(accept: str, form: str) -> None:
    """Prometheus's own header gets OpenMetrics; who says nothing gets the text format."""
    assert metrics.media(accept) == form
    assert metrics.media(accept, "vc5") == metrics.TEXT, "VC5's names do not fit OpenMetrics"


def test_pieces_are_small() -> None:
    """However large the site, a piece is some hundred lines: the loop goes on between two of them."""
    many = replace(SERVICE, backends=tuple(replace(UP, address=f"10.{n >> 8}.{n & 255}.1", checks=()) for n in range(3000)))
    pieces = list(metrics.exposition(replace(STATUS, services=(many,))))

    assert max(piece.count("\n") for piece in pieces) <= PIECE
    assert sum(piece.count("\n") for piece in pieces) > 25_000


# ------------------------------------------------------------------------------------------- what is shipped and said about them


def families(groups: tuple[Group, ...] = metrics.GROUPS) -> Iterator[tuple[Group, Family]]:
    return ((group, family) for group in groups for family in group.families)


LABELS = {name: set(group.labels) for group, family in families() for name in family.samples()}
FROM_PROMETHEUS = {"up": set[str]()}
OF_PROMETHEUS = {"job", "instance"}


def queries() -> Iterator[tuple[str, str]]:
    """(where, PromQL) of everything that is shipped."""
    board = json.loads((ROOT / "deploy/grafana/fairlead.json").read_text())
    for panel in board["panels"]:
        yield from ((f"panel {panel['title']}", target["expr"]) for target in panel.get("targets", ()))
    yield from (("variable", v["query"]["query"]) for v in board["templating"]["list"] if v["type"] == "query")
    for group in yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())["groups"]:
        yield from ((f"alert {rule['alert']}", rule["expr"]) for rule in group["rules"])


QUERIES = list(queries())


@pytest.mark.parametrize(("where", "query"), QUERIES, ids=[where for where, _ in QUERIES])
def test_queries_ask_for_what_there_is(where: str, query: str) -> None:
    """Every metric and label in dashboard and alert rules is one that is served."""
    bare = re.sub(r'"[^"]*"', '""', query)
    known = LABELS | FROM_PROMETHEUS
    asked = re.findall(r"\b(?:fairlead_\w+|up)\b(?!\s*\()", bare)
    assert asked, where
    for name, inside in re.findall(r"\b(fairlead_\w+|up)\b(?:\{([^}]*)\})?", bare):
        assert name in known, f"{where}: {name}"
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside):
            assert label in known[name] | OF_PROMETHEUS, f"{where}: {name} has no {label}"
    every = set().union(*(known[name] for name in asked)) | OF_PROMETHEUS | {"tables"}
    for labels in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", bare):
        assert {label.strip() for label in labels.split(",") if label.strip()} <= every, f"{where}: {labels}"


def test_alerts_explain_themselves() -> None:
    """A severity, a summary and what to do; labels in the words are those that there are."""
    for group in yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in {"critical", "warning", "info"}
            assert {"summary", "description"} == set(rule["annotations"]), rule["alert"]
            names = set(re.findall(r"\b(?:fairlead_\w+)\b", rule["expr"]))
            labels = set().union(*(LABELS[name] for name in names)) | OF_PROMETHEUS
            said = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
            assert said <= labels, rule["alert"]


def test_dashboard_is_sound() -> None:
    """Panels do not overlap, have numbers of their own, and name no Prometheus but the one that is chosen."""
    board = json.loads((ROOT / "deploy/grafana/fairlead.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
        assert all(target["datasource"]["uid"] == "${source}" for target in panel.get("targets", ()))
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_page_has_every_metric() -> None:
    """docs/reference/metrics.md lists what is served, with type, labels and meaning, and nothing else."""
    page = (ROOT / "docs/reference/metrics.md").read_text()
    rows = {
        (name, kind, tuple(re.findall(r"`(\w+)`", labels)), says)
        for name, kind, labels, says in re.findall(
            r"^\| `((?:fairlead|vc5|xvs)_\w+)` \| (\w+) \| ([^|]*) \| (.*) \|$", page, re.MULTILINE
        )
    }
    served = {(f.name, f.kind, g.labels, f.help) for g, f in families((*metrics.GROUPS, *vc5.GROUPS)) if f.value is not None}
    assert rows == served
    unknown = {
        front + name
        for front, names in re.findall(r"^\| `((?:vc5|xvs_\w+)_)` \| `([\w ]+)` \|$", page, re.MULTILINE)
        for name in names.split()
    }
    assert unknown == {f.name for _, f in families(vc5.GROUPS) if f.value is None}
