"""What a peer is told: filters, attributes, next hops, and how few UPDATEs say it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest

from fairlead.bgp import Family, wire
from fairlead.bgp.attributes import Attributes, pack
from fairlead.bgp.policy import permits
from fairlead.bgp.rib import AdjRibOut
from fairlead.bgp.terms import Terms
from fairlead.model import Route
from tests.wire.talk import lines_of, peer, routes

EXTERNAL = Terms(
    local_as=64512,
    remote_as=64500,
    hold_time=10,
    families=frozenset(Family),
    four_octet=True,
    local=ip_address("10.0.0.1"),
    router_id=IPv4Address("192.0.2.1"),
)
V4, V6 = "192.0.2.10/32", "2001:db8::10/128"
MARKER = "ff" * 16


def terms(**changes) -> Terms:
    names = ("local_as", "remote_as", "hold_time", "families", "four_octet", "local", "router_id")
    return Terms(**({name: getattr(EXTERNAL, name) for name in names} | changes))


def rib_of(prefixes=(V4, V6), agreed=EXTERNAL, **policy) -> AdjRibOut:
    rib = AdjRibOut(peer(**policy))
    rib.set_routes(routes(*prefixes))
    rib.begin(agreed)
    return rib


def said_by(rib, *, four_octet=True) -> list[str]:
    return lines_of(b"".join(wire.encode(update) for update in rib.updates()), four_octet=four_octet)


ENDS = ["END IPv4", "END IPv6"]

# Written by hand from RFC 4271 section 4.3, RFC 4760 section 3, RFC 1997 and RFC 6793: (policy, terms, prefix) -> message.
GOLDEN = {
    "eBGP, IPv4, MED and communities": (
        {"med": 50, "communities": ((64512, 1), (65535, 0))},
        {"local_as": 4200000001},
        V4,
        "0042 02 0000 0026 40010100 4002060201fa56ea01 4003040a000001 80040400000032 c00808fc000001ffff0000 20c000020a",
    ),
    "iBGP, IPv4": (
        {},
        {"remote_as": 64512},
        V4,
        "0031 02 0000 0015 40010100 400200 4003040a000001 40050400000064 20c000020a",
    ),
    "eBGP, IPv6": (
        {},
        {},
        V6,
        (
            "004d 02 0000 0036 800e26000201 10 20010db8000000000000000000000001 00 8020010db8000000000000000000000010"
            " 40010100 40020602010000fc00"
        ),
    ),
    "towards a speaker of two-octet AS numbers": (
        {},
        {"local_as": 4200000001, "four_octet": False},
        V4,
        "0037 02 0000 001b 40010100 40020402015ba0 4003040a000001 c011060201fa56ea01 20c000020a",
    ),
    "a two-octet AS number towards such a speaker": (
        {},
        {"four_octet": False},
        V4,
        "002e 02 0000 0012 40010100 4002040201fc00 4003040a000001 20c000020a",
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_updates_byte_for_byte(name):
    """An announcement is exactly these bytes."""
    policy, agreed, prefix, text = GOLDEN[name]
    update = next(rib_of((prefix,), terms(**agreed), **policy).updates())

    assert wire.encode(update).hex() == (MARKER + text).replace(" ", "")


def test_withdrawals_byte_for_byte():
    """IPv4 is withdrawn in the message's own field, IPv6 in MP_UNREACH_NLRI; End-of-RIB is either one, empty."""
    rib = rib_of()
    list(rib.updates())
    rib.set_routes(())
    withdrawals = [wire.encode(update).hex() for update in rib.updates()]
    ends = [wire.encode(update).hex() for update in rib_of(()).updates()]

    assert withdrawals == [
        MARKER + "001c02" + "0005" + "20c000020a" + "0000",
        MARKER + "002e02" + "0000" + "0017" + "800f14" + "000201" + "80" + "20010db8000000000000000000000010",
    ]
    assert ends == [MARKER + "001702" + "0000" + "0000", MARKER + "001d02" + "0000" + "0006" + "800f03" + "000201"]


def test_first_updates_end_with_end_of_rib():
    """A new session gets everything, then one End-of-RIB for each family, and then silence."""
    rib = rib_of()

    assert said_by(rib) == [
        "announce 192.0.2.10/32 via 10.0.0.1 path 64512",
        "announce 2001:db8::10/128 via 2001:db8::1 path 64512",
        *ENDS,
    ]
    assert said_by(rib) == []


