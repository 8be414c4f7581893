"""Every verdict of abi.h is reached, and documented; the rarest ones by breaking what cannot break by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bpf.model import Interface, World
from tests.bpf.packets import ping4, tcp4, tcp6, udp4
from tests.bpf.rig import LAYOUT, LO, TAILS, VERDICTS, C, Rig, own_object
from tests.bpf.table import L2, OWN, V4, V6, Tunnel, packed, service, tagged, world
from tests.bpf.test_fragments import later4
from tests.bpf.test_icmp import DNS, WEB, error4, sent4

GRE = Tunnel("gre", packed("10.1.0.1"), packed("10.1.0.11"))
FACES = {
    "pass_not_mine": b"\xff" * 6 + bytes(tcp4(V4, 80))[6:],
    "pass_not_ip": bytes(tcp4(V4, 80))[:12] + b"\x08\x06" + bytes(40),
    "pass_not_a_vip": tcp4("192.0.2.99", 80),
    "tx_forwarded": tcp4(V4, 80),
    "tx_echo_reply": ping4(V4),
    "tx_encapsulated": tcp4(V4, 81),
    "tx_icmp_relayed": error4(sent4(WEB)),
    "tx_too_big": tcp6(V6, 81, "A", data=b"x" * 600),
    "tx_reset": tcp4(V4, 999),
    "tx_unreachable": udp4(V4, 999),
    "redirect_forwarded": tagged(tcp4(V4, 82), 7),
    "redirect_encapsulated": tcp4(V4, 83),
    "redirect_icmp_relayed": error4(sent4(DNS)),
    "drop_malformed": bytes(tcp4(V4, 80))[:-1],
    "drop_no_backend": tcp4(V4, 84),
    "drop_no_next_hop": tcp4(V4, 85),
    "drop_ttl_expired": tcp4(V4, 80, ttl=0),
    "drop_fragment": later4(99),
    "drop_extension_header": bytes(tcp6(V6, 80))[:20] + b"\x3c" + bytes(tcp6(V6, 80))[21:54] + b"\x3c\xff" + bytes(2046),
    "drop_unsupported_protocol": bytes(tcp4(V4, 80))[:23] + b"\x2f" + bytes(tcp4(V4, 80))[24:],
    "drop_unsupported_icmp": error4(b""),
    "drop_too_big": tcp4(V4, 86, "A", data=b"x" * 600),
    "drop_no_redirect": tcp4(V4, 87),
}
# Reached by tests of their own below, which break something first.
BROKEN = {
    "pass_no_interface",
    "pass_inactive",
    "drop_no_service",
    "drop_rate_limited",
    "drop_stale_slot",
    "drop_no_headroom",
    "drop_tail_call",
    "drop_blocked",
}


def make_world(elsewhere: tuple[int, ...]) -> World:
    there = replace(L2, interface=elsewhere[0])
    return world(
        service(1, V4, 80),
        service(2, V4, 81, hop=replace(L2, tunnel=GRE)),
        service(3, V6, 81, hop=replace(L2, tunnel=GRE, mtu=500)),
        service(4, V4, 82, hop=there),
        service(5, V4, 83, hop=replace(there, tunnel=GRE)),
        service(6, V4, 53, "udp", hop=there),
        service(7, V4, 84, slots=()),
        service(8, V4, 85, hop=None),
        service(9, V4, 86, hop=replace(L2, tunnel=GRE, mtu=500)),
        service(10, V4, 87, hop=replace(there, interface=elsewhere[2])),
        ports=elsewhere[:2],
        reject=True,
    )


@pytest.fixture
def rig(elsewhere: tuple[int, ...]) -> Iterator[Rig]:
    with Rig(own_object(), make_world(elsewhere)) as made:
        yield made


def test_every_verdict_is_reached(rig: Rig) -> None:
    """Each verdict has a packet here that ends in it, or a test below."""
    for verdict, packet in FACES.items():
        assert rig.send(bytes(packet))[0].verdict == verdict
    assert set(FACES) | BROKEN == set(VERDICTS.values())


@pytest.mark.parametrize("verdict", ["pass_not_mine", "pass_not_ip", "tx_forwarded"])
def test_a_verdict_counts_octets(rig: Rig, verdict: str) -> None:
    """What stands behind the Ethernet header, whether it was read as IP or not."""
    frame = bytes(FACES[verdict])
    assert rig.send(frame)[0].length == len(frame) - 14


def test_every_verdict_is_documented() -> None:
    """docs/reference/verdicts.md has a line for each verdict, by its name in abi.h and by the name that status shows."""
    text = (Path(__file__).parents[2] / "docs/reference/verdicts.md").read_text()
    names = LAYOUT.verdict_names()
    missing = [v for number, v in VERDICTS.items() if f"| `{names[number]}` | `{v.upper()}` |" not in text]

    assert not missing
    assert len(set(names.values())) == len(names), "two verdicts with one name would be one line in status"


def test_interface_unknown(rig: Rig, elsewhere: tuple[int, ...]) -> None:
    """An interface that is not in the table passes everything."""
    rig.adopt(replace(make_world(elsewhere), interfaces={}))
    assert rig.send(bytes(tcp4(V4, 80)))[0].verdict == "pass_no_interface"


def test_interface_inactive(rig: Rig, elsewhere: tuple[int, ...]) -> None:
    """A bond member that is not active passes everything, even a ping of a VIP."""
    rig.adopt(replace(make_world(elsewhere), interfaces={LO: Interface(OWN, 7, active=False)}))
    assert rig.send(bytes(ping4(V4)))[0].verdict == "pass_inactive"
    assert rig.send(bytes(tcp4(V4, 80)))[0].verdict == "pass_inactive"


def test_no_service(rig: Rig, elsewhere: tuple[int, ...]) -> None:
    """An unknown port of a VIP that says nothing."""
    rig.adopt(replace(make_world(elsewhere), vips={packed(V4): False}))
    assert rig.send(bytes(tcp4(V4, 999)))[0].verdict == "drop_no_service"


def test_rate_limited(rig: Rig) -> None:
    """A ping too many."""
    rig.use_up("LIMIT_ECHO")
    assert rig.send(bytes(ping4(V4)))[0].verdict == "drop_rate_limited"


@pytest.mark.parametrize("slot", [10, 99, 1 << 19], ids=["another service's", "nobody's", "beyond the table"])
def test_stale_slot(rig: Rig, elsewhere: tuple[int, ...], slot: int) -> None:
    """A slot that names a destination that is not its service's: never does a packet cross services."""
    made = make_world(elsewhere)
    rig.adopt(replace(made, services=(replace(made.services[0], slots=(slot,)), *made.services[1:])))
    assert rig.send(bytes(tcp4(V4, 80)))[0].verdict == "drop_stale_slot"


