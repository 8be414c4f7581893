"""Messages both ways, byte for byte; whatever else arrives ends in a ProtocolError that says what to answer."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.bgp.capabilities import Capability, Family, Restart, ipv4_via_ipv6, offer, restart_of
from fairlead.bgp.capabilities import in_words as capabilities_in_words
from fairlead.bgp.notifications import in_words, pack_text
from fairlead.bgp.wire import (
    Keepalive,
    Message,
    Notification,
    Open,
    RouteRefresh,
    Update,
    encode,
    messages,
    our_open,
)
from fairlead.errors import ProtocolError

MARKER = "ff" * 16

# Written by hand from RFC 4271 section 4, RFC 5492 section 4, RFC 2918 section 3 and RFC 9003 section 2.
GOLDEN = {
    "our OPEN with a four-octet AS number": (
        our_open(4200000001, 10, IPv4Address("192.0.2.1")),
        "0037 01 04 5ba0 000a c0000201 1a 02 18 01 04 0001 00 01 01 04 0002 00 01 02 00 06 00 46 00 41 04 fa56ea01",
    ),
    "our OPEN with a two-octet AS number": (
        our_open(64512, 0, IPv4Address("10.0.0.1")),
        "0037 01 04 fc00 0000 0a000001 1a 02 18 01 04 0001 00 01 01 04 0002 00 01 02 00 06 00 46 00 41 04 0000fc00",
    ),
    "our OPEN after a restart, with all that can be configured": (
        our_open(
            64512,
            9,
            IPv4Address("10.0.0.1"),
            offer(
                extended_next_hop=True,
                restart=Restart(120, restarting=True, notification=True, families=((Family.IPV4, True), (Family.IPV6, False))),
            ),
        ),
        (
            "004b 01 04 fc00 0009 0a000001 2e 02 2c 01 04 0001 00 01 01 04 0002 00 01 02 00 05 06 0001 0001 0002 06 00"
            " 40 0a c078 000101 80 000201 00 46 00 41 04 0000fc00"
        ),
    ),
    "BoRR and EoRR": (RouteRefresh(1, 1, 2), "0017 05 0001 02 01"),
    "hard reset": (Notification(6, 9, b"\x06\x02"), "0017 03 06 09 0602"),
    "the OPEN of an old router": (Open(64500, 180, IPv4Address("192.0.2.2")), "001d 01 04 fbf4 00b4 c0000202 00"),
    "KEEPALIVE": (Keepalive(), "0013 04"),
    "NOTIFICATION": (Notification(2, 1, b"\x00\x04"), "0017 03 02 01 0004"),
    "shutdown communication": (Notification(6, 2, pack_text("bye")), "0019 03 06 02 03 627965"),
    "ROUTE-REFRESH": (RouteRefresh(2, 1), "0017 05 0002 00 01"),
    "End-of-RIB for IPv4": (Update(), "0017 02 0000 0000"),
    "UPDATE": (
        Update(bytes.fromhex("20c000020a"), bytes.fromhex("40010100"), bytes.fromhex("18c63364")),
        "0024 02 0005 20c000020a 0004 40010100 18c63364",
    ),
}

# As BIRD 2.0.12 sent it, with graceful restart, enhanced route refresh and long-lived graceful restart among its capabilities.
BIRD_OPEN = "003b 01 04 5ba0 005a c0000202 1e 02 1c 010400010001 010400020001 0200 40020078 4104fa56ea02 4600 4700"


@pytest.mark.parametrize("name", GOLDEN)
def test_messages_both_ways(name):
    """A message is these bytes, and these bytes are that message."""
    message, text = GOLDEN[name]
    data = bytes.fromhex(MARKER + text)

    assert encode(message) == data
    assert list(messages(bytearray(data))) == [message]


def test_open_tells_what_the_speaker_can():
    """AS number, families and the width of AS numbers come from the capabilities where there are any."""
    modern = our_open(4200000001, 10, IPv4Address("192.0.2.1"))
    old = Open(64500, 180, IPv4Address("192.0.2.2"))
    only_6 = Open(64500, 180, IPv4Address("192.0.2.2"), (Capability(1, bytes.fromhex("00020001")),))

    assert (modern.as_number, modern.four_octet, modern.families) == (4200000001, True, frozenset(Family))
    assert (old.as_number, old.four_octet, old.families) == (64500, False, frozenset({Family.IPV4}))
    assert only_6.families == frozenset({Family.IPV6})


def test_open_of_bird():
    """A real router's OPEN is understood, capabilities that Fairlead does not know included, and encodes to what it was."""
    data = bytes.fromhex(MARKER + BIRD_OPEN)
    (message,) = messages(bytearray(data))

    assert isinstance(message, Open)
    assert (message.as_number, message.hold_time, str(message.identifier)) == (4200000002, 90, "192.0.2.2")
    assert message.families == frozenset(Family)
    assert [c.code for c in message.capabilities] == [1, 1, 2, 64, 65, 70, 71]
    assert encode(message) == data


