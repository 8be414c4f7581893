"""Status as text: figures, tables, and the sentences that name what is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairlead import render
from fairlead.model import (
    BackendStatus,
    InterfaceStatus,
    LimitStatus,
    PeerStatus,
    ServiceStatus,
    SinkStatus,
    Status,
    TableStatus,
    TunnelStatus,
    VerdictStatus,
    VipStatus,
)
from fairlead.render.wrong import notes

NOW = 1_000_000.0
UP = BackendStatus("10.1.0.11", 80, "up", NOW - 75, "200 after 2 ms", 1, 18204, 1_500_000, 12, 30, 1)
DOWN = replace(UP, address="10.1.0.12", state="down", reason="503 after 12 ms", packets=0, bytes=0, flows=0)
SERVICE = ServiceStatus("web", "192.0.2.10", 80, "tcp", "up", "", 1, 1, 251, (UP, DOWN), 18204, 1_500_000)
STATUS = Status(
    version="0.1.0",
    started=NOW - 3700,
    config="/etc/fairlead.yaml",
    key_fingerprint="00",
    interfaces=(InterfaceStatus("eth0", "native"),),
    vips=(VipStatus("192.0.2.10", "up", True, "", 18204, 1_500_000, 12, 30),),
    services=(SERVICE,),
    peers=(PeerStatus("10.1.0.1", "Established", NOW - 5, 64500, ("192.0.2.10/32",), ""),),
    verdicts={
        "forwarded": VerdictStatus(18204, 1_500_000),
        "not_a_vip": VerdictStatus(7, 420),
        "too_big": VerdictStatus(0, 0),
    },
    tables=(),
    tables_hash="ab",
    repairs=0,
    warnings=(),
)

WHOLE = """\
fairlead 0.1.0 on eth0 (native), up 1 h 1 min, config /etc/fairlead.yaml

SERVICE            NAME  BACKENDS  FLOWS  PACKETS  BYTES  STATE
192.0.2.10:80/tcp  web   1/2 up       12    18.2k   1.5M  up

BACKEND    OF SERVICE         WEIGHT  FLOWS  PACKETS  BYTES  STATE  FOR
10.1.0.11  192.0.2.10:80/tcp       1     12    18.2k   1.5M  up     1 min
10.1.0.12  192.0.2.10:80/tcp       1      0        0      0  down   1 min

VIP         FLOWS  PACKETS  BYTES  STATE  ANNOUNCED
192.0.2.10     12    18.2k   1.5M  up     yes

BGP PEER  AS     STATE        FOR  ROUTES
10.1.0.1  64500  Established  5 s  1

VERDICT    PACKETS  BYTES
forwarded    18.2k   1.5M
not_a_vip        7    420

