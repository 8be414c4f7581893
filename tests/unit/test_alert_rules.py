"""The alert rules as Prometheus's own tool runs them: quiet while all is well, firing once a thing has lasted, and not before."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.prometheus import RULES, alerts, promtool, seconds

pytestmark = pytest.mark.live

OFTEN, SELDOM = 15, 240  # seconds between two scrapes; of tests that last for days
AT = 'job="fairlead",instance="a:8080"'
SERVICE = f'{AT},service="192.0.2.10:80/tcp",name="web"'
BACKEND = f'{AT},service="192.0.2.10:80/tcp",backend="10.1.0.11"'
PEER = f'{AT},peer="10.1.0.1"'

# All is well: series and how their values go on, a scrape at a time.
WELL = {
    f"up{{{AT}}}": "1",
    f"fairlead_service_up{{{SERVICE}}}": "1",
    f"fairlead_service_available_backends{{{SERVICE}}}": "2",
    f"fairlead_service_needed_backends{{{SERVICE}}}": "1",
    f'fairlead_service_backends{{{SERVICE},state="up"}}': "2",
    f'fairlead_service_backends{{{SERVICE},state="down"}}': "0",
    f"fairlead_service_panic{{{SERVICE}}}": "0",
    f"fairlead_service_backups_used{{{SERVICE}}}": "0",
    f"fairlead_service_applied{{{SERVICE}}}": "1",
    f'fairlead_backend_info{{{BACKEND},state="up",cause=""}}': "1",
    f'fairlead_packets_total{{{AT},verdict="forwarded",action="tx"}}': "0+15000",
    f'fairlead_packets_total{{{AT},verdict="not_a_vip",action="pass"}}': "0+150",
    f'fairlead_packets_total{{{AT},verdict="no_service",action="drop"}}': "0+150",
    f'fairlead_packets_total{{{AT},verdict="no_backend",action="drop"}}': "0",
    f'fairlead_packets_total{{{AT},verdict="tail_call",action="drop"}}': "0",
    f'fairlead_tunnel_errors_total{{{AT},backend="10.1.0.12",kind="gue",port="6080"}}': "3",
    f"fairlead_bgp_peer_up{{{PEER}}}": "1",
    f'fairlead_bgp_peer_up{{{AT},peer="10.1.0.2"}}': "1",
    f"fairlead_bgp_peer_withheld_routes{{{PEER}}}": "0",
    f'fairlead_vip_up{{{AT},vip="192.0.2.10"}}': "1",
    f'fairlead_vip_announced{{{AT},vip="192.0.2.10"}}': "1",
    f"fairlead_drained{{{AT}}}": "0",
    f"fairlead_tables_fingerprint{{{AT}}}": "4711",
    'fairlead_tables_fingerprint{job="fairlead",instance="b:8080"}': "4711",
    f"fairlead_start_time_seconds{{{AT}}}": "1000",
    f"fairlead_repairs_total{{{AT}}}": "0",
    f'fairlead_limit_used{{{AT},limit="services"}}': "70",
    f'fairlead_limit{{{AT},limit="services"}}': "100",
    f"fairlead_loop_delay_seconds{{{AT}}}": "0.01",
    f'fairlead_sink_dropped_total{{{AT},sink="syslog"}}': "5",
    f'fairlead_sink_refused_total{{{AT},sink="syslog"}}': "0",
    f'fairlead_sink_spooled_bytes{{{AT},sink="elasticsearch"}}': "0",
    f"fairlead_overrides{{{AT}}}": "0",
    f"fairlead_warnings{{{AT}}}": "0",
}
# What is otherwise, for each alert; None takes a series away.
WRONG: dict[str, dict[str, str | None]] = {
    "FairleadServiceDown": {f"fairlead_service_up{{{SERVICE}}}": "0"},
    "FairleadBackendDown": {f'fairlead_backend_info{{{BACKEND},state="down",cause="checks"}}': "1"},
    "FairleadNoSpareBackend": {f"fairlead_service_available_backends{{{SERVICE}}}": "1"},
    "FairleadPanic": {f"fairlead_service_panic{{{SERVICE}}}": "1"},
    "FairleadBackupsUsed": {f"fairlead_service_backups_used{{{SERVICE}}}": "1"},
    "FairleadBackendFlaps": {f'fairlead_backend_info{{{BACKEND},state="drain",cause="damping"}}': "1"},
    "FairleadPacketsLost": {f'fairlead_packets_total{{{AT},verdict="no_backend",action="drop"}}': "0+150"},
    "FairleadManyDrops": {f'fairlead_packets_total{{{AT},verdict="no_service",action="drop"}}': "0+15000"},
    "FairleadTunnelErrors": {f'fairlead_tunnel_errors_total{{{AT},backend="10.1.0.12",kind="gue",port="6080"}}': "0+1"},
    "FairleadBgpPeerDown": {f"fairlead_bgp_peer_up{{{PEER}}}": "0"},
    "FairleadNoBgpPeer": {
        f"fairlead_bgp_peer_up{{{PEER}}}": "0",
        f'fairlead_bgp_peer_up{{{AT},peer="10.1.0.2"}}': "0",
    },
    "FairleadVipNotAnnounced": {f'fairlead_vip_announced{{{AT},vip="192.0.2.10"}}': "0"},
    "FairleadRoutesWithheld": {f"fairlead_bgp_peer_withheld_routes{{{PEER}}}": "2"},
    "FairleadDisagree": {f"fairlead_tables_fingerprint{{{AT}}}": "4712"},
    "FairleadDrained": {f"fairlead_drained{{{AT}}}": "1"},
    "FairleadGone": {f"up{{{AT}}}": "0"},
    "FairleadRestarts": {f"fairlead_start_time_seconds{{{AT}}}": "1000+20"},
    "FairleadBroken": {f'fairlead_packets_total{{{AT},verdict="tail_call",action="drop"}}': "0+1"},
    "FairleadRepairs": {f"fairlead_repairs_total{{{AT}}}": "0+1"},
    "FairleadNotApplied": {f"fairlead_service_applied{{{SERVICE}}}": "0"},
    "FairleadLimitNear": {f'fairlead_limit_used{{{AT},limit="services"}}': "81"},
    "FairleadLoopLate": {f"fairlead_loop_delay_seconds{{{AT}}}": "1.5"},
    "FairleadEventsLost": {f'fairlead_sink_dropped_total{{{AT},sink="syslog"}}': "5+1"},
    "FairleadEventsWait": {f'fairlead_sink_spooled_bytes{{{AT},sink="elasticsearch"}}': "4096"},
    "FairleadOverridden": {f"fairlead_overrides{{{AT}}}": "1"},
    "FairleadWarns": {f"fairlead_warnings{{{AT}}}": "1"},
}
# Alerts that cannot come alone.
ALONG = {"FairleadNoBgpPeer": {"FairleadBgpPeerDown"}}


def series(wrong: dict[str, str | None], steps: int) -> list[dict[str, str]]:
    """As promtool's tests have them: `1+0x240` is 1 for 240 scrapes more, `0+15x240` grows by 15 each time."""
    values = {name: value for name, value in (WELL | wrong).items() if value is not None}
    return [{"series": name, "values": f"{value}{'' if '+' in value else '+0'}x{steps}"} for name, value in values.items()]


