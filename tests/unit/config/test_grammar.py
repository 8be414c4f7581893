"""What the grammar means: every form of VC5's YAML and of the native additions, as the model has it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
import yaml

from fairlead.config import expand, parse
from fairlead.config.capacity import report_capacity
from fairlead.config.nodes import Value
from fairlead.config.policy import read_policy
from fairlead.config.report import Report
from fairlead.config.services import Draft
from fairlead.config.settings import TABLE_SIZES
from fairlead.core.maglev import SIZES
from fairlead.errors import ConfigError
from fairlead.model import (
    AdminState,
    Cluster,
    Config,
    Limits,
    OnDown,
    Position,
    ProbeConfig,
    Protocol,
    Reject,
    Scheduler,
    Service,
    Timeouts,
    Ttl,
    Tunnel,
    TunnelKind,
    Vlan,
)


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


@pytest.mark.parametrize("key", "80 443/tcp https 8443/https domain domain/udp ftp ssh telnet smtp pop2 pop3 imap imaps".split())
def test_implied_checks_of_later_parts_are_refused(key):
    """A key that stands for a syn, https or dns check is refused with the starred form as the hint, never left unchecked."""
    text = refused(f"services: [{{virtual: 192.0.2.10, servers: [10.1.0.1], policy: {{{key}: }}}}]")

    assert "not supported yet" in text
    assert f"write `{key}*`" in text


def test_defaults():
    """What a service is when nothing is said: VC5's checks, need 1, TTL one, flows kept."""
    service = one()

    assert (service.need, service.sticky, service.ttl, service.on_down) == (1, False, Ttl.ONE, OnDown.KEEP)
    (check,) = service.checks
    assert (check.type, check.port, check.host, check.path, check.method) == ("http", 80, "192.0.2.10", "/", "GET")
    assert (check.expect, check.interval, check.timeout) == (frozenset([200]), 2.0, 2.0)
    assert (check.window, check.fall, check.rise) == (5, 2, 5)


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
    assert (first.host, first.path, first.method, first.port, first.interval, first.fall) == (
        "a.example",
        "/c",
        "HEAD",
        81,
        5.0,
        2,
    )
    assert (second.path, second.port, second.fall) == ("/b", 80, 3)


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
    assert one("window: 3", "rise: 3").checks[0].rise == 3
    assert "`rise` is 5" in refused(text.replace("rise: 2, ", ""))


def test_equal_names_are_fine():
    """Services may share a name, as the IPv4 and IPv6 halves of one do."""
    text = "services: [{name: a, virtual: 192.0.2.1, servers: [10.1.0.1], policy: {http: , 53/udp: }}]"

    assert [(s.name, s.key.protocol) for s in parse(text, "x").services] == [("a", Protocol.UDP), ("a", Protocol.TCP)]


def test_traffic_defaults():
    """What is not said: Maglev, a table by the number of servers, flows remembered, unknown ports dropped, no tunnel."""
    service = one()

    assert (service.scheduler, service.table_size, service.track) == (Scheduler.MAGLEV, None, True)
    assert (service.reject, service.tunnel) == (Reject.DROP, None)


def test_traffic_keys():
    """Each key that says how a service's flows are treated."""
    lines = "scheduler: rendezvous|table-size: 65537|track: false|reject: unreachable|on-down: reset|sticky: true".split("|")
    service = one(*lines)

    assert (service.scheduler, service.table_size, service.track) == (Scheduler.RENDEZVOUS, 65537, False)
    assert (service.reject, service.on_down, service.sticky) == (Reject.UNREACHABLE, OnDown.RESET, True)


def test_the_table_sizes_are_those_of_core():
    """`table-size` offers the ladder from which core picks where nothing is said."""
    assert TABLE_SIZES == SIZES


