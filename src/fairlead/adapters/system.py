"""Is this machine fit to run Fairlead? Every check answers with sentences, empty when all is well, and changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import resource
import socket
import struct
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib import metadata

from fairlead.model import Address, Config, Link

KERNEL_FLOOR = (5, 15)
BTF = pathlib.Path("/sys/kernel/btf/vmlinux")
NATIVE_ATTACH_HINT = (
    "some drivers drop the link for seconds when a native XDP program is attached "
    "(`--confirm SECONDS` detaches again unless `fairlead confirm` comes in time, `--generic` avoids it)"
)
_NEEDED = {12: "CAP_NET_ADMIN", 38: "CAP_PERFMON", 39: "CAP_BPF"}
_SYS_ADMIN = 21
_INSTANCE = "\0fairlead-instance"  # an abstract address: one for each network namespace, gone with its process


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo: `device` is major:minor."""

    device: str
    point: str
    kind: str


def machine_problems(bpffs: str) -> list[str]:
    """Rights, kernel, BTF and bpffs."""
    return [text for text in (privileges(), kernel(), type_information(), bpf_file_system(bpffs)) if text]


def privileges() -> str:
    """Which capabilities are missing."""
    have = _capabilities()
    missing = [name for bit, name in _NEEDED.items() if not have >> bit & 1]
    if have >> _SYS_ADMIN & 1:  # it includes the newer two (Linux 5.8)
        missing = [name for name in missing if name == "CAP_NET_ADMIN"]
    return f"needs root, or the capabilities it lacks: {', '.join(missing)} (run it with sudo)" if missing else ""


def _capabilities() -> int:
    for line in pathlib.Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def kernel() -> str:
    """Whether the kernel is new enough."""
    release = os.uname().release
    numbers = tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in release.split(".")[:2])
    floor = ".".join(map(str, KERNEL_FLOOR))
    return f"needs Linux {floor} or newer, this is {release}" if numbers < KERNEL_FLOOR else ""


def type_information() -> str:
    """Whether the kernel describes its types."""
    return "" if BTF.exists() else f"needs a kernel with BTF (CONFIG_DEBUG_INFO_BTF=y): {BTF} does not exist"


def bpf_file_system(path: str) -> str:
    """Whether `path` is in a bpffs that outlives this process."""
    real = os.path.realpath(path)
    mount = _mount_of(real, _mounts("self"))
    if mount is None or mount.kind != "bpf":
        mend = "mount -t bpf bpf /sys/fs/bpf" if real.startswith("/sys/fs/bpf") else "mount -t bpf bpf DIRECTORY"
        return f"{path} is not in a BPF file system: {mend}  (and name a directory in it with --bpffs if it is not that one)"
    above = _mounts("1")
    if above and all(m.device != mount.device for m in above):
        return (
            f"{mount.point} is mounted in this mount namespace only; the data plane would vanish with it: "
            f"nsenter --mount --target 1 mount -t bpf bpf {mount.point}  (`ip netns exec` makes such namespaces)"
        )
    return ""


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


def our_link(bpffs: str, ifindex: int) -> bool:
    """Whether a link of ours is pinned for this interface: then the program on it is no stranger.

    True where we may not look: that we need root is said elsewhere, and to advise removing what may be our own would be wrong.
    """
    try:
        return pathlib.Path(bpffs, "links", f"xdp-{ifindex}").exists()
    except PermissionError:
        return True


def ssh_address() -> str:
    """The local address of the ssh session that this process belongs to, "" when there is none."""
    words = os.environ.get("SSH_CONNECTION", "").split()
    return words[2] if len(words) == 4 else ""