def firing(at: int, names: set[str]) -> list[dict[str, object]]:
    """Exactly these alerts fire so many seconds after the start."""
    expr = 'count by (alertname) (ALERTS{alertstate="firing"})'
    samples = [
        {"labels": f'{{alertname="{name}"}}', "value": 1 + (name == "FairleadBgpPeerDown" and len(names) > 1)}
        for name in sorted(names)
    ]
    return [{"expr": expr, "eval_time": f"{at}s", "exp_samples": samples}]


def run(tmp_path: Path, wrong: dict[str, str | None], length: int, expected: list[dict[str, object]], every: int = OFTEN) -> None:
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": f"{every}s",
        "tests": [
            {"interval": f"{every}s", "input_series": series(wrong, length // every), "promql_expr_test": expected},
        ],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(test))
    promtool("test", "rules", str(tmp_path / "test.yml"))


def test_rules_are_valid() -> None:
    """Promtool reads them and finds nothing to say."""
    assert f"SUCCESS: {len(alerts())} rules found" in promtool("check", "rules", str(RULES))


def test_every_alert_is_tested() -> None:
    """No alert is shipped that nobody has seen fire."""
    assert set(WRONG) == set(alerts())


def test_quiet_while_all_is_well(tmp_path: Path) -> None:
    """Hours and days without trouble bring no alert."""
    run(tmp_path, {}, 3 * 3600, [found for hours in (1, 2, 3) for found in firing(hours * 3600, set())])
    run(tmp_path, {}, 2 * 86400, [found for hours in (1, 24, 47) for found in firing(hours * 3600, set())], SELDOM)


@pytest.mark.parametrize("name", WRONG)
def test_alert_fires(tmp_path: Path, name: str) -> None:
    """Once what is wrong has lasted; not before, and nothing else fires."""
    lasts = seconds(alerts()[name].get("for", "0s"))
    every = OFTEN if lasts < 3600 else SELDOM
    settled = lasts + 900  # rates look back a quarter of an hour at most
    expected = firing(settled, {name} | ALONG.get(name, set()))
    if lasts:
        expected += firing(lasts - every, set())
    run(tmp_path, WRONG[name], settled + every, expected, every)
