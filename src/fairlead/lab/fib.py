"""From GoBGP's decisions to the kernel's routes, as zebra would: every path of a prefix is a next hop of one route.

A program for the inside of a router, standard library only: `python3 fib.py GOBGP`, the command that asks its GoBGP. With
`use-multiple-paths` each line of `monitor global rib` has all paths of each prefix that it is about.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

ATTRIBUTE_NEXT_HOP, ATTRIBUTE_MP_REACH = 3, 14  # RFC 4271 section 5.1.3, RFC 4760
AGAIN = 0.1  # seconds until GoBGP, which is just starting, is asked again


def hops(line: str) -> dict[str, list[str]]:
    """Prefix -> next hops, none where it is withdrawn."""
    found: dict[str, list[str]] = {}
    for path in json.loads(line):
        there = found.setdefault(path["nlri"]["prefix"], [])
        if not path.get("withdrawal"):
            there.append(_next_hop(path["attrs"]))
    return found


def _next_hop(attributes: Iterable[dict[str, Any]]) -> str:
    return str(next(a["nexthop"] for a in attributes if a["type"] in (ATTRIBUTE_NEXT_HOP, ATTRIBUTE_MP_REACH)))


def command(prefix: str, via: Iterable[str]) -> list[str]:
    """What makes it so in the kernel."""
    family = ["ip", "-6" if ":" in prefix else "-4", "route"]
    ways = [word for hop in sorted(set(via)) for word in ("nexthop", "via", hop)]
    return [*family, "replace", prefix, "proto", "bgp", *ways] if ways else [*family, "del", prefix, "proto", "bgp"]


def lines(gobgp: str) -> Iterator[str]:
    """What GoBGP decides from now on, and what it has decided before."""
    while True:
        argv = [gobgp, "monitor", "global", "rib", "-j", "--current"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as monitor:
            assert monitor.stdout is not None
            yield from (line for line in monitor.stdout if line.startswith("["))
        time.sleep(AGAIN)


def main(gobgp: str) -> None:
    """Until it is killed."""
    for family in ("-4", "-6"):
        subprocess.run(["ip", family, "route", "flush", "proto", "bgp"], check=False)
    for line in lines(gobgp):
        for prefix, via in hops(line).items():
            subprocess.run(command(prefix, via), check=False)


if __name__ == "__main__":
    main(sys.argv[1])
