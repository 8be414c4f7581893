"""All chains of a pass, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from fairlead.core.diff import ServiceDiff, remove_service
from fairlead.core.diff_shared import (
    add_vip,
    clear_bits,
    diff_interfaces,
    diff_settings,
    remove_vip,
    removed_services,
    vip_rows,
)
from fairlead.core.steps import Chain, Tools
from fairlead.core.tables import Have
from fairlead.core.wants import WantService, WantVips
from fairlead.model import Link, Timeouts


def chains(
    have: Have,
    timeouts: Timeouts,
    links: Sequence[Link] | None,
    vips: WantVips,
    services: Sequence[WantService],
    pending: Callable[[WantService], bool],
    tools: Tools,
) -> Iterator[Chain]:
    """Each chain is made when those before it have been carried out, so that it starts from what is there by then.

    VIPs that go are closed before their services are taken apart; new ones are opened when their services are complete.
    """
    yield diff_settings(have, timeouts)
    if links is not None:
        yield diff_interfaces(have, links)
    for key in sorted(vip_rows(have).keys() - set(vips.rows.values())):
        yield remove_vip(have, vips, key)
    yield from _services(have, services, pending, tools)
    for key in removed_services(have, [want.row for want in services]):
        yield remove_service(have, key)
    whole = have.images["vips"] == vips.bitmap
    for vip, key in vips.rows.items():
        row = have.service(key)
        if not whole or row is None or row.live != vips.lives[vip]:
            yield add_vip(have, vips, vip)
    yield clear_bits(have, vips)


def _services(
    have: Have, services: Iterable[WantService], pending: Callable[[WantService], bool], tools: Tools
) -> Iterator[Chain]:
    for want in services:
        if pending(want):
            yield ServiceDiff(have, want, tools).make()
