"""The `fairlead` command. Nouns read, verbs change; all but `run` and `detach` speak to the daemon's socket only.

Exit codes: 0 fine, 1 refused or failed, 2 wrong usage, 3 what is shown is degraded. Everything heavy is imported by the command
that needs it, so that `fairlead version` and `--help` start fast.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from fairlead.cli import blocks, explaining, nouns, options, verbs

_CHANGING = frozenset(("reload", "restart", "confirm", "reattach", "block", "unblock"))


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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """In the order in which they are looked for at night: what shows, what changes, the rest."""
        found = {name: command for name in self.list_commands(ctx) if (command := self.get_command(ctx, name)) is not None}
        changes = [name for name, command in found.items() if command in verbs.ALL or name in _CHANGING]
        shows = [n for n, c in found.items() if (isinstance(c, options.Reading) or n == "top") and n not in changes]
        rest = [name for name in found if name not in {*shows, *changes}]
        limit = formatter.width - 6 - max(map(len, found))
        for title, names in (("Show", shows), ("Change what runs", changes), ("Run, install, look into", rest)):
            with formatter.section(title):
                formatter.write_dl([(name, found[name].get_short_help_str(limit)) for name in names])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def fairlead() -> None:
    """Fairlead, a Direct Server Return layer 4 load balancer for Linux."""


for _command in (*nouns.ALL, *verbs.ALL, *blocks.ALL, explaining.explain):
    fairlead.add_command(_command)


@fairlead.command()
@click.argument("config", shell_complete=options.files)
@click.argument("interfaces", metavar="[INTERFACE]...", nargs=-1)
@options.socket
@options.bpffs
@options.state
@click.option("--generic", is_flag=True, help="Attach in generic (skb) mode even where the driver could do better.")
@click.option("--confirm", type=click.FloatRange(min=1), metavar="SECONDS", help="Detach again unless `fairlead confirm` comes.")
@click.option("--trial", is_flag=True, help="Only say whether this version could take over: `fairlead restart` asks so.")
def run(config: str, interfaces: tuple[str, ...], *, trial: bool, **options: Any) -> None:
    """Run the balancer with CONFIG in the foreground.

    INTERFACEs given here win over those that CONFIG names. SIGHUP, SIGUSR2 and SIGINT read CONFIG again; SIGTERM and SIGQUIT
    withdraw all routes and stop. The data plane forwards on without the daemon, until `fairlead detach`.
    """
    from fairlead import daemon, preflight
    from fairlead.cli import online
    from fairlead.errors import ConfigError, FairleadError

    try:
        wanted = preflight.Options(config, interfaces, **options)
        if trial:
            print(preflight.trial(wanted))
            return
        sys.exit(daemon.run_daemon(wanted))
    except ConfigError as e:
        print(e, file=sys.stderr)
        sys.exit(1)
    except FairleadError as e:
        sys.exit(online.complain(str(e)))


@fairlead.command()
@click.argument("config", shell_complete=options.files)
@click.option("--expand", is_flag=True, help="Print the configuration with every default written out.")
def check(config: str, expand: bool) -> None:
    """Say all that is wrong with CONFIG at once."""
    from fairlead.cli import offline

    sys.exit(offline.check(config, expand=expand))


@fairlead.command()
@click.argument("config", required=False, shell_complete=options.files)
@click.argument("interfaces", metavar="[INTERFACE]...", nargs=-1)
@options.bpffs
@options.state
@click.option("--json", "as_json", is_flag=True, help="The same, for programs.")
def doctor(config: str | None, interfaces: tuple[str, ...], bpffs: str, state: str, as_json: bool) -> None:
    """Look this machine over, and say how to mend what is not well.

    With CONFIG also its interfaces and their network; INTERFACEs given here win over those that CONFIG names. Nothing is
    changed. Exit code 0 if all is well, 1 if something fails, 3 if there is something to warn of.
    """
    from fairlead.cli import offline

    sys.exit(offline.doctor(config, interfaces, (bpffs, state), as_json=as_json))


@fairlead.command()
@options.socket
def reload(socket: str) -> None:
    """Have the running daemon read its configuration again."""
    from fairlead.cli import online

    sys.exit(online.post(socket, "/v1/reload"))


@fairlead.command()
@options.socket
def restart(socket: str) -> None:
    """Hand over to what is installed now, without a gap.

    The running daemon does it, and nothing is detached, withdrawn or forgotten. What could not take over is refused, and the
    daemon goes on.
    """
    from fairlead.cli import online

    sys.exit(online.restart(socket))


@fairlead.command()
@options.socket
def confirm(socket: str) -> None:
    """Keep running: the answer to `run --confirm SECONDS`."""
    from fairlead.cli import online

    sys.exit(online.post(socket, "/v1/confirm"))


@fairlead.command()
@click.argument("interface", shell_complete=options.known("interfaces"))
@options.socket
def reattach(interface: str, socket: str) -> None:
    """Take the programs off INTERFACE and put them on anew. Of a bond, off and on all its members."""
    from urllib.parse import quote

    from fairlead.cli import online

    sys.exit(online.post(socket, f"/v1/reattach?interface={quote(interface, safe='')}"))


@fairlead.command()
@options.socket
@options.bpffs
@options.state
def detach(socket: str, bpffs: str, state: str) -> None:
    """Remove the data plane and all that belongs to it.

    Needs neither a running daemon nor a configuration.
    """
    from fairlead.cli import offline

    sys.exit(offline.detach(socket, bpffs, state))


@fairlead.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what SHELL reads to complete our commands, and what the running daemon knows: backends, services, peers.

    \b
    bash:  fairlead completion bash > /usr/share/bash-completion/completions/fairlead
    zsh:   fairlead completion zsh > /usr/share/zsh/vendor-completions/_fairlead
    fish:  fairlead completion fish > /usr/share/fish/vendor_completions.d/fairlead.fish
    """  # noqa: D301 - click keeps the lines behind \b as they are
    from fairlead.cli import completing

    print(completing.script(shell), end="")


@fairlead.command()
def version() -> None:
    """Print the version."""
    from fairlead.adapters import system

    print(f"fairlead {system.version()}")


def main() -> None:
    """The console script."""
    fairlead(prog_name="fairlead")
