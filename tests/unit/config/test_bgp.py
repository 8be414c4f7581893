"""The grammar of `bgp`: levels, addresses, communities, rules, and what contradicts itself."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from fairlead.config import expand, parse
from fairlead.config.communities import WELL_KNOWN
from fairlead.errors import ConfigError
from fairlead.model import Aggregate, AttributeRule, Config, GracefulRestart, Listen, PeerConfig

SERVICE = "services: [{virtual: 192.0.2.10, name: web, servers: [10.1.0.11], policy: {http: }}]\naddress: 10.0.0.5\n"


def bgp(text: str) -> Config:
    """A configuration that is good, has this in `bgp`, and means the same in its normal form."""
    config = parse(f"{SERVICE}bgp: {{as_number: 65001, {text}}}", "x")
    assert parse(expand(config), "x") == config
    return config


def peer(text: str = "") -> PeerConfig:
    """The one peer, with these keys at the top."""
    (found,) = bgp(f"{text}{', ' if text else ''}peers: [10.0.0.1]").peers
    return found


def problems(text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        bgp(text)
    return "\n".join(map(str, refused.value.problems))


def warnings(text: str) -> str:
    return "\n".join(map(str, bgp(text).warnings))


def test_levels():
    """A peer takes what it does not say from its group, a group from the top; lists replace, an empty one too."""
    config = parse(
        SERVICE
        + """
bgp:
  as_number: 65001
  med: 1
  communities: [no-export]
  graceful_restart: {time: 30}
  rules: [{med: 7}]
  peers: [10.0.0.1]
  groups:
    - name: the other site
      peer_as: 65000
      communities: []
      rules: []
      peers:
        - 10.0.0.2
        - {address: 10.0.0.3, as_number: 65002, med: 3, graceful_restart: false, communities: [65001:1], port: 1179}
""",
        "x",
    )
    top, group, own = config.peers

    assert (top.as_number, top.remote_as, top.med, top.communities, len(top.rules)) == (65001, None, 1, ((65535, 65281),), 1)
    assert (group.as_number, group.remote_as, group.med, group.communities, group.rules) == (65001, 65000, 1, (), ())
    assert (own.as_number, own.remote_as, own.med, own.communities, own.port) == (65002, 65000, 3, ((65001, 1),), 1179)
    assert [p.graceful_restart for p in config.peers] == [GracefulRestart(30), GracefulRestart(30), None]


def test_defaults():
    """What is not said: graceful restart is on, everything else is as the kernel and the RFCs have it."""
    usual = PeerConfig(ip_address("10.0.0.1"), 65001)

    assert peer() == usual
    assert usual.graceful_restart == GracefulRestart(120, notification=False)
    assert (usual.port, usual.hold_time, usual.passive, usual.password_file, usual.password) == (179, 10, False, "", None)


def test_hops_exclude_each_other():
    """`ttl_security` and `multihop` on one level are an error; on two levels the lower one ends the other."""
    config = bgp("multihop: 3, peers: [10.0.0.1, {address: 10.0.0.2, ttl_security: 2}, {address: 10.0.0.3, multihop: 5}]")

    assert [(p.multihop, p.ttl_security) for p in config.peers] == [(3, None), (None, 2), (5, None)]
    assert "excludes `multihop`" in problems("multihop: 3, ttl_security: 1, peers: [10.0.0.1]")


def test_link_local():
    """A link-local peer carries its interface, two of one address on two interfaces are two peers, one without is refused."""
    config = bgp('peers: ["fe80::1%eth0", "fe80::1%eth1", {address: fe80::2%eth0}]')

    assert [str(p) for p in config.peers] == ["fe80::1%eth0", "fe80::1%eth1", "fe80::2%eth0"]
    assert config.peers[0].address == ip_address("fe80::1")
    assert "needs its interface: `fe80::1`" in problems('peers: ["fe80::1"]')
    assert "is listed twice" in problems('peers: ["fe80::1%eth0", "fe80::1%eth0"]')


def test_local_peers_get_next_hops():
    """A loopback or link-local session's own address is no next hop for others: `address` and `address6` are."""
    config = parse(SERVICE + 'address6: 2001:db8::5\nbgp: {as_number: 1, peers: [127.0.0.1, "::1", "fe80::1%eth0"]}', "x")

    assert {(str(p.next_hop_4), str(p.next_hop_6)) for p in config.peers} == {("10.0.0.5", "2001:db8::5")}


def test_hold_time():
    """0 is none, with a warning; 1 and 2 are VC5's 10; 3 and more are themselves."""
    assert peer("hold_time: 0").hold_time == 0
    assert "never found out" in warnings("hold_time: 0, peers: [10.0.0.1]")
    assert peer("hold_time: 2").hold_time == 10
    assert peer("hold_time: 3").hold_time == 3


