"""What the grammar means: every form of VC5's YAML and of the native additions, as the model has it."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from fairlead.config import parse
from fairlead.errors import ConfigError
from fairlead.model import AdminState, Cluster, Config, OnDown, ProbeConfig, Protocol, Rules, Service, Ttl


def one(*lines: str, policy: str = "{http: }") -> Service:
    """The one service of a file with these lines added to it."""
    body = "".join(f"    {line}\n" for line in lines)
    text = f"services:\n  - virtual: 192.0.2.10\n    servers: [10.1.0.2, 10.1.0.1]\n    policy: {policy}\n{body}"
    (service,) = parse(text, "x.yaml").services
    return service


def with_bgp(text: str) -> Config:
    return parse(f"address: 10.0.0.5\nservices: []\n{text}", "x.yaml")


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as error:
        parse(text, "x.yaml")
    return str(error.value)


CHECKED = "{checks: [{type: http}]}"


@pytest.mark.parametrize(
    ("key", "value", "ports", "checks"),
    [
        ("http", "", ["80/tcp"], 1),
        ("8080/http", "", ["8080/tcp"], 1),
        ("http", "80", ["80/tcp"], 1),
        ("http", "{bind: 80}", ["80/tcp"], 1),
        ("http*", "", ["80/tcp"], 0),
        ("http", "{checks: []}", ["80/tcp"], 0),
        ("http", "{checks: [{type: http}, {type: http, path: /two}]}", ["80/tcp"], 2),
        ("80*", "", ["80/tcp"], 0),
        ("'80*'", "~", ["80/tcp"], 0),
        ("443/tcp*", "", ["443/tcp"], 0),
        ("443/tcp", CHECKED, ["443/tcp"], 1),
        ("443", CHECKED, ["443/tcp"], 1),
        ("https*", "", ["443/tcp"], 0),
        ("8443/https*", "", ["8443/tcp"], 0),
        ("https", CHECKED, ["443/tcp"], 1),
        ("53/udp", "", ["53/udp"], 0),
        ("53/udp*", "", ["53/udp"], 0),
        ("53/udp", CHECKED, ["53/udp"], 1),
        ("domain*", "", ["53/tcp", "53/udp"], 0),
        ("5353/domain*", "", ["5353/tcp", "5353/udp"], 0),
        ("domain/tcp*", "", ["53/tcp"], 0),
        ("domain/udp*", "", ["53/udp"], 0),
        ("domain", CHECKED, ["53/tcp", "53/udp"], 1),
        ("ftp*", "", ["21/tcp"], 0),
        ("ssh*", "", ["22/tcp"], 0),
        ("telnet*", "", ["23/tcp"], 0),
        ("smtp*", "", ["25/tcp"], 0),
        ("pop2*", "", ["109/tcp"], 0),
        ("pop3*", "", ["110/tcp"], 0),
        ("imap*", "", ["143/tcp"], 0),
        ("imaps*", "", ["993/tcp"], 0),
        ("65535/http", "", ["65535/tcp"], 1),
        ("any/tcp", "", ["0/tcp"], 0),
        ("any/udp*", "~", ["0/udp"], 0),
        ("any/tcp", "{checks: [{type: http, port: 80}]}", ["0/tcp"], 1),
        ("any/udp", "{checks: []}", ["0/udp"], 0),
    ],
)
def test_policy_keys(key, value, ports, checks):
    """Each form of policy key stands for its ports, protocols and checks; a star takes the checks away."""
    config = parse(f"services: [{{virtual: 192.0.2.10, servers: [10.1.0.1], policy: {{{key}: {value}}}}}]", "x")

    assert [f"{s.key.port}/{s.key.protocol}" for s in config.services] == ports
    assert [len(s.checks) for s in config.services] == [checks] * len(ports)


def test_defaults():
    """What a service is when nothing is said: VC5's checks, need 1, TTL one, flows kept."""
    service = one()

    assert (service.need, service.sticky, service.ttl, service.on_down) == (1, False, Ttl.ONE, OnDown.KEEP)
    (check,) = service.checks
    assert (check.type, check.port, check.host, check.path, check.method) == ("http", 80, "192.0.2.10", "/", "GET")
    assert (check.expect, check.interval, check.timeout) == (frozenset([200]), 2.0, 2.0)
    assert check.rules == Rules(5, 2, 5)


def test_the_host_of_an_ipv6_vip_is_bracketed():
    """Without `host`, a check of an IPv6 VIP sends the address in brackets (RFC 3986 section 3.2.2)."""
    config = parse("services: [{virtual: '2001:db8::80', servers: ['2001:db8::1'], policy: {http: }}]", "x")

    assert config.services[0].checks[0].host == "[2001:db8::80]"


