"""Whether the tables hold what the file asks for; the message names the key to raise."""

from __future__ import annotations

from collections.abc import Iterable

from fairlead.config.nodes import Value
from fairlead.config.services import Draft
from fairlead.config.settings import TABLE_SIZES
from fairlead.model import Config


def report_capacity(config: Config, drafts: Iterable[Draft], where: Value) -> None:
    """Reports tables of services that are too small, and limits that are."""
    slots = sum(_slots(draft, where) for draft in drafts)
    limits = config.limits
    for name, used, limit in (
        ("services", len(config.services), limits.services),
        ("destinations", sum(len(s.backends) for s in config.services), limits.destinations),
        ("slots", slots, limits.slots),
    ):
        if used > limit:
            hint = f"write `limits: {{{name}: {used}}}` or more; it takes effect when `fairlead detach` has removed the tables"
            where.error(f"the file needs {used} {name}, but `limits.{name}` is {limit}", hint)


def _slots(draft: Draft, where: Value) -> int:
    """The size of a service's table; one with fewer slots than servers is reported."""
    said, many = draft.said.table_size, len(draft.service.backends)
    size = said.value if said and said.value else next((s for s in TABLE_SIZES if s >= 100 * many), TABLE_SIZES[-1])
    if size >= many:
        return size
    enough = next((s for s in TABLE_SIZES if s >= many), None)
    hint = f"write {enough} at least, or leave it out" if enough else f"no table has more than {TABLE_SIZES[-1]} slots: divide it"
    if said:
        said.at.error(f"`table-size` is {size}, but {draft.service.key} has {many} servers", hint)
    else:
        where.report.error(draft.vip_at, f"{draft.service.key} has {many} servers, and a table {size} slots", hint)
    return size
