"""The `fairlead` command. Nouns read, verbs change; all but `run` and `detach` speak to the daemon's socket only.

Exit codes: 0 fine, 1 refused or failed, 2 wrong usage. Everything heavy is imported by the command that needs it, so that
`fairlead version` and `--help` start fast.
"""

from __future__ import annotations

import sys
from typing import Any

import click

SOCKET = "/run/fairlead/api.sock"
BPFFS = "/sys/fs/bpf/fairlead"
STATE = "/var/lib/fairlead"

_socket = click.option("--socket", envvar="FAIRLEAD_SOCKET", default=SOCKET, show_default=True, help="The daemon's API socket.")
_bpffs = click.option(
    "--bpffs",
    envvar="FAIRLEAD_BPFFS",
    default=BPFFS,
    show_default=True,
    help="Directory in a BPF file system for what is pinned.",
)

_state = click.option(
    "--state",
    envvar="FAIRLEAD_STATE",
    default=STATE,
    show_default=True,
    help="Directory for what is put back by `detach`.",
)


class _Commands(click.Group):
    """Adds `lab` when it is asked for: its import costs more than most commands take."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), "lab"]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name != "lab":
            return super().get_command(ctx, name)
        if not ctx.resilient_parsing and "lab" not in sys.argv[1:2]:
            return click.Group("lab", short_help="Network namespaces to try it in: up, down, status, list, exec.")
        try:
            from fairlead.lab import cli as lab
        except ImportError as e:
            raise click.ClickException(f"this installation has no lab: {e}") from None
        found: Any = lab
        group: click.Command = found.lab
        return group


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def fairlead() -> None:
    """Fairlead, a Direct Server Return layer 4 load balancer for Linux."""


@fairlead.command()
@click.argument("config")
@click.argument("interfaces", metavar="[INTERFACE]...", nargs=-1)
@_socket
@_bpffs
@_state
@click.option("--generic", is_flag=True, help="Attach in generic (skb) mode even where the driver could do better.")
@click.option("--confirm", type=click.FloatRange(min=1), metavar="SECONDS", help="Detach again unless `fairlead confirm` comes.")
@click.option("--trial", is_flag=True, hidden=True, help="Only say whether this version would start: `fairlead restart` asks.")
def run(config: str, interfaces: tuple[str, ...], *, trial: bool, **options: Any) -> None:
    """Run the balancer with CONFIG in the foreground.

    INTERFACEs given here win over those that CONFIG names. SIGHUP, SIGUSR2 and SIGINT read CONFIG again; SIGTERM and SIGQUIT
    withdraw all routes and stop. The data plane forwards on without the daemon, until `fairlead detach`.
    """
    from fairlead import daemon
    from fairlead.cli import online
    from fairlead.errors import ConfigError, FairleadError
    from fairlead.preflight import Options

    try:
        wanted = Options(config, interfaces, **options)
        if trial:
            print(daemon.trial(wanted))
            return
        sys.exit(daemon.run_daemon(wanted))
    except ConfigError as e:
        print(e, file=sys.stderr)
        sys.exit(1)
    except FairleadError as e:
        sys.exit(online.complain(str(e)))


@fairlead.command()
@click.argument("config")
@click.option("--expand", is_flag=True, help="Print the configuration with every default written out.")
def check(config: str, expand: bool) -> None:
    """Say all that is wrong with CONFIG at once."""
    from fairlead.cli import offline

    sys.exit(offline.check(config, expand=expand))


@fairlead.command()
@_socket
@click.option("--json", "as_json", is_flag=True, help="Everything, for programs.")
def status(socket: str, as_json: bool) -> None:
    """Show what the running daemon knows."""
    from fairlead.cli import online

    sys.exit(online.status(socket, as_json=as_json))


@fairlead.command()
@_socket
def reload(socket: str) -> None:
    """Have the running daemon read its configuration again."""
    from fairlead.cli import online

    sys.exit(online.post(socket, "/v1/reload"))


@fairlead.command()
@_socket
def restart(socket: str) -> None:
    """Have the running daemon hand over to what is installed now, without a gap.

    Nothing is detached, withdrawn or forgotten. What could not take over is refused, and the daemon goes on.
    """
    from fairlead.cli import online

    sys.exit(online.restart(socket))


@fairlead.command()
@_socket
def confirm(socket: str) -> None:
    """Keep running: the answer to `run --confirm SECONDS`."""
    from fairlead.cli import online

    sys.exit(online.post(socket, "/v1/confirm"))


@fairlead.command()
@click.argument("interface")
@_socket
def reattach(interface: str, socket: str) -> None:
    """Take the programs off INTERFACE, or off all members of a bond, and put them on anew."""
    from urllib.parse import quote

    from fairlead.cli import online

    sys.exit(online.post(socket, f"/v1/reattach?interface={quote(interface, safe='')}"))


@fairlead.command()
@_socket
@_bpffs
@_state
def detach(socket: str, bpffs: str, state: str) -> None:
    """Remove the data plane and all that belongs to it.

    Needs neither a running daemon nor a configuration.
    """
    from fairlead.cli import offline

    sys.exit(offline.detach(socket, bpffs, state))


@fairlead.command()
def version() -> None:
    """Print the version."""
    from fairlead.adapters import system

    print(f"fairlead {system.version()}")


def main() -> None:
    """The console script."""
    fairlead(prog_name="fairlead")