def test_settings_cascade():
    """Service, policy entry, check: what the lower level says wins, the rest comes from above."""
    policy = "{http: {need: 2, path: b, sticky: false, checks: [{type: http, path: c, port: 81}, {type: http, fall: 3}]}}"
    lines = "host: a.example|path: a|method: HEAD|need: 1|sticky: true|name: web|interval: 5s|ttl: keep|on-down: move".split("|")
    service = one(*lines, policy=policy)

    assert (service.name, service.need, service.sticky, service.ttl) == ("web", 2, False, Ttl.KEEP)
    assert service.on_down is OnDown.MOVE
    first, second = service.checks
    assert (first.host, first.path, first.method, first.port, first.interval, first.rules.fall) == (
        "a.example",
        "/c",
        "HEAD",
        81,
        5.0,
        2,
    )
    assert (second.path, second.port, second.rules.fall) == ("/b", 80, 3)


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("any", set()),
        ("200", {200}),
        ("200 301-303", {200, 301, 302, 303}),
        ("303-301", {301, 302, 303}),
        ("[200, 204-205]", {200, 204, 205}),
    ],
)
def test_expect(text, codes):
    """Codes, ranges either way round, lists, and `any` as no restriction."""
    assert one(f"expect: {text}").checks[0].expect == codes


@pytest.mark.parametrize(
    ("text", "seconds"), [("2", 2), ("0.5", 0.5), ("500ms", 0.5), ("10 s", 10), ("1m", 60), ("1h", 3600), ("107.7ms", 0.1077)]
)
def test_durations(text, seconds):
    """Seconds without a unit, as VC5 has them, or with one."""
    assert one(f"interval: {text}").checks[0].interval == seconds


def test_servers():
    """A star drains; mappings carry weight and state; the order of the file does not matter."""
    service = parse(
        """
        services:
          - virtual: 192.0.2.10
            policy: {http: }
            servers:
              - {address: 10.1.0.9, weight: 7, state: disabled}
              - 10.1.0.3*
              - {address: 10.1.0.2, state: drain}
              - {address: 10.1.0.4, weight: 0}
              - 10.1.0.1
        """,
        "x",
    ).services[0]

    assert [(int(b.address) & 15, b.weight, b.state) for b in service.backends] == [
        (1, 1, AdminState.ACTIVE),
        (2, 1, AdminState.DRAIN),
        (3, 1, AdminState.DRAIN),
        (4, 0, AdminState.ACTIVE),
        (9, 7, AdminState.DISABLED),
    ]


def test_named_servers_and_policies():
    """`servers` and `policy` may name top-level entries, shared by services; VIPs times ports make the services."""
    config = parse(
        """
        services:
          - {virtual: [192.0.2.11, 192.0.2.10], servers: web, policy: web}
          - {virtual: 192.0.2.9, servers: web, policy: web}
        servers: {web: [10.1.0.1]}
        policy: {web: {8080/http: , http: }}
        """,
        "x",
    )

    assert [str(s.key) for s in config.services] == [f"192.0.2.{host}:{port}/tcp" for host in (9, 10, 11) for port in (80, 8080)]
    assert len({s.backends for s in config.services}) == 1


def test_aliases_and_merges():
    """Anchors, aliases and merge keys work; what a mapping says itself wins over what it merges."""
    config = parse(
        """
        services:
          - &first {virtual: 192.0.2.10, servers: &list [10.1.0.1], policy: {http: &entry {path: /a, need: 0}}}
          - {<<: *first, virtual: 192.0.2.11}
          - {virtual: 192.0.2.12, servers: *list, policy: {http: {<<: [*entry, {path: /x, sticky: true}], need: 1}}}
        """,
        "x",
    )

    assert [(s.checks[0].path, s.need, s.sticky) for s in config.services] == [
        ("/a", 0, False),
        ("/a", 0, False),
        ("/a", 1, True),
    ]


def test_positions_survive():
    """Services and servers know where they stand, for messages that only the running daemon can give."""
    (service,) = parse("services:\n  - virtual: 192.0.2.10\n    servers:\n      - 10.1.0.1\n    policy: {http: }\n", "f").services

    assert str(service.position) == "f:2:14"
    assert str(service.backends[0].position) == "f:4:9"


def test_names_are_text():
    """A name or description that YAML would take for a boolean or a number stays what was written."""
    service = one("name: no", "description: 010")

    assert (service.name, service.description) == ("no", "010")