def test_capabilities_in_words():
    """An operator reads what both sides can, BIRD's own included; a capability that is cut off or unknown is named, too."""
    (bird,) = messages(bytearray.fromhex(MARKER + BIRD_OPEN))
    ours = offer(extended_next_hop=True, restart=Restart(120, True, True, ((Family.IPV4, True), (Family.IPV6, True))))

    assert isinstance(bird, Open)
    assert capabilities_in_words(bird.capabilities) == (
        "IPv4 unicast",
        "IPv6 unicast",
        "route refresh",
        "graceful restart 120 s",
        "4-octet AS number 4200000002",
        "enhanced route refresh",
        "long-lived graceful restart",
    )
    assert capabilities_in_words(ours) == (
        "IPv4 unicast",
        "IPv6 unicast",
        "route refresh",
        "IPv4 with IPv6 next hops",
        "extended messages",
        "graceful restart 120 s (restarting, IPv4 and IPv6 forwarding kept, through notifications)",
        "enhanced route refresh",
    )
    odd = (Capability(64, b"\0"), Capability(5, b"\0\1"), Capability(1, bytes.fromhex("00190041")), Capability(250))
    assert capabilities_in_words(odd) == ("graceful restart (malformed)", "extended next hop", "family 25/65", "capability 250")
    assert (restart_of(odd), ipv4_via_ipv6(odd), ipv4_via_ipv6(ours)) == (None, False, True)
    assert restart_of(ours) == Restart(120, True, True, ((Family.IPV4, True), (Family.IPV6, True)))


def test_long_optional_parameters():
    """An OPEN whose parameters need lengths of two octets is read (RFC 9072)."""
    capabilities = "".join(f"c8fe{n:02x}" + "00" * 253 for n in range(2)) + "0200"
    parameters = f"02{len(capabilities) // 2:04x}" + capabilities
    body = "04 fbf4 00b4 c0000202 ff ff" + f"{len(parameters) // 2:04x}" + parameters
    length = 19 + len(bytes.fromhex(body))
    (message,) = messages(bytearray.fromhex(MARKER + f"{length:04x} 01" + body))

    assert isinstance(message, Open)
    assert [c.code for c in message.capabilities] == [200, 200, 2]


def test_extended_messages():
    """More than 4096 bytes are taken and sent only where both sides can, and never as an OPEN or a KEEPALIVE (RFC 8654)."""
    long = Update(nlri=bytes(50_000))
    data = encode(long, 65535)

    assert list(messages(bytearray(data), lambda: 65535)) == [long]
    with pytest.raises(ProtocolError, match="a message of 50023 bytes"):
        list(messages(bytearray(data)))
    with pytest.raises(ProtocolError, match="type OPEN of 5000 bytes"):
        list(messages(bytearray(b"\xff" * 16 + bytes.fromhex("138801") + bytes(5000)), lambda: 65535))


def test_capabilities_may_be_spread_over_parameters():
    """One capability in each optional parameter means the same as all in one (RFC 5492 section 4)."""
    text = "0033 01 04 fbf4 00b4 c0000202 16 02 06 41 04 fa56ea01 02 02 02 00 02 02 80 00 02 04 99 02 abcd"
    (message,) = messages(bytearray.fromhex(MARKER + text))

    assert isinstance(message, Open)
    assert message.as_number == 4200000001
    assert [c.code for c in message.capabilities] == [65, 2, 128, 153]


