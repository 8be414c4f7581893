"""Checks of every type: what a file says of them, what they inherit, and what keeps its default; and what calms a service."""

from __future__ import annotations

import pytest

from fairlead.adapters.probes import dns_wire
from fairlead.config import expand, parse, questions
from fairlead.errors import ConfigError
from fairlead.model import AdminState, Check, Damping, Rules, Service


def services(policy: str, *lines: str, vip: str = "192.0.2.10", top: str = "") -> tuple[Service, ...]:
    """The services of a file with this policy and these lines, which means the same in its normal form."""
    body = "".join(f"    {line}\n" for line in lines)
    server = "'2001:db8::1'" if ":" in vip else "10.1.0.1"
    text = f"{top}\nservices:\n  - virtual: '{vip}'\n    servers: [{server}]\n    policy: {policy}\n{body}"
    config = parse(text, "x.yaml")
    assert parse(expand(config), "x.yaml") == config
    return config.services


def check(said: str, *lines: str, key: str = "80/tcp") -> Check:
    """The one check that an entry states."""
    ((found,),) = [s.checks for s in services(f"{{{key}: {{checks: [{said}]}}}}", *lines)]
    return found


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as error:
        services(text)
    return str(error.value)


@pytest.mark.parametrize(
    ("key", "types"),
    [
        ("http", "http GET / port 80"),
        ("8080/http", "http GET / port 8080"),
        ("https", "https GET / port 443"),
        ("8443/https", "https GET / port 8443"),
        ("80", "syn port 80"),
        ("443/tcp", "syn port 443"),
        ("ftp", "syn port 21"),
        ("ssh", "syn port 22"),
        ("telnet", "syn port 23"),
        ("smtp", "syn port 25"),
        ("pop2", "syn port 109"),
        ("pop3", "syn port 110"),
        ("imap", "syn port 143"),
        ("imaps", "syn port 993"),
        ("domain/tcp", "dns localhost A over tcp port 53"),
        ("domain/udp", "dns localhost A over udp port 53"),
        ("domain", "dns localhost A over tcp port 53, dns localhost A over udp port 53"),
        ("5353/domain", "dns localhost A over tcp port 5353, dns localhost A over udp port 5353"),
        ("53/udp", ""),
        ("any/tcp", ""),
        ("any/udp", ""),
    ],
)
def test_implied_checks(key, types):
    """A policy key stands for VC5's check of it, and for none with a star behind it."""
    assert ", ".join(str(c) for s in services(f"{{{key}: }}") for c in s.checks) == types
    assert not any(s.checks for s in services(f"{{{key}*: }}"))


def test_what_a_type_has_no_use_for_keeps_its_default():
    """Two syn checks are equal whatever their services say of hosts and paths: one probe serves both."""
    lines = ("host: a.example", "path: /x", "method: HEAD", "expect: any", "verify: true", "body: up", "headers: {X-A: b}")

    assert check("{type: syn}", *lines) == check("{type: syn}") == Check("syn", 80)
    assert check("{type: icmp}", *lines) == Check("icmp", 0)
    assert check("{type: http}", *lines).verify is False
    assert check("{type: https}", *lines).verify is True
    assert check("{type: dns}", *lines) == Check("dns", 80, method="tcp")


def test_http_says_more():
    """Headers sorted by name, a pattern for the body, and the certificate; the lowest level wins as a whole."""
    found = check(
        "{type: https, body: 'ok|up', headers: {b: '2', A: ' 1 '}}", "headers: {C: x}", "verify: true", "host: a.example:444"
    )

    assert (found.headers, found.body, found.verify) == ((("A", "1"), ("b", "2")), "ok|up", True)
    assert (found.host, found.port, found.expect) == ("a.example:444", 80, frozenset({200}))


def test_hosts_default_to_the_vip():
    """Without `host` an http or https check names the VIP, an IPv6 one in brackets (RFC 3986 section 3.2.2)."""
    (six,) = services("{https: }", vip="2001:db8::80")

    assert six.checks[0].host == "[2001:db8::80]"
    assert check("{type: http}").host == "192.0.2.10"


@pytest.mark.parametrize(
    ("said", "key", "transport"),
    [("", "53/tcp", "tcp"), ("", "53/udp", "udp"), (", method: tcp", "53/udp", "tcp"), (", method: udp", "53/tcp", "udp")],
)
def test_dns_transport(said, key, transport):
    """A dns check goes over its service's protocol, unless `method` says otherwise."""
    assert check(f"{{type: dns{said}}}", key=key).method == transport


def test_method_means_two_things():
    """GET and HEAD above dns checks, tcp and udp above http checks leave those alone: each takes its own."""
    policy = "{53/tcp: {method: udp, checks: [{type: dns}, {type: http}]}}"
    (service,) = services(policy, "method: HEAD")

    assert [c.method for c in service.checks] == ["udp", "HEAD"]


