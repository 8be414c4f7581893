"""From the kernel's routes to the NIC that a frame leaves by: VLAN devices, bonds, gateways and the `vlans` override."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from fairlead.adapters.netlink import paths, wire
from fairlead.adapters.netlink.messages import NUD_FAILED, Device, Neighbour, RouteAnswer, device_of
from fairlead.adapters.netlink.paths import Way
from fairlead.adapters.netlink.stakes import Stakes
from fairlead.model import Link, NoPath, Path, Vlan


def link(ifindex: int, name: str, mtu: int = 1500) -> Link:
    return Link(ifindex, name, bytes([2, 0, 0, 0, 0, ifindex]), up=True, mtu=mtu)


ETH0, ETH1, ETH2 = (Device(link(n, f"eth{n - 1}")) for n in (1, 2, 3))
VLAN10 = Device(link(10, "eth0.10", 1400), "vlan", 10, 1)
BOND = Device(link(20, "bond0"), "bond")
MEMBERS = [Device(replace(link(n, f"port{n}"), bond=20, active=n != 21), member_of="bond", master=20) for n in (21, 22, 23)]
VLAN_ON_BOND = Device(link(24, "bond0.30"), "vlan", 30, 20)
DEVICES = {d.link.ifindex: d for d in (ETH0, ETH1, ETH2, VLAN10, BOND, *MEMBERS, VLAN_ON_BOND)}
EMULATED = Device(replace(link(40, "v40"), mac=ETH1.link.mac))
LABEL = Vlan(40, ip_network("10.4.0.0/24"))
MAC = bytes.fromhex("020000009999")
UNICAST = RouteAnswer(kind=1, ifindex=1, source=ip_address("10.1.0.1"))


def way(ifindex: int, *usable: int, label: Vlan | None = None, devices: dict[int, Device] | None = None) -> Way | NoPath:
    return paths.egress(DEVICES if devices is None else devices, ifindex, frozenset(usable), label)


def without(*indices: int) -> dict[int, Device]:
    return {index: device for index, device in DEVICES.items() if index not in indices}


def changed(index: int, **words: object) -> dict[int, Device]:
    return DEVICES | {index: replace(DEVICES[index], link=replace(DEVICES[index].link, **words))}  # type: ignore[arg-type]


def test_a_nic_is_its_own_way_out() -> None:
    """Without VLAN or bond frames leave by the device of the route, untagged."""
    assert way(1, 1, 2) == Way(ETH0.link, ETH0.link.mac, 0, 0, 1500)


def test_a_vlan_device_tags_and_hands_down() -> None:
    """The tag and the MAC are the VLAN device's, the NIC is the one below, the MTU is the smaller of the two."""
    assert way(10, 1) == Way(ETH0.link, VLAN10.link.mac, 10, 0, 1400)


def test_a_bond_sends_by_an_active_member() -> None:
    """The first member that is active and up; the MAC is the member's, which a bond that balances sends by may tell apart."""
    assert way(20, 21, 22, 23) == Way(MEMBERS[1].link, MEMBERS[1].link.mac, 0, 20, 1500)
    assert way(20, 21, 22, 23, devices=changed(22, up=False)) == Way(MEMBERS[2].link, MEMBERS[2].link.mac, 0, 20, 1500)
    assert way(20, 21, 23) == Way(MEMBERS[2].link, MEMBERS[2].link.mac, 0, 20, 1500)
    assert way(24, 21, 22, 23) == Way(MEMBERS[1].link, MEMBERS[1].link.mac, 30, 20, 1500)


@pytest.mark.parametrize(
    ("ifindex", "usable", "devices", "says"),
    [
        (99, [1], DEVICES, "its interface has gone"),
        (1, [1], changed(1, up=False), "eth0 is down"),
        (10, [1], changed(1, up=False), "eth0 is down"),
        (10, [1], without(1), "eth0.10 has no NIC below it that takes one 802.1Q tag"),
        (10, [1], DEVICES | {10: replace(VLAN10, tag=0)}, "eth0.10 has no NIC below it that takes one 802.1Q tag"),
        (10, [1], DEVICES | {1: replace(VLAN10, link=ETH0.link)}, "eth0.10 has no NIC below it that takes one 802.1Q tag"),
        (2, [1], DEVICES, "is reached through eth1, on which Fairlead does not run"),
        (10, [2], DEVICES, "is reached through eth0.10, on which Fairlead does not run"),
        (20, [1], DEVICES, "is reached through bond0, on which Fairlead does not run"),
        (20, [21], DEVICES, "no member of bond0 is active"),
    ],
)
def test_no_way_has_a_reason(ifindex: int, usable: list[int], devices: dict[int, Device], says: str) -> None:
    """Gone, down, tagged twice, not ours, or a bond whose members may not send."""
    assert way(ifindex, *usable, devices=devices) == NoPath(says)


