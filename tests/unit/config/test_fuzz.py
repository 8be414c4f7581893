"""Whatever the text: a Config or a ConfigError, and what is accepted survives its own normal form.

FAIRLEAD_FUZZ=N tries N texts for each property; without it they are few, as this runs on every save.
"""

from __future__ import annotations

import os
from pathlib import Path

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fairlead.config import expand, parse
from fairlead.config.vocabulary import ALL
from fairlead.errors import ConfigError
from fairlead.model import Config, Severity

fuzzed = settings(
    max_examples=int(os.environ.get("FAIRLEAD_FUZZ", "25")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
EXAMPLES = [p.read_text() for p in sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))]
KEYS = sorted({key for words in ALL for key in (*words.known, *words.later, *words.dead, *words.renamed)})
SCALARS = """
    10.1.0.1 10.1.0.2* 192.0.2.10 2001:db8::1 [2001:db8::1] fe80::1 fe80::1%eth0 ::ffff:1.2.3.4 127.0.0.1 0.0.0.0 224.0.0.1 ::1
    255.255.255.255 010.1.1.1 10.1.1.1:80 10.0.0.0/8 2001:db8::/32 10.0.0.1/99 any none true false yes no on off True ~ null
    0 1 -1 010 0x10 12:30 1_000 1e3 1.5 65535 65536 99999999999999999999 200-299 299-200 200 99 http https domain 8080/http
    53/udp 443/tcp* any/tcp any/udp* any GET HEAD POST tcp maglev rendezvous drain active disabled keep move reset one 500ms
    2s 1:30 65000:1 70000 ipip gre fou gue 251 65537 10.1.0.1/24 4094 4095 unreachable 64512.1 critical eth0 web / a/b % @ & *
    ! | > ` ' " # - ? : , [ ] { } << *x &x !foo
""".split()

words = st.sampled_from(KEYS + SCALARS) | st.text(max_size=8)
trees = st.recursive(
    words | st.none() | st.booleans() | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=5),
    max_leaves=25,
)
yamlish = st.lists(
    st.sampled_from([*KEYS, *SCALARS, "\n", "\n  ", "\n- ", ": ", ", ", "\t", "\r", "\0", "\x85", "\ufeff", "---\n"]), max_size=60
)


def outcome(text: str) -> Config | ConfigError:
    try:
        return parse(text, "fuzz.yaml")
    except ConfigError as refused:
        return refused


def check(text: str) -> Config | None:
    """The property itself."""
    config = outcome(text)
    if isinstance(config, ConfigError):
        assert any(p.severity is Severity.ERROR for p in config.problems)
        for problem in config.problems:
            assert 1 <= problem.position.line <= len(text) + 2
            assert problem.position.column >= 1
            assert problem.says
            assert str(problem).isprintable(), problem
        return None
    again = parse(expand(config), config.path)

    assert again == config
    assert expand(again) == expand(config)
    return config


@fuzzed
@given(st.text() | yamlish.map("".join) | yamlish.map(" ".join))
@example("&a {<<: *a}")
@example("services: &a [*a]")
@example("services: &a [{virtual: *a, servers: *a, policy: &b {http: *b}}]")
@example("services: \udc80")
@example("é\u00e9: \x07")
@example("[" * 100_000)
@example("- " * 100_000)
@example("{a: " * 50_000)
@example("need: " + "9" * 5000)
def test_any_text(text: str) -> None:
    """Any text at all, yaml-ish or not, is either refused with positions or understood."""
    check(text)


@fuzzed
@given(st.dictionaries(st.sampled_from(KEYS), trees, max_size=6))
def test_any_structure(tree: dict[str, object]) -> None:
    """Well-formed YAML made of the grammar's own words in wrong places never brings a traceback."""
    check(yaml.safe_dump(tree, allow_unicode=True))


@fuzzed
@given(st.data())
def test_damaged_examples(data: st.DataObject) -> None:
    """An example with lines lost, doubled, swapped or words replaced is refused, or understood and stable."""
    lines = data.draw(st.sampled_from(EXAMPLES)).splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        match data.draw(st.sampled_from(["lose", "double", "move", "indent", "word", "cut"])):
            case "lose" if len(lines) > 1:
                del lines[at]
            case "double":
                lines.insert(at, lines[at])
            case "move":
                lines.insert(data.draw(st.integers(0, len(lines) - 1)), lines.pop(at))
            case "indent":
                lines[at] = data.draw(st.sampled_from(["  ", "    ", "\t", "- "])) + lines[at].strip()
            case "word":
                parts = lines[at].split(" ")
                parts[data.draw(st.integers(0, len(parts) - 1))] = data.draw(words)
                lines[at] = " ".join(parts)
            case _:
                lines[at] = lines[at][: data.draw(st.integers(0, len(lines[at])))]
    check("\n".join(lines))


