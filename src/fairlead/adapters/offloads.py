"""Offloads that break XDP: switched off while Fairlead is on an interface, and put back when it goes.

Large receive offload joins segments into frames that no program can send on, and drivers refuse XDP with it; a tag that the NIC
has stripped is nowhere in the frame. A veth that sends keeps the tag beside the frame too, and a peer that runs XDP loses it.

What was on is written down before it is switched off, in a file that outlives the daemon. Its entries hold for one boot, one
network namespace and one interface index: an interface that was made anew has its own defaults again.
"""

from __future__ import annotations

import array
import fcntl
import json
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fairlead.errors import KernelError

DIRECTORY = "/var/lib/fairlead"
FILE = "offloads.json"
# Names as ethtool(8) has them; bits of ETHTOOL_GFLAGS (linux/ethtool.h).
FLAGS = {"lro": 1 << 15, "rxvlan": 1 << 8, "txvlan": 1 << 7}
_SIOCETHTOOL = 0x8946
_GET_DRIVER, _GET_FLAGS, _SET_FLAGS = 0x03, 0x25, 0x26
_DRIVER_BYTES = 196
_BOOT = Path("/proc/sys/kernel/random/boot_id")

# "NAMESPACE/IFINDEX" -> what was on.
Entries = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was switched off, and a sentence for each that could not be."""

    off: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class Offloads:
    """The interfaces of this network namespace. Blocking; KernelError if the file cannot be written or an interface not asked."""

    def __init__(self, directory: str = DIRECTORY) -> None:
        self._directory = Path(directory)

    def prepare(self, name: str) -> Prepared:
        """Switch off what is on and breaks XDP. Call it before XDP is attached: a driver may reset for it."""
        wanted = switched_on(name) & harmful(name)
        if not wanted:
            return Prepared()
        with self._entries() as entries:
            known = entries.setdefault(_key(name), [])
            known[:] = sorted({*known, *wanted})
        for each in sorted(wanted):
            with suppress(KernelError):  # fixed by the driver: it is still on below
                switch(name, each, on=False)
        left = switched_on(name) & wanted
        problems = (f"{name}: its driver keeps {each} on, which breaks XDP" for each in sorted(left))
        return Prepared(tuple(sorted(wanted - left)), tuple(problems))

    def restore(self, name: str = "") -> list[str]:
        """Put back what `prepare` switched off, on one interface or on all of them; a sentence for each."""
        if not (self._directory / FILE).exists():
            return []
        done: list[str] = []
        with self._entries() as entries:
            for key in [key for key in entries if key.startswith(f"{_namespace()}/")]:
                present = _name_of(int(key.rpartition("/")[2]))
                if name in {"", present}:
                    done += _restored(present, entries.pop(key))
        return done

    @contextmanager
    def _entries(self) -> Iterator[Entries]:
        """Every entry of this boot; what the block makes of them is written, whole or not at all."""
        path = self._directory / FILE
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise KernelError("open", str(self._directory), error.errno or 0, error.strerror or "") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            entries = _read(path)
            yield entries
            _write(path, entries)
            os.fsync(lock)
        except OSError as error:
            raise KernelError("write", str(path), error.errno or 0, error.strerror or "") from error
        finally:
            os.close(lock)


def _read(path: Path) -> Entries:
    """What is written down, nothing if it is of another boot: interfaces have started with their defaults since."""
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise KernelError("read", str(path), 0, f"it is damaged ({error}): remove it") from error
    return found["interfaces"] if found.get("boot") == _BOOT.read_text().strip() else {}


def _write(path: Path, entries: Entries) -> None:
    """Contents first, then the name: a crash leaves the old file or the new one."""
    text = json.dumps({"boot": _BOOT.read_text().strip(), "interfaces": entries}, indent=1)
    fresh = path.with_suffix(".new")
    with fresh.open("w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)


def _restored(name: str, offloads: list[str]) -> list[str]:
    """Switch offloads on again; nothing to do for an interface that is gone."""
    said = []
    for each in offloads if name else []:
        try:
            switch(name, each, on=True)
            said.append(f"switched {each} of {name} on again")
        except KernelError as error:
            said.append(f"could not switch {each} of {name} on again: {error.says}")
    return said


def _namespace() -> int:
    return Path("/proc/self/ns/net").stat().st_ino


def _key(name: str) -> str:
    return f"{_namespace()}/{socket.if_nametoindex(name)}"


def _name_of(ifindex: int) -> str:
    with suppress(OSError):
        return socket.if_indextoname(ifindex)
    return ""


def harmful(name: str) -> set[str]:
    """Which of FLAGS break XDP on this interface."""
    return set(FLAGS) if driver(name) == "veth" else {"lro", "rxvlan"}


def driver(name: str) -> str:
    """The interface's driver, "" where it does not say."""
    try:
        found = _ethtool(name, struct.pack(f"=I{_DRIVER_BYTES - 4}x", _GET_DRIVER))
    except KernelError:
        return ""
    return found[4:36].split(b"\0")[0].decode(errors="replace")


def switched_on(name: str) -> set[str]:
    """Which of FLAGS are on."""
    _, found = struct.unpack("=II", _ethtool(name, struct.pack("=II", _GET_FLAGS, 0)))
    return {each for each, bit in FLAGS.items() if found & bit}


def switch(name: str, offload: str, *, on: bool) -> None:
    """Switch one of FLAGS; KernelError if the driver does not let it be."""
    _, found = struct.unpack("=II", _ethtool(name, struct.pack("=II", _GET_FLAGS, 0)))
    wanted = found | FLAGS[offload] if on else found & ~FLAGS[offload]
    _ethtool(name, struct.pack("=II", _SET_FLAGS, wanted))


def _ethtool(name: str, request: bytes) -> bytes:
    """One SIOCETHTOOL call (netdevice(7)); the answer stands where the request stood."""
    data = array.array("B", request)
    packed = struct.pack("16sP16x", name.encode(), data.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            fcntl.ioctl(sock, _SIOCETHTOOL, packed)
        except OSError as error:
            raise KernelError("ask the driver of", name, error.errno or 0, error.strerror or "") from error
    return data.tobytes()