def test_internal_peers_get_a_local_preference_and_an_empty_path():
    """Inside the AS the path stays empty and LOCAL_PREF goes along, 100 where nothing is configured."""
    inside = terms(remote_as=64512)

    assert said_by(rib_of((V4,), inside))[0] == "announce 192.0.2.10/32 via 10.0.0.1 path empty pref 100"
    assert said_by(rib_of((V4,), inside, local_pref=0))[0] == "announce 192.0.2.10/32 via 10.0.0.1 path empty pref 0"
    assert said_by(rib_of((V4,), local_pref=300))[0] == "announce 192.0.2.10/32 via 10.0.0.1 path 64512"


def test_med_and_communities():
    """A MED of 0 is said, none is not; communities keep their order."""
    assert said_by(rib_of((V4,), med=0, communities=((65535, 0), (1, 2))))[0].endswith("med 0 communities 65535:0 1:2")


def test_old_speakers_get_as_trans():
    """Who does not know four-octet AS numbers gets AS_TRANS, and the real path in AS4_PATH where it does not fit otherwise."""
    big = rib_of((V4,), terms(local_as=4200000001, four_octet=False))
    small = rib_of((V4,), terms(four_octet=False))

    assert said_by(big, four_octet=False)[0].endswith("path 23456 path4 4200000001")
    assert said_by(small, four_octet=False)[0].endswith("path 64512")


NEXT_HOPS = [
    # family, policy, our end of the session, expected
    (V4, {"next_hop_4": IPv4Address("10.9.9.9")}, "10.0.0.1", "10.9.9.9"),
    (V4, {}, "10.0.0.1", "10.0.0.1"),
    (V4, {}, "2001:db8::77", "192.0.2.1"),
    (V6, {"next_hop_6": IPv6Address("2001:db8::99")}, "2001:db8::77", "2001:db8::99"),
    (V6, {"next_hop_6": None}, "2001:db8::77", "2001:db8::77"),
    (V6, {"next_hop_6": None}, "10.0.0.1", None),
    (V6, {"next_hop_6": None}, "fe80::1%eth0", "fe80::1"),
    (V6, {}, "fe80::1%eth0", "2001:db8::1 fe80::1"),
    (V4, {}, "fe80::1%eth0", "192.0.2.1"),
]


@pytest.mark.parametrize(("prefix", "policy", "local", "expected"), NEXT_HOPS)
def test_next_hop(prefix, policy, local, expected):
    """Configured, else our end of the session, else the router id for IPv4; without any, no IPv6 route but a reason."""
    rib = rib_of((prefix,), terms(local=ip_address(local)), **policy)
    lines = said_by(rib)

    if expected:
        assert f"announce {prefix} via {expected} path 64512" in lines
        assert rib.withheld() == ()
    else:
        assert lines == ENDS
        ((withheld, why),) = rib.withheld()
        assert str(withheld) == prefix
        assert why.startswith("no IPv6 next hop is known")


FILTERS = [
    ((), (), V4, True),
    ((), ("0.0.0.0/0",), V4, False),
    ((), ("0.0.0.0/0",), V6, True),
    (("192.0.2.0/24",), ("0.0.0.0/0",), V4, True),
    (("192.0.2.0/24",), (), "198.51.100.1/32", True),
    (("192.0.2.10/32",), ("192.0.2.0/24",), "192.0.2.11/32", False),
    (("2001:db8::/32",), ("::/0",), V6, True),
    ((), ("192.0.2.10/32",), V4, False),
    ((), ("192.0.2.10/32",), "192.0.2.0/24", True),
]


@pytest.mark.parametrize(("accept", "reject", "prefix", "passes"), FILTERS)
def test_filter(accept, reject, prefix, passes):
    """What accept covers passes, then what reject covers does not, then all passes."""
    policy = peer(accept=tuple(map(ip_network, accept)), reject=tuple(map(ip_network, reject)))

    assert permits(policy, ip_network(prefix)) is passes


def test_filtered_routes_say_why():
    """A route that the filter holds back is shown with the reason."""
    rib = rib_of((V4, V6), reject=(ip_network("192.0.2.0/24"),))

    assert said_by(rib) == ["announce 2001:db8::10/128 via 2001:db8::1 path 64512", *ENDS]
    assert [f"{prefix}: {why}" for prefix, why in rib.withheld()] == [f"{V4}: rejected by the filter of this peer"]
    assert list(map(str, rib.announced())) == [V6]


