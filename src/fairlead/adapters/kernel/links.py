"""XDP links: attached once, pinned in links/, then only updated: NICs reset when XDP is detached, so a restart never does."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping

from fairlead._native import bpf
from fairlead.adapters.kernel import pins
from fairlead.adapters.kernel.pins import Places
from fairlead.errors import KernelError, Refused
from fairlead.model import Link

XDP = "xdp"
TCX = "probe"
LINKS = (XDP, TCX)


def attach(places: Places, link: Link, program: int, programs: Mapping[int, int], *, generic: bool) -> tuple[str, bool]:
    """Make `program` run on the interface: ("native" or "generic", whether a link of ours was there already).

    `programs` are the known ones by id, for updating a link that runs another of them.
    """
    path = places.link(XDP, link.ifindex)
    replaced = update(path, program, programs)
    if not replaced:
        refuse_foreign(places, link)
        fd = _create(link, program, generic=generic)
        try:
            bpf.pin(fd, path)
        finally:
            os.close(fd)
    found = bpf.xdp_query(link.ifindex)
    if found.program != bpf.program_id(program):
        raise KernelError("attach XDP to", link.name, 0, f"{path} is on an interface of another network namespace")
    return found.mode, replaced


def forget_severed(places: Places) -> None:
    """Unpin the links whose interface has vanished: its number may be given away again."""
    for kind in LINKS:
        for ifindex in places.pinned(kind):
            facts = facts_of(places.link(kind, ifindex))
            if facts is not None and facts.ifindex == 0:
                pins.remove(places.link(kind, ifindex))


def refuse_foreign(places: Places, link: Link) -> None:
    """Refused, naming it, if an XDP program that is not ours is on the interface."""
    found = bpf.xdp_query(link.ifindex)
    ours = places.link(XDP, link.ifindex)
    if found.program and program_of(ours) != found.program:
        name = bpf.program_name(found.program) or "unknown"
        reason = (
            f"{link.name} already has the XDP program `{name}` (id {found.program}, {found.mode} mode): "
            f"remove it with `ip link set dev {link.name} xdp off`, or leave {link.name} out of `interfaces`"
        )
        raise Refused([reason])


def _create(link: Link, program: int, *, generic: bool) -> int:
    """Native where the driver can, else generic."""
    says = []
    for mode, flags in (("native", bpf.XDP_NATIVE), ("generic", bpf.XDP_GENERIC)):
        if generic and mode == "native":
            continue
        try:
            return bpf.link_create(program, link.ifindex, bpf.ATTACH_XDP, flags)
        except KernelError as error:
            says.append(f"{mode}: {os.strerror(error.errno)}")
            last = error
            if error.errno in {errno.EBUSY, errno.EEXIST, errno.ENODEV, errno.EPERM}:
                break
    raise KernelError("attach XDP to", link.name, last.errno, "; ".join(says)) from last


def update(path: str, program: int, programs: Mapping[int, int]) -> bool:
    """Make the pinned link run `program` and read that back.

    False if there is no link, or its interface is gone: it is unpinned then.
    """
    facts = facts_of(path)
    if facts is None:
        return False
    if facts.ifindex == 0:
        pins.remove(path)
        return False
    wanted = bpf.program_id(program)
    if facts.program != wanted and not _swap(path, program, programs.get(facts.program)):
        return False
    after = facts_of(path)
    if after is None or after.program != wanted:
        raise KernelError("read back", path, 0, f"runs program {after.program if after else 0}, not {wanted}")
    return True


def _swap(path: str, program: int, old: int | None) -> bool:
    with pins.opened(path) as fd:
        try:
            bpf.link_update(fd, program, old)
        except KernelError as error:
            if error.errno != errno.ENOLINK:
                raise
            pins.remove(path)  # the interface vanished this moment
            return False
    return True


def facts_of(path: str) -> bpf.LinkFacts | None:
    """What the kernel says of a pinned link, None if there is none."""
    try:
        with pins.opened(path) as fd:
            return bpf.link_facts(fd)
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return None
        raise


def program_of(path: str) -> int:
    """Id of the program that a pinned link runs, 0 for none."""
    facts = facts_of(path)
    return facts.program if facts and facts.ifindex else 0


def detach(path: str) -> bool:
    """Take a pinned link off its interface and unpin it; False if there was none."""
    facts = facts_of(path)
    if facts is None:
        return False
    if facts.ifindex:
        with pins.opened(path) as fd:
            bpf.link_detach(fd)
    pins.remove(path)
    return bool(facts.ifindex)


def forwarding(places: Places) -> list[int]:
    """Indices of the interfaces that a link of ours is on."""
    return [ifindex for ifindex in places.pinned(XDP) if program_of(places.link(XDP, ifindex))]


def attached(places: Places) -> list[tuple[int, str, str]]:
    """(ifindex, name, mode) of every interface that a link of ours is on."""
    return [(ifindex, name_of(ifindex), bpf.xdp_query(ifindex).mode) for ifindex in forwarding(places)]


def name_of(ifindex: int) -> str:
    """The interface's name, or its number where it has none in this network namespace."""
    try:
        return socket.if_indextoname(ifindex)
    except OSError:
        return f"interface {ifindex}"
