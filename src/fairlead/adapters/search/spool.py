"""What waits on disk: files of bulk requests, the oldest first, and never more than so many octets of them.

A file is written at its end only and removed when all of it has been taken, so a daemon that is killed leaves at worst half a
pair at the end of one: that is cut off. Octets are handed to the kernel, not forced to the disk: a machine that loses its power
may lose the last seconds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass

_SUFFIX = ".ndjson"
_FIRST = 1 << 40  # numbers go up from here, and down when something older must go back in front
_SHARE = 16  # a file is at most this part of the whole


@dataclass(slots=True)
class _Segment:
    number: int
    octets: int
    events: int
    taken: int = 0  # octets from its start that need not be read again
    gone: int = 0  # events that these were


@dataclass(frozen=True, slots=True)
class Piece:
    """Pairs from the head of the spool; `advance` takes it once they have arrived."""

    pairs: tuple[bytes, ...]
    segment: int
    octets: int


class Spool:
    """One directory; of one process at a time. OSError where the disk says no."""

    def __init__(self, directory: str, most: int) -> None:
        self._path = pathlib.Path(directory)
        self.most = most
        self._segments: list[_Segment] = []
        self._lock = -1
        self._flying = 0  # the file that the last piece is of
        self.octets = 0
        self.events = 0

    def open(self) -> None:
        """Make the directory, and find what a run before left. BlockingIOError if another process has it."""
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise
        self._lock = lock
        for path in sorted(self._path.glob(f"*{_SUFFIX}")):
            segment = _mended(path)
            if segment is None:
                path.unlink()
            else:
                self._keep(segment)

    def close(self) -> None:
        """Let another process have it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @property
    def usable(self) -> bool:
        """Whether it is open."""
        return self._lock >= 0

    def append(self, pairs: Sequence[bytes]) -> int:
        """Put them at the end; how many events, the oldest, had to go for them."""
        room = max(1, self.most // _SHARE)
        at = 0
        while at < len(pairs):
            if not self._segments or self._segments[-1].octets >= room:
                number = self._segments[-1].number + 1 if self._segments else _FIRST
                self._keep(_Segment(number, 0, 0))
            last, size = self._segments[-1], 0
            part: list[bytes] = []
            while at < len(pairs) and (not part or last.octets + size < room):
                part.append(pairs[at])
                size += len(pairs[at])
                at += 1
            self._write(last, b"".join(part), len(part))
        return self._shed()

    def put_back(self, pairs: Sequence[bytes]) -> int:
        """Put them in front of all: they are older than what is here. How many events had to go."""
        if self._segments and self._segments[0].taken:
            self._rewrite(self._segments[0])
        segment = _Segment(self._segments[0].number - 1 if self._segments else _FIRST, 0, 0)
        self._segments.insert(0, segment)
        self._write(segment, b"".join(pairs), len(pairs))
        return self._shed()

    def head(self, events: int, octets: int) -> Piece | None:
        """The oldest, so many at most, one at least; None if nothing is here."""
        while self._segments and self._segments[0].taken >= self._segments[0].octets:
            self._remove(0)
        if not self._segments:
            return None
        segment = self._segments[0]
        with self._file(segment.number).open("rb") as file:
            file.seek(segment.taken)
            pairs: list[bytes] = []
            size = 0
            while len(pairs) < events and (not pairs or size < octets):
                pair = file.readline() + file.readline()
                if not pair:
                    break
                pairs.append(pair)
                size += len(pair)
        self._flying = segment.number
        return Piece(tuple(pairs), segment.number, size)

    def advance(self, piece: Piece) -> None:
        """What `head` gave has arrived, or never will."""
        self._flying = 0
        if not self._segments or self._segments[0].number != piece.segment:
            return  # it had to make room meanwhile
        segment = self._segments[0]
        segment.taken += piece.octets
        segment.gone += len(piece.pairs)
        self.octets -= piece.octets
        self.events -= len(piece.pairs)
        if segment.taken >= segment.octets:
            self._remove(0)

    # -------------------------------------------------------------------------------------------------------------------- files

    def _file(self, number: int) -> pathlib.Path:
        return self._path / f"{number:016d}{_SUFFIX}"

    def _keep(self, segment: _Segment) -> None:
        self._segments.append(segment)
        self.octets += segment.octets
        self.events += segment.events

    def _write(self, segment: _Segment, data: bytes, events: int) -> None:
        path = self._file(segment.number)
        try:
            with path.open("ab") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(data)
        except OSError:
            with contextlib.suppress(OSError):  # a full disk: half of it may stand there
                os.truncate(path, segment.octets)
            raise
        segment.octets += len(data)
        segment.events += events
        self.octets += len(data)
        self.events += events

    def _rewrite(self, segment: _Segment) -> None:
        """Without what was taken: a run to come would send that again, after what is about to be put in front."""
        path = self._file(segment.number)
        rest = path.read_bytes()[segment.taken :]
        fresh = path.with_suffix(".new")
        fresh.write_bytes(rest)
        fresh.replace(path)
        segment.octets, segment.events = len(rest), segment.events - segment.gone
        segment.taken = segment.gone = 0

    def _shed(self) -> int:
        """Make room; the oldest goes, but not what may be on its way."""
        lost = 0
        while self.octets > self.most:
            at = int(self._segments[0].number == self._flying)
            if len(self._segments) <= at + 1:
                break
            lost += self._segments[at].events - self._segments[at].gone
            self._remove(at)
        return lost

    def _remove(self, at: int) -> None:
        segment = self._segments.pop(at)
        self.octets -= segment.octets - segment.taken
        self.events -= segment.events - segment.gone
        self._file(segment.number).unlink(missing_ok=True)


def _mended(path: pathlib.Path) -> _Segment | None:
    """What a file holds, half a pair at its end cut off; None for nothing, and for a file that is none of ours."""
    if not path.stem.isdigit():
        return None
    data = path.read_bytes()
    lines = data.split(b"\n")[:-1]
    whole = len(lines) // 2 * 2
    octets = sum(len(line) + 1 for line in lines[:whole])
    if octets < len(data):
        os.truncate(path, octets)
    return _Segment(int(path.stem), octets, whole // 2) if whole else None
