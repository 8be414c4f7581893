"""What is measured, as data: configurations, how their backends are reached, and the packets sent to them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from bench.wrapper import Pick
from fairlead.model import Path
from tests.bpf.packets import ether, ping4, tcp4, tcp6, udp4, udp6
from tests.bpf.plane import LO, OWN_MAC, backend_mac

SECOND, PEER, SECOND_MAC = 2, 3, bytes.fromhex("02000000002b")  # a pair of veth, and the MAC of the first
BACKENDS4 = ", ".join(f"10.1.0.{i}" for i in range(11, 21))
BACKENDS6 = ", ".join(f'"fd00::{i}"' for i in range(11, 21))
OTHERS = "\n".join(f"  - {{virtual: 198.51.100.{i}, servers: [10.1.0.11], policy: {{80/tcp*: }}}}" for i in range(1, 101))
# VIPs by what becomes of their packets.
V4, V6, TAGGED, ELSEWHERE, REJECTING = "192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.3", "192.0.2.4"
BLANK4, BLANK6 = "0.0.0.0", "2001:db8:1::"
MILLION = (1 << 20) - 1
KINDS = {"ipip": 0, "gre": 4, "fou": 8, "gue": 12}  # bytes of outer header behind the IP header
LIMITS = {"ipip": (28.0, 54.0), "gue": (38.0, 69.0)}  # DESIGN section 5, by kind


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table. `warm`: how many million new flows are sent before, so that the table is as full as it gets.

    `first` is sent once before; `grown`: bytes that are added in front; `services`: so many addresses in a row take turns. Of
    several verdicts each packet must have had one.
    """

    name: str
    packet: Packet
    pick: Pick = Pick.SAME
    mask: int = 5
    goal: float = 0
    must: float = 0
    verdict: str = "forwarded"
    warm: int = 0
    first: Packet | None = None
    grown: int = 0
    services: int = 1

    @property
    def v6(self) -> bool:
        """Whether the frame carries IPv6."""
        return bytes(self.packet)[12:14] == b"\x86\xdd"

    @property
    def tagged(self) -> bool:
        """Whether the frame has an 802.1Q tag."""
        return bytes(self.packet)[12:14] == b"\x81\x00"


@dataclass(frozen=True, slots=True)
class Scene:
    """A configuration, paths other than the usual ones by backend, and what is measured with it."""

    text: str
    cases: tuple[Case, ...]
    paths: dict[str, Path] = field(default_factory=dict)


def ack4(dst: str, flags: str = "A", port: int = 80) -> Packet:
    return tcp4(dst, port, flags, src=BLANK4, sport=0)


def tag(packet: Packet, number: int) -> Packet:
    """The frame with a tag."""
    return Ether(src=packet.src, dst=packet.dst) / Dot1Q(vlan=number, prio=3) / packet.payload


def on_vlan(address: str, number: int) -> Path:
    return Path(LO, backend_mac(ip_address(address)), OWN_MAC, 1500, ip_address("10.1.0.1"), vlan=number)


def elsewhere(address: str) -> Path:
    return Path(SECOND, backend_mac(ip_address(address)), SECOND_MAC, 1500, ip_address("10.2.0.1"))


def about(vip: str) -> Packet:
    """A router's word to the VIP that a packet of its flow with 198.18.1.2:40000 was too big."""
    inner = IP(src=vip, dst="198.18.1.2", len=1500, flags="DF", ttl=50) / TCP(sport=80, dport=40000, flags="A")
    return ether() / IP(src=BLANK4, dst=vip, ttl=60) / ICMP(type=3, code=4, nexthopmtu=1400) / Raw(bytes(inner)[:28])


