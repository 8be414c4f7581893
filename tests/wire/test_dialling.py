"""Keys that are about connections - ports, addresses, hops, passwords, who dials whom - over real sockets."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest

from fairlead import preflight
from fairlead.model import Config, PeerConfig, Route
from tests.wire.conftest import ROOT, Bird, Net, Running, eventually, run

pytestmark = pytest.mark.root

V4, V6 = "192.0.2.10/32", "2001:db8::10/128"
ROUTES = (Route(ip_network(V4)), Route(ip_network(V6)))
ACTIVE = "passive no; connect delay time 1; connect retry time 1;"


def configured(bgp: str, peer: str = "10.99.0.2") -> Config:
    """A file with this in `bgp` and one peer, read as the daemon reads it, passwords included."""
    text = f'address: 10.99.0.1\naddress6: fd99::1\nservices: []\nbgp: {{as_number: 4200000001, {bgp}, peers: ["{peer}"]}}'
    return preflight.parse(text, "x")


def start(speaker: Running, config: Config) -> None:
    speaker.announce(*ROUTES)
    speaker.configure(*config.peers, listen=config.listen)


def begin(bird: Bird, session: str, more: str = "") -> None:
    """Start a BIRD whose session has these lines alone."""
    (bird.log_path.parent / "bird.conf").write_text(
        f"""log "{bird.log_path}" all;
router id 10.99.0.2;
protocol device {{ }}
{more}
protocol bgp fairlead {{
  {session}
  error wait time 1, 2;
  ipv4 {{ import all; export none; }};
  ipv6 {{ import all; export none; }};
}}
"""
    )
    bird.restart()


def inside(namespace: str, *command: str) -> str:
    return run("ip", "netns", "exec", namespace, *command)


def ends(namespace: str) -> list[tuple[str, str]]:
    """(our end, their end) of each established TCP connection."""
    lines = inside(namespace, "ss", "-Htn", "state", "established").splitlines()
    return [(words[2], words[3]) for words in map(str.split, lines)]


def count(namespace: str, name: str) -> int:
    """One of the kernel's own counters of a namespace."""
    found = re.search(rf"^{name}\s+(\d+)", inside(namespace, "nstat", "-asz", name), re.MULTILINE)
    assert found
    return int(found[1])


def established(speaker: Running) -> None:
    eventually(speaker.established, what=f"the session ({speaker.status().why})")


def test_port_and_source(net: Net, bird: Bird, speaker: Running) -> None:
    """`port` is dialled, from `source_ip`, which is then our end and the next hop."""
    run("ip", "-n", net.ours, "addr", "add", "10.99.0.9/24", "dev", "eth0")
    second = "local 10.99.0.2 as 1; neighbor 10.99.0.77 as 2; passive; ipv4 { import none; export none; };"  # on port 179, too
    first = "local 10.99.0.2 port 1790 as 4200000002; neighbor 10.99.0.9 as 4200000001; passive;"
    begin(bird, first, f"protocol bgp second {{ {second} }}")
    start(speaker, configured("port: 1790, source_ip: 10.99.0.9"))
    established(speaker)

    assert speaker.status().local == "10.99.0.9"
    assert [(ours.rpartition(":")[0], theirs) for ours, theirs in ends(net.ours)] == [("10.99.0.9", "10.99.0.2:1790")]
    eventually(lambda: bird.routes()[V4]["next_hop"] == "10.99.0.9", what="the route")


def test_passive(net: Net, bird: Bird, speaker: Running) -> None:
    """A passive peer is never dialled; the session comes about when it dials us, with the same routes."""
    start(speaker, configured("passive: true, listen: true"))
    assert speaker.status().why == "waiting for the peer to dial"
    bird.start(session=ACTIVE)
    established(speaker)

    eventually(lambda: len(bird.routes()) == 2, what="both routes")
    assert [ours for ours, _ in ends(net.ours)] == ["10.99.0.1:179"]