def test_bgp_inherits_and_overrides():
    """Peers take from their group, groups from the top level; named prefixes and `any` are resolved."""
    config = with_bgp(
        """
bgp:
  as_number: 65000
  hold_time: 4
  communities: ["65000:1"]
  reject: 203.0.113.0/24
  peers: [10.0.0.9]
  groups:
    - as_number: 4200000000
      name: a
      accept: [office, 2001:db8::/32]
      reject: any
      peers: [10.0.0.1, {address: 10.0.0.2, med: 5}]
prefixes: {office: [192.0.2.0/24, 198.51.100.0/24]}
"""
    )
    first, second, ninth = config.peers

    assert (first.as_number, first.hold_time, first.communities) == (4200000000, 4, ((65000, 1),))
    assert first.accept == tuple(map(ip_network, ["192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32"]))
    assert first.reject == tuple(map(ip_network, ["0.0.0.0/0", "::/0"]))
    assert (second.med, second.as_number) == (5, 4200000000)
    assert (ninth.as_number, ninth.accept, ninth.reject) == (65000, (), (ip_network("203.0.113.0/24"),))


def test_next_hops_come_from_the_own_addresses():
    """A session of one family announces the other with `address` and `address6`, unless a next hop is given."""
    config = with_bgp(
        """
address6: 2001:db8::5
bgp:
  as_number: 65000
  peers: [10.0.0.1, "[2001:db8::1]", {address: 10.0.0.2, next_hop_6: 2001:db8::7}]
"""
    )
    four, also_four, six = config.peers

    assert (four.next_hop_4, four.next_hop_6) == (None, ip_address("2001:db8::5"))
    assert also_four.next_hop_6 == ip_address("2001:db8::7")
    assert (six.next_hop_4, six.next_hop_6) == (ip_address("10.0.0.5"), None)


def test_a_local_speaker_may_be_a_peer():
    """VC5's loopback mode: a BIRD on the same host is a peer like any other."""
    config = with_bgp("bgp: {as_number: 65000, source_ip: 127.0.0.1, peers: [127.0.0.1]}\n")

    assert config.peers[0].source == ip_address("127.0.0.1")


def test_peers_in_any_order_make_the_same_config():
    """Peers and services are sorted: two files that say the same in another order are equal."""
    a = with_bgp("bgp: {as_number: 65000, peers: [10.0.0.1, 10.0.0.2]}\n")
    b = with_bgp("bgp: {as_number: 65000, peers: [10.0.0.2, 10.0.0.1]}\n")

    assert a == b


def test_bgp_needs_an_address():
    """Peers without a router ID are refused with the key to add."""
    assert "add a top-level `address`" in refused("services: []\nbgp: {as_number: 65000, peers: [10.0.0.1]}")


def test_probe_and_cluster():
    """The probe's numbers, hexadecimal mark included, and the key file."""
    config = parse("services: []\nprobe: {mark: 0xABC, priority: 100, table: 200}\ncluster: {key-file: /etc/fairlead/key}", "x")

    assert config.probe == ProbeConfig(0xABC, 100, 200)
    assert config.cluster == Cluster("/etc/fairlead/key")
    assert parse("services: []", "x").probe == ProbeConfig()


@pytest.mark.parametrize(("text", "names"), [("eth0", ("eth0",)), ("[eth0, bond0.10]", ("eth0", "bond0.10"))])
def test_interfaces(text, names):
    """One name or a list of them."""
    assert parse(f"services: []\ninterfaces: {text}", "x").interfaces == names


def test_windows_the_results_do_not_fit_in():
    """`fall` or `rise` beyond the window could never be reached and are refused, after all levels are merged."""
    text = "services: [{virtual: 192.0.2.10, servers: [10.1.0.1], window: 3, policy: {http: {rise: 2, fall: 4}}}]"

    assert "`fall` is 4, but only the last 3 results are looked at" in refused(text)
    assert one("window: 3", "rise: 3").checks[0].rules.rise == 3
    assert "`rise` is 5" in refused(text.replace("rise: 2, ", ""))


def test_equal_names_are_fine():
    """Services may share a name, as the IPv4 and IPv6 halves of one do."""
    text = "services: [{name: a, virtual: 192.0.2.1, servers: [10.1.0.1], policy: {http: , 53/udp: }}]"

    assert [(s.name, s.key.protocol) for s in parse(text, "x").services] == [("a", Protocol.UDP), ("a", Protocol.TCP)]
