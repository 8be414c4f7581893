"""Rise and fall, as tables."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.health import Standing, combine, step
from fairlead.model import Check, ProbeResult, Rules

CHECK = Check("http", 80)
RULES = Rules()


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


def test_all_checks_must_pass():
    """Two checks: down if either is, with the name of the one that says so; up since the later of the two."""
    checks = (CHECK, replace(CHECK, path="/deep"))
    good, bad = Standing(True, 3.0, "200", True), Standing(False, 7.0, "503", True)
    health = combine((good, bad), checks)
    assert (health.up, health.since, health.reason) == (False, 7.0, "http GET /deep port 80: 503")
    assert combine((good, replace(good, since=9.0)), checks).since == 9.0
    assert not combine((good, Standing(True, 1.0)), checks).reported


def test_no_checks():
    """A backend without checks is up and has nothing to report."""
    assert combine((), ()).up
    assert combine((), ()).reported