def test_listen_on_an_address(net: Net, bird: Bird, speaker: Running) -> None:
    """Only these addresses and this port; nobody listens any more when the configuration does not say so."""
    start(speaker, configured("passive: true, listen: {addresses: [10.99.0.1], port: 1179}"))
    eventually(lambda: "10.99.0.1:1179" in inside(net.ours, "ss", "-Hltn"), what="the port")
    assert len(inside(net.ours, "ss", "-Hltn").splitlines()) == 1
    begin(bird, f"local 10.99.0.2 as 4200000002; neighbor 10.99.0.1 port 1179 as 4200000001; {ACTIVE}")
    established(speaker)
    assert [ours for ours, _ in ends(net.ours)] == ["10.99.0.1:1179"]

    start(speaker, configured("med: 1"))
    eventually(lambda: not inside(net.ours, "ss", "-Hltn"), what="the end of listening")


def test_strangers_are_turned_away(net: Net, speaker: Running) -> None:
    """Whoever is no peer gets no session, and the log says once who tried."""
    start(speaker, configured("listen: true", peer="10.99.0.7"))
    eventually(lambda: ":179 " in inside(net.ours, "ss", "-Hltn"), what="the port")
    dial = "import socket; s = socket.create_connection(('10.99.0.1', 179), 5); s.settimeout(10); print(s.recv(9))"
    for _ in range(2):
        assert inside(net.router, "python3", "-c", dial).strip() == "b''"
    assert [str(e) for e in speaker.events if "10.99.0.2" in str(e)] == [
        "10.99.0.2 wants to speak BGP with us and is no configured peer: refused"
    ]


def count_ttl(net: Net, ttl: int) -> Callable[[], int]:
    """Counts at the router what comes for its BGP port with this TTL."""
    chain = "add table ip t; add chain ip t c { type filter hook input priority 0; }"
    rules = f"{chain}; add rule ip t c ip ttl {ttl} tcp dport 179 counter"
    inside(net.router, "nft", rules)
    return lambda: int(re.search(r"packets (\d+)", inside(net.router, "nft", "list", "ruleset"))[1])


def test_multihop(net: Net, bird: Bird, speaker: Running) -> None:
    """Our packets leave with the TTL that is configured."""
    packets = count_ttl(net, 7)
    bird.start(session="multihop 9;")
    start(speaker, configured("multihop: 7"))
    established(speaker)

    assert packets() >= 3


def test_ttl_security(net: Net, bird: Bird, speaker: Running) -> None:
    """With it on both ends the session is up at TTL 255; what has travelled further is dropped by the kernel, on either side."""
    packets = count_ttl(net, 255)
    bird.start(session="ttl security on;")
    start(speaker, configured("ttl_security: 1"))
    established(speaker)
    assert packets() >= 3

    bird.start(session="ttl security off; multihop 64;")
    eventually(lambda: count(net.ours, "TcpExtTCPMinTTLDrop"), what="a packet that has travelled too far")
    assert not speaker.established()
    start(speaker, configured("ttl_security: 254"))  # BIRD sends with 64 now: 191 hops away, as far as anybody can tell
    established(speaker)


def test_password(net: Net, bird: Bird, speaker: Running, tmp_path: Path) -> None:
    """TCP-MD5 with the password of the file; a wrong one is no session, the file's new one is, after the next reload."""
    key = tmp_path / "bgp.key"
    key.write_text("wrong\n")
    config = f"password_file: {key}"
    bird.start(session='password "hunter2";')
    start(speaker, configured(config))
    eventually(lambda: count(net.router, "TcpExtTCPMD5Failure"), what="a segment with the wrong signature")
    assert not speaker.established()

    key.write_text("hunter2\n")
    start(speaker, configured(config))
    established(speaker)
    eventually(lambda: len(bird.routes()) == 2, what="both routes")
    assert "hunter2" not in str(speaker.status())


def test_password_of_a_peer_that_dials(net: Net, bird: Bird, speaker: Running, tmp_path: Path) -> None:
    """The listening socket knows each peer's password."""
    (tmp_path / "bgp.key").write_text("hunter2")
    start(speaker, configured(f"passive: true, listen: true, password_file: {tmp_path}/bgp.key"))
    bird.start(session=f'{ACTIVE} password "hunter2";')
    established(speaker)
    assert [ours for ours, _ in ends(net.ours)] == ["10.99.0.1:179"]


