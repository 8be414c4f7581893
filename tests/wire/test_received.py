"""UPDATEs from a peer: what RFC 7606 makes of malformed ones, and how many prefixes are too many."""

from __future__ import annotations

import pytest

from fairlead.bgp import State
from fairlead.bgp.capabilities import Family
from fairlead.bgp.received import AdjRibIn, examine
from fairlead.bgp.wire import Update
from fairlead.errors import ProtocolError
from tests.wire.talk import Talk, peer
from tests.wire.test_rib import EXTERNAL, terms

INTERNAL = terms(remote_as=64512)
ORIGIN, PATH, HOP = "40 01 01 00", "40 02 06 02 01 0000fbf4", "40 03 04 0a000002"
USUAL = f"{ORIGIN} {PATH} {HOP}"
PREFIX = "18 c63364"
REACH_6 = "80 0e 1a 0002 01 10 20010db8000000000000000000000002 00 20 20010db8"


def update(attributes: str = USUAL, nlri: str = PREFIX, withdrawn: str = "") -> Update:
    return Update(bytes.fromhex(withdrawn), bytes.fromhex(attributes), bytes.fromhex(nlri))


FINE = {
    "nothing but End-of-RIB": update("", ""),
    "a route": update(),
    "an IPv6 route": update(f"{REACH_6} {ORIGIN} {PATH}", ""),
    "an empty path": update(f"{ORIGIN} 40 02 00 {HOP}"),
    "sets and confederations": update(f"{ORIGIN} 40 02 18 01 01 00000001 02 01 00000002 03 01 00000003 04 01 00000004 {HOP}"),
    "a default route": update(nlri="00"),
    "all that RFCs know": update(
        f"{USUAL} 80 04 04 00000005 40 06 00 c0 07 08 0000fbf4 0a000002 c0 08 04 fbf40001 c0 10 08 0002fbf400000001"
        " c0 20 0c 0000fbf4 00000001 00000002"
    ),
    "attributes that nobody knows, if optional": update(f"{USUAL} c0 63 01 ff 80 64 00"),
    "a family that was not agreed on": update(f"80 0e 09 0019 41 04 01020304 00 {ORIGIN} {PATH}", ""),
    "a well-known attribute twice": update(f"{USUAL} 40 01 01 07"),
    "local preference from outside": update(f"{USUAL} 40 05 03 000064"),
    "a length of two octets where one would do": update(f"50 01 0001 00 {PATH} {HOP}"),
}


@pytest.mark.parametrize("name", FINE)
def test_what_is_fine(name):
    """Well-formed UPDATEs, and what RFC 7606 wants overlooked, are nothing to talk about."""
    assert examine(FINE[name], EXTERNAL).wrong == ""


# RFC 7606 section 3 d, section 4 and section 7: attributes -> what is wrong, in words.
WITHDRAWN = {
    f"{PATH} {HOP}": "attribute 1 is missing",
    f"{ORIGIN} {HOP}": "attribute 2 is missing",
    f"{ORIGIN} {PATH}": "attribute 3 is missing",
    f"40 01 01 03 {PATH} {HOP}": "attribute 1 is malformed",
    f"40 01 02 0000 {PATH} {HOP}": "attribute 1 is malformed",
    f"c0 01 01 00 {PATH} {HOP}": "attribute 1 has the wrong flags 0xc0",
    f"{ORIGIN} 40 02 06 05 01 0000fbf4 {HOP}": "attribute 2 is malformed",
    f"{ORIGIN} 40 02 02 02 00 {HOP}": "attribute 2 is malformed",
    f"{ORIGIN} 40 02 06 02 02 0000fbf4 {HOP}": "attribute 2 is malformed",
    f"{ORIGIN} 40 02 07 02 01 0000fbf4 02 {HOP}": "attribute 2 is malformed",
    f"{ORIGIN} {PATH} 40 03 05 0a00000200": "attribute 3 is malformed",
    f"{USUAL} 80 04 03 000000": "attribute 4 is malformed",
    f"{USUAL} c0 08 05 fbf4000100": "attribute 8 is malformed",
    f"{USUAL} c0 08 00": "attribute 8 is malformed",
    f"{USUAL} 80 08 04 fbf40001": "attribute 8 has the wrong flags 0x80",
    f"{USUAL} c0 10 07 00000000000000": "attribute 16 is malformed",
    f"{USUAL} c0 20 0b 0000000000000000000000": "attribute 32 is malformed",
    f"{USUAL} c0 08 ff fbf40001": "attribute 8 leaves the message",
    f"{USUAL} c0 08": "attribute 8 leaves the message",
    f"{USUAL} 50 01 00": "attribute 1 leaves the message",
}


@pytest.mark.parametrize("attributes", WITHDRAWN)
def test_treated_as_withdrawn(attributes):
    """These cost their routes and not the session."""
    found = examine(update(attributes), EXTERNAL)

    assert found.wrong == WITHDRAWN[attributes]
    assert found.reached == ((Family.IPV4, bytes.fromhex(PREFIX)),)