def test_a_declared_subnet_tags_over_a_strange_device() -> None:
    """A device that is neither ours nor a VLAN device is one where `vlans` says so; it stands on the NIC of its MAC."""
    devices = DEVICES | {40: EMULATED}
    assert way(40, 1, 2, label=LABEL, devices=devices) == Way(ETH1.link, EMULATED.link.mac, 40, 0, 1500)
    other = DEVICES | {40: replace(EMULATED, link=replace(EMULATED.link, mac=MAC))}
    assert way(40, 1, label=LABEL, devices=other) == Way(ETH0.link, MAC, 40, 0, 1500)
    refused = NoPath("is reached through v40, on which Fairlead does not run")
    assert way(40, 1, 2, label=LABEL, devices=other) == refused
    assert way(40, 1, 2, devices=devices) == refused
    bonded = way(40, 21, 22, 23, label=LABEL, devices=other)
    assert bonded == Way(MEMBERS[1].link, MEMBERS[1].link.mac, 40, 20, 1500)


def test_over_our_nics_a_declared_id_is_a_label() -> None:
    """`vlans` never tags what the kernel routes over one of our interfaces untagged, and never changes a VLAN device's id."""
    assert way(1, 1, label=LABEL) == way(1, 1)
    assert way(10, 1, label=LABEL) == way(10, 1)
    assert way(20, 21, 22, label=LABEL) == way(20, 21, 22)


def test_the_declared_gateway_of_the_lowest_id_leads_out() -> None:
    """A backend in none of the declared subnets goes to the first gateway of its family; one in a subnet to none."""
    vlans = (
        Vlan(10, ip_network("10.1.0.0/24")),
        Vlan(30, ip_network("10.3.0.0/24"), ip_address("10.3.0.1")),
        Vlan(20, ip_network("10.2.0.0/24"), ip_address("10.2.0.1")),
        Vlan(5, ip_network("fd05::/64"), ip_address("fd05::1")),
    )
    assert paths.gateway_for(vlans, ip_address("10.9.0.1")) == ip_address("10.2.0.1")
    assert paths.gateway_for(vlans, ip_address("10.3.0.9")) is None
    assert paths.gateway_for(vlans, ip_address("fd09::1")) == ip_address("fd05::1")
    assert paths.gateway_for(vlans[:1], ip_address("10.9.0.1")) is None


def test_a_path_takes_the_smallest_mtu_and_the_gateways_mac() -> None:
    """The route's MTU counts where it is smaller; the neighbour is the gateway's where there is one."""
    neighbour = Neighbour(MAC, 2, managed=True, protocol=70)
    out = way(10, 1)
    found = paths.resolve(UNICAST, out, neighbour, "eth0.10")
    assert found == Path(1, MAC, VLAN10.link.mac, 1400, UNICAST.source, None, 10, 0)
    behind = replace(UNICAST, gateway=ip_address("10.1.0.254"), mtu=1300)
    found = paths.resolve(behind, out, neighbour, "eth0.10")
    assert found == Path(1, MAC, VLAN10.link.mac, 1300, UNICAST.source, behind.gateway, 10, 0)
    unanswered = NoPath("no neighbour on eth0.10: gateway 10.1.0.254 does not answer", silent=True)
    assert paths.resolve(behind, out, None, "eth0.10") == unanswered
    failed = Neighbour(b"", NUD_FAILED, managed=True, protocol=70, last=MAC)
    assert paths.resolve(behind, out, failed, "eth0.10") == replace(unanswered, last=found)
    assert paths.resolve(behind, NoPath("eth0 is down"), failed, "eth0.10") == NoPath("eth0 is down")
    assert paths.resolve(RouteAnswer(error="no route"), out, failed, "eth0.10") == NoPath("no route")
    assert paths.resolve(replace(UNICAST, kind=2), out, neighbour, "eth0.10") == NoPath("is an address of this machine")


