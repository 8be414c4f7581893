"""From probe results to up and down: one pure step per result.

A backend that is up goes down when `fall` of its last `window` results failed; one that is down comes up when its last `rise`
results all passed. Only results since the last change count, so that the failures that took a backend down cannot take it down
again at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.model import Check, Health, ProbeResult, Rules

NOT_CHECKED = "not checked yet"


@dataclass(frozen=True, slots=True)
class Standing:
    """One check of one backend in one service. `since` is the Unix time of the last change of `up`.

    `reported` means that a result since the daemon's start bears the verdict out: an inherited "up" needs one pass, or enough
    failures to overturn it. `history` holds the results since the last change, oldest first, as many as the rules look at.
    """

    up: bool
    since: float
    says: str = NOT_CHECKED
    reported: bool = False
    history: tuple[bool, ...] = ()


def step(state: Standing, result: ProbeResult, rules: Rules) -> Standing:
    """The standing after one more result."""
    history = (*state.history, result.passed)[-max(rules.window, rules.rise) :]
    if _turns(state.up, history, rules):
        return Standing(not state.up, result.at, result.says, True)
    reported = state.reported or result.passed == state.up
    return Standing(state.up, state.since, result.says, reported, history)


def _turns(up: bool, history: tuple[bool, ...], rules: Rules) -> bool:
    if up:
        return history[-rules.window :].count(False) >= rules.fall
    return len(history) >= rules.rise and all(history[-rules.rise :])


def combine(standings: Sequence[Standing], checks: Sequence[Check], since: float = 0.0) -> Health:
    """The health of a backend: up if every check is. Without checks it is up, since `since`."""
    if not standings:
        return Health(True, since, "no checks", True)
    if len(standings) == 1:
        only = standings[0]
        return Health(only.up, only.since, only.says, only.reported)
    reported = all(s.reported for s in standings)
    down = [(s, c) for s, c in zip(standings, checks, strict=True) if not s.up]
    if not down:
        return Health(True, max(s.since for s in standings), _says(standings[-1], checks[-1], len(checks)), reported)
    worst, check = down[0]
    # A backend that one check has decided to be down is decided, whatever the others will say.
    decided = any(s.reported for s, _ in down)
    return Health(False, min(s.since for s, _ in down), _says(worst, check, len(checks)), decided or reported)


def _says(standing: Standing, check: Check, checks: int) -> str:
    return standing.says if checks == 1 else f"{check}: {standing.says}"