@pytest.mark.parametrize("kind", [5, 9, 10])
def test_what_only_internal_peers_may_say(kind):
    """From outside it is discarded unread; inside the AS a malformed one costs the routes (RFC 7606 sections 7.5, 7.9, 7.10)."""
    flags = "40" if kind == 5 else "80"
    said = update(f"{USUAL} 40 05 04 00000064 {flags} {kind:02x} 03 000000" if kind != 5 else f"{USUAL} 40 05 03 000064")

    assert examine(said, EXTERNAL).wrong == ""
    assert examine(said, INTERNAL).wrong == f"attribute {kind} is malformed"


def test_internal_peers_say_a_local_preference():
    """Inside the AS a route without it is treated as withdrawn."""
    assert examine(update(), INTERNAL).wrong == "attribute 5 is missing"


@pytest.mark.parametrize("attribute", ["40 06 01 00", "c0 07 06 fbf4 0a000002", "c0 11 03 02 01 00", "c0 12 04 00000000"])
def test_discarded(attribute):
    """Malformed ATOMIC_AGGREGATE, AGGREGATOR, AS4_PATH and AS4_AGGREGATOR cost themselves only, in an End-of-RIB as well."""
    kind = int(attribute[3:5], 16)

    assert examine(update(f"{USUAL} {attribute}"), EXTERNAL).wrong == f"attribute {kind} is malformed and is discarded"
    assert examine(update(attribute, ""), EXTERNAL).wrong


# What costs the session: UPDATE -> subcode (RFC 4271 section 6.3, RFC 7606 sections 3 g, 5.2, 5.3).
RESET = {
    "an IPv4 prefix of 33 bits": (update(nlri="21 c633640000"), 10),
    "a prefix that leaves the message": (update(nlri="18 c633"), 10),
    "a withdrawn prefix of 40 bits": (update("", "", "28 c633640000"), 10),
    "MP_REACH_NLRI twice": (update(f"{REACH_6} {REACH_6} {ORIGIN} {PATH}", ""), 1),
    "MP_REACH_NLRI that ends early": (update(f"80 0e 03 000201 {ORIGIN} {PATH}", ""), 9),
    "an IPv6 next hop of 4 bytes": (update(f"80 0e 09 0002 01 04 01020304 00 {ORIGIN} {PATH}", ""), 9),
    "an IPv6 prefix of 129 bits": (update("80 0f 15 0002 01 81 " + "00" * 17, ""), 9),
    "MP_UNREACH_NLRI that ends early": (update("80 0f 02 0002", ""), 9),
    "a well-known attribute that is not known": (update(f"{USUAL} 40 63 00"), 2),
    "a malformed attribute and no route": (update("40 01 01 09", ""), 1),
}


@pytest.mark.parametrize("name", RESET)
def test_costs_the_session(name):
    """Where it is not clear which routes are meant, the session ends with the NOTIFICATION that RFC 4271 has for it."""
    said, subcode = RESET[name]
    with pytest.raises(ProtocolError) as caught:
        examine(said, EXTERNAL)

    assert (caught.value.code, caught.value.subcode) == (3, subcode)


def test_ipv4_with_an_ipv6_next_hop():
    """It is an error unless agreed on (RFC 8950)."""
    said = update(f"80 0e 19 0001 01 10 20010db8000000000000000000000002 00 {PREFIX} {ORIGIN} {PATH}", "")
    with pytest.raises(ProtocolError):
        examine(said, EXTERNAL)

    assert examine(said, terms(via_ipv6=True)).reached == ((Family.IPV4, bytes.fromhex(PREFIX)),)


def test_malformed_updates_are_counted():
    """The session stays, and status says how many there were."""
    talk = Talk().reach(State.ESTABLISHED)
    talk.say(update(), update(f"{USUAL} c0 08 00"), update())
    counters = talk.session.status(0).counters

    assert talk.session.state is State.ESTABLISHED
    assert (counters.updates_in, counters.prefixes_in, counters.malformed_in) == (3, 3, 1)


def test_one_prefix_too_many():
    """More than `max_prefixes` end the session, with the family and the limit in the NOTIFICATION (RFC 4486 section 4)."""
    talk = Talk(peer(max_prefixes=3)).reach(State.ESTABLISHED)
    talk.say(
        update(nlri="18 c63364 18 c63365"),
        update(nlri="18 c63364 18 c63366"),
        update(f"{REACH_6} {ORIGIN} {PATH}", "", "18 c63365"),
    )
    assert talk.session.state is State.ESTABLISHED

    talk.say(update(nlri="18 c63367"))
    assert talk.hear() == ["NOTIFICATION Cease/Maximum Number of Prefixes Reached"]
    assert talk.session._dialled.notice.data == bytes.fromhex("0001 01 00000003")
    assert "the peer announces more than 3 prefixes" in talk.session.status(0).last_error


def test_malformed_routes_are_not_counted_as_there():
    """What is treated as withdrawn is gone, and makes room."""
    heard = AdjRibIn()
    heard.hear(update(), EXTERNAL, 1)
    heard.hear(update(f"{USUAL} c0 08 00"), EXTERNAL, 1)
    heard.hear(update(nlri="18 c63365"), EXTERNAL, 1)

    assert heard.malformed == 1


def test_nothing_is_kept_without_a_limit():
    """Prefixes are numbers then, however many come."""
    heard = AdjRibIn()
    for _ in range(100):
        heard.hear(update(nlri=PREFIX * 900), EXTERNAL, None)

    assert heard.prefixes == 90_000
    assert not heard._known
