"""The vocabulary, the reference page and the examples say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fairlead.config import expand, parse
from fairlead.config.vocabulary import (
    AGGREGATE,
    ALERT,
    ALL,
    BGP,
    CHECK,
    CLUSTER,
    DAMPING,
    DOCUMENT,
    GRACEFUL_RESTART,
    GROUP,
    LIMITS,
    LISTEN,
    LOGGING,
    PAYLOAD,
    PEER,
    POLICY_ENTRY,
    PROBE,
    RULE,
    SEARCH,
    SERVER,
    SERVICE,
    SYSLOG,
    TIMEOUTS,
    TLS,
)
from fairlead.errors import ConfigError

ROOT = Path(__file__).parents[3]
PAGE = "".join((ROOT / "docs" / "reference" / name).read_text() for name in ("config.md", "bgp.md"))
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))

# A file with one more key in the section under test.
FRAMES = {
    DOCUMENT.what: "services: []\n{}: x\n",
    SERVICE.what: "services: [{{virtual: 192.0.2.1, servers: [10.1.0.1], policy: {{http: }}, {}: x}}]",
    POLICY_ENTRY.what: "services: [{{virtual: 192.0.2.1, servers: [10.1.0.1], policy: {{http: {{{}: x}}}}}}]",
    CHECK.what: "services: [{{virtual: 192.0.2.1, servers: [10.1.0.1], policy: {{http: {{checks: [{{type: http, {}: x}}]}}}}}}]",
    SERVER.what: "services: [{{virtual: 192.0.2.1, servers: [{{address: 10.1.0.1, {}: x}}], policy: {{http: }}}}]",
    BGP.what: "services: []\nbgp: {{as_number: 1, {}: x}}",
    GROUP.what: "services: []\nbgp: {{as_number: 1, groups: [{{{}: x}}]}}",
    PEER.what: "address: 10.0.0.5\nservices: []\nbgp: {{as_number: 1, peers: [{{address: 10.0.0.1, {}: x}}]}}",
    RULE.what: "services: []\nbgp: {{as_number: 1, rules: [{{{}: x}}]}}",
    LISTEN.what: "services: []\nbgp: {{as_number: 1, listen: {{{}: x}}}}",
    AGGREGATE.what: "services: []\nbgp: {{as_number: 1, aggregates: [{{{}: x}}]}}",
    GRACEFUL_RESTART.what: "services: []\nbgp: {{as_number: 1, graceful_restart: {{{}: x}}}}",
    TLS.what: "services: []\ntls: {{{}: x}}",
    PROBE.what: "services: []\nprobe: {{{}: x}}",
    CLUSTER.what: "services: []\ncluster: {{{}: x}}",
    TIMEOUTS.what: "services: []\ntimeouts: {{{}: x}}",
    LIMITS.what: "services: []\nlimits: {{{}: x}}",
    DAMPING.what: "services: []\ndamping: {{{}: x}}",
    LOGGING.what: "services: []\nlogging: {{{}: x}}",
    SYSLOG.what: "services: []\nlogging: {{syslog: {{{}: x}}}}",
    SEARCH.what: "services: []\nlogging: {{elasticsearch: {{addresses: http://10.0.0.1:9200, {}: x}}}}",
    ALERT.what: "services: []\nlogging: {{webhook: {{url: https://x.example, {}: x}}}}",
    PAYLOAD.what: (
        "services: [{{virtual: 192.0.2.1, servers: [10.1.0.1], policy: {{80: {{checks: [{{type: udp, payload: {{{}: x}}}}]}}}}}}]"
    ),
}


def rows(text: str) -> set[str]:
    """Every key that stands in the first column of a table."""
    firsts = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {key for cell in firsts for key in re.findall(r"`([a-z0-9_-]+)`", cell)}


def said_of(kind: str) -> list[tuple[str, str]]:
    """(section, key) of all keys of one kind."""
    return [(words.what, key) for words in ALL for key in sorted(getattr(words, kind))]


def test_every_key_is_documented():
    """Each key that is honoured, refused as coming later, or answered with a warning has a row in the reference."""
    keys = {key for words in ALL for key in (*words.known, *words.later, *words.dead)}

    assert keys - rows(PAGE) == set()


def test_later_rows_say_so():
    """A key that is not supported yet is not documented as if it were."""
    honoured = {key for words in ALL for key in words.known}
    later = {key for words in ALL for key in words.later} - honoured
    lines = [line for line in PAGE.splitlines() if line.startswith("| `")]

    for key in later:
        assert any(f"`{key}`" in line.split("|")[1] and "not supported yet" in line for line in lines), key


@pytest.mark.parametrize(("section", "key"), said_of("later"))
def test_later_keys_are_refused(section, key):
    """A key of a later part is an error that says so and gives a hint."""
    with pytest.raises(ConfigError) as refused:
        parse(FRAMES[section].format(key), "x")

    (problem,) = [p for p in refused.value.problems if p.says == f"`{key}` is not supported yet"]
    assert problem.hint


@pytest.mark.parametrize(("section", "key"), said_of("renamed"))
def test_old_names_lead_to_new_ones(section, key):
    """A name that this grammar does not have, but people know, is an error with the way on."""
    with pytest.raises(ConfigError) as refused:
        parse(FRAMES[section].format(key), "x")

    (problem,) = [p for p in refused.value.problems if p.says == f"unknown key `{key}` in {section}"]
    assert problem.hint


@pytest.mark.parametrize(("section", "key"), said_of("dead"))
def test_dead_keys_warn(section, key):
    """A key that VC5 itself ignores is a warning, and the file is taken."""
    warnings = parse(FRAMES[section].format(key), "x").warnings

    assert f"`{key}` has no effect" in [p.says for p in warnings]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_examples(path):
    """Each example is accepted, has comments, and means the same as its normal form."""
    text = path.read_text()
    config = parse(text, path.name)

    assert text.startswith("# ")
    assert config.services
    assert parse(expand(config), path.name) == config
    assert not parse(expand(config), path.name).warnings


def test_only_the_vc5_example_warns():
    """The native examples are without a warning; VC5's dead keys are shown in its own."""
    assert [p.stem for p in EXAMPLES if parse(p.read_text(), p.name).warnings] == ["vc5-style"]


def test_normal_form():
    """The normal form states everything: no inheritance, no named lists, no implied check."""
    text = "services: [{virtual: [192.0.2.1], path: x, servers: a, policy: b}]\nservers: {a: [10.1.0.1*]}\npolicy: {b: {http: }}"

    assert (
        expand(parse(text, "x"))
        == """\
services:
- virtual: 192.0.2.1
  need: 1
  sticky: false
  ttl: one
  on-down: keep
  scheduler: maglev
  track: true
  reject: drop
  tunnel-type: none
  hold: 5
  panic: 0%
  damping: false
  servers:
  - address: 10.1.0.1
    weight: 1
    state: drain
  policy:
    80/tcp:
      checks:
      - type: http
        port: 80
        host: 192.0.2.1
        path: /x
        method: GET
        expect: '200'
        headers: {}
        body: ''
        interval: 2
        timeout: 2
        window: 5
        fall: 2
        rise: 5
"""
    )