addresses4 = st.integers(1, 254).map("10.1.0.{}".format)
addresses6 = st.integers(1, 0xFFFF).map("2001:db8:1::{:x}".format)
_when = {
    "port": st.integers(1, 65535),
    "interval": st.integers(100, 3_600_000).map(lambda ms: ms / 1000),
    "timeout": st.sampled_from(["500ms", 2, "1m", 0.01, "10.7ms", "0.123456789", "33.333333333ms"]),
    "window": st.integers(5, 64),
    "rise": st.integers(1, 5),
}
_patterns = st.sampled_from(["", "ok", "no", "^[0-9]+$", "\\x00", "a: b", "- c", "{2}", "(?i)Up", "\t\n"])
_http = {
    "path": st.sampled_from(["/", "alive", "//x?y=%20#z", "/'\"\\{}"]),
    "host": st.sampled_from(["a.example", "[2001:db8::1]:80", "no", "010", "1.5", "12:30"]),
    "method": st.sampled_from(["GET", "HEAD"]),
    "expect": st.sampled_from(["any", 200, "200-204 301", [200, "300-302"], "599-500"]),
    "headers": st.dictionaries(st.sampled_from(["X-A", "x_b", "no", "1"]), st.sampled_from(["", "a: b", "no", "1", "#"])),
    "body": _patterns,
}
_dns = {
    "method": st.sampled_from(["tcp", "udp"]),
    "name": st.sampled_from(["localhost", ".", "no", "_a.example.", "1.1"]),
    "record": st.sampled_from(["A", "aaaa", "NS", "any"]),
    "rcode": st.sampled_from(["any", "NOERROR", "nxdomain"]),
}
_udp_checks = {
    "payload": st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
    | st.binary(max_size=9).map(lambda octets: {"hex": octets.hex(" ")}),
    "answer": _patterns,
}
checks = st.one_of(
    st.fixed_dictionaries({"type": st.just(kind)}, optional=_when | more)
    for kind, more in (
        ("http", _http),
        ("https", _http | {"verify": st.booleans()}),
        ("tcp", {}),
        ("syn", {}),
        ("dns", _dns),
        ("udp", _udp_checks),
    )
) | st.just({"type": "icmp", "interval": 1})
entries = st.fixed_dictionaries(
    {},
    optional={
        "checks": st.lists(checks, max_size=3),
        "need": st.integers(0, 300),
        "sticky": st.booleans(),
        "ttl": st.sampled_from(["one", "decrement", "keep"]),
        "on-down": st.sampled_from(["keep", "move", "reset"]),
        "scheduler": st.sampled_from(["maglev", "rendezvous"]),
        "table-size": st.sampled_from([251, 1021, 131071]),
        "track": st.booleans(),
        "reject": st.sampled_from(["drop", "unreachable"]),
        "hold": st.sampled_from([0, "500ms", "1h"]),
        "panic": st.integers(0, 10000).map(lambda share: f"{share / 100}%"),
        "damping": st.booleans()
        | st.fixed_dictionaries(
            {"suppress": st.integers(1001, 10**6)}, optional={"half-life": st.sampled_from([1, "1.5", "1h"])}
        ),
        "name": st.sampled_from(["web", "no", "010", "1e3", "true", "null", "0x1", "1-2"]),
        "description": st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1)
        | st.sampled_from(["a: b", "- c", "x  y", " #z"]),
        "priority": st.sampled_from(["critical", "low"]),
    },
)
unchecked = entries.map(lambda entry: {key: said for key, said in entry.items() if key != "checks"})
_mtu = {"tunnel-mtu": st.integers(1340, 65535)}
_udp = {"tunnel-type": st.sampled_from(["fou", "gue"]), "tunnel-port": st.integers(1, 65535)}
tunnels = (
    st.just({"tunnel-type": "none"})
    | st.fixed_dictionaries({"tunnel-type": st.sampled_from(["ipip", "gre"])}, optional=_mtu)
    | st.fixed_dictionaries(_udp, optional=_mtu | {"tunnel-no-checksum": st.booleans()})
)
tunnelled = st.tuples(unchecked, tunnels).map(lambda both: both[0] | both[1])
ports = st.fixed_dictionaries(
    {"8080/http": entries | st.none()},
    optional={
        "80/http": entries,
        "443/https": entries | st.none(),
        "5353/domain": entries | st.none(),
        "ssh": entries,
        "443/tcp*": unchecked | tunnelled | st.none(),
        "53/udp": entries | st.none(),
        "domain/tcp*": unchecked,
        "any/tcp*": tunnelled,
        "any/udp": unchecked | st.just({"checks": [{"type": "http", "port": 80}]}) | st.none(),
    },
)


