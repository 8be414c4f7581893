"""A balancer as the texts for people show it: something of everything, and some of it wrong."""

from __future__ import annotations

from dataclasses import replace

from fairlead.model import (
    BackendStatus,
    CheckStatus,
    InterfaceStatus,
    LimitStatus,
    OverrideStatus,
    PeerStatus,
    ServiceStatus,
    SinkStatus,
    Status,
    VerdictStatus,
    VipStatus,
)

NOW = 1_000_000.0
GET = CheckStatus("http GET /healthz port 80", True, "200 after 2 ms", NOW - 1, 0.002)
LOST = replace(GET, up=False, says="503 after 12 ms", at=NOW - 2, took=0.012, failures=4, failing_since=NOW - 75)
FIRST = BackendStatus(
    "10.1.0.11", 80, "up", NOW - 3700, "http GET /healthz port 80: 200 after 2 ms", 1, 18_204, 1_500_000, 12, 30, 1
)
FIRST = replace(FIRST, checks=(GET, CheckStatus("tcp port 80", True, "connected after 0.4 ms", NOW - 1, 0.0004)))
SECOND = replace(
    FIRST, address="10.1.0.12", state="down", since=NOW - 75, reason=f"{LOST.check}: {LOST.says}", packets=0, bytes=0, flows=0
)
SECOND = replace(SECOND, checks=(LOST,))
THIRD = replace(FIRST, address="10.1.0.13", state="drain", since=NOW - 20, override="drain by alice since 12:04:31", flows=3)
WEB = ServiceStatus("web", "192.0.2.10", 80, "tcp", "up", "", 1, 1, 251, (FIRST, SECOND, THIRD), 36_408, 3_000_000, 15, 60)
WEB = replace(WEB, since=NOW - 3600)
FAR = replace(
    FIRST, address="2001:db8:1::11", port=53, packets=912, bytes=64_000, flows=0, new_flows=900, checks=(), reason="no checks"
)
OFF = replace(SECOND, port=53, reason="connection refused after 0.3 ms", checks=())
DNS = ServiceStatus(
    "dns", "2001:db8::53", 53, "udp", "down", "53/udp has 1 of 2 required backends", 2, 1, 251, (FAR, OFF), 912, 64_000
)
DNS = replace(DNS, since=NOW - 75)
PEER = PeerStatus("10.1.0.1", "Established", NOW - 5, 64_500, ("192.0.2.10/32",), "")
STATUS = Status(
    version="0.1.0",
    started=NOW - 3700,
    config="/etc/fairlead.yaml",
    key_fingerprint="00",
    interfaces=(InterfaceStatus("eth0", "native"),),
    vips=(
        VipStatus("192.0.2.10", "up", True, "", 36_408, 3_000_000, 15, 60),
        VipStatus("2001:db8::53", "down", False, "53/udp has 1 of 2 required backends", 912, 64_000),
    ),
    services=(WEB, DNS),
    peers=(PEER, replace(PEER, address="10.1.0.2", state="Active", since=0.0, routes=(), why="next dial in 3 s; last: refused")),
    verdicts={
        "forwarded": VerdictStatus(37_320, 3_064_000, "tx"),
        "not_a_vip": VerdictStatus(7, 420, "pass"),
        "bad_header": VerdictStatus(40, 2_400, "drop"),
    },
    tables=(),
    tables_hash="ab",
    repairs=1,
    warnings=("rp_filter on eth1 is strict", "failed, next try in 1 s: set flow timeouts"),
    overrides=(OverrideStatus("10.1.0.13", "", "drain", "alice", NOW - 20, effective=True),),
    limits=(LimitStatus("services", 2, 4096, "limits.services"), LimitStatus("flows", 970_000, 1_048_576, "limits.flows")),
    sinks=(SinkStatus("elasticsearch", queued=120, last_error="connection refused", last_error_at=NOW - 30, troubled=True),),
    failures=("failed, next try in 1 s: set flow timeouts",),
)
WELL = replace(
    STATUS,
    vips=STATUS.vips[:1],
    services=(replace(WEB, backends=(FIRST,)),),
    peers=(PEER,),
    repairs=0,
    warnings=(),
    limits=(),
    sinks=(),
    failures=(),
    overrides=(),
)