def test_family_that_the_peer_does_not_take():
    """A peer without IPv6 gets no IPv6 routes, no End-of-RIB for them, and status says so."""
    rib = rib_of((V4, V6), terms(families=frozenset({Family.IPV4})))

    assert said_by(rib) == ["announce 192.0.2.10/32 via 10.0.0.1 path 64512", "END IPv4"]
    assert [why for _, why in rib.withheld()] == ["the peer does not take IPv6 unicast"]


def test_changes_are_differences():
    """Only what differs is sent: a new route, a withdrawn one, a changed attribute, a changed filter."""
    rib = rib_of((V4, "192.0.2.11/32"))
    said_by(rib)

    rib.set_routes(routes("192.0.2.11/32", V6))
    assert said_by(rib) == ["withdraw 192.0.2.10/32", "announce 2001:db8::10/128 via 2001:db8::1 path 64512"]

    rib.set_policy(peer(med=7))
    assert said_by(rib) == [
        "announce 192.0.2.11/32 via 10.0.0.1 path 64512 med 7",
        "announce 2001:db8::10/128 via 2001:db8::1 path 64512 med 7",
    ]

    rib.set_policy(peer(med=7, reject=(ip_network("::/0"),)))
    assert said_by(rib) == ["withdraw 2001:db8::10/128"]


def test_what_comes_and_goes_between_two_outputs_is_not_sent():
    """The peer is brought from what it has to what it should have, not through every step."""
    rib = rib_of((V4,))
    said_by(rib)
    rib.set_routes(())
    rib.set_routes(routes(V4))

    assert said_by(rib) == []


def test_refresh_sends_one_family_again():
    """Asked for a family, all of its routes are sent once more, once, and nothing else."""
    rib = rib_of()
    said_by(rib)
    rib.refresh(Family.IPV6)
    rib.refresh(Family.IPV6)

    assert said_by(rib) == ["announce 2001:db8::10/128 via 2001:db8::1 path 64512"]


def test_refresh_and_withdrawal_at_once():
    """A route that is gone by the time of a refresh is withdrawn."""
    rib = rib_of((V4,))
    said_by(rib)
    rib.refresh(Family.IPV4)
    rib.set_routes(())

    assert said_by(rib) == ["withdraw 192.0.2.10/32"]


def test_new_session_starts_from_nothing():
    """After an end nothing is sent and nothing is held; the next session gets all."""
    rib = rib_of((V4,))
    first = said_by(rib)
    rib.end()

    assert (said_by(rib), rib.announced(), rib.withheld()) == ([], (), ())

    rib.begin(EXTERNAL)
    assert said_by(rib) == first


def many(count: int) -> list[str]:
    return [f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}/32" for i in range(count)] + [f"2001:db8:1::{i:x}/128" for i in range(count)]


def test_updates_are_full():
    """10,000 prefixes of each family go into as few messages of at most 4096 bytes as hold them."""
    rib = rib_of(many(10000))
    updates = list(rib.updates())
    sizes = [len(wire.encode(update)) for update in updates]

    assert max(sizes) <= 4096
    assert sum(size < 4096 - 17 for size in sizes) == 2 + 2  # the last of each family, and the two End-of-RIB
    assert sum(line.startswith("announce") for line in lines_of(b"".join(map(wire.encode, updates)))) == 20000

    rib.set_routes(())
    withdrawals = list(rib.updates())

    assert max(len(wire.encode(update)) for update in withdrawals) <= 4096
    assert sum(line.startswith("withdraw") for line in lines_of(b"".join(map(wire.encode, withdrawals)))) == 20000


def test_attributes_that_fill_a_message_are_refused():
    """More communities than fit are a reason to hold back, not a message that is too long."""
    rib = rib_of((V4,), communities=tuple((64512, i) for i in range(1000)))

    assert said_by(rib) == ENDS
    assert [why for _, why in rib.withheld()] == ["its communities do not fit into an UPDATE"]


def test_long_attributes_get_an_extended_length():
    """An attribute of more than 255 bytes has a length of two octets."""
    line = said_by(rib_of((V4,), communities=tuple((64512, i) for i in range(100))))[0]

    assert line.endswith("64512:99")
    assert pack(Attributes(IPv4Address("10.0.0.1"), communities=((1, 2),) * 64), four_octet=True)[14:18].hex() == "d0080100"


def test_repeated_announcement_is_free():
    """Being told the same routes again computes and sends nothing."""
    rib = rib_of((V4,))
    said_by(rib)
    rib.set_routes([Route(ip_network(V4))])

    assert list(rib.updates()) == []
