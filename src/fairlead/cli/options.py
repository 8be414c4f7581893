"""Options that several commands take, and where the daemon is when nobody says otherwise."""

from __future__ import annotations

from typing import Any

import click

SOCKET = "/run/fairlead/api.sock"
BPFFS = "/sys/fs/bpf/fairlead"
STATE = "/var/lib/fairlead"


class Percent(click.ParamType[float]):
    """`1%`, `0.5%`, `1`: a number of percent."""

    name = "percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        try:
            found = float(str(value).removesuffix("%"))
        except ValueError:
            found = -1.0
        if not 0 <= found <= 100:  # percent
            self.fail(f"{value!r} is no percentage: write for example 1%", param, ctx)
        return found


def _given(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    if value == "":  # a script's variable that was never set
        raise click.BadParameter("it is empty; leave it out to mean all services")
    return value


socket = click.option("--socket", envvar="FAIRLEAD_SOCKET", default=SOCKET, show_default=True, help="The daemon's API socket.")
bpffs = click.option(
    "--bpffs",
    envvar="FAIRLEAD_BPFFS",
    default=BPFFS,
    show_default=True,
    help="Directory in a BPF file system for what is pinned.",
)

state = click.option(
    "--state",
    envvar="FAIRLEAD_STATE",
    default=STATE,
    show_default=True,
    help="Directory for what outlives the daemon and its tables.",
)


max_moved = click.option("--max-moved", type=Percent(), metavar="PERCENT", help="Refuse what moves more, as in 1%.")
json = click.option("--json", "as_json", is_flag=True, help="Everything, for programs.")
service = click.option(
    "--service",
    callback=_given,
    metavar="SERVICE",
    help="Only this one, as in 192.0.2.10:80/tcp or by its name.",
)
