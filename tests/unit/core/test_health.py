"""Rise and fall, as tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.health import Standing, combine, step
from fairlead.core.words import asked, clock
from fairlead.model import Check, ProbeResult, Rules

CHECK = Check("http", 80)
RULES = Rules()
VIP, BACKEND = ip_address("192.0.2.10"), ip_address("10.1.0.12")


def run(up: bool, results: str, rules: Rules = RULES) -> str:
    """The verdict after each result: `+` passed, `-` failed; `U` up, `d` down."""
    state, said = Standing(up, 0.0), ""
    for at, result in enumerate(results, 1):
        state = step(state, ProbeResult(result == "+", result, 0.01, float(at)), rules)
        said += "U" if state.up else "d"
    return said


@pytest.mark.parametrize(
    ("up", "results", "said"),
    [
        (False, "+++++", "ddddU"),
        (False, "++++-+++++", "dddddddddU"),
        (True, "-+-", "UUd"),
        (True, "-+++-", "UUUUd"),
        (True, "-++++-", "UUUUUU"),
        (True, "--", "Ud"),
        (True, "--+++++", "UdddddU"),
        (True, "--+++++-", "UdddddUU"),
        (True, "--+++++--", "UdddddUUd"),
        (True, "-+++--++++", "UUUUdddddd"),
    ],
)
def test_defaults(up, results, said):
    """Down at two failures among the last five, up after five passes in a row, as the ancestor does it."""
    assert run(up, results) == said


@pytest.mark.parametrize(
    ("rules", "results", "said"),
    [
        ({"window": 1, "fall": 1, "rise": 1}, "+-+-", "UdUd"),
        ({"window": 3, "fall": 3, "rise": 2}, "++--+---", "dUUUUUUd"),
        ({"window": 5, "fall": 2, "rise": 2}, "--++-+-", "dddUUUd"),
    ],
)
def test_rules(rules, results, said):
    """Other windows; failures from before a rise never count against it."""
    assert run(False, results, replace(RULES, **rules)) == said


@given(st.text("+-", max_size=60), st.integers(1, 8), st.integers(1, 8), st.integers(1, 8))
def test_changes_need_their_number(results, window, fall, rise):
    """Between two changes lie at least `rise` passes or `fall` failures (with a fall that the window can hold)."""
    rules = replace(RULES, window=window, fall=min(fall, window), rise=rise)
    said, since = "d" + run(False, results, rules), 0
    for at in range(1, len(said)):
        if said[at] != said[at - 1]:
            some = results[since:at]
            assert some.endswith("+" * rise) if said[at] == "U" else some.count("-") >= rules.fall
            since = at


def test_since_is_the_last_change():
    """`since` moves with the verdict only; the words are those of the result that decided."""
    state = Standing(True, 5.0)
    state = step(state, ProbeResult(True, "200", 0.01, 10.0), RULES)
    assert (state.since, state.reported) == (5.0, True)
    for at in (11.0, 12.0):
        state = step(state, ProbeResult(False, "503", 0.01, at), RULES)
    assert (state.up, state.since, state.says) == (False, 12.0, "503")


def test_latest_words():
    """Without a change the words are the latest result's, so that status shows what is so now."""
    state = step(Standing(False, 0.0), ProbeResult(False, "connection refused", 0.01, 1.0), RULES)
    assert state.says == "connection refused"


def test_inherited_up_needs_a_pass():
    """An adopted "up" has reported with its first pass, not with a failure that leaves it up; its fall counts as a report."""
    state = Standing(True, 0.0)
    failed = step(state, ProbeResult(False, "503", 0.01, 1.0), RULES)
    assert not failed.reported
    assert step(failed, ProbeResult(True, "200", 0.01, 2.0), RULES).reported
    assert step(failed, ProbeResult(False, "503", 0.01, 2.0), RULES).reported


def of(standings, checks=(CHECK,)):
    return combine(standings, checks, VIP, BACKEND)


def test_all_checks_must_pass():
    """Two checks: down if either is, with the name of the one that says so; up since the later of the two."""
    checks = (CHECK, replace(CHECK, path="/deep"))
    good, bad = Standing(True, 3.0, "200", True, at=9.0), Standing(False, 7.0, "503", True, at=9.0)
    health = of((good, bad), checks)
    assert (health.up, health.since) == (False, 7.0)
    assert health.reason == "http GET /deep on 10.1.0.12 for 192.0.2.10:80: 503"
    assert of((good, replace(good, since=9.0)), checks).since == 9.0
    assert not of((good, Standing(True, 1.0)), checks).reported
    assert of((Standing(True, 1.0), bad), checks).reported, "who is down by one check is down whatever the other says"


def test_no_checks():
    """A backend without checks is up and has nothing to report."""
    assert of((), ()).up
    assert of((), ()).reported


def test_decided():
    """New is not decided; a result that bears the verdict out decides, and so did those of an earlier run."""
    new = Standing(False, 0.0)
    assert not of((new,)).decided
    assert of((step(new, ProbeResult(False, "503", 0.01, 1.0), RULES),)).decided
    assert not of((step(new, ProbeResult(True, "200", 0.01, 1.0), RULES),)).decided
    assert of((replace(new, inherited=True),)).decided


@pytest.mark.parametrize(
    ("up", "results", "says"),
    [
        (False, "", "not checked yet"),
        (False, "-", "no, 1 failure since 12:00:02"),
        (False, "---", "no, 3 failures in a row since 12:00:02"),
        (False, "--++", "yes, 2 of 5 passes in a row"),
        (False, "--+++++", "yes"),
        (True, "+", "yes"),
        (True, "++-", "no, 1 failure since 12:00:06"),
        (True, "+--", "no, 2 failures in a row since 12:00:04"),
        (True, "-+-", "no, 2 of 3 failed, the last 12:00:06"),
        (True, "-+--", "no, 2 failures in a row since 12:00:06"),
        (True, "--+", "yes, 1 of 5 passes in a row"),
    ],
)
def test_sentences(up, results, says):
    """What was asked of whom, how it went the last time, and how it stands with the rules."""
    noon = datetime(2026, 11, 23, 12).timestamp()  # noqa: DTZ001 - the sentences are in the machine's own zone
    state = Standing(up, noon)
    for at, result in enumerate(results, 1):
        passed = result == "+"
        state = step(state, ProbeResult(passed, "yes" if passed else "no", 0.01, noon + 2 * at), RULES)
    front = "http GET / on 10.1.0.12 for 192.0.2.10:80: " if results else ""
    assert of((state,)).reason == front + says


@pytest.mark.parametrize(
    ("check", "vip", "says"),
    [
        (Check("https", 443, path="/healthz"), "2001:db8::10", "https GET /healthz on 10.1.0.12 for [2001:db8::10]:443"),
        (Check("dns", 53, method="udp"), "192.0.2.10", "dns localhost A over udp on 10.1.0.12 for 192.0.2.10:53"),
        (Check("syn", 25), "192.0.2.10", "syn on 10.1.0.12 for 192.0.2.10:25"),
        (Check("icmp", 0), "2001:db8::10", "icmp on 10.1.0.12 for 2001:db8::10"),
    ],
)
def test_questions_in_words(check, vip, says):
    """Every type says what was asked, of whom, for which address and port."""
    assert asked(check, ip_address(vip), BACKEND) == says


def test_long_ago():
    """What may have been on another day has its date."""
    assert clock(0.0, 90000.0).startswith(("1970-01-01 ", "1969-12-31 "))
    assert len(clock(80000.0, 90000.0)) == 8
