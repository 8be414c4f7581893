"""From the twin's trace to sentences: each way that a packet can take, by traces made by hand."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest

from fairlead._native import layout
from fairlead.core import frames, hashes
from fairlead.core.explain import Ground, explained
from fairlead.core.explain_words import VERDICTS
from fairlead.model import Geometry, Protocol, ServiceKey
from fairlead.model.explaining import Explanation, Row, Trial

LAYOUT = layout()
C = LAYOUT.constants
VIP, BACKEND = IPv4Address("192.0.2.10"), IPv4Address("10.1.0.11")
L4 = hashes.wire_port(443) | 6 << 16 | 4 << 24
GEOMETRY = Geometry(hz=250, fine_shift=9, coarse_shift=14)
TIMEOUTS = bytes([0, 5, 60, 15, 8, 8, 8, 8])
GROUND = Ground(LAYOUT, GEOMETRY, TIMEOUTS, {2: "eth0", 3: "eth1"}, {ServiceKey(VIP, 443, Protocol.TCP): "shop"})
FRAME = frames.made(frames.asked("198.51.100.7:40000", "192.0.2.10:443/tcp"), bytes.fromhex("02000000001b"))
NOW = 1 << 33


def row(of: str, **values: Any) -> Row:
    return LAYOUT.structs[of].unpack(LAYOUT.structs[of].pack(**values))


def live(state: str = "ACTIVE", *flags: str, hop: int = 1) -> int:
    number = sum(C[f"DESTINATION_{flag}"] for flag in ("LIVE", *flags))
    return hop | number << C["DESTINATION_FLAG_SHIFT"] | C[f"DESTINATION_{state}"] << C["DESTINATION_STATE_SHIFT"]


def word(state: str, age: int = 0, destination: int = 5) -> int:
    """Seen so many ticks ago."""
    shift = GEOMETRY.coarse_shift if state == "ESTABLISHED" else GEOMETRY.fine_shift
    seen = ((NOW >> shift) - age) & 0xFF
    return 7 << 32 | destination << 12 | seen << 4 | C[f"FLOW_{state}"] << 1


def destination(backend: str = "10.1.0.11", l4: int = L4) -> Row:
    return row("destination", vip=hashes.mapped(VIP), l4=l4, live=1, backend=hashes.mapped(ip_address(backend)))


HOP = row("nexthop", mac_destination=b"\2\0\xbe\0\0\x0b", mac_source=b"\2\0\0\0\0\x1b", ifindex=3, mtu=1500, vlan=10)
FOLLOWED = C["TRACE_VIP"] | C["TRACE_FOLLOWED"]
CHOSEN = C["TRACE_VIP"] | C["TRACE_CHOSEN"]
SERVICE = 1021 << C["SERVICE_SIZE_SHIFT"] | C["SERVICE_LIVE"] << C["SERVICE_FLAG_SHIFT"]
USUAL = ("FOLLOW", "ACCEPT")


def told(
    verdict: str, action: int = 3, *, entry: Row | None = None, to: Row | None = None, hop: Row | None = None, **trace: int
) -> Explanation:
    found = row("trace", verdict=C[verdict] + C["VERDICT_BASE"], now=NOW, length=40, **trace)
    return explained(GROUND, Trial(action, b"\1" * 54, found, entry, to, hop), FRAME, 2)


def said(found: Explanation, topic: str) -> str:
    return next((step.says for step in found.steps if step.topic == topic), "")


def chosen(**trace: int) -> Explanation:
    usual = {
        "flags": CHOSEN,
        "service_live": SERVICE,
        "service_l4": L4,
        "slot": 830,
        "destination": 5,
        "live": live("ACTIVE", *USUAL),
    }
    return told("REDIRECT_FORWARDED", 4, to=destination(), hop=HOP, **usual | trace)


def test_every_verdict_has_its_words() -> None:
    """None is left out, and none is made up."""
    assert set(VERDICTS) == set(LAYOUT.verdict_names().values())


def test_by_its_slot() -> None:
    """A new flow: VIP, service by name, slot, backend, next hop, and what would be entered."""
    found = chosen(next=word("EMBRYONIC"))

    assert (found.verdict, found.action, found.vip, found.interface) == ("redirected", "redirect", "192.0.2.10", "eth0")
    assert found.service and (found.service.service, found.service.name) == ("192.0.2.10:443/tcp", "shop")
    assert found.flow and (found.flow.state, found.flow.slot, found.flow.slots, found.flow.followed) == ("", 830, 1021, False)
    assert said(found, "flow") == "none; slot 830 of 1,021; an embryonic entry would be made"
    assert found.backend and (found.backend.address, found.backend.state, found.backend.id) == ("10.1.0.11", "active", 5)
    assert said(found, "next hop") == "02:00:be:00:00:0b by eth1, VLAN 10, from 02:00:00:00:00:1b"
    assert said(found, "size") == "40 bytes, MTU 1500"
    assert found.bytes == "01" * 54
    assert found.frame == FRAME.hex()
    assert said(found, "packet") == "198.51.100.7:40000 > 192.0.2.10:443/tcp, SYN, 40 bytes, on eth0"


def test_no_entry_is_made() -> None:
    """Because the service has none, or because all of the bucket is taken."""
    untracked = SERVICE | C["SERVICE_UNTRACKED"] << C["SERVICE_FLAG_SHIFT"]

    assert said(chosen(service_live=untracked), "flow").endswith("no entry would be made: the service has `track: false`")
    assert said(chosen(), "flow") == "none; slot 830 of 1,021; no entry would be made"


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (word("ESTABLISHED", 2), 0, "established, 131.1 s old of 3932.2 s, to 10.1.0.11; followed; would stay as it is"),
        (
            word("ESTABLISHED", 2),
            word("ESTABLISHED"),
            "established, 131.1 s old of 3932.2 s, to 10.1.0.11; followed; would be seen now",
        ),
        (
            word("EMBRYONIC", 1),
            word("ESTABLISHED"),
            "embryonic, 2 s old of 10.2 s, to 10.1.0.11; followed; would become established",
        ),
        (
            word("EMBRYONIC"),
            word("EMBRYONIC") | 1,
            "embryonic, 0 s old of 10.2 s, to 10.1.0.11; followed; would be seen once more within its tick",
        ),
        (word("DATAGRAM", 3), word("DATAGRAM"), "datagram, 6.1 s old of 30.7 s, to 10.1.0.11; followed; would be seen now"),
        (word("ESTABLISHED"), word("CLOSING"), "established, 0 s old of 3932.2 s, to 10.1.0.11; followed; would become closing"),
    ],
)
def test_by_its_entry(before: int, after: int, says: str) -> None:
    """A known flow: state, age, and what the packet would make of it."""
    there = live("ACTIVE", *USUAL)
    found = told(
        "TX_FORWARDED",
        entry=destination(),
        to=destination(),
        hop=HOP,
        flags=FOLLOWED,
        word=before,
        next=after,
        destination=5,
        live=there,
        entry_live=there,
    )

    assert said(found, "flow") == says
    assert found.flow and found.flow.slot is None and found.flow.followed
    assert found.service and found.service.service == "192.0.2.10:443/tcp"


@pytest.mark.parametrize(
    ("entry", "state", "why"),
    [
        (0, word("ESTABLISHED"), "its backend's row is free again"),
        (live("ACTIVE", *USUAL), word("EMBRYONIC", 6), "it has expired"),
        (live("DOWN"), word("ESTABLISHED"), "its backend is down and lets its flows go"),
        (live("GONE"), word("ESTABLISHED"), "its backend is gone and lets its flows go"),
        (live("DRAIN", "FOLLOW"), word("ESTABLISHED"), "a SYN begins a new connection here"),
        (live("ACTIVE", *USUAL), word("CLOSING"), "a SYN begins a new connection here"),
    ],
)
def test_entries_that_are_not_followed(entry: int, state: int, why: str) -> None:
    """The entry, why it does not say where to, and the slot that does."""
    usual = {
        "flags": CHOSEN,
        "service_live": SERVICE,
        "service_l4": L4,
        "slot": 830,
        "destination": 6,
        "live": live("ACTIVE", *USUAL),
    }
    found = told(
        "TX_FORWARDED",
        entry=destination("10.1.0.12"),
        to=destination(),
        hop=HOP,
        word=state,
        entry_live=entry,
        next=word("EMBRYONIC"),
        **usual,
    )

    assert f"to 10.1.0.12; not followed: {why}; slot 830 of 1,021; a new embryonic entry would take its place" in said(
        found, "flow"
    )
    assert found.flow and found.flow.backend == "10.1.0.12" and not found.flow.followed


def test_another_services_entry() -> None:
    """A tag that two flows have: it is left in peace."""
    other = destination("10.9.0.1", l4=hashes.wire_port(80) | 6 << 16 | 4 << 24)
    found = told(
        "TX_FORWARDED",
        entry=other,
        to=destination(),
        hop=HOP,
        word=word("ESTABLISHED"),
        entry_live=live("ACTIVE", *USUAL),
        flags=CHOSEN,
        service_live=SERVICE,
        service_l4=L4,
        destination=6,
        live=live("ACTIVE", *USUAL),
    )

    assert "not followed: it is another service's, with the same tag" in said(found, "flow")


def test_answered_with_reset() -> None:
    """A flow of a backend that is down: the service is its entry's, and nobody gets the packet."""
    found = told(
        "TX_RESET",
        entry=destination(),
        word=word("ESTABLISHED"),
        entry_live=live("DOWN", "RESET"),
        next=word("REFUSED"),
        flags=C["TRACE_VIP"],
    )

    assert found.service and found.service.name == "shop"
    assert found.backend is None and found.next_hop is None
    assert said(found, "flow").endswith("not followed: its backend is down and lets its flows go; would be noted as answered")


