"""Sources: who sends most, and who is kept out."""

from __future__ import annotations

import sys
from typing import Any

import click

from fairlead.cli import options


@click.command(cls=options.Reading)
@click.argument("prefix", required=False)
@click.option("--for", "lasts", metavar="TIME", help="So long, as in 30m, 1h or 2d; otherwise until `fairlead unblock`.")
@click.option("--why", metavar="TEXT", help="A word for whoever wonders.")
@click.option("--force", is_flag=True, help="Even if it holds something that Fairlead lives by.")
@options.reading
def block(prefix: str | None, socket: str, lasts: str | None, why: str | None, *, force: bool, **how: Any) -> None:
    """Drop whatever comes from PREFIX and is for a VIP; or list what is blocked.

    PREFIX is one as in 198.51.100.0/24 or 2001:db8::/32, or an address. What is not for a VIP is not touched. A prefix that holds
    an address of this balancer, a router, a BGP peer or a backend is refused, as is a very wide one: --force means it. The block
    outlives restarts of the daemon.
    """
    from fairlead.cli import changing, looking, showing

    if prefix is None:
        if lasts or why or force:
            raise click.UsageError("name the PREFIX to block; alone, `fairlead block` lists what is blocked")
        sys.exit(looking.blocks(socket, showing.How(**how)))
    if how["as_json"] or how["watch"] is not None:
        raise click.UsageError("--json and --watch are for the list: leave out PREFIX")
    words = {"prefix": prefix, "for": lasts, "why": why, "force": "true" if force else None}
    sys.exit(changing.say(socket, "/v1/block", **words))


@click.command()
@click.argument("prefix", required=False)
@click.option("--all", "everything", is_flag=True, help="Every block that was said at a shell.")
@options.socket
def unblock(prefix: str | None, socket: str, *, everything: bool) -> None:
    """Take back the block of PREFIX."""
    from fairlead.cli import changing

    if (prefix is None) is not everything:
        raise click.UsageError("name a PREFIX, or say --all")
    sys.exit(changing.say(socket, "/v1/unblock", prefix=prefix, all="true" if everything else None))


@click.command(cls=options.Reading)
@click.option("-n", "most", type=click.IntRange(1, 10000), default=20, show_default=True, help="So many of IPv4, and of IPv6.")
@options.reading
def sources(most: int, socket: str, **how: Any) -> None:
    """Show the prefixes that most packets for VIPs come from.

    By /20 of IPv4 and /48 of IPv6, since they are counted: `count-prefixes: true` in the configuration.
    """
    from fairlead.cli import looking, showing

    sys.exit(looking.sources(socket, most, showing.How(**how)))


ALL = (block, unblock, sources)
