"""From probe results to up and down: one pure step per result.

A backend that is up goes down when `fall` of its last `window` results failed; one that is down comes up when its last `rise`
results all passed. Only results since the last change count, so that the failures that took a backend down cannot take it down
again at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fairlead.core.words import asked, clock
from fairlead.model import Address, Check, CheckStatus, Health, ProbeResult, Rules

NOT_CHECKED = "not checked yet"


@dataclass(frozen=True, slots=True)
class Standing:
    """One check of one backend in one service. `since` is the Unix time of the last change of `up`.

    `reported` means that a result since the daemon's start bears the verdict out: an inherited "up" needs one pass, or enough
    failures to overturn it. `inherited`: the verdict is that of an earlier run or of the check before it was edited. `history`
    holds the results since the last change, oldest first, as many as the rules look at; `fell`, of a check that is down, how many
    of how many had failed then. `failures` is their number in a row, the first of them at `failing_since`.
    """

    up: bool
    since: float
    says: str = NOT_CHECKED
    reported: bool = False
    history: tuple[bool, ...] = ()
    inherited: bool = False
    fell: tuple[int, int] = (0, 0)
    failures: int = 0
    failing_since: float = 0.0
    at: float = 0.0
    took: float = 0.0


class Verdict(NamedTuple):
    """What the plan rests on. `decided`: by results, of this run or of an earlier one, and not just because it is new."""

    up: bool
    reported: bool
    decided: bool


def step(state: Standing, result: ProbeResult, rules: Rules) -> Standing:
    """The standing after one more result."""
    history = (*state.history, result.passed)[-max(rules.window, rules.rise) :]
    up, since, reported, fell = state.up, state.since, state.reported or result.passed == state.up, state.fell
    if _turns(up, history, rules):
        recent = history[-rules.window :]
        fell = (recent.count(False), len(recent)) if up else (0, 0)
        up, since, reported, history = not up, result.at, True, ()
    failures, failing_since = (0, 0.0) if result.passed else (state.failures + 1, state.failing_since or result.at)
    return Standing(
        up, since, result.says, reported, history, state.inherited, fell, failures, failing_since, result.at, result.took
    )


def _turns(up: bool, history: tuple[bool, ...], rules: Rules) -> bool:
    if up:
        return history[-rules.window :].count(False) >= rules.fall
    return len(history) >= rules.rise and all(history[-rules.rise :])


def verdict(standings: Sequence[Standing]) -> Verdict:
    """Up if every check is. One check that has decided "down" has decided it for all; without checks a backend is up."""
    up = all(s.up for s in standings)
    reported = all(s.reported for s in standings) or any(s.reported and not s.up for s in standings)
    return Verdict(up, reported, reported or all(s.reported or s.inherited for s in standings))


def combine(standings: Sequence[Standing], checks: Sequence[Check], vip: Address, backend: Address) -> Health:
    """The health of a backend with its reason. Without checks it is up, and always was."""
    if not standings:
        return Health(True, 0.0, "no checks", reported=True)
    up, reported, decided = verdict(standings)
    if up:
        since = max(s.since for s in standings)
        worst = max(range(len(standings)), key=lambda i: (standings[i].failures, -i))
    else:
        since = min(s.since for s in standings if not s.up)
        worst = next(i for i, s in enumerate(standings) if not s.up)
    state, check = standings[worst], checks[worst]
    says = sentence(state, check.rules)
    return Health(up, since, f"{asked(check, vip, backend)}: {says}" if state.at else says, reported, decided)


def sentence(state: Standing, rules: Rules) -> str:
    """The last result in words, and how it stands with the rules: `503 after 12 ms, 3 failures in a row since 12:04:31`."""
    if not state.at and state.inherited:
        return f"{'up' if state.up else 'down'} as before, {NOT_CHECKED}"
    if state.failures:
        return f"{state.says}, {_failures(state)}"
    passes = _passes(state.history)
    return state.says if state.up or not passes else f"{state.says}, {passes} of {rules.rise} passes in a row"


def _failures(state: Standing) -> str:
    since = f"since {clock(state.failing_since, state.at)}"
    lost, of = state.fell
    if not state.up and state.failures < lost:
        return f"{lost} of {of} failed, the last {clock(state.failing_since, state.at)}"
    return f"{state.failures} failures in a row {since}" if state.failures > 1 else f"1 failure {since}"


def _passes(history: Sequence[bool]) -> int:
    """How many passes the history ends with."""
    return next((n for n, passed in enumerate(reversed(history)) if not passed), len(history))


def check_status(state: Standing, check: Check) -> CheckStatus:
    """One check as status shows it."""
    return CheckStatus(str(check), state.up, state.says, state.at, state.took, state.failures, state.failing_since)