def fragment(vip: str, offset: int) -> Packet:
    """Of one datagram: the first fragment, or a later one."""
    whole = udp4(vip, 53, src=BLANK4, sport=0, data=bytes(64))
    ip = IP(src=BLANK4, dst=vip, ttl=60, id=77, proto=17, flags="MF" if not offset else 0, frag=offset // 8)
    return ether() / ip / Raw(bytes(whole[IP].payload)[offset : offset + 40])


CACHE = (
    Case("1 k flows, random", ack4(V4), Pick.RANDOM, 1023, warm=1),
    Case("64 k flows, random", ack4(V4), Pick.RANDOM, 65535, warm=1),
    Case("1 M flows, random", ack4(V4), Pick.RANDOM, MILLION, 110, 200, warm=1),
    Case("4 M flows, random", ack4(V4), Pick.RANDOM, (1 << 22) - 1, warm=4),
    Case("new flow (SYN), table full", ack4(V4, "S"), Pick.NEXT, 0, 120, 220, warm=20),
    Case("new flow (UDP), table full", udp4(V4, 53, src=BLANK4, sport=0), Pick.NEXT, 0, 120, 220, warm=1),
    Case("flood of ACKs without flow, table full", ack4(V4), Pick.NEXT, 0, 120, 220, warm=1),
)

BASIC = Scene(
    f"""
address: 10.1.0.1
services:
  - {{virtual: {V4}, servers: [{BACKENDS4}], policy: {{80/tcp*: , 53/udp*: }}}}
  - {{virtual: "{V6}", servers: [{BACKENDS6}], policy: {{80/tcp*: , 53/udp*: }}}}
  - {{virtual: {TAGGED}, servers: [10.1.0.31], policy: {{80/tcp*: }}}}
  - {{virtual: {ELSEWHERE}, servers: [10.1.0.41], policy: {{80/tcp*: }}}}
  - {{virtual: {REJECTING}, servers: [10.1.0.11], reject: unreachable, policy: {{80/tcp*: }}}}
{OTHERS}
""",
    (
        Case("L2, TCP, IPv4, established", ack4(V4), goal=15, must=30),
        Case("L2, UDP, IPv4, established", udp4(V4, 53, src=BLANK4, sport=0), goal=15, must=30),
        Case("L2, TCP, IPv6, established", tcp6(V6, 80, "A", src=BLANK6, sport=0), goal=17, must=30),
        Case("L2, UDP, IPv6, established", udp6(V6, 53, src=BLANK6, sport=0), goal=17, must=30),
        Case("VLAN, tagged to tagged", tag(ack4(TAGGED), 10)),
        Case("VLAN, push", ack4(TAGGED), grown=4),
        Case("VLAN, pop", tag(ack4(V4), 10), grown=-4),
        Case("redirect to another interface", ack4(ELSEWHERE), verdict="redirected"),
        Case("not for a VIP, IPv4", ack4("192.0.2.77"), goal=5, must=15, verdict="not_a_vip"),
        Case("not for a VIP, IPv6", tcp6("2001:db8::77", 80, "A", src=BLANK6, sport=0), goal=5, must=15, verdict="not_a_vip"),
        Case("first fragment", fragment(V4, 0)),
        Case("later fragment", fragment(V4, 40), first=fragment(V4, 0)),
        Case("ICMP error about a known flow", about(V4), verdict="icmp_relayed", first=tcp4(V4, 80, "A", src="198.18.1.2")),
        Case("ICMP error about an unknown flow", about(TAGGED), verdict="icmp_relayed", grown=4),
        Case("ping, answered or over the limit", ping4(V4, src=BLANK4), verdict="echo_reply rate_limited"),
        Case("unknown port, dropped", ack4(V4, port=81), verdict="no_service"),
        Case("unknown port, RST or over the limit", ack4(REJECTING, port=81), verdict="reset rate_limited"),
        *CACHE,
    ),
    {"10.1.0.31": on_vlan("10.1.0.31", 20), "10.1.0.41": elsewhere("10.1.0.41")},
)


def tunnel_vip(kind: str, family: int) -> str:
    return f"192.0.2.{10 * family + list(KINDS).index(kind)}"


def tunnel_service(kind: str, family: int, vip: str) -> str:
    port = ", tunnel-port: 6080" if kind in {"fou", "gue"} else ""
    servers = BACKENDS4 if family == 4 else BACKENDS6
    return f'  - {{virtual: "{vip}", servers: [{servers}], tunnel-type: {kind}{port}, policy: {{80/tcp*: }}}}'


def tunnel_case(kind: str, family: int) -> Case:
    goal, must = LIMITS.get(kind, (0.0, 0.0)) if family == 4 else (0.0, 0.0)
    grown = (20 if family == 4 else 40) + KINDS[kind]
    name = f"{kind.upper()} over IPv{family}, TCP, IPv4, established"
    return Case(name, ack4(tunnel_vip(kind, family)), goal=goal, must=must, verdict="encapsulated", grown=grown)


def tunnels() -> Scene:
    """Every kind over both families, IPv6 in IPv6, and packets that are too big."""
    lines = [tunnel_service(kind, family, tunnel_vip(kind, family)) for kind in KINDS for family in (4, 6)]
    inner6 = Case(
        "IPIP over IPv6, TCP, IPv6, established",
        tcp6("2001:db8::2", 80, "A", src=BLANK6, sport=0),
        verdict="encapsulated",
        grown=40,
    )
    large = tcp4(tunnel_vip("ipip", 4), 80, "A", src=BLANK4, sport=0, data=bytes(1460))
    large[IP].flags = "DF"
    too_big = Case("too big for its tunnel, answered or over the limit", large, verdict="too_big rate_limited", grown=28)
    cases = [tunnel_case(kind, family) for family in (4, 6) for kind in KINDS]
    text = "address: 10.1.0.1\naddress6: fd00::1\nservices:\n" + "\n".join([*lines, tunnel_service("ipip", 6, "2001:db8::2")])
    million = replace(cases[0], name="IPIP, 1 M flows, random", pick=Pick.RANDOM, mask=MILLION, warm=1, goal=0, must=0)
    return Scene(text, (*cases, inner6, million, too_big))


def basic(*lines: str) -> str:
    """One VIP of each family, and these lines."""
    services = f"[{{virtual: {V4}, servers: [{BACKENDS4}], policy: {{80/tcp*: }}}}"
    return "\n".join([f'services: {services}, {{virtual: "{V6}", servers: [{BACKENDS6}], policy: {{80/tcp*: }}}}]', *lines])


def blocks() -> Scene:
    """4,000 blocked prefixes. The wrapper's sixth and eighth source are 117.96.21.23 and 215.83.132.83."""
    narrow = [f"11.{n >> 8}.{n & 255}.0/24" for n in range(1999)] + ["215.83.132.0/24"]
    every = ", ".join([*narrow, *(f'"2001:db8:bad:{n:x}::/64"' for n in range(2000))])
    from_others = (ack4(V4), tcp6(V6, 80, "A", src=BLANK6, sport=0))
    known = [Case(f"4,000 blocked prefixes, another source, IPv{4 + 2 * n}", packet) for n, packet in enumerate(from_others)]
    return Scene(basic(f"block: [{every}]"), (*known, Case("blocked source, IPv4", ack4(V4), mask=7, verdict="blocked")))


def counted() -> Scene:
    """Packets are counted by where they come from."""
    six = tcp6(V6, 80, "A", src=BLANK6, sport=0)
    million = Case("sources counted, 1 M flows, random", ack4(V4), Pick.RANDOM, MILLION, warm=1)
    known = Case("sources counted, L2, TCP, IPv4, established", ack4(V4))
    return Scene(basic("count-prefixes: true"), (known, Case("sources counted, L2, TCP, IPv6, established", six), million))


def many_services(number: int) -> Scene:
    """So many VIPs in a row, two backends each."""
    lines = [f"  - {{virtual: 198.18.{n >> 8}.{n & 255}, servers: all, policy: {{80/tcp*: }}}}" for n in range(number)]
    text = "address: 10.1.0.1\nservers: {all: [10.1.0.11, 10.1.0.12]}\nservices:\n" + "\n".join(lines)
    name = f"{number:,} service" + "s" * (number > 1)
    known = Case(f"{name}, 4 k flows, random", ack4("198.18.0.0"), Pick.RANDOM, 4095, warm=1, services=number)
    fresh = Case(f"{name}, new flow (SYN)", ack4("198.18.0.0", "S"), Pick.NEXT, 0, warm=1, services=number)
    return Scene(text, (known, fresh))


def scenes(only: str) -> list[Scene]:
    """Those that have a case whose name contains `only`; the others are not even configured."""
    found = [BASIC, tunnels(), blocks(), counted(), *(many_services(n) for n in (1, 100, 4096))]
    wanted = [replace(scene, cases=tuple(c for c in scene.cases if only in c.name)) for scene in found]
    return [scene for scene in wanted if scene.cases]