machines = st.fixed_dictionaries(
    {},
    optional={
        "vlans": st.sampled_from([{10: "10.1.0.254/24"}, {4094: "10.0.0.0/9", 1: "10.128.0.1/9"}, {}]),
        "vlans6": st.sampled_from([{10: "2001:db8:1::1/64"}, {"20": "2001:db8::/32"}]),
        "timeouts": st.fixed_dictionaries({}, optional={"udp": st.integers(1, 3600), "confirmed": st.just("1.5h")}),
        "limits": st.fixed_dictionaries({}, optional={"flows": st.integers(1, 1 << 28), "services": st.integers(20, 65536)}),
        "attach-delay": st.sampled_from(["0", "500ms", 60]),
        "block": st.sampled_from([[], ["198.51.100.0/24"], ["2001:db8:bad::/48", "203.0.113.7/32"]]),
        "count-prefixes": st.booleans(),
        "scheduler": st.sampled_from(["maglev", "rendezvous"]),
    },
)


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, object]:
    """Files that are right, in most parts at least."""
    services = []
    for number in range(draw(st.integers(0, 4))):
        six = draw(st.booleans())
        address = addresses6 if six else addresses4
        server = st.fixed_dictionaries(
            {"address": address},
            optional={
                "weight": st.integers(0, 1000),
                "state": st.sampled_from(["active", "drain", "disabled"]),
                "backup": st.booleans(),
            },
        )
        tunnel = draw(tunnels | st.just({}))
        services.append(
            {
                "virtual": f"2001:db8:2::{number + 1:x}" if six else f"192.0.2.{number + 1}",
                "servers": draw(st.lists(address | address.map("{}*".format) | server, max_size=4, unique_by=str)),
                "policy": draw(ports),
                **draw(unchecked),
                **tunnel,
            }
        )
    rule = st.fixed_dictionaries(
        {"med": st.integers(0, 9)},
        optional={
            "prefixes": st.sampled_from(["any", ["192.0.2.0/24"], []]),
            "services": st.lists(st.sampled_from(["web", "dns", "no"]), max_size=2),
            "priorities": st.lists(st.sampled_from(["critical", "low"]), max_size=2),
            "communities": st.sampled_from([[], ["no-export", "GRACEFUL_SHUTDOWN"]]),
            "prepend": st.integers(0, 3),
        },
    )
    peer = st.fixed_dictionaries(
        {
            "address": st.integers(1, 254).map("10.2.0.{}".format),
            "as_number": st.integers(1, 2**32 - 1).filter(lambda n: n != 23456),
        },
        optional={
            "med": st.integers(0, 2**32 - 1),
            "communities": st.lists(st.sampled_from(["65000:1", "12:30", "0:0"]), max_size=2),
            "accept": st.sampled_from(["any", ["10.0.0.0/8", "2001:db8::/32"], []]),
            "next_hop_6": st.just("2001:db8::5"),
            "peer_as": st.integers(1, 23455),
            "port": st.integers(1, 65535),
            "hold_time": st.sampled_from([0, 3, 90]),
            "password_file": st.just("/etc/fairlead/bgp"),
            "graceful_restart": st.sampled_from([True, False, {"time": 30, "notification": True}, {}]),
            "extended_next_hop": st.booleans(),
            "ttl_security": st.integers(1, 254),
            "max_prefixes": st.integers(1, 1000),
            "large_communities": st.just(["65000:1:2", "4294967295:0:0"]),
            "ext_communities": st.just(["rt:65000:7", "soo:192.0.2.1:9", "rt:70000:1", "0x0102030405060708"]),
            "prepend": st.integers(0, 64),
            "rules": st.lists(rule, max_size=2),
        },
    )
    return {
        "services": services,
        "address": "10.3.0.1",
        "bgp": {
            "peers": draw(st.lists(peer, max_size=3, unique_by=lambda p: p["address"])),
            "listen": draw(st.sampled_from([True, False, ["192.0.2.250"], {"port": 1179}])),
            "aggregates": draw(st.sampled_from([[], ["192.0.2.0/24"], [{"prefix": "2001:db8::/32", "only": True}]])),
            "drain_time": draw(st.sampled_from([0, 10, 0.5])),
        },
        "probe": {"mark": draw(st.sampled_from([1, 4095, "0xfa1"]))},
        **draw(machines),
    }


@fuzzed
@given(configurations())
def test_right_files_round_trip(tree: dict[str, object]) -> None:
    """A file that is accepted equals the parse of its own normal form, whatever its names and numbers look like to YAML."""
    check(yaml.safe_dump(tree, allow_unicode=True))


def test_round_trip_is_not_vacuous() -> None:
    """Every example is accepted, so the properties above do reach the far side."""
    assert all(check(text) for text in EXAMPLES)
