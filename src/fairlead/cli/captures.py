"""Captures: classic pcap and pcapng as tcpdump and Wireshark write them (draft-ietf-opsawg-pcap, -pcapng), Ethernet only."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_PCAP = {b"\xd4\xc3\xb2\xa1": "<", b"\x4d\x3c\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">", b"\xa1\xb2\x3c\x4d": ">"}
_SECTION, _INTERFACE, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 3, 6
_ORDER = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_ETHERNET = 1


class BadCapture(ValueError):
    """The text is a sentence."""


def frames(data: bytes) -> Iterator[bytes]:
    """Each frame in its order, as long as it was on the wire: what was not captured of it is zeros. BadCapture."""
    try:
        if data[:4] in _PCAP:
            yield from _classic(data, _PCAP[data[:4]])
        elif data[:4] == _SECTION.to_bytes(4, "big"):
            yield from _next_generation(data)
        else:
            raise BadCapture("this is neither pcap nor pcapng")
    except struct.error:
        raise BadCapture("it ends in the middle of a frame") from None


def _classic(data: bytes, order: str) -> Iterator[bytes]:
    _require(struct.unpack_from(f"{order}I", data, 20)[0] & 0xFFFF)
    at = 24
    while at < len(data):
        kept, length = struct.unpack_from(f"{order}8xII", data, at)
        yield _whole(data, at + 16, kept, length)
        at += 16 + kept


def _next_generation(data: bytes) -> Iterator[bytes]:
    at, order, kinds = 0, "<", list[tuple[int, int]]()
    while at < len(data):
        if data[at : at + 4] == _SECTION.to_bytes(4, "big"):
            order, kinds = _ORDER.get(data[at + 8 : at + 12], "<"), []
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if size < 12 or size % 4:  # RFC-to-be, section 3.1: what every block has
            raise BadCapture(f"the block at byte {at} has no length that a block can have")
        if kind == _INTERFACE:
            kinds.append(struct.unpack_from(f"{order}H2xI", data, at + 8))
        elif kind == _ENHANCED:
            interface, kept, length = struct.unpack_from(f"{order}I8xII", data, at + 8)
            _require(_of(kinds, interface)[0])
            yield _whole(data, at + 28, kept, length)
        elif kind == _SIMPLE:
            (length,) = struct.unpack_from(f"{order}I", data, at + 8)
            link, most = _of(kinds, 0)
            _require(link)
            yield _whole(data, at + 12, min(length, most or length), length)
        at += size


def _of(kinds: list[tuple[int, int]], interface: int) -> tuple[int, int]:
    if interface >= len(kinds):
        raise BadCapture(f"a frame names interface {interface}, which the capture does not describe")
    return kinds[interface]


def _require(link: int) -> None:
    if link != _ETHERNET:
        raise BadCapture(f"it is not of an Ethernet interface (link type {link}): capture on one, not on `any`")


def _whole(data: bytes, at: int, kept: int, length: int) -> bytes:
    if at + kept > len(data):
        raise BadCapture("it ends in the middle of a frame")
    return data[at : at + kept].ljust(min(length, 1 << 16), b"\0")