def test_a_name_means_a_nic_or_a_bonds_members() -> None:
    """The operator names a NIC or a bond; what else has a name is refused with the name that was meant."""
    assert paths.managed(DEVICES, "eth0") == [ETH0.link]
    assert paths.managed(DEVICES, "bond0") == [m.link for m in MEMBERS]
    assert paths.managed(DEVICES, "eth9") == []
    assert [paths.misnamed(DEVICES, name) for name in ("eth0", "bond0", "eth9")] == ["", "", ""]
    assert paths.misnamed(DEVICES, "eth0.10") == "eth0.10 is a VLAN device: name eth0, and its VLANs are served with it"
    says = "port21 is a member of bond0: name bond0, and all its members are followed"
    assert paths.misnamed(DEVICES, "port21") == says
    says = "bond0 is a bond without members: ip link set dev NIC master bond0"
    assert paths.misnamed(without(21, 22, 23), "bond0") == says


def test_our_addresses_may_stand_on_bonds_and_vlans() -> None:
    """A NIC's addresses are also those of its bond and of the VLAN devices on top of either."""
    assert paths.related(DEVICES, [ETH0.link]) == {1, 10}
    assert paths.related(DEVICES, [m.link for m in MEMBERS[:1]]) == {21, 20, 24}


def message(**words: object) -> ifinfmsg:
    made = ifinfmsg()
    made.update({"family": 0, "index": 7, "flags": 0x10001})
    attributes: list[object] = [("IFLA_IFNAME", "x0"), ("IFLA_ADDRESS", "02:00:00:00:00:07"), ("IFLA_MTU", 1500)]
    made["attrs"] = [*attributes, *words.items()]
    made.encode()
    made = ifinfmsg(made.data)
    made.decode()
    return made


def test_link_messages_are_read() -> None:
    """Kind, VLAN id, lower link and a member's standing are where the kernel puts them (linux/if_link.h)."""
    info = {"attrs": [("IFLA_INFO_KIND", "vlan"), ("IFLA_INFO_DATA", {"attrs": [("IFLA_VLAN_ID", 10)]})]}
    found = device_of(message(IFLA_LINK=1, IFLA_LINKINFO=info))
    assert (found.kind, found.tag, found.lower, found.link.name, found.link.up) == ("vlan", 10, 1, "x0", True)
    assert device_of(message(IFLA_LINK=1, IFLA_LINK_NETNSID=0, IFLA_LINKINFO=info)).lower == 0
    for state, mii, active in ((0, 0, True), (1, 0, False), (0, 2, False)):
        standing = {"attrs": [("IFLA_BOND_SLAVE_STATE", state), ("IFLA_BOND_SLAVE_MII_STATUS", mii)]}
        info = {"attrs": [("IFLA_INFO_SLAVE_KIND", "bond"), ("IFLA_INFO_SLAVE_DATA", standing)]}
        found = device_of(message(IFLA_MASTER=20, IFLA_LINKINFO=info))
        assert (found.link.bond, found.link.active, found.member_of) == (20, active, "bond")
    bridged = {"attrs": [("IFLA_INFO_SLAVE_KIND", "bridge")]}
    assert device_of(message(IFLA_MASTER=20, IFLA_LINKINFO=bridged)).link.bond == 0


def test_route_messages_are_read() -> None:
    """The route's own MTU, its gateway and its source are where the kernel puts them (linux/rtnetlink.h)."""
    made = rtmsg()
    made.update({"family": 2, "type": 1, "dst_len": 32})
    metrics = {"attrs": [("RTAX_MTU", 1380)]}
    made["attrs"] = [("RTA_OIF", 3), ("RTA_GATEWAY", "10.1.0.254"), ("RTA_PREFSRC", "10.1.0.1"), ("RTA_METRICS", metrics)]
    made.encode()
    [answer] = wire.messages(bytes(made.data))
    assert wire.route_of(answer) == RouteAnswer(1, 3, ip_address("10.1.0.254"), ip_address("10.1.0.1"), 1380)


