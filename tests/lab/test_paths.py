"""Paths beyond the own segment: gateways, routes with an MTU, several NICs and declared VLANs, in namespaces of their own.

Real 8021q devices and bonds are shown by tests/kernels: not every kernel that runs these tests has them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from pyroute2 import netns

from fairlead.adapters.underlay import Underlay
from fairlead.events import Event
from fairlead.model import NoPath, Path, Tunnel, TunnelKind, Vlan
from tests.lab.pair import Pair, Watching, paired

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")]

FAR, FARTHER, FAR6 = (ip_address(a) for a in ("10.20.0.1", "10.20.0.2", "fd20::1"))
NEAR = ip_address("10.9.0.2")


@pytest.fixture
def pair() -> Iterator[Pair]:
    with paired() as made:
        yield made


def watched(story: Callable[[Watching], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
    """The story with an open Network."""

    async def whole() -> Any:
        watching = Watching()
        await watching.network.open()
        try:
            return await story(watching)
        finally:
            await watching.network.close()

    return whole


def index(watching: Watching, name: str) -> int:
    link = watching.network.link(name)
    assert link is not None
    return link.ifindex


def test_a_gateway_lends_its_mac(pair: Pair) -> None:
    """What is behind a gateway has the gateway's MAC and says which it is; the kernel keeps the gateway's entry alive."""
    pair.ip("route", "add", "10.20.0.0/16", "via", "10.9.0.2")
    pair.ip("route", "add", "fd20::/64", "via", "fd09::2")

    async def story(watching: Watching) -> Any:
        await watching.network.watch([FAR, FARTHER, FAR6], [index(watching, "eth0")])
        await watching.resolved(FAR, FARTHER, FAR6)
        found = watching.network.paths()
        await watching.network.watch([FARTHER], [])
        kept = pair.ip("neigh", "show", "10.9.0.2")
        await watching.network.watch([], [])
        return found, kept, pair.ip("neigh", "show", "10.9.0.2")

    found, kept, after = pair.inside(watched(story))
    mac = pair.mac(pair.there)
    assert (found[FAR].mac_destination, found[FAR].gateway, found[FAR].source) == (mac, NEAR, ip_address("10.9.0.1"))
    assert (found[FAR6].mac_destination, found[FAR6].gateway) == (mac, ip_address("fd09::2"))
    assert "managed" in kept, "another backend is still behind it"
    assert "managed" not in after


def test_a_gateway_in_use_stays_usable(pair: Pair) -> None:
    """Taking an entry over that others use loses nothing of it: the path is there at once."""
    pair.ip("route", "add", "10.20.0.0/16", "via", "10.9.0.2")
    subprocess.run(["ip", "netns", "exec", pair.here, "ping", "-c", "1", "-W", "5", "10.9.0.2"], check=True, capture_output=True)

    async def story(watching: Watching) -> Any:
        await watching.network.watch([FAR], [])
        at_once = watching.network.paths()[FAR]
        await watching.until(lambda: "managed" in pair.ip("neigh", "show", "10.9.0.2"))
        return at_once, watching.network.paths()[FAR]

    at_once, later = pair.inside(watched(story))
    assert at_once == later
    assert isinstance(later, Path)


def test_a_routes_mtu_counts(pair: Pair) -> None:
    """The MTU of a path is the route's where it has a smaller one, and follows it within a second."""
    pair.ip("route", "add", "10.20.0.0/16", "via", "10.9.0.2", "mtu", "1380")

    async def story(watching: Watching) -> Any:
        def mtu() -> int:
            return getattr(watching.network.paths()[FAR], "mtu", 0)

        await watching.network.watch([FAR], [])
        await watching.until(lambda: mtu() == 1380)
        pair.ip("route", "replace", "10.20.0.0/16", "via", "10.9.0.2", "mtu", "1300")
        took = await watching.until(lambda: mtu() == 1300)
        pair.ip("route", "replace", "10.20.0.0/16", "via", "10.9.0.2")
        await watching.until(lambda: mtu() == 1500)
        pair.ip("link", "set", "eth0", "mtu", "1400")
        await watching.until(lambda: mtu() == 1400)
        return took

    assert pair.inside(watched(story)) < 1


def test_each_backend_has_the_nic_it_is_behind(pair: Pair) -> None:
    """Of two NICs the route says which; one that Fairlead does not run on is no way out."""
    pair.cable("eth1", 8)
    other = ip_address("10.8.0.2")

    async def story(watching: Watching) -> Any:
        first, second = index(watching, "eth0"), index(watching, "eth1")
        await watching.network.watch([NEAR, other], [first, second])
        await watching.resolved(NEAR, other)
        both = watching.network.paths()
        await watching.network.watch([NEAR, other], [first])
        return both, watching.network.paths()[other], first, second, watching.network.devices_to([NEAR, other])

    both, refused, first, second, names = pair.inside(watched(story))
    assert (both[NEAR].ifindex, both[other].ifindex) == (first, second)
    assert (both[other].mac_source, both[other].mac_destination) == (pair.mac(pair.here, "eth1"), pair.mac(pair.there, "eth1"))
    assert refused == NoPath("is reached through eth1, on which Fairlead does not run")
    assert names == {"eth0", "eth1"}