def test_no_headroom(rig: Rig) -> None:
    """An outer header that does not fit before the frame; here the row claims an impossible length."""
    nexthops = rig.table("nexthops")
    at = 2 * LAYOUT.structs["nexthop"].size + LAYOUT.structs["nexthop"].offset("outer_length")
    nexthops[at : at + 2] = (1000).to_bytes(2, "little")
    assert rig.send(bytes(tcp4(V4, 81)))[0].verdict == "drop_no_headroom"


@pytest.mark.parametrize("tail", TAILS)
def test_tail_call(rig: Rig, elsewhere: tuple[int, ...], tail: str) -> None:
    """A broken generation, without one of its tails, says so: nothing passes silently."""
    packets = {"rare": ping4(V4), "too_big": FACES["tx_too_big"], "reset": tcp4(V4, 80, "A"), "unreachable": udp4(V4, 999)}
    rig.send(bytes(packets["reset"]))
    made = make_world(elsewhere)
    down = replace(made.services[0], slots=(), backends=(replace(made.services[0].backends[0], state="reset"),))
    rig.adopt(replace(made, services=(down, *made.services[1:])))
    rig.break_tail(tail)
    assert rig.send(bytes(packets[tail]))[0].verdict == "drop_tail_call"


def test_blocked(elsewhere: tuple[int, ...]) -> None:
    """A source that is kept out, in a program that asks for those: test_blocks.py has the rest."""
    with Rig(own_object(), replace(make_world(elsewhere), blocked=frozenset({(packed("198.18.0.0"), 15)}))) as asking:
        assert asking.send(bytes(tcp4(V4, 80)))[0].verdict == "drop_blocked"


def test_verdict_numbers() -> None:
    """Numbers say what is done: passed below 16, sent below 32, redirected below 48, dropped below 0; redirects are twins."""
    ranges = {"pass": range(16), "tx": range(16, 32), "redirect": range(32, 48), "drop": range(-64, 0)}
    for number, name in VERDICTS.items():
        kind, _, rest = name.partition("_")
        assert number in ranges[kind]
        if kind == "redirect":
            assert VERDICTS[number - C["VERDICT_REDIRECT"]] == f"tx_{rest}"