def test_the_top_names_a_scheduler_for_all():
    """A scheduler at the top holds for the services that say no other."""
    services = "[{virtual: 192.0.2.1, servers: [10.1.0.1], policy: {http: , 81/http: {scheduler: maglev}}}]"
    text = f"scheduler: rendezvous\nservices: {services}"

    assert [s.scheduler for s in parse(text, "x").services] == [Scheduler.RENDEZVOUS, Scheduler.MAGLEV]


@pytest.mark.parametrize(
    ("service", "entry", "meant"),
    [
        ("reset: true", "", OnDown.RESET),
        ("reset: true", "reset: false", OnDown.KEEP),
        ("reset: true", "on-down: move", OnDown.MOVE),
        ("on-down: move", "reset: true", OnDown.RESET),
        ("on-down: move", "reset: false", OnDown.MOVE),
        ("reset: false", "", OnDown.KEEP),
    ],
)
def test_reset_is_a_word_for_on_down(service, entry, meant):
    """VC5's `reset: true` is `on-down: reset`; `false` takes it back and nothing else."""
    assert one(service, policy=f"{{http: {{{entry}}}}}").on_down is meant


def test_reject_is_of_the_vip():
    """One service that rejects makes its VIP reject; other VIPs are left alone."""
    text = """
        services:
          - {virtual: [192.0.2.1, 192.0.2.2], servers: [10.1.0.1], policy: {http: {reject: drop}, 81/http: }}
          - {virtual: 192.0.2.1, servers: [10.1.0.1], reject: unreachable, policy: {82/http: }}
        """
    rejects = {(str(s.key.vip), s.reject) for s in parse(text, "x").services}

    assert rejects == {("192.0.2.1", Reject.UNREACHABLE), ("192.0.2.2", Reject.DROP)}


@pytest.mark.parametrize(
    ("lines", "tunnel"),
    [
        ("tunnel-type: none", None),
        ("tunnel-type: ipip", Tunnel(TunnelKind.IPIP)),
        ("tunnel-type: gre|tunnel-mtu: 1400", Tunnel(TunnelKind.GRE, mtu=1400)),
        ("tunnel-type: fou|tunnel-port: 5555", Tunnel(TunnelKind.FOU, 5555)),
        ("tunnel-type: gue|tunnel-port: 6080|tunnel-no-checksum: true", Tunnel(TunnelKind.GUE, 6080, checksum=False)),
    ],
)
def test_tunnels(lines, tunnel):
    """Each tunnel with what belongs to it; a packet inside loses one of its TTL unless `ttl` says otherwise."""
    service = one(*lines.split("|"))

    assert service.tunnel == tunnel
    assert service.ttl is (Ttl.DECREMENT if tunnel else Ttl.ONE)
    assert one("ttl: keep", *lines.split("|")).ttl is Ttl.KEEP


@pytest.mark.parametrize(
    ("entry", "tunnel"),
    [
        ("", Tunnel(TunnelKind.GUE, 6080, checksum=False, mtu=1400)),
        ("tunnel-port: 1", Tunnel(TunnelKind.GUE, 1, checksum=False, mtu=1400)),
        ("tunnel-type: fou", Tunnel(TunnelKind.FOU, 6080, checksum=False, mtu=1400)),
        ("tunnel-type: ipip", Tunnel(TunnelKind.IPIP, mtu=1400)),
        ("tunnel-type: none", None),
    ],
)
def test_tunnels_cascade(entry, tunnel):
    """An entry inherits its service's tunnel; a type of its own leaves behind what would have no effect with it."""
    upper = "tunnel-type: gue|tunnel-port: 6080|tunnel-no-checksum: true|tunnel-mtu: 1400".split("|")

    assert one(*upper, policy=f"{{http: {{{entry}}}}}").tunnel == tunnel


def test_tunnels_join_families():
    """With a tunnel, VIPs and servers of both families mix freely."""
    text = "{virtual: [192.0.2.1, '2001:db8::1'], servers: [10.1.0.1, '2001:db8:1::1'], tunnel-type: gre, policy: {http: }}"
    config = parse(f"services: [{text}]", "x")

    assert [(s.key.vip.version, [b.address.version for b in s.backends]) for s in config.services] == [(4, [4, 6]), (6, [4, 6])]
    assert not config.warnings
    assert "add a `tunnel-type`" in refused(f"services: [{text}]".replace("tunnel-type: gre, ", ""))


