"""Nouns: commands that show what the running daemon knows, and change nothing."""

from __future__ import annotations

import sys
from typing import Any

import click

from fairlead.cli import options

_LEVELS = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")
_SORTS = {"packets": "p", "bits": "t", "new-flows": "n", "flows": "f", "name": "a"}


@click.command(cls=options.Reading)
@options.reading
def status(socket: str, **how: Any) -> None:
    """Show what the running daemon knows.

    Below the tables stands, in sentences, what is wrong and what to do about it. Exit code 3 if anything is wrong, warnings not
    counted; 0 if all is well, 1 if nobody answers.
    """
    from fairlead.cli import looking, showing

    sys.exit(looking.status(socket, showing.How(**how)))


@click.command(cls=options.Reading)
@click.argument("service", required=False, shell_complete=options.known("services"))
@options.reading
def services(service: str | None, socket: str, **how: Any) -> None:
    """Show the services, or all about SERVICE.

    SERVICE is one as in 192.0.2.10:80/tcp, its name, or a VIP for all its services. Exit code 3 if something is wrong with
    those that are shown.
    """
    from fairlead.cli import looking, showing

    sys.exit(looking.services(socket, service, showing.How(**how)))


@click.command(cls=options.Reading)
@click.argument("backend", required=False, shell_complete=options.known("backends"))
@options.service
@click.option("--state", type=click.Choice(["up", "down", "drain", "disabled"]), help="Only those in this state.")
@options.reading
def backends(backend: str | None, socket: str, service: str | None, state: str | None, **how: Any) -> None:
    """Show the backends, or all about BACKEND.

    BACKEND is an address; all about it has each of its checks in each service. Exit code 3 if something is wrong with those that
    are shown.
    """
    from fairlead.cli import looking, showing

    sys.exit(looking.backends(socket, backend, service, state, showing.How(**how)))


@click.command(cls=options.Reading)
@click.argument("peer", required=False, shell_complete=options.known("peers"))
@options.reading
def bgp(peer: str | None, socket: str, **how: Any) -> None:
    """Show the BGP sessions, or all about that with PEER.

    PEER is an address. Exit code 3 if a session that is shown is not up.
    """
    from fairlead.cli import looking, showing

    sys.exit(looking.bgp(socket, peer, showing.How(**how)))


@click.command(cls=options.Reading)
@click.option("--backend", metavar="ADDRESS", shell_complete=options.known("backends"), help="Only this one.")
@options.service
@options.reading
def flows(socket: str, backend: str | None, service: str | None, **how: Any) -> None:
    """Sum up the flow table by service and backend.

    Live entries, by state, and how long the youngest and the oldest have been silent.
    """
    from fairlead.cli import looking, showing

    sys.exit(looking.flows(socket, backend, service, showing.How(**how)))


@click.command()
@options.socket
@click.option("--by", type=click.Choice(list(_SORTS)), default="packets", show_default=True, help="What to sort by.")
@click.option("--show", type=click.Choice(["services", "backends", "verdicts"]), default="services", show_default=True)
@click.option(
    "--every", type=click.FloatRange(min=0.2), default=1.0, show_default=True, metavar="SECONDS", help="Between two looks."
)
@options.color
@options.json
def top(socket: str, by: str, show: str, every: float, color: str, *, as_json: bool) -> None:
    """Show what goes on, live.

    Packets, bits and new flows each second, between two looks. Keys: s services, b backends, v verdicts; sorted by p packets,
    t bits, n new flows, f flows, a name; arrows and page keys scroll, the space bar holds the picture, q quits. Into a pipe
    goes one look; --json is one too.
    """
    from fairlead.cli import top as live
    from fairlead.render.top import View

    sys.exit(live.top(socket, View(show, _SORTS[by]), every, color, as_json=as_json))


@click.command(cls=options.Reading)
@click.option("-f", "--follow", is_flag=True, help="And whatever comes, until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(0, 1000), default=50, show_default=True, help="The last so many.")
@click.option("--level", type=click.Choice(_LEVELS), default="info", show_default=True, help="So severe, or worse.")
@options.service
@options.reading
def log(*, follow: bool, lines: int, level: str, service: str | None, socket: str, **how: Any) -> None:
    """Show the last events of the running daemon.

    It keeps a thousand, and begins anew when it starts; what the journal or a log server was told is there for longer.
    With --json and --follow there is one object a line.
    """
    from fairlead.cli import log as told
    from fairlead.cli import showing

    if follow and how["watch"] is not None:
        raise click.UsageError("--follow tells whatever comes: leave out --watch")
    sys.exit(told.log(socket, level, service, lines, showing.How(**how), follow=follow))


ALL = (status, services, backends, bgp, flows, top, log)
