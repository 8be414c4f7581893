"""The spool, against a list: whatever is put in, taken, put back and cut off comes out in order, and is counted."""

from __future__ import annotations

import contextlib
import pathlib
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.adapters.search.spool import Spool


def pair(number: int, size: int = 40) -> bytes:
    return f'{{"create":{{"_id":"{number}"}}}}\n{{"x":"{"y" * size}"}}\n'.encode()


def opened(path: pathlib.Path, most: int = 1 << 20) -> Spool:
    spool = Spool(str(path), most)
    spool.open()
    return spool


def drained(spool: Spool) -> list[bytes]:
    found: list[bytes] = []
    while piece := spool.head(3, 200):
        found += piece.pairs
        spool.advance(piece)
    return found


steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 12)),
        st.tuples(st.just("take"), st.integers(1, 5)),
        st.tuples(st.just("put back"), st.integers(1, 4)),
        st.tuples(st.just("reopen"), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(steps, st.sampled_from([1000, 3000, 1 << 20]))
def test_like_a_list(todo: list[tuple[str, int]], most: int) -> None:
    """Bounded; the oldest go when there is no room, and are counted exactly; a process that takes over finds what was there."""
    with tempfile.TemporaryDirectory() as directory:
        path, number, older = pathlib.Path(directory), 1000, 999
        spool, wanted, lost = opened(path, most), [], 0
        for what, count in todo:
            before = len(wanted)
            match what:
                case "append":
                    fresh = [pair(number + n) for n in range(count)]
                    number += count
                    wanted, gone = wanted + fresh, spool.append(fresh)
                case "put back":
                    fresh = [pair(older - n) for n in reversed(range(count))]
                    older -= count
                    wanted, gone = fresh + wanted, spool.put_back(fresh)
                case "take":
                    piece, gone = spool.head(count, 1 << 20), 0
                    if piece is not None:
                        assert list(piece.pairs) == wanted[: len(piece.pairs)]
                        spool.advance(piece)
                        wanted = wanted[len(piece.pairs) :]
                case _:
                    gone = 0
                    spool.close()
                    spool = opened(path, most)
                    # what was taken of a file that is there still is sent again: documents have ids
                    wanted = wanted if spool.events == before else again(spool, wanted)
            wanted, lost = wanted[gone:], lost + gone
            assert spool.events == len(wanted)
            assert spool.octets == sum(map(len, wanted))
            assert spool.octets <= most + 60 * 13
        assert drained(spool) == wanted
        assert [file for file in path.iterdir() if file.name != "lock"] == []
        spool.close()


def again(spool: Spool, wanted: list[bytes]) -> list[bytes]:
    """The rest is the same; before it stands what is sent a second time."""
    found: list[bytes] = []
    extra = spool.events - len(wanted)
    assert extra > 0
    piece = spool.head(extra, 1 << 20)
    while piece is not None and len(found) < extra:
        found += piece.pairs
        spool.advance(piece)
        piece = spool.head(extra - len(found), 1 << 20) if len(found) < extra else None
    return wanted


@pytest.mark.parametrize("cut", range(1, len(pair(3))))
def test_cut_off(tmp_path: pathlib.Path, cut: int) -> None:
    """A daemon killed within a write leaves half a pair: it goes, whole ones stay, and what is put there next is sound."""
    spool = opened(tmp_path)
    spool.append([pair(1), pair(2), pair(3)])
    spool.close()
    (file,) = tmp_path.glob("*.ndjson")
    file.write_bytes(file.read_bytes()[:-cut])
    spool = opened(tmp_path)
    spool.append([pair(4)])
    assert drained(spool) == [pair(1), pair(2), pair(4)]


def test_one_process_at_a_time(tmp_path: pathlib.Path) -> None:
    """Another one is refused until the first lets go."""
    first, second = opened(tmp_path), Spool(str(tmp_path), 1 << 20)
    with pytest.raises(BlockingIOError):
        second.open()
    first.close()
    second.open()
    second.close()


def test_a_full_disk(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails half way leaves what was there, and nothing else."""
    spool = opened(tmp_path)
    spool.append([pair(1)])
    (file,) = tmp_path.glob("*.ndjson")
    size = file.stat().st_size
    file.chmod(0o600)
    with monkeypatch.context() as patch:
        patch.setattr("os.fchmod", _full)
        with contextlib.suppress(OSError):
            spool.append([pair(2)])
    assert file.stat().st_size == size
    assert spool.events == 1
    spool.append([pair(3)])
    assert drained(spool) == [pair(1), pair(3)]


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")
