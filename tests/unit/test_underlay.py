"""ICMP errors about our outer packets: which tunnel they are about, how they are counted and when they are said."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest

from fairlead.adapters.underlay import Trouble, Underlay, parse
from fairlead.events import Event
from fairlead.model import Tunnel, TunnelKind, TunnelStatus

US, BACKEND, ROUTER = (ip_address(a) for a in ("10.1.0.1", "10.2.0.11", "10.1.0.254"))
US6, BACKEND6, ROUTER6 = (ip_address(a) for a in ("fd01::1", "fd02::11", "fd01::254"))
UDP = struct.pack("!4H", 33000, 6080, 60, 0)


def outer_4(protocol: int, rest: bytes = bytes(8)) -> bytes:
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 80, 0, 0x4000, 64, protocol, 0, US.packed, BACKEND.packed) + rest


def outer_6(protocol: int, rest: bytes = bytes(8)) -> bytes:
    return struct.pack("!IHBB16s16s", 6 << 28, 40, protocol, 64, US6.packed, BACKEND6.packed) + rest


def error_4(kind: int, code: int, quoted: bytes, mtu: int = 0) -> bytes:
    ip = struct.pack("!BBHHHBBH4s4s", 0x46, 0, 0, 0, 0, 64, 1, 0, ROUTER.packed, US.packed) + bytes(4)  # with an option
    return ip + struct.pack("!BBHHH", kind, code, 0, 0, mtu) + quoted


def error_6(kind: int, code: int, quoted: bytes, word: int = 0) -> bytes:
    return struct.pack("!BBHI", kind, code, 0, word) + quoted


@pytest.mark.parametrize(
    ("version", "data", "trouble"),
    [
        (4, error_4(3, 1, outer_4(4)), Trouble(BACKEND, 4, 0, "host unreachable (says r)")),
        (4, error_4(3, 2, outer_4(47)), Trouble(BACKEND, 47, 0, "it does not take this protocol (says r)")),
        (4, error_4(3, 3, outer_4(17, UDP)), Trouble(BACKEND, 17, 6080, "nobody listens on the tunnel's port (says r)")),
        (4, error_4(3, 4, outer_4(4), 1400), Trouble(BACKEND, 4, 0, "a router takes 1400 bytes at most (says r)")),
        (4, error_4(11, 0, outer_4(41)), Trouble(BACKEND, 41, 0, "TTL expired on the way (says r)")),
        (4, error_4(3, 9, outer_4(4)), Trouble(BACKEND, 4, 0, "ICMP 3/9 (says r)")),
        (4, error_4(0, 0, outer_4(4)), None),
        (4, error_4(3, 1, outer_4(17, UDP))[:-6], None),
        (4, error_4(3, 1, outer_4(4))[:40], None),
        (4, error_4(3, 1, outer_6(4)), None),
        (4, b"", None),
        (6, error_6(1, 3, outer_6(41)), Trouble(BACKEND6, 41, 0, "address unreachable (says r)")),
        (6, error_6(2, 0, outer_6(47), 1280), Trouble(BACKEND6, 47, 0, "a router takes 1280 bytes at most (says r)")),
        (6, error_6(1, 4, outer_6(17, UDP)), Trouble(BACKEND6, 17, 6080, "nobody listens on the tunnel's port (says r)")),
        (6, error_6(128, 0, outer_6(41)), None),
        (6, error_6(1, 3, outer_6(41))[:30], None),
    ],
)
def test_errors_name_the_tunnel(version: int, data: bytes, trouble: Trouble | None) -> None:
    """The quoted outer header says which backend and which encapsulation; anything cut short or of another kind says nothing."""
    assert parse(version, data, "r") == trouble


class Clock:
    """A clock that stands still until it is set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def watching(*tunnels: Tunnel) -> tuple[Underlay, list[Event], Clock]:
    events: list[Event] = []
    clock = Clock()
    made = Underlay(events.append, clock)
    made._open = lambda: None  # type: ignore[method-assign]  # no sockets here
    made.watch([(BACKEND, t) for t in tunnels])
    return made, events, clock


def test_each_tunnel_counts_its_own() -> None:
    """Errors count for the backend and the encapsulation that they quote, by the port for those over UDP; others for nobody."""
    made, _, _ = watching(Tunnel(TunnelKind.IPIP), Tunnel(TunnelKind.GUE, 6080))
    made.take(4, error_4(3, 1, outer_4(41)), "10.1.0.254")
    made.take(4, error_4(3, 3, outer_4(17, UDP)), "10.2.0.11")
    made.take(4, error_4(3, 1, outer_4(47)), "10.1.0.254")
    made.take(4, error_4(3, 3, outer_4(17, struct.pack("!4H", 1, 53, 8, 0))), "10.2.0.11")
    assert made.status() == (
        TunnelStatus("10.2.0.11", "gue", 6080, 1, "nobody listens on the tunnel's port (says 10.2.0.11)", 1000.0),
        TunnelStatus("10.2.0.11", "ipip", 0, 1, "host unreachable (says 10.1.0.254)", 1000.0),
    )


def test_a_trouble_is_said_once() -> None:
    """A thousand equal errors are one event; another error is another event, but not more than one a second."""
    made, events, clock = watching(Tunnel(TunnelKind.IPIP))
    for _ in range(1000):
        made.take(4, error_4(3, 1, outer_4(4)), "10.1.0.254")
    assert [str(e) for e in events] == ["ipip tunnel to 10.2.0.11: host unreachable (says 10.1.0.254)"]
    made.take(4, error_4(11, 0, outer_4(4)), "10.1.0.254")
    assert len(events) == 1
    clock.now += 1.5
    made.take(4, error_4(11, 0, outer_4(4)), "10.1.0.254")
    assert [str(e) for e in events[1:]] == ["ipip tunnel to 10.2.0.11: TTL expired on the way (says 10.1.0.254)"]
    assert made.status()[0].errors == 1002


def test_counts_go_with_their_tunnel() -> None:
    """A tunnel that stays keeps its count over a reload; one that goes takes it along."""
    made, _, _ = watching(Tunnel(TunnelKind.IPIP))
    made.take(4, error_4(3, 1, outer_4(4)), "10.1.0.254")
    made.watch([(BACKEND, Tunnel(TunnelKind.IPIP)), (BACKEND, Tunnel(TunnelKind.GRE))])
    assert [row.errors for row in made.status()] == [1]
    made.watch([(BACKEND, Tunnel(TunnelKind.GRE))])
    assert made.status() == ()