def test_no_backend() -> None:
    """A service that has no slots."""
    found = told(
        "DROP_NO_BACKEND", 1, flags=C["TRACE_VIP"], service_live=C["SERVICE_LIVE"] << C["SERVICE_FLAG_SHIFT"], service_l4=L4
    )

    assert (found.bytes, found.backend, found.action) == ("", None, "drop")
    assert said(found, "flow") == "none, and the service has no slots; no entry would be made"
    assert said(found, "verdict").startswith("no_backend: dropped")


def test_not_for_us() -> None:
    """What is not for a VIP is told in two lines, and its bytes are passed on."""
    found = told("PASS_NOT_A_VIP", 2)

    assert [step.topic for step in found.steps] == ["packet", "verdict"]
    assert (found.vip, found.service, found.flow, found.backend, found.next_hop) == (None,) * 5
    assert found.bytes


@pytest.mark.parametrize(
    ("kind", "outer", "flags", "says"),
    [
        ("IPIP", bytes(12) + bytes([10, 0, 0, 1, 10, 2, 0, 11]), 0, "ipip from 10.0.0.1 to 10.2.0.11"),
        (
            "GUE",
            bytes(12) + bytes([10, 0, 0, 1, 10, 2, 0, 11]) + bytes(2) + b"\x17\xc0" + bytes(8),
            0,
            "gue from 10.0.0.1 to 10.2.0.11, port 6080",
        ),
        (
            "FOU",
            bytes(8) + IPv6Address("fd00::1").packed + IPv6Address("fd00::2").packed + bytes(2) + b"\x15\xb3" + bytes(4),
            1,
            "fou from fd00::1 to fd00::2, port 5555",
        ),
        (
            "GRE",
            bytes(8) + IPv6Address("fd00::1").packed + IPv6Address("fd00::2").packed + bytes(4),
            1,
            "gre from fd00::1 to fd00::2",
        ),
    ],
)
def test_tunnels(kind: str, outer: bytes, flags: int, says: str) -> None:
    """Outer addresses and port, read from the header as it leaves; its length counts against the MTU."""
    hop = row("nexthop", ifindex=2, mtu=1500, tunnel=C[f"TUNNEL_{kind}"], flags=flags, outer=outer, outer_length=len(outer))
    found = told(
        "TX_ENCAPSULATED",
        to=destination(),
        hop=hop,
        flags=CHOSEN,
        service_live=SERVICE,
        service_l4=L4,
        destination=5,
        live=live(),
    )

    assert said(found, "tunnel") == says
    assert said(found, "size") == f"40 bytes and {len(outer)} of outer header, MTU 1500"


def test_later_fragments() -> None:
    """By the first one, if it is known."""
    known = told(
        "TX_FORWARDED",
        to=destination(),
        hop=HOP,
        flags=C["TRACE_VIP"] | C["TRACE_FRAGMENT"] | C["TRACE_GIVEN"],
        destination=5,
        live=live(),
    )
    lost = told("DROP_FRAGMENT", 1, flags=C["TRACE_VIP"] | C["TRACE_FRAGMENT"])

    assert said(known, "fragment") == "a later one, and its first one is known"
    assert known.backend and known.flow is None
    assert said(lost, "fragment") == "a later one, and its first one is not known"


def test_every_port() -> None:
    """A service of every port is named so; an interface without a name by its number."""
    wild = destination(l4=6 << 16 | 4 << 24)
    ground = replace(GROUND, interfaces={})
    trace = row(
        "trace", verdict=C["TX_FORWARDED"] + C["VERDICT_BASE"], flags=CHOSEN, service_live=SERVICE, destination=5, live=live()
    )
    found = explained(ground, Trial(3, FRAME, trace, None, wild, HOP), FRAME, 9)

    assert found.service and (found.service.service, found.service.name) == ("192.0.2.10:any/tcp", "")
    assert found.interface == "interface 9"