def test_a_declared_vlan_tags(pair: Pair) -> None:
    """Over a device that is not ours `vlans` gives the id, and frames leave by our NIC; over our NIC the id is a label."""
    pair.cable("v20", 8)
    tagged = ip_address("10.8.0.2")
    vlans = (Vlan(10, ip_network("10.9.0.0/24")), Vlan(20, ip_network("10.8.0.0/24")))

    async def story(watching: Watching) -> Any:
        nic = index(watching, "eth0")
        await watching.network.watch([NEAR, tagged], [nic], vlans)
        await watching.resolved(NEAR, tagged)
        link = watching.network.link("eth0")
        assert link is not None
        return watching.network.paths(), nic, watching.network.related([link], vlans) == {nic, index(watching, "v20")}

    found, nic, related = pair.inside(watched(story))
    assert (found[NEAR].ifindex, found[NEAR].vlan) == (nic, 0)
    assert (found[tagged].ifindex, found[tagged].vlan) == (nic, 20)
    assert (found[tagged].source, found[tagged].mac_destination) == (ip_address("10.8.0.1"), pair.mac(pair.there, "v20"))
    assert related


def test_the_declared_gateway_wins_over_the_route(pair: Pair) -> None:
    """A backend outside of all declared subnets goes by the declared gateway, whatever the routing table says."""
    pair.ip("route", "add", "unreachable", "10.20.0.0/16")
    vlans = (Vlan(10, ip_network("10.9.0.0/24"), NEAR),)

    async def story(watching: Watching) -> Any:
        await watching.network.watch([FAR], [index(watching, "eth0")], vlans)
        await watching.resolved(FAR)
        found = watching.network.paths()[FAR]
        await watching.network.watch([FAR], [index(watching, "eth0")])
        return found, watching.network.paths()[FAR]

    found, without = pair.inside(watched(story))
    assert (found.gateway, found.mac_destination) == (NEAR, pair.mac(pair.there))
    assert without == NoPath("its route is unreachable")


def test_a_full_table_comes_by(pair: Pair) -> None:
    """While a router takes in 30,000 routes that no backend has to do with, a new MAC is known as soon as ever."""
    routes = "".join(f"route add 172.{16 + (n >> 14)}.{n >> 6 & 255}.{(n & 63) * 4}/30 via 10.9.0.2\n" for n in range(30_000))

    async def story(watching: Watching) -> Any:
        await watching.network.watch([NEAR], [])
        await watching.resolved(NEAR)
        took = []
        router = await asyncio.create_subprocess_exec("ip", "-n", pair.here, "-batch", "-", stdin=asyncio.subprocess.PIPE)
        feeding = asyncio.create_task(router.communicate(routes.encode()))
        while not feeding.done():
            mac = f"02:00:00:00:99:{len(took) & 255:02x}"
            began = time.monotonic()
            pair.ip("neigh", "change", str(NEAR), "lladdr", mac, "dev", "eth0", "nud", "reachable")
            wanted = bytes.fromhex(mac.replace(":", ""))
            await watching.until(lambda: getattr(watching.network.paths()[NEAR], "mac_destination", b"") == wanted)  # noqa: B023
            took.append(time.monotonic() - began)
            await asyncio.sleep(0.05)
        return took

    took = pair.inside(watched(story))
    assert max(took) < 1, took
    assert len(took) > 3, "there was a flood to look at"


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def tell(pair: Pair, *, six: bool) -> None:
    """The other end says that an IPIP packet of ours did not reach its host; and answers a ping that nobody sent."""
    netns.pushns(pair.there)
    try:
        if six:
            out = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
            quoted = struct.pack("!IHBB", 6 << 28, 40, 41, 64) + ip_address("fd09::1").packed + FAR6.packed
            messages = [struct.pack("!BBHI", 129, 0, 0, 0), struct.pack("!BBHI", 1, 3, 0, 0) + quoted + bytes(8)]
        else:
            out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            ours = ip_address("10.9.0.1").packed
            quoted = struct.pack("!BBHHHBBH", 0x45, 0, 60, 0, 0x4000, 64, 4, 0) + ours + FAR.packed + bytes(8)
            messages = [struct.pack("!BBHI", 0, 0, 0xFFFF, 0)]
            messages.append(struct.pack("!BBHI", 3, 1, checksum(struct.pack("!BBHI", 3, 1, 0, 0) + quoted), 0) + quoted)
        with out:
            for each in messages:
                out.sendto(each, ("fd09::1" if six else "10.9.0.1", 0))
    finally:
        netns.popns()


@pytest.mark.parametrize("six", [False, True])
def test_the_underlay_is_heard(pair: Pair, *, six: bool) -> None:
    """An ICMP error about a tunnel is counted and said; other ICMP does not get through the sockets' filter."""
    backend = FAR6 if six else FAR

    async def story(watching: Watching) -> Any:
        events: list[Event] = []
        underlay = Underlay(events.append)
        assert underlay.watch([(backend, Tunnel(TunnelKind.IPIP))]) == []
        seen: list[int] = []
        take = underlay.take
        underlay.take = lambda version, data, sender: (seen.append(version), take(version, data, sender))[1]  # type: ignore[method-assign]
        sent = time.monotonic()
        tell(pair, six=six)
        await watching.until(lambda: bool(underlay.status()))
        took = time.monotonic() - sent
        found = underlay.status()
        underlay.close()
        return found, [str(event) for event in events], seen, took

    found, said, seen, took = pair.inside(watched(story))
    words = "address unreachable (says fd09::2)" if six else "host unreachable (says 10.9.0.2)"
    assert [(row.backend, row.kind, row.errors, row.last_error) for row in found] == [(str(backend), "ipip", 1, words)]
    assert said == [f"ipip tunnel to {backend}: {words}"]
    assert seen == [6 if six else 4]
    assert took < 1
