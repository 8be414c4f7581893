"""Options that several commands take, and where the daemon is when nobody says otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])

SOCKET = "/run/fairlead/api.sock"
BPFFS = "/sys/fs/bpf/fairlead"
STATE = "/var/lib/fairlead"
EVERY = 2.0  # seconds from one look to the next


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


class Reading(click.Command):
    """A command whose `--watch` may stand without a number, whatever comes after it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Only a number behind `--watch` is its own: `fairlead bgp --watch 10.0.0.1` is about a peer."""
        following = [*args[1:], ""][: len(args)]
        short = f"--watch={EVERY:g}"
        return super().parse_args(
            ctx, [short if a == "--watch" and not _number(b) else a for a, b in zip(args, following, strict=True)]
        )


def _number(word: str) -> bool:
    return word.replace(".", "", 1).isdecimal()


def known(kind: str) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]:
    """Completes what the daemon knows of this kind: "backends", "services", "peers", ..."""

    def complete(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        from fairlead.cli import completing

        return completing.known(kind, ctx, incomplete)

    return complete


def files(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Leaves it to the shell, which knows files."""
    return [CompletionItem(incomplete, type="file")]


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
    shell_complete=known("services"),
    help="Only this one, as in 192.0.2.10:80/tcp or by its name.",
)
watch = click.option(
    "--watch",
    type=click.FloatRange(min=0.1),
    is_flag=False,
    flag_value=EVERY,
    metavar="[SECONDS]",
    help=f"Again and again, every {EVERY:g} seconds if nothing else is said; q ends it.",
)
color = click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="auto: on a terminal, unless NO_COLOR is set.",
)


def reading(command: F) -> F:
    """What every command takes that shows what the daemon knows."""
    for option in (color, watch, json, socket):
        command = option(command)
    return command
