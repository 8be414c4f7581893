"""The probe program at tc egress: a pinned tcx link (Linux 6.6), before that a filter in clsact. What others put there stays.

A filter is found again by two empty directories: links/filter-IFINDEX says that the filter is ours, links/clsact-IFINDEX that the
qdisc is too; each is made before the thing itself, so that a crash leaves nothing that detach does not find.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress

from fairlead._native import bpf
from fairlead.adapters.kernel import links, pins
from fairlead.adapters.kernel.links import TCX
from fairlead.adapters.kernel.pins import Places
from fairlead.errors import KernelError, Refused
from fairlead.model import Link

FILTER = "filter"
CLSACT = "clsact"
HANDLE = 1
PRIORITY = 0xFA1


def attach(places: Places, link: Link, program: int, programs: Mapping[int, int], *, tcx: bool = True) -> None:
    """Make `program` run on what the interface sends; `tcx=False` takes the older kernels' way.

    Refused where another filter has our place; next to others ours is welcome.
    """
    path = places.link(TCX, link.ifindex)
    if links.update(path, program, programs):
        return
    if not tcx or places.link(FILTER, link.ifindex) in _directories(places):
        _attach_filter(places, link, program)
        return
    try:
        fd = bpf.link_create(program, link.ifindex, bpf.ATTACH_TCX_EGRESS)
    except KernelError as error:
        if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP}:
            raise
        _attach_filter(places, link, program)  # the kernel does not know tcx
        return
    try:
        bpf.pin(fd, path)
    finally:
        os.close(fd)


def _directories(places: Places) -> list[str]:
    return [places.link(FILTER, ifindex) for ifindex in places.pinned(FILTER)]


def _attach_filter(places: Places, link: Link, program: int) -> None:
    mine = places.link(FILTER, link.ifindex)
    there = bpf.filter_query(link.ifindex, HANDLE, PRIORITY)
    if there and mine not in _directories(places):
        name = bpf.program_name(there) or "unknown"
        raise Refused([f"{link.name} already has the tc egress program `{name}` (id {there}) at priority {PRIORITY}, our place"])
    _ensure_clsact(places, link.ifindex)
    pins.make_directory(mine)
    bpf.filter_attach(link.ifindex, program, HANDLE, PRIORITY, replace=bool(there))


def _ensure_clsact(places: Places, ifindex: int) -> None:
    mine = places.link(CLSACT, ifindex)
    known = ifindex in places.pinned(CLSACT)
    pins.make_directory(mine)
    try:
        bpf.clsact_create(ifindex)
    except KernelError as error:
        if not known:
            pins.remove(mine)
        if error.errno != errno.EEXIST:
            raise


def update(places: Places, program: int, programs: Mapping[int, int]) -> None:
    """Make every probe link and filter of ours run `program`."""
    for ifindex in places.pinned(TCX):
        links.update(places.link(TCX, ifindex), program, programs)
    for ifindex in places.pinned(FILTER):
        if bpf.filter_query(ifindex, HANDLE, PRIORITY):
            bpf.filter_attach(ifindex, program, HANDLE, PRIORITY, replace=True)


def running(places: Places) -> set[int]:
    """Ids of the programs that our probe links and filters run."""
    found = {links.program_of(places.link(TCX, ifindex)) for ifindex in places.pinned(TCX)}
    found |= {bpf.filter_query(ifindex, HANDLE, PRIORITY) for ifindex in places.pinned(FILTER)}
    return found - {0}


def detach(places: Places, ifindex: int) -> bool:
    """Take the probe program off an interface; the clsact qdisc goes too if it is ours and holds nothing else."""
    done = links.detach(places.link(TCX, ifindex))
    if ifindex in places.pinned(FILTER):
        if bpf.filter_query(ifindex, HANDLE, PRIORITY):
            bpf.filter_detach(ifindex, HANDLE, PRIORITY)
            done = True
        pins.remove(places.link(FILTER, ifindex))
    if ifindex in places.pinned(CLSACT):
        with suppress(KernelError, OSError):  # the interface is gone, and the qdisc with it
            if not filters_on(ifindex):
                bpf.clsact_destroy(ifindex)
        pins.remove(places.link(CLSACT, ifindex))
    return done


def filters_on(ifindex: int) -> int:
    """How many filters the interface's clsact qdisc holds, both directions."""
    return sum(_dump_filters(ifindex, parent) for parent in (0xFFFFFFF2, 0xFFFFFFF3))


def _dump_filters(ifindex: int, parent: int) -> int:
    """RTM_GETTFILTER dump (rtnetlink(7)): libbpf can only ask for one handle."""
    new, ask, request_dump, done, failed = 44, 46, 0x301, 3, 2
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as sock:
        sock.send(struct.pack("=IHHIIBxxxiIII", 36, ask, request_dump, 1, 0, 0, ifindex, 0, parent, 0))
        found = 0
        while True:
            data = sock.recv(1 << 16)
            while data:
                length, kind = struct.unpack_from("=IH", data)
                if kind in {done, failed}:
                    return found
                # a cls_bpf instance is told twice, once without a handle: tcm_handle is at byte 24
                found += kind == new and struct.unpack_from("=I", data, 24)[0] != 0
                data = data[(length + 3) & ~3 :]
