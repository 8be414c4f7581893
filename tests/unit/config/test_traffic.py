"""What the grammar says of traffic and the machine: tunnels, VLANs, schedulers, rejects, timeouts, limits."""

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
    Config,
    Limits,
    OnDown,
    Position,
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


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as error:
        parse(text, "x.yaml")
    return str(error.value)


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
