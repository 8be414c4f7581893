"""The keys of the flow table and of the slot hash, from a cluster's shared secret."""

from __future__ import annotations

import struct
from hashlib import blake2b

from fairlead.model import Keys


def derive(secret: bytes) -> Keys:
    """Four odd u64 each from BLAKE2b (RFC 7693) of `secret`; the empty secret gives the documented constants.

    Flow key and slot key differ, so that whoever learns one from outside behaviour has not got the other. The keys are odd
    because they are multipliers modulo 2**64, and an even one would throw bits away.
    """
    flow = _quad(secret, b"fairlead-flow")
    slot = _quad(secret, b"fairlead-slot")
    text = blake2b(struct.pack("<8Q", *flow, *slot), digest_size=8, person=b"fairlead-print").digest()
    return Keys(flow, slot, int.from_bytes(text, "little"))


def _quad(secret: bytes, person: bytes) -> tuple[int, int, int, int]:
    a, b, c, d = struct.unpack("<4Q", blake2b(secret, digest_size=32, person=person).digest())
    return a | 1, b | 1, c | 1, d | 1


def printed(fingerprint: int) -> str:
    """The fingerprint as status shows it: 16 hexadecimal digits."""
    return f"{fingerprint:016x}"
