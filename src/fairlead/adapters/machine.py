"""Facts about the kernel and this process that `core/doctor.py` judges. Everything here only reads."""

from __future__ import annotations

import ctypes
import os
import pathlib
import pwd
import resource
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from fairlead.model import Address
from fairlead.model.machine import BpfFileSystem, Clock, Machine

BTF = pathlib.Path("/sys/kernel/btf/vmlinux")
_LOCKDOWN = pathlib.Path("/sys/kernel/security/lockdown")
_JIT = pathlib.Path("/proc/sys/net/core/bpf_jit_enable")
_RTC = pathlib.Path("/sys/class/rtc/rtc0/since_epoch")
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_LISTEN = "0A"  # /proc/net/tcp
_GENERIC, _CONTROL, _GET_FAMILY, _FAMILY_NAME, _FAMILY_ID = 16, 16, 3, 2, 1  # linux/netlink.h, linux/genetlink.h
_DEV_GET, _DEV_IFINDEX, _DEV_XDP_FEATURES = 1, 1, 3  # linux/netdev.h
_REQUEST, _ERROR = 1, 2


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo: `device` is major:minor."""

    device: str
    point: str
    kind: str


@dataclass(frozen=True, slots=True)
class Listener:
    """A TCP socket that takes connections: on which address, and which socket it is."""

    address: Address
    inode: int


def read(bpffs: str, state: str) -> Machine:
    """This machine now. `bpffs` is the directory for pins, `state` that for what outlives a boot."""
    return Machine(
        release=os.uname().release,
        btf=BTF.exists(),
        capabilities=capabilities(),
        bpffs=bpf_file_system(bpffs),
        clock=_clock(state),
        descriptors=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        user=_user(),
        lockdown=_chosen(_text(_LOCKDOWN)),
        jit=None if not _JIT.exists() else _text(_JIT) != "0",
    )


def capabilities() -> int:
    """The effective ones of this process, a bit for each number in linux/capability.h."""
    for line in pathlib.Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def bpf_file_system(path: str) -> BpfFileSystem:
    """Whether `path` is in a bpffs, whether that outlives this process, and whether we may make things there."""
    mount = _mount_of(os.path.realpath(path), _mounts("self"))
    if mount is None or mount.kind != "bpf":
        return BpfFileSystem(path)
    above = _mounts("1")
    where = path if _exists(path) else str(pathlib.Path(os.path.realpath(path)).parent)
    return BpfFileSystem(
        path,
        mount.point,
        outlives=not above or any(m.device == mount.device for m in above),
        writable=os.access(where, os.W_OK | os.X_OK, effective_ids=True),
        passable=os.access(mount.point, os.X_OK, effective_ids=True),
    )


def _exists(path: str) -> bool:
    try:
        pathlib.Path(path).stat()
    except FileNotFoundError:
        return False
    except OSError:
        pass
    return True


def _mounts(process: str) -> list[Mount]:
    try:
        text = pathlib.Path(f"/proc/{process}/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    found = []
    for fields, _, kind in (line.partition(" - ") for line in text.splitlines()):
        words = fields.split()
        found.append(Mount(words[2], words[4].replace("\\040", " "), kind.split()[0]))
    return found


def _mount_of(path: str, mounts: Sequence[Mount]) -> Mount | None:
    inside = [m for m in mounts if path == m.point or path.startswith(m.point.rstrip("/") + "/")]
    longest = max((len(m.point) for m in inside), default=0)
    return [m for m in inside if len(m.point) == longest][-1] if inside else None  # the last mount hides the ones below


def _clock(state: str) -> Clock:
    hardware = _text(_RTC)
    stamps: list[float] = []
    with suppress(OSError):
        stamps = [entry.stat(follow_symlinks=False).st_mtime for entry in os.scandir(state)]
    at = time.time()
    return Clock(at, _synchronised(), float(hardware) if hardware.isdigit() else None, max(stamps, default=None))


def _synchronised() -> bool | None:
    """What the kernel thinks of its own clock; an empty `struct timex` changes nothing. None where asking is forbidden."""
    state = int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)))
    return None if state < 0 else state != _TIME_ERROR


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _text(path: pathlib.Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="ascii", errors="replace").strip()
    return ""


def _chosen(text: str) -> str:
    """The word in brackets: `none [integrity] confidentiality`."""
    return text.partition("[")[2].partition("]")[0]


def listeners(port: int) -> list[Listener]:
    """Who in this network namespace listens on this TCP port."""
    lines = [line for name in ("tcp", "tcp6") for line in _text(pathlib.Path("/proc/self/net", name)).splitlines()[1:]]
    found = []
    for words in map(str.split, lines):
        address, _, number = words[1].partition(":")
        if int(number, 16) == port and words[3] == _LISTEN:
            found.append(Listener(_socket_address(address), int(words[9])))
    return found


def _socket_address(text: str) -> Address:
    """Of /proc/net/tcp: numbers of 32 bits in host order, printed in hexadecimal, that hold octets in network order."""
    data = b"".join(struct.pack("=I", int(text[i : i + 8], 16)) for i in range(0, len(text), 8))
    return IPv4Address(data) if len(data) == 4 else IPv6Address(data)


def sockets(pid: int | None) -> set[int]:
    """The inodes of the sockets that a process has open; none where there is no such process, or we may not look."""
    found: set[int] = set()
    if pid is None:
        return found
    with suppress(OSError):
        for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                name = str(entry.readlink())
                if name.startswith("socket:["):
                    found.add(int(name[8:-1]))
    return found


def queues(name: str) -> int:
    """How many receive queues an interface has, 0 where it does not say."""
    with suppress(OSError):
        return sum(entry.name.startswith("rx-") for entry in pathlib.Path("/sys/class/net", name, "queues").iterdir())
    return 0


def xdp_features(ifindex: int) -> int | None:
    """What the driver says it can do with XDP: bits of enum netdev_xdp_act; None where the kernel does not know (before 6.3)."""
    with suppress(OSError), closing(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _GENERIC)) as ask:
        ask.settimeout(2)
        family = _ask(ask, _CONTROL, _GET_FAMILY, _FAMILY_NAME, b"netdev\0").get(_FAMILY_ID)
        if family:
            device = _ask(ask, struct.unpack("=H", family)[0], _DEV_GET, _DEV_IFINDEX, struct.pack("=I", ifindex))
            found = device.get(_DEV_XDP_FEATURES)
            return struct.unpack("=Q", found)[0] if found else None
    return None


def _ask(ask: socket.socket, family: int, command: int, attribute: int, value: bytes) -> dict[int, bytes]:
    """One generic netlink question with one attribute; the attributes of the answer, none after an error."""
    said = struct.pack("=HH", 4 + len(value), attribute) + value
    body = struct.pack("=BBH", command, 1, 0) + said + bytes(-len(said) % 4)
    ask.send(struct.pack("=IHHII", 16 + len(body), family, _REQUEST, 1, 0) + body)
    answer = ask.recv(65536)
    _, kind = struct.unpack_from("=IH", answer)
    return {} if kind == _ERROR else dict(_attributes(answer[20 : struct.unpack_from("=I", answer)[0]]))


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            return
        yield kind & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]