# 10.1.0.12 is down for 192.0.2.10:80/tcp: 503 after 12 ms, for 1 min (its checks: `fairlead backends 10.1.0.12`)
"""


def test_the_whole_status_reads_like_this() -> None:
    """Tables are aligned, figures to the right; what never happened is not listed; what is wrong is said at the end."""
    assert render.status(STATUS, NOW) == WHOLE


def test_rules_show() -> None:
    """Panic, backups, damping and what could not be carried out are said, for nobody would see them in the tables."""
    often = "went down too often (penalty 2700): no new flows until 12:05:31"
    panic = replace(
        SERVICE, backends=(replace(UP, state="drain", penalty=2700.0, reason=often),), panic=True, reason="panic: ..."
    )
    failed = replace(SERVICE, backends=(), applied="failed, next try in 4 s: fill 251 slots: the table is full")
    waits = replace(SERVICE, backends=(), applied="pending: the next pass")
    assert render.sentences(replace(STATUS, services=(panic, failed, waits)), NOW) == [
        "# 192.0.2.10:80/tcp: panic: ...",
        "# 192.0.2.10:80/tcp is not applied: failed, next try in 4 s: fill 251 slots: the table is full",
        f"# 10.1.0.11 of 192.0.2.10:80/tcp {often}",
    ]


def test_tunnels_in_trouble_and_full_tables_show() -> None:
    """What came about a tunnel stands in a table; a full table names the key to raise; a bond shows at its NICs."""
    status = replace(
        STATUS,
        services=(),
        vips=(),
        peers=(),
        verdicts={},
        interfaces=(InterfaceStatus("eth0", "native", "bond0"), InterfaceStatus("eth1", "native", "bond0", active=False)),
        tunnels=(TunnelStatus("10.2.0.11", "gue", 6080, 1200, "host unreachable (says 10.1.0.1)", NOW - 5),),
        limits=(
            LimitStatus("services", 12, 4096, "limits.services"),
            LimitStatus("destinations", 95, 100, "limits.destinations"),
        ),
        tables=(TableStatus("interfaces", 1, 1024, 32768), TableStatus("destinations", 95, 113, 64_000, "limits.destinations")),
        memory=96_768,
    )
    assert render.status(status, NOW) == (
        "fairlead 0.1.0 on eth0 (native, of bond0), eth1 (native, of bond0, inactive), up 1 h 1 min, config /etc/fairlead.yaml\n"
        "\n"
        "TUNNEL TO  KIND  PORT  ERRORS  LAST\n"
        "10.2.0.11  gue   6080    1.2k  host unreachable (says 10.1.0.1), 5 s ago\n"
        "\n"
        "LIMIT         USED     OF  KEY TO RAISE\n"
        "services        12  4,096  limits.services\n"
        "destinations    95    100  limits.destinations\n"
        "\n"
        "MEMORY 96.8k octets in the kernel: destinations 64k, interfaces 32.8k\n"
        "\n"
        "# 95 of 100 destinations are in use: raise `limits.destinations`\n"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (1000, "1k"), (18204, "18.2k"), (999_499, "999k"), (999_600, "1M"), (3_412_000_000, "3.41G")],
)
def test_numbers_have_three_digits(value: int, text: str) -> None:
    """Large figures are rounded to three digits with a unit."""
    assert render.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0 s"), (59.9, "59 s"), (60, "1 min"), (3661, "1 h 1 min"), (90_000, "1 d 1 h")]
)
def test_spans_are_short(seconds: float, text: str) -> None:
    """Durations are given in the two largest units that matter."""
    assert render.span(seconds) == text


def test_ipv6_services_stand_in_brackets() -> None:
    """A port after an IPv6 address could not be told from the address."""
    assert render.service_name(replace(SERVICE, vip="2001:db8::10")) == "[2001:db8::10]:80/tcp"


def test_everything_wrong_has_a_sentence() -> None:
    """Warnings, services below their need, withheld VIPs, failing peers and repairs are each named."""
    status = replace(
        STATUS,
        services=(replace(SERVICE, state="down", reason="80/tcp has 0 of 1 required backends", backends=()),),
        vips=(VipStatus("192.0.2.10", "down", False, "80/tcp has 0 of 1 required backends"),),
        peers=(PeerStatus("10.1.0.1", "Connect", 0.0, 64500, (), "connection refused"),),
        repairs=2,
        warnings=("rp_filter is strict",),
    )
    assert render.sentences(status, NOW) == [
        "# warning: rp_filter is strict",
        "# warning: 2 rows did not hold what was written and were repaired",
        "# 192.0.2.10:80/tcp is down: 80/tcp has 0 of 1 required backends",
        "# 192.0.2.10 is withheld: 80/tcp has 0 of 1 required backends",
        "# BGP peer 10.1.0.1 is Connect: connection refused (all about it: `fairlead bgp 10.1.0.1`)",
    ]


def test_an_empty_daemon_has_a_status_too() -> None:
    """Without services, peers or packets there is one line, and why nothing is forwarded."""
    empty = replace(STATUS, services=(), vips=(), peers=(), verdicts={}, interfaces=())
    assert render.status(empty, NOW) == (
        "fairlead 0.1.0 on no interface, up 1 h 1 min, config /etc/fairlead.yaml\n\n"
        "# no interface carries our programs, so nothing is forwarded (why: `fairlead doctor`)\n"
    )


@pytest.mark.parametrize(
    ("sink", "says"),
    [
        (SinkStatus("slack", queued=3, last_error="HTTP 503", last_error_at=NOW - 90), []),  # it is over
        (SinkStatus("slack", last_error="no URL", last_error_at=NOW, troubled=True), ["slack: it takes no events: no URL"]),
        (SinkStatus("slack", queued=3, last_error="x", troubled=True), ["slack: 3 events wait: x"]),
        (SinkStatus("slack", dropped=1, refused=2), ["slack: 3 events are lost"]),
    ],
)
def test_sinks_that_need_a_look(sink: SinkStatus, says: list[str]) -> None:
    """A place that takes no events now, or lost some, is named; one that only waits for its time is not."""
    found = notes(replace(STATUS, sinks=(sink,)), NOW)

    assert [text.split(",")[0] for text in found] == says
