"""Interfaces that frames may be redirected to: the devmap `ports` of each generation, at (ifindex mod INTERFACE_ROWS).

Every attached interface stands there, in every generation that a link may still run. The kernel itself empties the place of an
interface that vanishes (NETDEV_UNREGISTER, kernel/bpf/devmap.c).
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress

from fairlead._native import bpf
from fairlead.adapters.kernel import pins
from fairlead.adapters.kernel.pins import Places
from fairlead.adapters.kernel.tables import LAYOUT
from fairlead.errors import KernelError, Refused

NAME = "ports"


def place(ifindex: int) -> int:
    """The entry of an interface."""
    return ifindex % LAYOUT.constants["INTERFACE_ROWS"]


def fill(fd: int, interfaces: Iterable[int]) -> None:
    """Enter interfaces into one devmap; one that has just vanished is left out."""
    for ifindex in interfaces:
        try:
            bpf.map_put(fd, place(ifindex), ifindex)
        except KernelError as error:
            if error.errno != errno.EINVAL or _exists(ifindex):
                raise


def _exists(ifindex: int) -> bool:
    with suppress(OSError):
        return bool(socket.if_indextoname(ifindex))
    return False


def _maps(places: Places) -> Iterator[int]:
    """Descriptors of the devmaps of all generations, each open for one turn."""
    for number in places.generations():
        directory = places.generation(number)
        if NAME in pins.entries(directory):
            with pins.opened(f"{directory}/{NAME}") as fd:
                yield fd


def require_free(places: Places, ifindex: int, name: str) -> None:
    """Refused if an attached interface has the place that this one needs: their numbers are 1,024 apart, or a multiple of it."""
    for fd in _maps(places):
        there = bpf.map_take(fd, place(ifindex)) or ifindex
        if there != ifindex:
            reason = (
                f"{name} (interface {ifindex}) and interface {there} would have the same place in Fairlead's tables: "
                "give one of them another number by creating it anew, or leave it out of `interfaces`"
            )
            raise Refused([reason])


def add(places: Places, ifindex: int) -> None:
    """Let every generation redirect to an interface."""
    for fd in _maps(places):
        fill(fd, [ifindex])


def remove(places: Places, ifindex: int) -> None:
    """Let no generation redirect to an interface any more."""
    for fd in _maps(places):
        if bpf.map_take(fd, place(ifindex)) == ifindex:
            bpf.map_drop(fd, place(ifindex))


def of(places: Places, number: int) -> list[int]:
    """The interfaces that one generation redirects to."""
    with pins.opened(f"{places.generation(number)}/{NAME}") as fd:
        found = (bpf.map_take(fd, index) for index in range(LAYOUT.constants["INTERFACE_ROWS"]))
        return sorted(ifindex for ifindex in found if ifindex)
