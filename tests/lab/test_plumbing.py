"""Netlink facts and probe plumbing in namespaces of their own: what is read, what is made, what is left alone."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from fairlead.adapters import plumbing
from fairlead.adapters.netlink import RTN_LOCAL
from fairlead.model import NoPath, Path, ProbeConfig
from tests.lab.pair import Pair, Watching, paired

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")]

BACKEND = ip_address("10.9.0.2")
BACKEND6 = ip_address("fd09::2")


@pytest.fixture
def pair() -> Iterator[Pair]:
    with paired() as made:
        yield made


def test_backends_on_the_segment_resolve(pair: Pair) -> None:
    """A backend on the segment has its own MAC as destination, ours as source, and the address the kernel sends from."""

    async def story() -> tuple[Path | NoPath, Path | NoPath]:
        watching = Watching()
        await watching.network.open()
        link = watching.network.link("eth0")
        assert link is not None
        await watching.network.watch([BACKEND, BACKEND6], [link.ifindex])
        await watching.resolved(BACKEND, BACKEND6)
        paths = watching.network.paths()
        await watching.network.close()
        return paths[BACKEND], paths[BACKEND6]

    four, six = pair.inside(story)
    assert (four.mac_destination, four.mac_source) == (pair.mac(pair.there), pair.mac(pair.here))
    assert (four.mtu, four.source, six.source) == (1500, ip_address("10.9.0.1"), ip_address("fd09::1"))
    kept = pair.ip("neigh", "show", str(BACKEND))
    assert "managed" in kept
    assert "proto 70" in kept


def test_settling_waits_for_neighbours(pair: Pair) -> None:
    """After a start the first answer need not be "nobody": settling waits for those that answer, not for ever for the others."""

    async def story() -> tuple[Path | NoPath, float]:
        watching = Watching()
        await watching.network.open()
        await watching.network.watch([BACKEND], [])
        await watching.network.settle(5.0)
        found = watching.network.paths()[BACKEND]
        await watching.network.watch([BACKEND, ip_address("10.9.0.77")], [])
        began = time.monotonic()
        await watching.network.settle(0.2)
        await watching.network.close()
        return found, time.monotonic() - began

    found, took = pair.inside(story)
    assert isinstance(found, Path)
    assert 0.2 <= took < 4, "0.2 s, and what a busy machine adds: not the 5 s of before"


def test_reasons_are_plain(pair: Pair) -> None:
    """Each backend that cannot be reached says why, in words."""
    pair.ip("route", "add", "10.20.0.0/16", "via", "10.9.0.254")
    pair.ip("route", "add", "blackhole", "10.30.0.0/16")
    reasons = {
        "10.20.0.1": "no neighbour on eth0: gateway 10.9.0.254 does not answer",
        "10.30.0.1": "its route is a blackhole",
        "10.40.0.1": "no route",
        "10.9.0.1": "is an address of this machine",
        "10.9.0.255": "is not the address of a single host",
        "10.9.0.77": "no neighbour on eth0: nobody answers for its address",
        "fd30::1": "no route",
    }

    async def story() -> Any:
        watching = Watching()
        await watching.network.open()
        await watching.network.watch(map(ip_address, reasons), [])
        found = watching.network.paths()
        await watching.network.close()
        return found

    found = pair.inside(story)
    assert {str(a): p.reason for a, p in found.items()} == reasons


def test_an_interface_that_is_not_ours_is_no_way(pair: Pair) -> None:
    """A backend that is reached through another interface than those we run on has no path."""

    async def story() -> Any:
        watching = Watching()
        await watching.network.open()
        await watching.network.watch([BACKEND], [99])
        found = watching.network.paths()[BACKEND]
        await watching.network.close()
        return found

    assert pair.inside(story) == NoPath("is reached through eth0, on which Fairlead does not run")
    assert "10.9.0.2" not in pair.ip("neigh", "show")


def test_a_new_mac_is_taken_at_once(pair: Pair) -> None:
    """A MAC change that the neighbour announces is in the path at once."""

    async def story() -> float:
        watching = Watching()
        await watching.network.open()
        await watching.network.watch([BACKEND], [])
        await watching.resolved(BACKEND)
        pair.ip("neigh", "change", str(BACKEND), "lladdr", "02:00:00:00:99:99", "dev", "eth0", "nud", "reachable")
        wanted = bytes.fromhex("020000009999")
        took = await watching.until(lambda: getattr(watching.network.paths()[BACKEND], "mac_destination", b"") == wanted)
        await watching.network.close()
        return took

    assert pair.inside(story) < 5, "at once, not when the next look is due"


def test_a_silent_neighbour_is_asked_every_second(pair: Pair) -> None:
    """Its MAC is remembered, and it is found within a second of its return, not when the kernel would ask again (5 s)."""

    async def story() -> list[float]:
        watching = Watching()
        await watching.network.open()
        await watching.network.watch([BACKEND], [])
        await watching.resolved(BACKEND)
        known = watching.network.paths()[BACKEND]
        silent, found = NoPath("no neighbour on eth0: nobody answers for its address", True, known), []  # type: ignore[arg-type]
        for wait in (0.2, 1.0, 3.5):
            pair.ip("link", "set", "eth0", "arp", "off", at=pair.there)
            pair.ip("neigh", "change", str(BACKEND), "dev", "eth0", "nud", "failed")
            await watching.until(lambda: watching.network.paths()[BACKEND] == silent)
            await asyncio.sleep(wait)  # to be at different places in the kernel's round
            pair.ip("link", "set", "eth0", "arp", "on", at=pair.there)
            found.append(await watching.until(lambda: watching.network.paths()[BACKEND] == known))
        await watching.network.close()
        return found

    took = pair.inside(story)
    assert max(took) < 2, took


def test_routes_and_links_are_followed(pair: Pair) -> None:
    """A path goes when its route or its link goes, and comes back with it, managed entry and all."""

    async def story() -> None:
        watching = Watching()
        await watching.network.open()
        await watching.network.watch([BACKEND], [])
        await watching.resolved(BACKEND)
        pair.ip("link", "set", "eth0", "down", at=pair.there)
        await watching.until(lambda: watching.network.paths()[BACKEND] == NoPath("eth0 is down"))
        pair.ip("link", "set", "eth0", "up", at=pair.there)
        await watching.resolved(BACKEND)
        await watching.until(lambda: "managed" in pair.ip("neigh", "show", str(BACKEND)))
        pair.ip("route", "add", "10.9.0.2/32", "via", "10.9.0.254")
        await watching.until(lambda: isinstance(watching.network.paths()[BACKEND], NoPath))
        pair.ip("route", "del", "10.9.0.2/32")
        await watching.resolved(BACKEND)
        await watching.network.close()

    pair.inside(story)


def test_a_permanent_entry_is_respected(pair: Pair) -> None:
    """An operator's static neighbour entry is used as it is and stays static."""
    pair.ip("neigh", "replace", str(BACKEND), "lladdr", "02:00:00:00:12:34", "dev", "eth0", "nud", "permanent")

    async def story() -> Any:
        watching = Watching()
        await watching.network.open()
        await watching.network.watch([BACKEND], [])
        found = watching.network.paths()[BACKEND]
        await watching.network.watch([], [])
        await watching.network.close()
        return found

    found = pair.inside(story)
    assert isinstance(found, Path)
    assert found.mac_destination == bytes.fromhex("020000001234")
    assert pair.ip("neigh", "show", str(BACKEND)).split()[-1] == "PERMANENT"
    pair.inside(plumbing.remove)
    assert pair.ip("neigh", "show", str(BACKEND)).split()[-1] == "PERMANENT"


