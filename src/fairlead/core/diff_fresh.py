"""New destinations of one service: an operation for each, or one for many at once, as a cold start has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fairlead.core.rows import RegistryRow
from fairlead.core.steps import Chain, Tools
from fairlead.core.tables import Have
from fairlead.core.wants import WantDestination, WantService
from fairlead.model import Publish, Store

_FEW = 8  # so many are told one by one

Fresh = tuple[WantDestination, int, int]  # with id and next hop


def add_destinations(have: Have, want: WantService, service: int, fresh: Sequence[Fresh], chain: Chain, tools: Tools) -> None:
    """Rows that nothing names yet; all payloads of an operation come before the first of its switches."""
    if len(fresh) > _FEW:
        chain.add(f"add {len(fresh)} destinations for {want.key}", *_rows(have, want, service, fresh, tools))
        return
    for each in fresh:
        chain.add(f"add destination {each[1]}: {each[0].text} for {want.key}", *_rows(have, want, service, [each], tools))


def _rows(have: Have, want: WantService, service: int, fresh: Sequence[Fresh], tools: Tools) -> Iterator[Store | Publish]:
    rows, payloads = have.rows, have.rows.destinations(want.row, service)
    for run in _runs(fresh):
        first = run[0][1]
        yield Store("destinations", first * rows.size["destinations"], b"".join([payloads(d.packed) for d, _, _ in run]))
        past = _registry(have, run, tools.counters(first, len(run)), tools.now)
        yield Store("registry", first * rows.size["registry"], b"".join(past))
    size, at = rows.size["destinations"], rows.live_at["destinations"]
    yield from map(Publish._make, (("destinations", n * size + at, d.live | hop) for d, n, hop in fresh))


def _registry(have: Have, run: Sequence[Fresh], bases: Sequence[tuple[int, int, int]], now: int) -> list[bytes]:
    """Rows of the registry. Most ids have counted nothing so far, and so most rows are alike."""
    zero = (0, 0, 0)
    alike = {healthy: have.rows.registry(RegistryRow(now, zero, healthy)) for healthy in (False, True)}
    return [
        alike[d.healthy] if base == zero and not (d.penalty or d.undecided) else have.rows.registry(d.registry(now, base))
        for (d, _, _), base in zip(run, bases, strict=True)
    ]


def _runs(fresh: Sequence[Fresh]) -> Iterator[Sequence[Fresh]]:
    """Parts whose ids follow each other."""
    start = 0
    for i in range(1, len(fresh) + 1):
        if i == len(fresh) or fresh[i][1] != fresh[i - 1][1] + 1:
            yield fresh[start:i]
            start = i