@pytest.mark.parametrize(
    ("kind", "server", "least"),
    [
        ("ipip", "10.1.0.1", 1300),
        ("gre", "2001:db8:1::1", 1324),
        ("fou, tunnel-port: 1", "10.1.0.1", 1308),
        ("gue, tunnel-port: 1", "2001:db8:1::1", 1332),
    ],
)
def test_ipv6_needs_1280_octets(kind, server, least):
    """A tunnel narrower than IPv6's least MTU plus its headers is refused for IPv6 VIPs, the least that will do named."""
    said = f"servers: ['{server}'], tunnel-type: {kind}, tunnel-mtu:"
    assert parse(f"services: [{{virtual: '2001:db8::1', policy: {{http: }}, {said} {least}}}]", "x").services
    assert f"write {least} or more" in refused(f"services: [{{virtual: '2001:db8::1', policy: {{http: }}, {said} {least - 1}}}]")


def test_vlans():
    """Ids, subnets, and the gateway in the host part, as VC5 has it; sorted by family and id."""
    vlans = "vlans: {20: 10.2.0.0/16, 10: 10.1.10.254/24}\nvlans6: {10: '2001:db8:10::1/64'}\n"
    config = parse(f"{vlans}services: []", "x")

    assert config.vlans == (
        Vlan(10, ip_network("10.1.10.0/24"), ip_address("10.1.10.254")),
        Vlan(20, ip_network("10.2.0.0/16")),
        Vlan(10, ip_network("2001:db8:10::/64"), ip_address("2001:db8:10::1")),
    )
    assert parse(expand(config), "x") == config


def test_servers_outside_the_vlans():
    """Where subnets are declared, a server outside them all is an error at its line, unless only tunnels lead to it."""
    text = "vlans: {{10: 10.1.0.0/24}}\nservices:\n- {{virtual: 192.0.2.1, policy: {{http: }}, servers: [10.1.0.1, 10.2.0.1]{}}}"

    assert "x.yaml:3:62: error: server 10.2.0.1 is in no VLAN's subnet" in refused(text.format(""))
    assert parse(text.format(", tunnel-type: ipip"), "x").services
    assert parse(text.format("").partition("\n")[2], "x").services


def test_timeouts_and_limits():
    """Timeouts, limits and the delay between interfaces; what is not said stays at its default."""
    text = "services: []\ntimeouts: {udp: 1m, confirmed: 2h}\nlimits: {flows: 1000, destinations: 1048575}\nattach-delay: 500ms"
    config = parse(text, "x")

    assert config.timeouts == Timeouts(embryonic=10, confirmed=7200, closing=30, udp=60)
    assert config.limits == Limits(services=4096, destinations=1048575, slots=1 << 25, flows=1000)
    assert config.attach_delay == 0.5
    assert parse("services: []", "x").timeouts == Timeouts(10, 3600, 30, 120)
    assert parse("services: []", "x").limits == Limits(4096, 131072, 1 << 25, 1 << 22)
    assert parse("services: []", "x").attach_delay == 0


def test_more_servers_than_slots():
    """A service with more servers than the largest table has slots is refused where its VIP stands."""
    where = Value(Report("x"), yaml.compose("[]"), "`services`")
    (entry,) = read_policy(Value(where.report, yaml.compose("{http: }"), "`policy`")) or ()
    few = one()
    crowd = replace(few, backends=few.backends[:1] * 131072)
    report_capacity(Config((crowd,)), [Draft(crowd, Position("x", 2, 3), entry, entry.settings)], where)
    (problem,) = where.report.problems()

    assert str(problem).startswith("x:2:3: error: 192.0.2.10:80/tcp has 131072 servers, and a table 131071 slots")
