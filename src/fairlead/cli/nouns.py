"""Nouns: commands that show what the running daemon knows, and change nothing."""

from __future__ import annotations

import sys
from typing import Any

import click

from fairlead.cli import options


@click.command(cls=options.Reading)
@options.reading
def status(socket: str, **how: Any) -> None:
    """Show what the running daemon knows.

    Below the tables stands, in sentences, what is wrong and what to do about it. Exit code 3 if there is any, warnings not
    counted; 0 if all is well, 1 if nobody answers.
    """
    from fairlead.cli import looking, showing

    sys.exit(looking.status(socket, showing.How(**how)))


@click.command(cls=options.Reading)
@click.argument("service", required=False)
@options.reading
def services(service: str | None, socket: str, **how: Any) -> None:
    """Show the services, or all about SERVICE.

    SERVICE is one as in 192.0.2.10:80/tcp, its name, or a VIP for all its services. Exit code 3 if something is wrong with
    those that are shown.
    """
    from fairlead.cli import looking, showing

    sys.exit(looking.services(socket, service, showing.How(**how)))


@click.command(cls=options.Reading)
@click.argument("backend", required=False)
@options.service
@click.option("--state", type=click.Choice(["up", "down", "drain", "disabled"]), help="Only those in this state.")
@options.reading
def backends(backend: str | None, socket: str, service: str | None, state: str | None, **how: Any) -> None:
    """Show the backends of all services, or all about BACKEND, an address, with each of its checks.

    Exit code 3 if something is wrong with those that are shown.
    """
    from fairlead.cli import looking, showing

    sys.exit(looking.backends(socket, backend, service, state, showing.How(**how)))


@click.command(cls=options.Reading)
@click.argument("peer", required=False)
@options.reading
def bgp(peer: str | None, socket: str, **how: Any) -> None:
    """Show the BGP sessions, or all about that with PEER, an address.

    Exit code 3 if a session that is shown is not up.
    """
    from fairlead.cli import looking, showing

    sys.exit(looking.bgp(socket, peer, showing.How(**how)))


@click.command(cls=options.Reading)
@click.option("--backend", metavar="ADDRESS", help="Only this one.")
@options.service
@options.reading
def flows(socket: str, backend: str | None, service: str | None, **how: Any) -> None:
    """Sum up the flow table by service and backend.

    Live entries, by state, and how long the youngest and the oldest have been silent.
    """
    from fairlead.cli import looking, showing

    sys.exit(looking.flows(socket, backend, service, showing.How(**how)))


ALL = (status, services, backends, bgp, flows)
