"""The words of NOTIFICATION messages: codes to sentences, and the text that a Cease may carry.

Codes are RFC 4271 section 4.5; subcodes come from there and from RFC 4486 (Cease), 6608 (FSM), 7313 (ROUTE-REFRESH), 8538 (hard
reset), 9384 (BFD) and 9687 (send hold timer). An unknown number is shown as a number: it is never an error.
"""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """Error codes, RFC 4271 section 4.5."""

    HEADER = 1
    OPEN = 2
    UPDATE = 3
    HOLD_TIMER = 4
    FSM = 5
    CEASE = 6
    REFRESH = 7  # RFC 7313 section 5
    SEND_HOLD_TIMER = 8  # RFC 9687 section 3


class Cease(IntEnum):
    """The reasons to end a session on purpose that Fairlead gives, RFC 4486 section 3."""

    MAXIMUM_PREFIXES = 1
    ADMINISTRATIVE_SHUTDOWN = 2
    PEER_DECONFIGURED = 3
    CONNECTION_REJECTED = 5
    OTHER_CONFIGURATION_CHANGE = 6
    COLLISION = 7
    HARD_RESET = 9  # RFC 8538 section 3


# The longest shutdown communication in bytes of UTF-8, RFC 9003 section 2.
LONGEST_TEXT = 255

# Subcodes whose data may be a shutdown communication: administrative shutdown and administrative reset, RFC 9003 section 2.
_WITH_TEXT = (2, 4)

_CODES = {
    1: "Message Header Error",
    2: "OPEN Message Error",
    3: "UPDATE Message Error",
    4: "Hold Timer Expired",
    5: "Finite State Machine Error",
    6: "Cease",
    7: "ROUTE-REFRESH Message Error",
    8: "Send Hold Timer Expired",
}

_SUBCODES = {
    (1, 1): "Connection Not Synchronized",
    (1, 2): "Bad Message Length",
    (1, 3): "Bad Message Type",
    (2, 1): "Unsupported Version Number",
    (2, 2): "Bad Peer AS",
    (2, 3): "Bad BGP Identifier",
    (2, 4): "Unsupported Optional Parameter",
    (2, 6): "Unacceptable Hold Time",
    (2, 7): "Unsupported Capability",
    (3, 1): "Malformed Attribute List",
    (3, 2): "Unrecognized Well-known Attribute",
    (3, 3): "Missing Well-known Attribute",
    (3, 4): "Attribute Flags Error",
    (3, 5): "Attribute Length Error",
    (3, 6): "Invalid ORIGIN Attribute",
    (3, 8): "Invalid NEXT_HOP Attribute",
    (3, 9): "Optional Attribute Error",
    (3, 10): "Invalid Network Field",
    (3, 11): "Malformed AS_PATH",
    (5, 1): "Unexpected Message in OpenSent",
    (5, 2): "Unexpected Message in OpenConfirm",
    (5, 3): "Unexpected Message in Established",
    (6, 1): "Maximum Number of Prefixes Reached",
    (6, 2): "Administrative Shutdown",
    (6, 3): "Peer De-configured",
    (6, 4): "Administrative Reset",
    (6, 5): "Connection Rejected",
    (6, 6): "Other Configuration Change",
    (6, 7): "Connection Collision Resolution",
    (6, 8): "Out of Resources",
    (6, 9): "Hard Reset",
    (6, 10): "BFD Down",
    (7, 1): "Invalid Message Length",
}


def pack_text(text: str) -> bytes:
    """A shutdown communication: length octet and UTF-8, cut between characters to 255 bytes; nothing for an empty text."""
    data = text.encode(errors="replace")[:LONGEST_TEXT].decode(errors="ignore").encode()
    return bytes([len(data)]) + data if data else b""


def in_words(code: int, subcode: int, data: bytes = b"") -> str:
    """A NOTIFICATION as an operator reads it: `Cease/Administrative Shutdown: "maintenance"`; a hard reset tells its reason."""
    words = _CODES.get(code, f"error {code}")
    if subcode:
        words += "/" + _SUBCODES.get((code, subcode), f"subcode {subcode}")
    if (code, subcode) == (Code.CEASE, Cease.HARD_RESET) and len(data) >= 2 and tuple(data[:2]) != (code, subcode):
        return f"{words} ({in_words(data[0], data[1], data[2:])})"
    text = _text(data) if code == Code.CEASE and subcode in _WITH_TEXT else ""
    return f'{words}: "{text}"' if text else words


def _text(data: bytes) -> str:
    """The peer's own words, made fit for a log line: what is not printable could forge one."""
    text = data[1 : 1 + data[0]].decode(errors="replace") if data else ""
    return "".join(c if c.isprintable() else " " for c in text).strip()