BAD = {
    "the marker is broken": ("ff" * 15 + "fe", "0013 04", (1, 1, "")),
    "shorter than a header": (MARKER, "0012 04", (1, 2, "0012")),
    "longer than 4096 bytes": (MARKER, "1001 02", (1, 2, "1001")),
    "an unknown type": (MARKER, "0013 06", (1, 3, "06")),
    "type 0": (MARKER, "0013 00", (1, 3, "00")),
    "an OPEN without a body": (MARKER, "0013 01", (1, 2, "0013")),
    "a KEEPALIVE with a body": (MARKER, "0014 04 00", (1, 2, "0014")),
    "an UPDATE without lengths": (MARKER, "0016 02 000000", (1, 2, "0016")),
    "a NOTIFICATION without a code": (MARKER, "0014 03 06", (1, 2, "0014")),
    "a ROUTE-REFRESH that is too short": (MARKER, "0016 05 000100", (1, 2, "0016")),
    "the mark of a refresh that is too long": (MARKER, "0018 05 0001 01 01 00", (7, 1, MARKER + "0018 05 0001 01 01 00")),
    "BGP version 3": (MARKER, "001d 01 03 fbf4 00b4 c0000202 00", (2, 1, "0004")),
    "AS number 0": (MARKER, "001d 01 04 0000 00b4 c0000202 00", (2, 2, "")),
    "AS number 0 in four octets": (MARKER, "0025 01 04 fbf4 00b4 c0000202 08 02 06 41 04 00000000", (2, 2, "")),
    "identifier 0.0.0.0": (MARKER, "001d 01 04 fbf4 00b4 00000000 00", (2, 3, "")),
    "authentication, long gone": (MARKER, "0020 01 04 fbf4 00b4 c0000202 03 01 01 00", (2, 4, "")),
    "hold time 1": (MARKER, "001d 01 04 fbf4 0001 c0000202 00", (2, 6, "")),
    "hold time 2": (MARKER, "001d 01 04 fbf4 0002 c0000202 00", (2, 6, "")),
    "parameters longer than the message": (MARKER, "001d 01 04 fbf4 00b4 c0000202 02", (2, 0, "")),
    "parameters shorter than the message": (MARKER, "001e 01 04 fbf4 00b4 c0000202 00 00", (2, 0, "")),
    "a parameter that leaves its list": (MARKER, "001f 01 04 fbf4 00b4 c0000202 02 02 01", (2, 0, "")),
    "a parameter without a length": (MARKER, "001e 01 04 fbf4 00b4 c0000202 01 02", (2, 0, "")),
    "a capability that leaves its parameter": (MARKER, "0021 01 04 fbf4 00b4 c0000202 04 02 02 41 04", (2, 0, "")),
    "a four-octet AS number of two octets": (MARKER, "0023 01 04 fbf4 00b4 c0000202 06 02 04 41 02 0001", (2, 0, "")),
    "withdrawn routes that leave the message": (MARKER, "0017 02 0001 0000", (3, 1, "")),
    "attributes that leave the message": (MARKER, "0017 02 0000 0001", (3, 1, "")),
    "withdrawn routes that cover the second length": (MARKER, "0018 02 0002 0000 00", (3, 1, "")),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_says_what_to_answer(name):
    """Each malformed message asks for the NOTIFICATION of RFC 4271 section 6."""
    marker, text, (code, subcode, data) = BAD[name]
    with pytest.raises(ProtocolError) as caught:
        list(messages(bytearray.fromhex(marker + text)))

    assert (caught.value.code, caught.value.subcode, caught.value.data.hex()) == (code, subcode, data.replace(" ", ""))
    assert str(caught.value)


def test_messages_before_a_wrong_one_count():
    """What came before the first wrong message is handed out."""
    stream = messages(bytearray(encode(Keepalive()) + encode(Update()) + b"\0" * 19))

    assert [next(stream), next(stream)] == [Keepalive(), Update()]
    with pytest.raises(ProtocolError):
        next(stream)


def test_too_long_a_message_is_a_bug():
    """Nobody may encode more than 4096 bytes; the data of a NOTIFICATION is cut to fit."""
    assert len(encode(Notification(6, 2, bytes(9000)))) == 4096
    with pytest.raises(ValueError, match="4097 bytes"):
        encode(Update(nlri=bytes(4097 - 23)))


sixteen_bits = st.integers(0, 0xFFFF)
anything = st.one_of(
    st.just(Keepalive()),
    st.builds(Notification, st.integers(0, 255), st.integers(0, 255), st.binary(max_size=300)),
    st.builds(RouteRefresh, sixteen_bits, st.integers(0, 255), st.integers(0, 255)),
    st.builds(Update, st.binary(max_size=500), st.binary(max_size=500), st.binary(max_size=500)),
    st.builds(
        our_open,
        st.integers(1, 0xFFFFFFFF),
        sixteen_bits.filter(lambda hold: hold not in {1, 2}),
        st.integers(1, 0xFFFFFFFF).map(IPv4Address),
    ),
)


@given(st.lists(anything, max_size=8), st.data())
@settings(max_examples=200, deadline=None)
def test_any_chunking_gives_the_same_messages(said, data):
    """However TCP cuts the stream, the same messages come out, and nothing stays behind."""
    stream = b"".join(map(encode, said))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    buffer, heard = bytearray(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        buffer += stream[start:end]
        heard += messages(buffer)

    assert heard == said
    assert not buffer


def decode_all(data: bytes) -> list[Message]:
    """Everything the bytes hold; only a ProtocolError may stop it, and its NOTIFICATION must be fit to be sent."""
    buffer = bytearray(data)
    heard = []
    try:
        for message in messages(buffer):
            heard.append(message)  # noqa: PERF402  the exception ends the loop
    except ProtocolError as error:
        encode(Notification(error.code, error.subcode, error.data))
        return heard
    assert len(buffer) < 4096
    return heard


@given(st.binary(max_size=300))
@settings(max_examples=500, deadline=None)
def test_noise_is_a_protocol_error(data):
    """No bytes raise anything but a ProtocolError."""
    decode_all(data)


@given(st.integers(0, 7), st.binary(max_size=300), st.integers(-2, 2))
@settings(max_examples=2000, deadline=None)
def test_noise_in_a_body_is_a_protocol_error(kind, body, off):
    """Nor do bytes that begin like a message, with a length that is right or just off."""
    length = max(0, 19 + len(body) + off)
    decode_all(b"\xff" * 16 + length.to_bytes(2, "big") + bytes([kind]) + body + encode(Keepalive()))


@given(anything, st.data())
@settings(max_examples=1000, deadline=None)
def test_a_flipped_byte_is_a_protocol_error_or_a_message(message, data):
    """Nor does a message in which a byte has changed."""
    stream = bytearray(encode(message))
    stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    decode_all(bytes(stream))


WORDS = [
    ((6, 2, pack_text("maintenance")), 'Cease/Administrative Shutdown: "maintenance"'),
    ((6, 2, b""), "Cease/Administrative Shutdown"),
    ((6, 2, b"\x05ab\ncd"), 'Cease/Administrative Shutdown: "ab cd"'),
    ((6, 2, b"\xff\xff\xfe"), 'Cease/Administrative Shutdown: "\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"'),
    ((6, 3, b"\x02ab"), "Cease/Peer De-configured"),
    ((6, 9, b"\x06\x02\x03bye"), 'Cease/Hard Reset (Cease/Administrative Shutdown: "bye")'),
    ((6, 9, b"\x06\x09\x06\x09"), "Cease/Hard Reset"),
    ((4, 0, b""), "Hold Timer Expired"),
    ((2, 99, b""), "OPEN Message Error/subcode 99"),
    ((77, 0, b""), "error 77"),
]


@pytest.mark.parametrize(("notification", "text"), WORDS)
def test_notifications_in_words(notification, text):
    """An operator reads words, and the peer's own text cannot forge a log line."""
    assert in_words(*notification) == text


def test_shutdown_text_is_cut_between_characters():
    """A text longer than 255 bytes of UTF-8 is cut, never inside a character (RFC 9003 section 2)."""
    packed = pack_text("a" + "\N{GREEK SMALL LETTER ALPHA}" * 200)

    assert packed[0] == len(packed) - 1 == 255
    assert packed[1:].decode() == "a" + "\N{GREEK SMALL LETTER ALPHA}" * 127
