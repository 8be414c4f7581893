"""Taking everything down, without a daemon and without a config: what is pinned says what is there."""

from __future__ import annotations

from pathlib import Path

from fairlead.adapters.kernel import bpffs as file_system
from fairlead.adapters.kernel import egress, links, pins
from fairlead.adapters.kernel.pins import Places
from fairlead.errors import KernelError


def detach_all(bpffs: str) -> list[str]:
    """Detach our XDP and tc programs from every interface and remove every pin; one sentence for each thing done.

    Pins that are not ours stay, and the directory with them. KernelError if something could not be detached, Refused if this
    mount namespace hides the pins.
    """
    places = Places(bpffs)
    if not Path(bpffs).is_dir():
        file_system.require_visible(bpffs)
        return []
    done = []
    for ifindex in places.pinned(links.XDP):
        if links.detach(places.link(links.XDP, ifindex)):
            done.append(f"detached XDP from {links.name_of(ifindex)}")
    for ifindex in _probed(places):
        if egress.detach(places, ifindex):
            done.append(f"detached the probe program from {links.name_of(ifindex)}")
    return done + _remove_pins(places)


def _probed(places: Places) -> list[int]:
    found = {ifindex for kind in (links.TCX, egress.FILTER, egress.CLSACT) for ifindex in places.pinned(kind)}
    return sorted(found)


def _remove_pins(places: Places) -> list[str]:
    try:
        for path in places.known():
            pins.remove(path)
        left = pins.entries(places.root)
        if left:
            return [f"left {places.root}: it holds {', '.join(left)}, which Fairlead did not put there"]
        Path(places.root).rmdir()
    except OSError as error:
        raise KernelError("remove", error.filename or places.root, error.errno or 0, error.strerror or "") from error
    return [f"removed {places.root}"]
