"""Captures as tcpdump, Wireshark and others write them."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.l2 import CookedLinux, Ether
from scapy.utils import PcapNgWriter, PcapWriter

from fairlead.cli.captures import BadCapture, frames

FRAMES = [bytes(Ether(src=f"02:00:00:00:00:{n:02x}") / (b"x" * n)) for n in (1, 46, 100, 1500)]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nano", [False, True])
def test_classic(tmp_path: Path, order: str, nano: bool) -> None:
    """Either order of bytes, either clock."""
    path = str(tmp_path / "a.pcap")
    with PcapWriter(path, linktype=1, endianness=order, nano=nano) as writer:
        for each in FRAMES:
            writer.write(Ether(each))

    assert list(frames(Path(path).read_bytes())) == FRAMES


def test_next_generation(tmp_path: Path) -> None:
    """Enhanced packet blocks, by another's hand."""
    path = str(tmp_path / "a.pcapng")
    with PcapNgWriter(path) as writer:
        for each in FRAMES:
            writer.write(Ether(each))

    assert list(frames(Path(path).read_bytes())) == FRAMES


def block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack(f"{order}II", kind, len(body) + 12) + body + struct.pack(f"{order}I", len(body) + 12)


@pytest.mark.parametrize("order", ["<", ">"])
def test_blocks_of_every_kind(order: str) -> None:
    """Simple packet blocks, blocks nobody knows, a second section, and what was cut off by the capture's length."""
    section = block(order, 0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1))
    interface = block(order, 1, struct.pack(f"{order}HHI", 1, 0, 64))
    simple = block(order, 3, struct.pack(f"{order}I", 100) + b"y" * 64)
    enhanced = block(order, 6, struct.pack(f"{order}IIIII", 0, 0, 0, 20, 60) + b"z" * 20)
    strange = block(order, 0xBAD, b"whatever")

    found = list(frames(section + strange + interface + simple + section + interface + enhanced))

    assert found == [b"y" * 64 + bytes(36), b"z" * 20 + bytes(40)]


def test_what_is_no_capture(tmp_path: Path) -> None:
    """Refused in a sentence: another format, another kind of link, the middle of a frame."""
    path = str(tmp_path / "a.pcap")
    with PcapWriter(path, linktype=113) as writer:
        writer.write(CookedLinux())
    whole = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + struct.pack("<IIII", 0, 0, 60, 60) + bytes(60)
    section = block("<", 0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))

    for data, says in (
        (b"", "neither"),
        (b"GIF89a" + bytes(40), "neither"),
        (Path(path).read_bytes(), "link type 113"),
        (whole[:50], "middle of a frame"),
        (whole[:30], "middle of a frame"),
        (section + block("<", 6, struct.pack("<IIIII", 3, 0, 0, 4, 4) + b"zzzz"), "interface 3"),
        (section + struct.pack("<II", 6, 5) + bytes(20), "no length"),
    ):
        with pytest.raises(BadCapture, match=says):
            list(frames(data))


@settings(max_examples=300)
@given(st.binary(max_size=200), st.sampled_from([b"\xd4\xc3\xb2\xa1", b"\x0a\x0d\x0d\x0a"]))
def test_any_bytes(data: bytes, magic: bytes) -> None:
    """Whatever is in the file, it ends with frames or with a sentence."""
    found: list[bytes] = []
    with contextlib.suppress(BadCapture):
        found += frames(magic + data)

    assert all(len(frame) <= 1 << 16 for frame in found)
