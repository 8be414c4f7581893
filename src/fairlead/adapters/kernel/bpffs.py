"""The BPF file system that pins live in: is it one, will it outlive this process, and is nobody else using our directory."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from fairlead._native import bpf
from fairlead.errors import KernelError, Refused


def prepare(root: str) -> None:
    """Make the directory `root` in a BPF file system that outlives this process; Refused with the command that mends it."""
    standing = _standing(root)
    _require_bpffs(standing, root)
    _require_outside(standing)
    try:
        Path(root).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise Refused([f"cannot make {root} in the BPF file system: {error.strerror}"]) from error


def lock(root: str, inherited: int = -1) -> int:
    """A descriptor that holds `root` for this process until it is closed, by whatever end; Refused while another holds it.

    `inherited` is the one by which this process has held it since before it executed itself anew; it is taken over.
    """
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    if inherited >= 0 and os.path.sameopenfile(fd, inherited):
        os.close(fd)
        fd = inherited
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise Refused(
            [f"another fairlead is using {root}: stop it, or give this one a directory of its own with --bpffs"]
        ) from None
    return fd


def lost(root: str, held: int) -> str:
    """Why the directory that we hold a descriptor of is not the one at `root` any more, "" if it is.

    The descriptor keeps the file system and its pins alive, so that a plain umount is refused and a lazy one ends nothing yet.
    """
    ours = os.fstat(held)
    try:
        now = Path(root).stat()
        if (now.st_dev, now.st_ino) == (ours.st_dev, ours.st_ino):
            return ""
    except OSError:
        pass
    return (
        f"the BPF file system of {root} was unmounted: packets flow on for as long as this daemon runs, and no longer; "
        f"`mount -t bpf bpf {Path(root).parent}` and start it anew when it suits (flows begin afresh then)"
    )


def _standing(root: str) -> str:
    """`root` itself or its parent, whichever is there: no deeper path is ever made."""
    for path in (root, str(Path(root).parent)):
        try:
            Path(path).stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise Refused([f"cannot reach {path}: {error.strerror}"]) from error
        return path
    parent = Path(root).parent
    raise Refused([f"there is no {parent}: run `mkdir -p {parent} && mount -t bpf bpf {parent}`"])


def _require_bpffs(path: str, root: str) -> None:
    try:
        found = bpf.file_system(path)
    except KernelError as error:
        raise Refused([f"cannot reach {path}: {os.strerror(error.errno)}"]) from error
    if found != bpf.FILE_SYSTEM:
        mount = path if path != root else str(Path(root).parent)
        hint = (
            " (`ip netns exec` hides the mount of /sys/fs/bpf: use one elsewhere, with --bpffs)"
            if mount.startswith("/sys")
            else ""
        )
        raise Refused([f"{path} is not in a BPF file system: run `mount -t bpf bpf {mount}`{hint}"])


def _require_outside(path: str) -> None:
    """A BPF file system that only this mount namespace has ends with it, and takes pins, links and forwarding along.

    `ip netns exec` and systemd's sandboxing make such namespaces. Where /proc/1 cannot be read the question stays open.
    """
    device = Path(path).stat().st_dev
    outside = _outside()
    if outside is None or f"{os.major(device)}:{os.minor(device)}" in {found for found, _ in outside}:
        return
    mount = _mount_point(path)
    reason = (
        f"the BPF file system at {mount} exists only in the mount namespace of this process and would end with it, "
        f"forwarding too: run `nsenter --mount=/proc/1/ns/mnt mount -t bpf bpf {mount}` before that namespace is made"
    )
    raise Refused([reason])


def require_visible(root: str) -> None:
    """Refused if `root` is missing only because this mount namespace hides the BPF file system that covers it."""
    standing = next(str(path) for path in (Path(root), *Path(root).parents) if path.exists())
    if bpf.file_system(standing) == bpf.FILE_SYSTEM:
        return
    for _, mount in _outside() or []:
        if Path(root).is_relative_to(mount):
            reason = (
                f"the mount namespace of this process hides the BPF file system at {mount}: "
                "run `nsenter --mount=/proc/1/ns/mnt fairlead detach`"
            )
            raise Refused([reason])


def _outside() -> list[tuple[str, str]] | None:
    """(device, mount point) of each BPF file system that process 1 sees (proc(5), mountinfo); None where that cannot be read."""
    try:
        mounts = Path("/proc/1/mountinfo").read_text(errors="replace")
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EPERM, errno.ENOENT}:
            return None
        raise
    fields = (line.split() for line in mounts.splitlines())
    return [(field[2], field[4]) for field in fields if field[field.index("-") + 1] == "bpf"]


def _mount_point(path: str) -> Path:
    places = [Path(path), *Path(path).parents]
    return next(place for place in places if place.is_mount())
