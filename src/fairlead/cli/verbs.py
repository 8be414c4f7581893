"""Verbs that change what the daemon works by: a configuration, and what is said over it."""

from __future__ import annotations

import sys

import click

from fairlead.cli import options


@click.command()
@click.argument("file", shell_complete=options.files)
@options.socket
@options.max_moved
@options.json
def plan(file: str, socket: str, max_moved: float | None, as_json: bool) -> None:
    """Say what FILE would change, and change nothing.

    Exit codes: 0 nothing to do, 4 changes, 5 refused because it moves too much, 1 FILE cannot be used.
    """
    from fairlead.cli import changing

    sys.exit(changing.change(socket, "plan", file, max_moved, as_json=as_json))


@click.command()
@click.argument("file", shell_complete=options.files)
@options.socket
@options.max_moved
@options.json
def apply(file: str, socket: str, max_moved: float | None, as_json: bool) -> None:
    """Work by the configuration in FILE from now on.

    Exit codes: 0 there was nothing to do, 4 it is done, 5 refused because it moves too much, 1 FILE cannot be used.
    The next reload or start reads the file that the daemon was started with.
    """
    from fairlead.cli import changing

    sys.exit(changing.change(socket, "apply", file, max_moved, as_json=as_json))


@click.command()
@click.argument("backend", shell_complete=options.known("backends or self"))
@options.socket
@options.service
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


@click.command()
@options.socket
def undrain(socket: str) -> None:
    """Take back `drain self`: announce whatever is up."""
    from fairlead.cli import changing

    sys.exit(changing.say(socket, "/v1/undrain"))


@click.command()
@click.argument("backend", shell_complete=options.known("backends"))
@options.socket
@options.service
def disable(backend: str, socket: str, service: str | None) -> None:
    """Take BACKEND out: it gets no new flows.

    What becomes of those that it has says `on-down` of the configuration.
    """
    from fairlead.cli import changing

    sys.exit(changing.say(socket, "/v1/override", backend=backend, service=service, state="disabled"))


@click.command()
@click.argument("backend", shell_complete=options.known("backends"))
@options.socket
@options.service
def enable(backend: str, socket: str, service: str | None) -> None:
    """Take back `drain` and `disable` of BACKEND.

    One that the configuration itself drains or disables is active too from now on.
    """
    from fairlead.cli import changing

    sys.exit(changing.say(socket, "/v1/override", backend=backend, service=service, state="active"))


@click.command()
@click.argument("backend", shell_complete=options.known("backends"))
@click.argument("number", type=click.IntRange(0, 1000))
@options.socket
@options.service
def weight(backend: str, number: int, socket: str, service: str | None) -> None:
    """Give BACKEND another weight: NUMBER, 0 to 1000."""
    from fairlead.cli import changing

    sys.exit(changing.say(socket, "/v1/override", backend=backend, service=service, weight=str(number)))


@click.command()
@click.argument("backend", required=False, shell_complete=options.known("overridden"))
@options.socket
@options.service
@click.option("--all", "everything", is_flag=True, help="What was said of every backend.")
def clear(backend: str | None, socket: str, service: str | None, everything: bool) -> None:
    """Take back whatever was said of BACKEND. Its state and weight are the configuration's again."""
    from fairlead.cli import changing

    if (backend is None) is not everything or (everything and service):
        raise click.UsageError("name a BACKEND, or say --all")
    sys.exit(changing.say(socket, "/v1/clear", backend=backend, service=service))


ALL = (plan, apply, drain, undrain, disable, enable, weight, clear)
