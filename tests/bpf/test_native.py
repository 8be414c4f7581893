"""The extension: layouts, Maglev's fast twin, stores, flow scans. Plain memory stands in for the tables."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead._native import flows, layout, layout_hash, maglev, memory
from fairlead.core import maglev as reference

ESTABLISHED, EMBRYONIC, CLOSING = 2, 1, 4


def word(destination: int, seen: int, state: int, tag: int = 0xABCD) -> int:
    return tag << 32 | destination << 12 | seen << 4 | state << 1


def buckets(*words: int, count: int = 1) -> bytearray:
    table = bytearray(64 * count)
    for place, value in enumerate(words):
        memory.publish(table, 8 * place, value)
    return table


def owners(*ids: int) -> bytes:
    bitmap = bytearray(512)
    for each in ids:
        bitmap[each // 8] |= 1 << each % 8
    return bytes(bitmap)


def sweep(table: bytearray, fine: int = 100, coarse: int = 100, owned: bytes = owners(1, 2)) -> int:
    timeouts = bytes([0, 5, 60, 10, 5, 0, 0, 0])
    return flows.sweep(table, 0, len(table) // 64, fine_now=fine, coarse_now=coarse, timeouts=timeouts, owned=owned)


def test_layout_is_that_of_the_header() -> None:
    """Structs, members and constants of abi.h arrive in Python with their sizes and places."""
    found = layout()

    assert {name: s.size for name, s in found.structs.items() if name in {"service", "nexthop", "bucket", "meta"}} == {
        "service": 64,
        "nexthop": 128,
        "bucket": 64,
        "meta": 128,
    }
    assert found.structs["service"].offset("live") == 24
    assert found.constants["DROP_MALFORMED"] == -1
    assert found.constants["META_MAGIC"].to_bytes(8, "little") == b"!fairld1"
    assert not {name for name in found.constants if name.startswith(("fl_", "FAIRLEAD"))}


def test_verdicts_have_names_of_their_own() -> None:
    """No two verdicts share a name, or one's counter would hide the other's."""
    names = layout().verdict_names()
    assert len(set(names.values())) == len(names) >= 30
    assert (names[16], names[32], names[34]) == ("forwarded", "redirected", "redirected_encapsulated")


def test_layout_packs_what_it_unpacks() -> None:
    """A row packed from its members unpacks to the same members, byte arrays and number arrays alike."""
    service = layout().structs["service"]
    vip = bytes(10) + b"\xff\xff" + IPv4Address("192.0.2.1").packed

    row = service.unpack(service.pack(vip=vip, l4=0x0406_5000, live=1 << 63))

    assert (row["vip"], row["l4"], row["live"]) == (vip, 0x0406_5000, 1 << 63)
    assert layout().structs["options"].pack(flow_key=(1, 2, 3, 4))[:32] == struct.pack("=4Q", 1, 2, 3, 4)


def test_layout_hash_is_a_name() -> None:
    """The hash is twelve hex digits: it names a directory."""
    assert len(bytes.fromhex(layout_hash())) == 6


@settings(max_examples=60, deadline=None)
@given(
    size=st.sampled_from([251, 1021, 4093]),
    nodes=st.lists(st.tuples(st.integers(0), st.integers(0), st.integers(0, 65535)), min_size=1, max_size=40),
)
def test_fill_equals_the_reference(size: int, nodes: list[tuple[int, int, int]]) -> None:
    """The C fill and the readable one give the same table for any permutations and weights."""
    offsets, skips = [o % size for o, _, _ in nodes], [s % (size - 1) + 1 for _, s, _ in nodes]
    weights = [w for _, _, w in nodes]
    if not any(weights):
        weights[0] = 1

    assert maglev.fill(size, offsets, skips, weights) == reference.fill(size, offsets, skips, weights)


@pytest.mark.parametrize("weights", [[1] * 100, [1 + n * 37 % 100 for n in range(100)], [2**32 - 1, 1, 2**31]])
def test_fill_equals_the_reference_at_full_size(weights: list[int]) -> None:
    """So they do at 65,537 slots with a hundred nodes, and with weights at the end of their range."""
    size = 65537
    pairs = [reference.permutation(IPv4Address(0x0A000001 + n), size) for n in range(len(weights))]
    offsets, skips = [o for o, _ in pairs], [s for _, s in pairs]

    assert maglev.fill(size, offsets, skips, weights) == reference.fill(size, offsets, skips, weights)


@pytest.mark.parametrize(
    ("offsets", "skips", "weights"),
    [([0], [1], [0]), ([], [], []), ([251], [1], [1]), ([0], [0], [1]), ([0], [251], [1]), ([0, 1], [1], [1])],
)
def test_fill_refuses_what_would_not_end(offsets: list[int], skips: list[int], weights: list[int]) -> None:
    """No weight, no node, a place or skip outside the table, unequal lists: ValueError, never a hang or a stray write."""
    with pytest.raises(ValueError, match=r"."):
        maglev.fill(251, offsets, skips, weights)


def test_translate_and_differing() -> None:
    """Node numbers become ids, a number without an id is refused, differing words are counted."""
    table = struct.pack("=4I", 0, 1, 1, 0)

    assert maglev.translate(table, [70, 71]) == struct.pack("=4I", 70, 71, 71, 70)
    assert maglev.differing(table, struct.pack("=4I", 0, 1, 0, 1)) == 2
    with pytest.raises(ValueError, match="beyond the 1 given"):
        maglev.translate(table, [70])
    with pytest.raises(ValueError, match="length"):
        maglev.differing(table, b"1234")


def test_stores_land_where_they_should() -> None:
    """`store` and `publish` write their bytes and no others; `load` reads them back."""
    row = bytearray(64)

    memory.store(memoryview(row), 3, b"abc")
    memory.publish(row, 8, 2**64 - 2)

    assert row == bytes(3) + b"abc" + bytes(2) + struct.pack("=Q", 2**64 - 2) + bytes(48)
    assert memory.load(memoryview(row).toreadonly(), 8) == 2**64 - 2


@pytest.mark.parametrize("offset", [-8, 4, 64, 60, 1 << 40])
def test_publish_needs_an_aligned_place(offset: int) -> None:
    """A u64 that is not aligned, or not inside, is refused: it could tear, or hit another table."""
    with pytest.raises(IndexError):
        memory.publish(bytearray(64), offset, 1)
    with pytest.raises(IndexError):
        memory.load(bytes(64), offset)


def test_stores_stay_inside() -> None:
    """A store that would leave the buffer is refused, and so is one into a read-only view."""
    with pytest.raises(IndexError):
        memory.store(bytearray(8), 6, b"abc")
    with pytest.raises(IndexError):
        memory.store(bytearray(8), -1, b"abc")
    with pytest.raises((BufferError, TypeError, ValueError)):
        memory.store(memoryview(bytes(8)), 0, b"abc")


def test_grace_returns() -> None:
    """A grace period ends by itself."""
    memory.grace()


def test_sweep_clears_the_expired() -> None:
    """Embryonic words age in fine ticks, established ones in coarse ticks; only what is older than its timeout goes."""
    kept = [word(1, 100, ESTABLISHED), word(1, 40, ESTABLISHED), word(2, 95, EMBRYONIC)]
    table = buckets(*kept, word(1, 39, ESTABLISHED), word(2, 94, EMBRYONIC), word(1, 200, CLOSING))

    # word 5 was last seen 156 ticks ago: the low byte has wrapped
    assert sweep(table) == 3
    assert table == buckets(*kept)


def test_sweep_spares_the_future() -> None:
    """A word that the program stamped after we read the clock is young, not 255 ticks old."""
    table = buckets(word(1, 101, EMBRYONIC), word(1, 3, ESTABLISHED))

    assert sweep(table, fine=100, coarse=250) == 0


def test_sweep_clears_the_ownerless() -> None:
    """A word whose destination nobody owns goes at any age, also one beyond the bitmap."""
    table = buckets(word(3, 100, ESTABLISHED), word(1, 100, ESTABLISHED), word(0xFFFFF, 100, ESTABLISHED))

    assert sweep(table) == 2
    assert memory.load(table, 8) == word(1, 100, ESTABLISHED)


def test_sweep_keeps_to_its_buckets() -> None:
    """Buckets outside first..last-1 are not touched; a range outside the table is refused."""
    table = buckets(*[word(3, 0, ESTABLISHED)] * 24, count=3)
    arguments = {"fine_now": 0, "coarse_now": 0, "timeouts": bytes(8), "owned": b""}

    assert flows.sweep(table, 1, 2, **arguments) == 8
    assert [memory.load(table, 64 * n) == 0 for n in range(3)] == [False, True, False]
    with pytest.raises(IndexError):
        flows.sweep(table, 0, 4, **arguments)


def test_count_by_destination() -> None:
    """Each live word counts for its destination; ids beyond the table are left out, and so is what has expired."""
    table = buckets(word(1, 0, ESTABLISHED), word(3, 0, EMBRYONIC), word(1, 9, CLOSING), word(77, 0, ESTABLISHED))
    clock = {"fine_now": 10, "coarse_now": 0}

    assert struct.unpack("=4I", flows.count(table, 4, **clock, timeouts=bytes([10] * 8))) == (0, 2, 0, 1)
    assert struct.unpack("=4I", flows.count(table, 4, **clock, timeouts=bytes([9] * 8))) == (0, 2, 0, 0)
    assert struct.unpack("=4I", flows.count(table, 4, **clock, timeouts=bytes(8))) == (0, 1, 0, 0)


def test_totals_sum_over_cpus() -> None:
    """Counters of an id are summed over the CPUs' cells."""
    cell = layout().structs["cell"]
    cells = b"".join(cell.pack(packets=n, bytes=10 * n, flows=100 * n) for n in range(8))

    assert flows.totals(cells, 2, 4, [3, 0]) == [(3 + 7, 100, 1000), (0 + 4, 40, 400)]
    with pytest.raises(IndexError):
        flows.totals(cells, 2, 4, [4])
    with pytest.raises(IndexError):
        flows.totals(cells, 3, 4, [0])


def test_survey_sorts_by_owner_and_state() -> None:
    """Live words are counted by owner and state with their youngest and oldest ages; expired and unasked ones are left out."""
    table = buckets(
        word(1, 98, EMBRYONIC),
        word(1, 40, ESTABLISHED),
        word(1, 90, ESTABLISHED),
        word(2, 101, CLOSING),  # stamped after the clock was read
        word(3, 100, ESTABLISHED),
        word(1, 90, EMBRYONIC),  # 10 ticks old, and 5 are its time
        count=2,
    )
    timeouts = bytes([0, 5, 60, 10, 5, 0, 0, 0])

    found = flows.survey(table, [2, 1, 7], destinations=8, fine_now=100, coarse_now=100, timeouts=timeouts)

    assert found == [{CLOSING: (1, 0, 0)}, {EMBRYONIC: (1, 2, 2), ESTABLISHED: (2, 10, 60)}, {}]
    with pytest.raises(IndexError):
        flows.survey(table, [8], destinations=8, fine_now=0, coarse_now=0, timeouts=timeouts)