def test_local_addresses_are_told(pair: Pair) -> None:
    """A look-up for an address of this machine says so: that is how a VIP on the balancer is found."""

    async def story() -> Any:
        watching = Watching()
        await watching.network.open()
        answer = await watching.network.route(ip_address("10.9.0.1"))
        await watching.network.close()
        return answer

    assert pair.inside(story).kind == RTN_LOCAL


def index(pair: Pair) -> int:
    return int(pair.ip("-o", "link", "show", "eth0").split(":")[0])


def test_plumbing_comes_and_goes_without_a_trace(pair: Pair) -> None:
    """What `ensure` makes, `remove` takes away without being told anything; the rest of the machine is as before."""
    before, link = pair.everything(), index(pair)
    done, failed = pair.inside(lambda: plumbing.ensure(ProbeConfig(), link, (4, 6)))
    assert (len(done), failed) == (6, [])
    assert "fwmark 0xfa100000/0xfff00000 lookup 7070 proto 70" in pair.ip("rule", "show")
    assert "fwmark 0xfa100000/0xfff00000 lookup 7070 proto 70" in pair.ip("-6", "rule", "show")
    assert "default via 169.254.77.77 dev eth0 proto 70 onlink" in pair.ip("route", "show", "table", "7070")
    assert "default via fe80::fa:77 dev eth0 proto 70" in pair.ip("-6", "route", "show", "table", "7070")
    assert len(pair.inside(plumbing.remove)) == 6
    assert pair.everything() == before
    assert pair.inside(plumbing.remove) == []


def test_plumbing_is_level_triggered(pair: Pair) -> None:
    """A second look does nothing; what somebody deleted comes back; what is not wanted any more goes."""
    link = index(pair)
    pair.inside(lambda: plumbing.ensure(ProbeConfig(), link, (4, 6)))
    assert pair.inside(lambda: plumbing.ensure(ProbeConfig(), link, (4, 6))) == ([], [])
    pair.ip("rule", "del", "pref", "7070")
    pair.ip("neigh", "del", "169.254.77.77", "dev", "eth0")
    assert len(pair.inside(lambda: plumbing.ensure(ProbeConfig(), link, (4, 6)))[0]) == 2
    done, failed = pair.inside(lambda: plumbing.ensure(ProbeConfig(mark=0x123, priority=99, table=88), link, (4,)))
    assert failed == []
    assert len(done) == 7, done  # five go, two come; the IPv4 neighbour stays
    assert "fwmark 0x12300000/0xfff00000 lookup 88 proto 70" in pair.ip("rule", "show")
    assert "proto 70" not in pair.ip("-6", "rule", "show")


def test_what_cannot_be_made_is_said(pair: Pair) -> None:
    """On an interface that is down the route cannot be: a sentence, no exception."""
    pair.ip("link", "set", "eth0", "down")
    link = index(pair)
    _, failed = pair.inside(lambda: plumbing.ensure(ProbeConfig(), link, (4,)))
    assert any("default route" in text for text in failed)


def test_sysctls_are_only_read(pair: Pair) -> None:
    """The reverse-path filter in force is the stricter of the interface's and the one of all."""

    async def story() -> int:
        return plumbing.reverse_path("eth0")

    write = "cd /proc/sys/net/ipv4/conf && echo 0 > all/rp_filter && echo 1 > eth0/rp_filter"
    subprocess.run(["ip", "netns", "exec", pair.here, "sh", "-c", write], check=True)
    assert pair.inside(story) == 1
