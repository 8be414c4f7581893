"""`fairlead lab`: labs from the command line. Exit code 1: refused or failed, 2: usage; `exec` returns that of the command."""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

import click

from fairlead.lab import life, ready
from fairlead.lab.namespaces import LabError
from fairlead.lab.topologies import TOPOLOGIES
from fairlead.lab.topologies import find as find_topology
from fairlead.lab.topology import Host, Software, Xdp

P = ParamSpec("P")


def _refusing(function: Callable[P, None]) -> Callable[P, None]:
    """Turn LabError into its words on standard error and exit code 1."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except LabError as error:
            click.echo(f"fairlead lab: {error}", err=True)
            sys.exit(1)

    return wrapped


_name = click.option("--name", default="lab", show_default=True, envvar="FAIRLEAD_LAB", help="which lab")


@click.group()
def lab() -> None:
    """Networks of namespaces to try Fairlead in; nothing of this machine's own network is touched."""


@lab.command()
@click.argument("topology", type=click.Choice(sorted(TOPOLOGIES)), default="simple")
@_name
@click.option(
    "--xdp", type=click.Choice([mode.value for mode in Xdp]), default="native", show_default=True, help="what NICs can do"
)
@click.option(
    "--router",
    "software",
    type=click.Choice([each.value for each in Software]),
    default="bird",
    show_default=True,
    help="what speaks BGP on the router",
)
@click.option("--balancers", default=0, metavar="N", help="how many, of the topology `ecmp`")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False),
    help="the first balancer's YAML instead of the topology's; the others' follow",
)
@click.option("--wait/--no-wait", default=True, help="wait until every client reaches every VIP")
@click.option("--within", default=30.0, show_default=True, help="seconds to wait at most")
@_refusing
def up(topology: str, name: str, xdp: str, software: str, balancers: int, config: str | None, wait: bool, within: float) -> None:
    """Build a lab and start its daemons."""
    began = time.monotonic()
    text = Path(config).read_text(encoding="utf-8") if config else ""
    try:
        wanted = find_topology(topology, balancers, Software(software))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--balancers") from None
    built = life.up(name, wanted, Xdp(xdp), text)
    click.echo(f"lab {name} ({topology}) is built, {time.monotonic() - began:.1f} s")
    if wait:
        ready.wait(built, within)
        click.echo(f"every client reaches every VIP, {time.monotonic() - began:.1f} s")


@lab.command()
@_name
@_refusing
def down(name: str) -> None:
    """Remove a lab and everything that runs in it, also after a crash."""
    click.echo(f"lab {name} is gone" if life.down(name) else f"there is no lab {name}")


@lab.command(name="list")
@_refusing
def list_() -> None:
    """Show the labs there are and the topologies there could be."""
    for name in life.names():
        click.echo(f"{name:<16} {_summary(name)}")
    if not life.names():
        click.echo("no lab is up")
    click.echo("\ntopologies:")
    for topology in TOPOLOGIES.values():
        click.echo(f"{topology.name:<16} {topology.title}")


def _summary(name: str) -> str:
    try:
        found = life.load(name)
        states = [child["state"] for child in life.ask(found, do="status")["hosts"].values()]
    except LabError as error:
        return f"broken: {error}"
    return f"{found.topology.name}, xdp {found.xdp.value}, {states.count('running')} of {len(states)} daemons run"


@lab.command()
@_name
@_refusing
def status(name: str) -> None:
    """Draw a lab and show its hosts, addresses and daemons. Exit code 1 if a daemon does not run."""
    found = life.load(name)
    click.echo(found.topology.drawing)
    children = life.ask(found, do="status")["hosts"]
    for host in found.topology.hosts:
        child = children.get(host.name)
        daemon = f"{child['state']}, pid {child['pid']}" if child else "-"
        click.echo(f"{host.name:<12} {_addresses(host):<62} {daemon}")
    click.echo(f"\nlogs and configuration: {found.directory}/hosts/HOST/")
    if any(child["state"] != "running" for child in children.values()):
        sys.exit(1)


def _addresses(host: Host) -> str:
    own = [address.partition("/")[0] for address in host.addresses()]
    return " ".join(own[:2]) + (f" +{len(own) - 2}" if len(own) > 2 else "")


@lab.command(name="exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_name
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
@_refusing
def exec_(name: str, host: str, command: tuple[str, ...]) -> None:
    """Run COMMAND on HOST; its exit code is returned, and signals reach it."""
    words = command[1:] if command[0] == "--" and len(command) > 1 else command  # the habit of ssh, kubectl and their like
    argv, env = life.command(life.load(name), host, words)
    sys.stdout.flush()
    os.execvpe(argv[0], argv, env)  # no process of ours stays between the caller and the command


@lab.command()
@_name
@click.option("--signal", "number", default="KILL", show_default=True, help="name or number")
@click.argument("host")
@_refusing
def kill(name: str, number: str, host: str) -> None:
    """Send the daemon of HOST a signal."""
    life.ask(life.load(name), do="kill", host=host, signal=int(_signal(number)))
    click.echo(f"sent {_signal(number).name} to the daemon of {host}")


def _signal(text: str) -> signal.Signals:
    try:
        return signal.Signals(int(text)) if text.isdigit() else signal.Signals[f"SIG{text.upper().removeprefix('SIG')}"]
    except (KeyError, ValueError):
        raise click.BadParameter(f"no signal {text}", param_hint="--signal") from None


@lab.command()
@_name
@click.argument("host")
@_refusing
def start(name: str, host: str) -> None:
    """Start the daemon of HOST again."""
    pid = life.ask(life.load(name), do="start", host=host)["pid"]
    click.echo(f"the daemon of {host} runs, pid {pid}")


if __name__ == "__main__":
    lab(prog_name="fairlead lab")