def test_dns_questions():
    """Name, record and response code, in any case; a dot at the end says nothing; `any` is the default code."""
    found = check("{type: dns, name: www.example.com., record: aaaa, rcode: nxdomain}")

    assert (found.name, found.record, found.rcode) == ("www.example.com", "AAAA", "NXDOMAIN")
    assert check("{type: dns, name: ., record: SOA, rcode: any}") == Check("dns", 80, method="tcp", name=".", record="SOA")


@pytest.mark.parametrize(
    ("said", "octets"),
    [
        ("ping", b"ping"),
        ('"a\\r\\n\\0"', b"a\r\n\0"),
        ("ä", "ä".encode()),
        ("{hex: 00 fF\t0a}", b"\x00\xff\n"),
        ('""', b""),
        ("'0x00'", b"0x00"),
        ("{hex: ''}", b""),
    ],
)
def test_udp_payloads(said, octets):
    """Text is sent as UTF-8, hexadecimal digits as the octets that they are; neither is guessed at."""
    assert check(f"{{type: udp, payload: {said}}}").payload == octets


def test_udp_answers():
    """Without `payload` an empty packet is sent, without `answer` any answer will do."""
    assert check("{type: udp, answer: '^PONG'}") == Check("udp", 80, answer="^PONG")


def test_ports():
    """A check may ask elsewhere; on every port it must say where, unless it is a ping."""
    assert check("{type: tcp, port: 8080}").port == 8080
    assert check("{type: icmp}", key="any/udp").port == 0
    assert "a check of `any/udp` needs a `port`" in refused("{any/udp: {checks: [{type: udp}]}}")


def test_rules_are_no_part_of_the_question():
    """Two checks that differ in rules alone ask the same, and one probe serves both."""
    calm, eager = check("{type: tcp, window: 10, fall: 3, rise: 7}"), check("{type: tcp, fall: 1, rise: 1}")

    assert (calm.rules, eager.rules) == (Rules(10, 3, 7), Rules(5, 1, 1))
    assert calm.asked() == eager.asked() == Check("tcp", 80)


def test_vc5_keys_without_use_warn():
    """VC5 reads past `path` in a syn check; such a file is taken, and told."""
    config = parse("services: [{virtual: 192.0.2.1, servers: [10.1.0.1], policy: {22: {checks: [{type: syn, path: /}]}}}]", "x")

    assert [p.says for p in config.warnings] == ["`path` is for checks of type `http` and `https`, not `syn`: it has no effect"]


def test_what_calms_a_service_by_default():
    """VC5's five seconds of hold; no damping, no panic."""
    (service,) = services("{http: }")

    assert (service.hold, service.panic, service.damping) == (5.0, 0.0, None)


@pytest.mark.parametrize(
    ("said", "damping"),
    [
        ("true", Damping()),
        ("false", None),
        ("{}", Damping()),
        ("{penalty: 500, half-life: 90s, suppress: 2000, reuse: 750}", Damping(500, 90, 2000, 750)),
        ("{half-life: 1.5}", Damping(half_life=1.5)),
    ],
)
def test_damping(said, damping):
    """Defaults, a mapping of some of its numbers, or none at all."""
    (service,) = services("{http: }", f"damping: {said}")

    assert service.damping == damping


@pytest.mark.parametrize(("said", "share"), [("20%", 0.2), ("0%", 0), ("100 %", 1), ("'33.33%'", 0.3333), ("12.5%", 0.125)])
def test_panic(said, share):
    """A percentage, as a share from 0 to 1."""
    (service,) = services("{http: }", f"panic: {said}")

    assert service.panic == share


def test_calm_cascades():
    """The file, a service, an entry: the lowest level wins, and `false` takes damping away again."""
    policy = "{http: , 81/http: {hold: 0, damping: false, panic: 0%}, 82/http: {damping: {penalty: 1}}}"
    first, second, third = services(policy, "panic: 30%", top="hold: 1m\npanic: 10%\ndamping: true")

    assert (first.hold, first.panic, first.damping) == (60.0, 0.3, Damping())
    assert (second.hold, second.panic, second.damping) == (0.0, 0.0, None)
    assert third.damping == Damping(penalty=1)


def test_backups():
    """A server may wait until the others are fewer than `need`."""
    text = """
        services:
          - virtual: 192.0.2.10
            servers: [10.1.0.1, {address: 10.1.0.2, backup: true}, {address: 10.1.0.3, backup: false, state: drain}]
            policy: {http: }
    """
    config = parse(text, "x")

    assert [(b.backup, b.state) for b in config.services[0].backends] == [
        (False, AdminState.ACTIVE),
        (True, AdminState.ACTIVE),
        (False, AdminState.DRAIN),
    ]
    assert parse(expand(config), "x") == config
    assert not config.warnings


def test_probes_know_what_the_grammar_knows():
    """Every record type and response code that a file may name can be asked for and is told by name."""
    assert {*questions.RECORDS} <= {*dns_wire.TYPES}
    assert {*questions.RCODES} <= {*dns_wire.RCODES.values()}
