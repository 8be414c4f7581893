"""`schema.py URL TOKEN`: Schemathesis against a running daemon, in the network namespace that it is started in."""

from __future__ import annotations

import sys
from typing import Any

import hypothesis
import schemathesis
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

EXAMPLES = 8  # requests of each route, right ones, and as many wrong ones
# Ends the daemon, or never ends: the scenarios in test_api.py ask these.
LEFT_OUT = ["/v1/restart", "/v1/events/stream"]
# That a text is a configuration, or what belongs together of a packet, is more than a schema can say.
MEANT = frozenset(["/v1/plan", "/v1/apply", "/v1/explain"])


def main(url: str, token: str) -> None:
    """Every route in turn; the first answer that is not as described ends it with a traceback."""
    bearer = {"Authorization": f"Bearer {token}"}
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json", headers=bearer).exclude(path=LEFT_OUT)
    for found in schema.get_all_operations():
        operation = found.ok()
        ask(operation.as_strategy(), bearer, [positive_data_acceptance] if operation.path in MEANT else [])
        if operation.query or operation.path_parameters:
            ask(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE), bearer, [])
        print(operation.label, flush=True)


def ask(cases: Any, bearer: dict[str, str], without: list[Any]) -> None:
    """One route, by requests that Hypothesis chooses; all of Schemathesis's checks but those."""

    @hypothesis.settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True)
    @hypothesis.given(case=cases)
    def each(case: Case) -> None:
        case.call_and_validate(headers=bearer, timeout=60, excluded_checks=without)

    each()


if __name__ == "__main__":
    main(*sys.argv[1:])