@pytest.mark.parametrize(("name", "number"), WELL_KNOWN.items())
def test_well_known_communities(name, number):
    """Each name is its number, in the registry's spelling, too."""
    assert peer(f"communities: [{name}]").communities == (number,)
    assert peer(f"communities: [{name.upper().replace('-', '_')}]").communities == (number,)


def test_communities_by_number():
    """Standard, large and extended ones, each within its range (RFC 1997, 8092, 4360, 5668)."""
    assert peer("communities: [0:0, 65535:65535]").communities == ((0, 0), (65535, 65535))
    assert peer("large_communities: [4200000000:1:2]").large_communities == ((4200000000, 1, 2),)
    extended = peer("ext_communities: [rt:65001:4294967295, rt:70000:9, soo:192.0.2.1:9, 0x0123456789abcdef]").ext_communities
    assert [f"{number:016x}" for number in extended] == [
        "0002fde9ffffffff",
        "0202000111700009",
        "0103c00002010009",
        "0123456789abcdef",
    ]
    assert "put it under `large_communities`" in problems("communities: [1:2:3], peers: [10.0.0.1]")
    assert "put it under `ext_communities`" in problems("communities: [rt:2:3], peers: [10.0.0.1]")
    assert "did you mean `no-export`" in problems("communities: [no-exprot], peers: [10.0.0.1]")


def test_rules():
    """Each rule keeps what it matches and what it says apart; an empty list says that there are none."""
    text = "rules: [{services: [web], priorities: [critical, low], prefixes: any, med: 0}, {communities: []}]"

    first, second = peer(text).rules
    assert first == AttributeRule(
        prefixes=(ip_network("0.0.0.0/0"), ip_network("::/0")),
        names=frozenset(["web"]),
        priorities=frozenset(["critical", "low"]),
        med=0,
    )
    assert second == AttributeRule(communities=())


def test_a_rule_without_a_service_warns():
    """A name that no service has is a warning that names the nearest."""
    assert "a service `wep`, and there is none of that name (did you mean `web`?)" in warnings(
        "rules: [{services: [wep], med: 1}], peers: [10.0.0.1]"
    )


def test_listen():
    """Everywhere, nowhere, on some addresses, on another port."""
    assert bgp("peers: [10.0.0.1]").listen is None
    assert bgp("listen: false, peers: [10.0.0.1]").listen is None
    assert bgp("listen: true, peers: [10.0.0.1]").listen == Listen()
    assert bgp("listen: 10.0.0.5, peers: [10.0.0.1]").listen == Listen((ip_address("10.0.0.5"),))
    found = bgp('listen: {addresses: [127.0.0.1, "::1"], port: 1179}, peers: [10.0.0.1]').listen
    assert found == Listen((ip_address("127.0.0.1"), ip_address("::1")), 1179)


def test_passive_needs_listen():
    """A session that neither side begins would never come up."""
    assert "is `passive`, and Fairlead listens nowhere" in problems("passive: true, peers: [10.0.0.1]")
    assert "is `passive`, and Fairlead listens nowhere" in problems("passive: true, listen: false, peers: [10.0.0.1]")
    assert bgp("passive: true, listen: true, peers: [10.0.0.1]").peers[0].passive


def test_aggregates():
    """Prefixes or mappings, sorted; one that covers no VIP is a warning."""
    config = bgp("aggregates: [{prefix: 192.0.2.0/24, only: true}, 192.0.0.0/16], peers: [10.0.0.1]")

    assert config.aggregates == (Aggregate(ip_network("192.0.0.0/16")), Aggregate(ip_network("192.0.2.0/24"), only=True))
    assert "no VIP lies in the aggregate 198.51.100.0/24" in warnings("aggregates: [198.51.100.0/24], peers: [10.0.0.1]")


def test_times_of_leaving():
    """`drain_time` is 10 s, `stop_time` one, unless said."""
    usual, said = bgp("peers: [10.0.0.1]"), bgp("drain_time: 0, stop_time: 500ms, peers: [10.0.0.1]")

    assert (usual.drain_time, usual.stop_time) == (10, 1)
    assert bgp("stop_time: 0, peers: [10.0.0.1]").stop_time == 0
    assert (said.drain_time, said.stop_time) == (0, 0.5)


def test_a_password_stays_in_its_file():
    """The configuration has the path only, and nothing prints a password that was read."""
    found = peer("password_file: /etc/fairlead/bgp.key")

    assert (found.password_file, found.password) == ("/etc/fairlead/bgp.key", None)
    assert "hunter2" not in repr(PeerConfig(ip_address("10.0.0.1"), 1, password=b"hunter2"))
    assert "file of its own" in problems("password: hunter2, peers: [10.0.0.1]")