def test_messages_are_written_as_the_library_reads_them() -> None:
    """Questions and orders are well-formed netlink: pyroute2, which others wrote, decodes what was meant."""
    key = (3, ip_address("fd09::2"))
    asked = rtmsg(wire.route_to(ip_address("10.1.0.9")))
    asked.decode()
    assert (asked["family"], asked["dst_len"], asked.get("dst")) == (2, 32, "10.1.0.9")
    made = ndmsg(wire.keep_neighbour(key, MAC, 4, 0, 1, 70))
    made.decode()
    assert (made["family"], made["ifindex"], made["state"], made.get("dst")) == (10, 3, 4, "fd09::2")
    assert (made.get("lladdr"), made.get("protocol"), made.get("flags_ext")) == ("02:00:00:00:99:99", 70, 1)
    dropped = ndmsg(wire.drop_neighbour(key))
    dropped.decode()
    assert (dropped["ifindex"], dropped.get("dst"), dropped.get("lladdr")) == (3, "fd09::2", None)


def test_neighbour_messages_are_read() -> None:
    """What is asked for or was in vain has no MAC; an entry that is not of IP, as dumps hold, is none."""

    def read(state: int, **words: object) -> object:
        made = ndmsg()
        made.update({"family": 2, "ifindex": 3, "state": state})
        made["attrs"] = [(f"NDA_{name.upper()}", value) for name, value in words.items()]
        made.encode()
        [found] = wire.messages(bytes(made.data))
        return wire.neighbour_of(found)

    mac = "02:00:00:00:99:99"
    known = Neighbour(MAC, 2, managed=True, protocol=70)
    assert read(2, dst="10.1.0.9", lladdr=mac, protocol=70, flags_ext=1) == ((3, ip_address("10.1.0.9")), known)
    assert read(1, dst="10.1.0.9") == ((3, ip_address("10.1.0.9")), Neighbour(b"", 1, managed=False, protocol=0))
    failed = Neighbour(b"", 0x20, managed=False, protocol=0)
    assert read(0x20, dst="10.1.0.9", lladdr=mac) == ((3, ip_address("10.1.0.9")), failed)
    assert read(2, lladdr=mac) is None


def test_broken_messages_end_the_reading() -> None:
    """Lengths that cannot be are no loop without end."""
    assert list(wire.messages(bytes(16))) == []
    assert list(wire.messages(b"\x10")) == []
    assert wire.attributes(memoryview(bytes(8))) == {}


def test_an_event_concerns_those_whose_path_it_may_be() -> None:
    """By neighbour and by prefix; what nobody asked for concerns nobody, a default route everybody of its family."""
    one, two, six = (ip_address(a) for a in ("10.1.0.9", "10.1.1.9", "fd09::2"))
    gateway = ip_address("10.2.0.1")
    stakes = Stakes()
    stakes.follow({one: one, two: gateway, six: six})
    stakes.asked(ip_address("192.0.2.10"))
    assert stakes.within((4, 24, int(one) >> 8)) == {one}
    assert stakes.within((4, 24, int(gateway) >> 8)) == {two}
    assert stakes.within((4, 0, 0)) == {one, two}
    assert stakes.within((6, 0, 0)) == {six}
    assert stakes.within((4, 32, int(ip_address("192.0.2.10")))) == set()
    assert stakes.within((4, 24, int(ip_address("198.51.100.0")) >> 8)) is None
    assert stakes.rest_on(one, (1, one)) is None
    assert stakes.rest_on(two, (1, one)) is None
    assert stakes.with_neighbour((1, one)) == {one, two}
    assert stakes.rest_on(two, (2, gateway)) is None, "the other one is still there"
    assert stakes.rest_on(one, None) == (1, one)
    assert stakes.with_neighbour((1, one)) == frozenset()


def test_a_full_neighbour_table_is_said() -> None:
    """The kernel has no room for the entry: that is not a backend that does not answer."""
    says = "no neighbour on eth0: the kernel's neighbour table is full; raise net.ipv4.neigh.default.gc_thresh3"
    assert paths.resolve(UNICAST, way(1, 1), None, "eth0", full=True) == NoPath(says, silent=True)
