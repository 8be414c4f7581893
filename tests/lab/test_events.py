"""What the kernel's network says takes effect within 100 ms: measured with a stream of new flows, 500 a second.

The bound asserted is wide, as the machine may be busy; the figures are printed (`pytest -s`). Idle, it takes 10 to 30 ms: 5 are
waiting for more of the same burst, some are the start of `ip`. A NIC's driver may debounce its carrier, which comes on top.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest

from tests.lab.kit import VIPS, Lab, eventually
from tests.lab.newflows import streaming, timed
from tests.lab.traffic import site

pytestmark = pytest.mark.root

WITHIN = 1.0  # seconds: ten times what is asked for
NEAR, FAR = {4: "192.0.2.21", 6: "fd1a:b:0:10::21"}, {4: "198.51.100.23", 6: "fd1a:b:0:20::23"}


@pytest.fixture(scope="module")
def _site() -> Iterator[Lab]:
    with site("multinic") as lab:
        yield lab


@pytest.fixture
def lab(_site: Lab) -> Lab:
    return _site.restore()


def two_backends(lab: Lab) -> None:
    """Of each VIP only backend1, on the first NIC, and backend3, on the second; checks so slow that they decide nothing here.

    Untracked: a port that is used again would find the flow that it had.
    """
    text = lab.config.replace("interval: 0.5, timeout: 0.5", "interval: 1, timeout: 4").replace("web}", "web, track: false}")
    for gone in ("192.0.2.22", "198.51.100.24", "fd1a:b:0:10::22", "fd1a:b:0:20::24"):
        text = text.replace(f', "{gone}"', "")
    lab.reload(text)
    eventually(lambda: len(lab.states()) == 1 and len(lab.service(VIPS[4])["backends"]) == 2 and lab.all_up(), 20)


def told(what: str, *seconds: float) -> None:
    print(f"\n{what}: {', '.join(f'{s * 1000:.0f} ms' for s in seconds)}")


@pytest.mark.parametrize("version", [4, 6])
def test_a_new_mac(lab: Lab, version: int) -> None:
    """A backend gets another MAC and says so (gratuitous ARP, unsolicited NA): frames carry it at once."""
    two_backends(lab)
    lab.run("backend1", "sysctl", "-q", "net.ipv4.conf.eth0.arp_notify=1", "net.ipv6.conf.eth0.ndisc_notify=1")
    took = []
    with streaming(lab, VIPS[version], rate=500) as stream:
        for mac in ("02:1a:0b:00:10:99", "02:1a:0b:00:10:98", "02:1a:0b:00:10:21"):
            took.append(timed(lambda mac=mac: lab.run("backend1", "ip", "link", "set", "eth0", "address", mac)))
            time.sleep(1.5)
    effects = [stream.lost(at, until) for at, until in itertools.pairwise([*took, took[-1] + 1.5])]
    told(f"MAC, IPv{version}", *effects)
    assert max(effects) < WITHIN
    assert stream.last("backend1", took[1]) > took[0] + 0.5, "it served again in between"


def test_a_link_flaps(lab: Lab) -> None:
    """The second NIC loses its carrier and gets it again: new flows keep away from what is behind it, then return."""
    two_backends(lab)
    with streaming(lab, VIPS[4], rate=500) as stream:
        time.sleep(1.2)
        down = timed(lambda: lab.run("switch2", "ip", "link", "set", "balancer1", "down"))
        found = eventually(lambda: (b := lab.backend(FAR[4]))["state"] == "down" and b, 5)
        time.sleep(1.2)
        up = timed(lambda: lab.run("switch2", "ip", "link", "set", "balancer1", "up"))
        eventually(lambda: lab.backend(FAR[4])["state"] == "up", 5)
        time.sleep(0.5)
    assert "eth1 is down" in found["reason"]
    assert stream.last("backend3", down) > down - 0.2, "it had its share"
    avoided, returned = stream.lost(down, up), stream.first("backend3", up)
    told("link down, link up", avoided, returned)
    assert max(avoided, returned) < WITHIN


def test_a_route_moves(lab: Lab) -> None:
    """A backend with a leg in both segments: the old way dies, the route moves to the other NIC, and frames leave by it."""
    two_backends(lab)
    second_leg(lab)
    cut = "table bridge f { chain c { type filter hook forward priority 0; iifname balancer1 oifname backend1 drop; }; }"
    move = ("route", "replace", f"{NEAR[4]}/32", "dev", "eth1", "src", "192.0.2.11")
    try:
        with streaming(lab, VIPS[4], rate=500) as stream:
            time.sleep(0.5)
            lab.run("switch", "nft", cut)
            moved = timed(lambda: lab.run("balancer1", "ip", *move))
            time.sleep(1.5)
            lab.run("switch", "nft", "delete", "table", "bridge", "f")
            back = timed(lambda: lab.run("balancer1", "ip", "route", "del", f"{NEAR[4]}/32", "dev", "eth1"))
            lab.run("switch2", "ip", "link", "set", "leg", "down")
            time.sleep(1.0)
        effects = [stream.lost(moved, back), stream.lost(back)]
        told("route to the other NIC, and back", *effects)
        assert max(effects) < WITHIN
        assert stream.last("backend1", back) > moved + 1, "it served over its second leg"
    finally:
        lab.run("switch", "nft", "flush", "ruleset")
        lab.run("balancer1", "ip", "route", "flush", f"{NEAR[4]}/32", check=False)
        lab.run("backend1", "ip", "link", "del", "eth1", check=False)


def second_leg(lab: Lab) -> None:
    """backend1 gets a second interface, in the other segment, with the address that it has in the first."""
    leg = ("link", "add", "eth1", "type", "veth", "peer", "name", "leg", "netns", f"{lab.name}-switch2")
    lab.run("backend1", "ip", *leg)
    lab.run("backend1", "ip", "addr", "add", f"{NEAR[4]}/32", "dev", "eth1")
    lab.run("backend1", "ip", "link", "set", "eth1", "up")
    lab.run("switch2", "ip", "link", "set", "leg", "master", "br0", "up")
