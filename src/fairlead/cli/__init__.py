"""The `fairlead` command. Nouns read, verbs change; all but `run` and `detach` speak to the daemon's socket only.

Exit codes: 0 fine, 1 refused or failed, 2 wrong usage. Everything heavy is imported by the command that needs it, so that
`fairlead version` and `--help` start fast.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from fairlead.cli.percent import Percent

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
    help="Directory for what outlives the daemon and its tables.",
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
@click.argument("config")
@click.option("--expand", is_flag=True, help="Print the configuration with every default written out.")
def check(config: str, expand: bool) -> None:
    """Say all that is wrong with CONFIG at once."""
    from fairlead.cli import offline

    sys.exit(offline.check(config, expand=expand))


@fairlead.command()
@click.argument("config", required=False)
@click.argument("interfaces", metavar="[INTERFACE]...", nargs=-1)
@_bpffs
@_state
@click.option("--json", "as_json", is_flag=True, help="The same, for programs.")
def doctor(config: str | None, interfaces: tuple[str, ...], bpffs: str, state: str, as_json: bool) -> None:
    """Look this machine over, and say how to mend what is not well.

    With CONFIG also its interfaces and their network; INTERFACEs given here win over those that CONFIG names. Nothing is
    changed. Exit code 0 if all is well, 1 if something fails, 3 if there is something to warn of.
    """
    from fairlead.cli import offline

    sys.exit(offline.doctor(config, interfaces, (bpffs, state), as_json=as_json))


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
    """Hand over to what is installed now, without a gap.

    The running daemon does it, and nothing is detached, withdrawn or forgotten. What could not take over is refused, and the
    daemon goes on.
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
    """Take the programs off INTERFACE and put them on anew. Of a bond, off and on all its members."""
    from urllib.parse import quote

    from fairlead.cli import online

    sys.exit(online.post(socket, f"/v1/reattach?interface={quote(interface, safe='')}"))


def _given(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    if value == "":  # a script's variable that was never set
        raise click.BadParameter("it is empty; leave it out to mean all services")
    return value


_max_moved = click.option("--max-moved", type=Percent(), metavar="PERCENT", help="Refuse what moves more, as in 1%.")
_json = click.option("--json", "as_json", is_flag=True, help="Everything, for programs.")
_service = click.option(
    "--service",
    callback=_given,
    metavar="SERVICE",
    help="Only this one, as in 192.0.2.10:80/tcp or by its name.",
)


@fairlead.command()
@click.argument("file")
@_socket
@_max_moved
@_json
def plan(file: str, socket: str, max_moved: float | None, as_json: bool) -> None:
    """Say what FILE would change, and change nothing.

    Exit codes: 0 nothing to do, 4 changes, 5 refused because it moves too much, 1 FILE cannot be used.
    """
    from fairlead.cli import changing

    sys.exit(changing.change(socket, "plan", file, max_moved, as_json=as_json))


@fairlead.command()
@click.argument("file")
@_socket
@_max_moved
@_json
def apply(file: str, socket: str, max_moved: float | None, as_json: bool) -> None:
    """Work by the configuration in FILE from now on.

    Exit codes: 0 there was nothing to do, 4 it is done, 5 refused because it moves too much, 1 FILE cannot be used.
    The next reload or start reads the file that the daemon was started with.
    """
    from fairlead.cli import changing

    sys.exit(changing.change(socket, "apply", file, max_moved, as_json=as_json))


@fairlead.command()
@click.argument("backend")
@_socket
@_service
@click.option("--wait", is_flag=True, help="Until its flows have ended; shows how many are left.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait no longer than that (exit code 1).")
def drain(backend: str, socket: str, service: str | None, wait: bool, timeout: float | None) -> None:
    """Give BACKEND no new flows, and leave it those that it has.

    `fairlead drain self` sends this balancer away from its routers instead, until `fairlead undrain`: its routes carry the
    graceful shutdown community (RFC 8326) for a while, and are withdrawn then. Exit code 1 if --wait ends by --timeout.
    """
    from fairlead.cli import changing

    if backend == "self":
        if service:
            raise click.UsageError("--service is for a BACKEND: a balancer leaves with all that it has")
        code = changing.say(socket, "/v1/drain")
        sys.exit(changing.wait_away(socket, timeout) if wait and not code else code)
    if timeout is not None and not wait:
        raise click.UsageError("--timeout is how long to --wait: say both")
    code = changing.say(socket, "/v1/override", backend=backend, service=service, state="drain")
    sys.exit(changing.wait(socket, backend, service, timeout) if wait and not code else code)


@fairlead.command()
@_socket
def undrain(socket: str) -> None:
    """Take back `drain self`: announce whatever is up."""
    from fairlead.cli import changing

    sys.exit(changing.say(socket, "/v1/undrain"))


@fairlead.command()
@click.argument("peer", required=False)
@_socket
@_json
def bgp(peer: str | None, socket: str, as_json: bool) -> None:
    """Show the BGP sessions, or all about that with PEER, an address."""
    from fairlead.cli import online

    sys.exit(online.bgp(socket, peer, as_json=as_json))


@fairlead.command()
@click.argument("backend")
@_socket
@_service
def disable(backend: str, socket: str, service: str | None) -> None:
    """Take BACKEND out: it gets no new flows.

    What becomes of those that it has says `on-down` of the configuration.
    """
    from fairlead.cli import changing

    sys.exit(changing.say(socket, "/v1/override", backend=backend, service=service, state="disabled"))


@fairlead.command()
@click.argument("backend")
@_socket
@_service
def enable(backend: str, socket: str, service: str | None) -> None:
    """Take back `drain` and `disable` of BACKEND.

    One that the configuration itself drains or disables is active too from now on.
    """
    from fairlead.cli import changing

    sys.exit(changing.say(socket, "/v1/override", backend=backend, service=service, state="active"))


@fairlead.command()
@click.argument("backend")
@click.argument("number", type=click.IntRange(0, 1000))
@_socket
@_service
def weight(backend: str, number: int, socket: str, service: str | None) -> None:
    """Give BACKEND another weight: NUMBER, 0 to 1000."""
    from fairlead.cli import changing

    sys.exit(changing.say(socket, "/v1/override", backend=backend, service=service, weight=str(number)))


@fairlead.command()
@click.argument("backend", required=False)
@_socket
@_service
@click.option("--all", "everything", is_flag=True, help="What was said of every backend.")
def clear(backend: str | None, socket: str, service: str | None, everything: bool) -> None:
    """Take back whatever was said of BACKEND. Its state and weight are the configuration's again."""
    from fairlead.cli import changing

    if (backend is None) is not everything or (everything and service):
        raise click.UsageError("name a BACKEND, or say --all")
    sys.exit(changing.say(socket, "/v1/clear", backend=backend, service=service))


@fairlead.command()
@_socket
@click.option("--backend", metavar="ADDRESS", help="Only this one.")
@_service
@_json
def flows(socket: str, backend: str | None, service: str | None, as_json: bool) -> None:
    """Sum up the flow table by service and backend.

    Live entries, by state, and how long the youngest and the oldest have been silent.
    """
    from fairlead.cli import changing

    sys.exit(changing.flows(socket, backend, service, as_json=as_json))


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