def link_local(namespace: str) -> str:
    found = eventually(
        lambda: re.search(
            r"inet6 (fe80:\S+)/64 scope link(?! tentative)", run("ip", "-n", namespace, "-6", "addr", "show", "eth0")
        )
    )
    return str(found[1])


def test_link_local(net: Net, bird: Bird, speaker: Running) -> None:
    """A session between link-local addresses; next hops are the global ones, and IPv4 routes come over it, too."""
    ours, theirs = link_local(net.ours), link_local(net.router)
    begin(bird, f"local {theirs} as 4200000002; neighbor {ours}%eth0 as 4200000001; passive;")
    start(speaker, configured("hold_time: 30", peer=f"{theirs}%eth0"))
    established(speaker)

    eventually(lambda: len(bird.routes()) == 2, what="both routes")
    assert bird.routes()[V6]["next_hop"].split()[0] == "fd99::1"
    assert bird.routes()[V4]["next_hop"] == "10.99.0.1"
    assert speaker.status().address == f"{theirs}%eth0"


def test_nothing_but_link_local(net: Net, bird: Bird, speaker: Running) -> None:
    """Without a global address ("unnumbered") the link-local one is the only next hop, of IPv4 VIPs as well (RFC 8950)."""
    ours, theirs = link_local(net.ours), link_local(net.router)
    for namespace in (net.ours, net.router):
        run("ip", "-n", namespace, "addr", "flush", "dev", "eth0", "scope", "global")
    families = "ipv4 { import all; export none; extended next hop; }; ipv6 { import all; export none; };"
    (bird.log_path.parent / "bird.conf").write_text(
        f"""log "{bird.log_path}" all;
router id 10.99.0.2;
protocol device {{ }}
protocol kernel {{ ipv4 {{ export all; }}; }}
protocol kernel {{ ipv6 {{ export all; }}; }}
protocol bgp fairlead {{ local {theirs} as 4200000002; neighbor {ours}%eth0 as 4200000001; passive; {families} }}
"""
    )
    bird.restart()
    text = f'{{as_number: 4200000001, extended_next_hop: true, hold_time: 30, peers: ["{theirs}%eth0"]}}'
    start(speaker, preflight.parse(f"address: 10.99.0.1\nservices: []\nbgp: {text}", "x"))
    established(speaker)

    eventually(lambda: len(bird.routes()) == 2, what="both routes")
    assert {said["next_hop"].split()[-1] for said in bird.routes().values()} == {ours}
    for version, prefix in (("-4", V4), ("-6", V6)):
        shown = run("ip", "-n", net.router, version, "route", "show", prefix)
        assert f"{ours} dev eth0" in shown, "what the router's kernel forwards by"


def blocks(language: str) -> list[str]:
    """The code blocks of docs/reference/bgp.md below its heading about a router on this machine."""
    text = (ROOT / "docs/reference/bgp.md").read_text().partition("## A router on this machine")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_a_router_on_this_machine(net: Net, bird_program: Path, speaker: Running, tmp_path: Path) -> None:
    """What the reference says of a BIRD beside Fairlead works as it stands: both routes, with next hops that others can use."""
    (ours,), (theirs,) = blocks("yaml"), blocks("bird")
    peers: tuple[PeerConfig, ...] = preflight.parse(textwrap.dedent(ours) + "services: []\n", "bgp.md").peers
    (tmp_path / "bird.conf").write_text(f'log "{tmp_path}/bird.log" all;\nrouter id 10.0.0.7;\nprotocol device {{ }}\n{theirs}')
    bird = Bird(bird_program, net.ours, tmp_path).restart()
    try:
        speaker.announce(*ROUTES)
        speaker.configure(*peers)
        established(speaker)
        eventually(lambda: len(bird.routes()) == 2, what="both routes")
        assert {prefix: said["next_hop"] for prefix, said in bird.routes().items()} == {V4: "10.0.0.5", V6: "2001:db8::5"}
    finally:
        bird.stop()
