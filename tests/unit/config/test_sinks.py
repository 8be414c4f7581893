"""The grammar of `logging`: VC5's shape and ours, and what is wrong in one go."""

from __future__ import annotations

import pytest

from fairlead.config import expand, parse
from fairlead.errors import ConfigError
from fairlead.model import Logging, Search, Syslog


def read(text: str) -> Logging:
    return parse(f"services: []\nlogging: {text}\n", "x").logging


def refused(text: str) -> list[str]:
    with pytest.raises(ConfigError) as found:
        read(text)
    return [problem.says for problem in found.value.problems if problem.severity.value == "error"]


def test_as_vc5_has_it():
    """Its section is taken as it stands: the socket of this machine, an index as the stream, the password with a warning."""
    text = """services: []
logging:
  syslog: true
  slack: https://hooks.slack.com/services/x
  alert: 4
  elasticsearch:
    index: vc5
    addresses: [http://192.0.2.20:9200/, http://192.0.2.21:9200]
    username: elastic
    password: geheim
"""
    config = parse(text, "x")
    addresses = ("http://192.0.2.20:9200", "http://192.0.2.21:9200")

    assert config.logging.syslog == Syslog("/dev/log", "unix")
    assert config.logging.searches == (Search(addresses=addresses, stream="vc5", username="elastic", password="geheim"),)
    assert [a.kind for a in config.logging.alerts] == ["slack"]
    assert "whoever may read this file knows the password" in [p.says for p in config.warnings]
    assert "geheim" not in repr(config)
    assert parse(expand(config), "x") == config


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("true", Syslog("/dev/log", "unix")),
        ("{}", Syslog("/dev/log", "unix")),
        ("{address: /run/log}", Syslog("/run/log", "unix")),
        ("{address: 192.0.2.1}", Syslog("192.0.2.1:514", "udp")),
        ("{address: 192.0.2.1:6514, transport: tcp}", Syslog("192.0.2.1:6514", "tcp")),
        ('{address: "[2001:db8::1]", transport: udp, facility: local7}', Syslog("[2001:db8::1]:514", "udp", facility=23)),
        ("{format: local, probes: all}", Syslog("/dev/log", "unix", "local", probes="all")),
    ],
)
def test_syslog(text, wanted):
    """An address says how it is reached, unless that is said; the normal form says all."""
    config = parse(f"services: []\nlogging: {{syslog: {text}}}", "x")

    assert config.logging.syslog == wanted
    assert parse(expand(config), "x") == config


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{syslog: {address: logs.example.com}}", "must be an address with a port, or the path of a socket"),
        ("{syslog: {address: 192.0.2.1:0}}", "must be an address with a port, or the path of a socket"),
        ("{syslog: {address: 2001:db8::1}}", "must be an address with a port, or the path of a socket"),
        ("{syslog: {transport: tcp}}", "syslog over tcp needs an `address`"),
        ("{syslog: {address: 192.0.2.1, transport: tls}}", "`transport` must be"),
        ("{syslog: yes}", "`syslog` must be `true`, `false` or a mapping"),
        ("{elasticsearch: {stream: x}}", "`elasticsearch` needs `addresses`"),
        ("{elasticsearch: {addresses: 192.0.2.1}}", "is no URL of a cluster"),
        ("{elasticsearch: {addresses: 'https://u:p@192.0.2.1:9200'}}", "a URL is no place for a password"),
        ("{elasticsearch: {addresses: http://a, stream: Logs}}", "`stream` must be the name of a data stream"),
        ("{elasticsearch: {addresses: http://a, index: a, stream: b}}", "there is a `stream`, too"),
        ("{elasticsearch: {addresses: http://a, password: x}}", "there is no `username` for this password"),
        ("{elasticsearch: {addresses: http://a, username: u, password: x, password-file: y}}", "there is a `password`, too"),
        ("{elasticsearch: {addresses: http://a, username: u, api-key-file: y}}", "there is a `username`, too"),
        ("{opensearch: {addresses: http://a, api-key-file: y}}", "OpenSearch knows no API keys"),
        ("{elasticsearch: {addresses: http://a, spool: 1KiB}}", "`spool` must be a size"),
        ("{elasticsearch: {addresses: http://a, queue: 1}}", "`queue` must be a whole number"),
        ("{elasticsearch: [{addresses: http://a}, {addresses: http://a}]}", "two of `elasticsearch` are the same"),
        ("{format: xml}", "`format` must be"),
    ],
)
def test_what_is_wrong(text, says):
    """Each mistake is an error at its place, with the reason."""
    assert any(says in found for found in refused(text)), refused(text)


def test_nothing_said():
    """Without the section events go to standard error, and the normal form does not speak of it."""
    config = parse("services: []", "x")

    assert config.logging == Logging()
    assert "logging" not in expand(config)