def answers(path: str) -> bool:
    """Whether somebody listens on this unix socket."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
        probe.settimeout(2)
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


class Instance:
    """The right to be the one daemon of a network namespace and a socket path; the kernel adapter locks the bpffs directory."""

    def __init__(self) -> None:
        self._name: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def claim(self, path: str, inherited: int = -1) -> list[str]:
        """Claim network namespace and socket path; why not, if somebody else has them. Leaves no trace on the system.

        `inherited` is what `keep` of a run before gave, in this process: then nothing was let go, and it goes on.
        """
        if inherited >= 0:
            self._name = socket.socket(fileno=inherited)
            self._name.setblocking(False)
            return []
        problems = [f"a daemon answers on {path} already"] if answers(path) else []
        name = socket.socket(socket.AF_UNIX)
        try:
            name.bind(_INSTANCE)
            name.listen()
            name.setblocking(False)
        except OSError:
            name.close()
            return [*problems, f"another fairlead runs in this network namespace{_owner()}"]
        self._name = name
        return problems

    def serve(self) -> None:
        """Let those who connect to learn our process id go again, for as long as the running event loop does."""
        assert self._name is not None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._name, self._answer, self._name)

    @staticmethod
    def _answer(name: socket.socket) -> None:
        with contextlib.suppress(OSError):
            name.accept()[0].close()

    def keep(self) -> int:
        """A second descriptor of the claim, which stands for as long as either is open."""
        assert self._name is not None
        return os.dup(self._name.fileno())

    def release(self) -> None:
        """Give both back."""
        if self._name is not None:
            if self._loop is not None:
                self._loop.remove_reader(self._name)
            self._name.close()
        self._name = None


def _owner() -> str:
    """` (process 123)`, as far as the kernel says."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as asking:
        asking.settimeout(1)
        try:
            asking.connect(_INSTANCE)
            pid, _, _ = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        except OSError:
            return ""
        return f" (process {pid})"


def version() -> str:
    """The version of the installed package."""
    try:
        return metadata.version("fairlead")
    except metadata.PackageNotFoundError:  # run from a source tree
        return "0+source"


def reloading() -> str:
    """What to notify of before a reload, with the time that a late message is known by (sd_notify(3)); `READY=1` ends it."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def notify(state: str) -> None:
    """Tell the service manager (sd_notify(3)); nothing happens where there is none."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as out, contextlib.suppress(OSError):
        out.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


def raise_file_limit() -> None:
    """Take as many file descriptors as are allowed: each probe under way is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def interface_problems(names: Sequence[str], links: Sequence[Link], bpffs: str) -> list[str]:
    """What keeps Fairlead from running on these interfaces."""
    if not names:
        return ["no interface is named: give one on the command line, or `interfaces:` in the configuration"]
    known = {link.name: link for link in links}
    there = ", ".join(sorted(set(known) - {"lo"})) or "none"
    problems = []
    for name in names:
        link = known.get(name)
        if link is None:
            problems.append(f"there is no interface {name}; there are: {there}")
        elif not link.mac:
            problems.append(f"{name} has no MAC address: it does not carry Ethernet frames")
        elif link.foreign_xdp and not our_link(bpffs, link.ifindex):
            problems.append(
                f"{name} already runs an XDP program that is not Fairlead's, id {link.foreign_xdp}: "
                f"ip link set dev {name} xdp off  (if nobody needs it)"
            )
    return problems


def address_problems(config: Config, own: Collection[Address], here: Collection[Address]) -> list[str]:
    """Whether probes and BGP have an address to speak from: `own` are those of our interfaces, `here` all of this machine."""
    problems = []
    for version, given, key in ((4, config.address, "address"), (6, config.address6, "address6")):
        served = any(vip.version == version for vip in config.vips())
        if not served or any(a.version == version and not a.is_link_local for a in own):
            continue
        if given is None:
            problems.append(f"no address: the interface has no IPv{version} address for probes to come from; set `{key}:`")
        elif given not in here:
            problems.append(f"{key} {given} is not an address of this machine, and the interface has no IPv{version} address")
    if config.peers and config.address is None and not any(a.version == 4 for a in own):
        problems.append("no address: BGP needs an IPv4 address as router id; set `address:`")
    return problems


def vip_problem(vip: Address, *, local: bool, error: str) -> str:
    """Why this VIP cannot be served, "" if it can: `local` and `error` are what a route look-up for it says."""
    if local:
        return (
            f"VIP {vip} is an address of this machine: it would cut off what listens there; remove it (ip address show to {vip})"
        )
    if "blackhole" in error or "unreachable" in error or "prohibited" in error:
        return f"VIP {vip} cannot be probed, {error}: remove that route from the main table (ip route get {vip})"
    return ""
