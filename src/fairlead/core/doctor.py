"""Is this machine fit to run Fairlead? Facts in, findings out: what is well, what works less well, what does not work; and how
to mend it. `fairlead doctor` shows them all, a start is refused on those that fail.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from fairlead.model import Address, Config, Link
from fairlead.model.machine import BpfFileSystem, Clock, Finding, Level, Machine, Nic

KERNEL_FLOOR = (5, 15)
# The largest IP packet that fits with Ethernet and VLAN headers, XDP's headroom (256) and skb_shared_info (320) into one page of
# 4,096 octets, as drivers want it of programs that take one buffer only. Some stop at less: they have 2 or 3 KiB for a packet.
PAGE_MTU = 3498
# Bits of enum netdev_xdp_act (linux/netdev.h).
XDP_BASIC, XDP_TRANSMIT = 1 << 0, 1 << 2
STRICT = 1  # rp_filter: answers must arrive where a packet to their source would leave
JUMP = 60.0  # seconds by which two clocks may differ

_SYS_ADMIN, _NET_RAW = 21, 13
_NEEDED = {12: "CAP_NET_ADMIN", 38: "CAP_PERFMON", 39: "CAP_BPF"}
_RAW_CHECKS = frozenset(["syn", "icmp"])
_SUDO = "run it with sudo, or as the systemd unit does"


def ok(topic: str, says: str) -> Finding:
    """Nothing to do."""
    return Finding(Level.OK, topic, says)


def warn(topic: str, says: str, mend: str = "") -> Finding:
    """It works, but less well than it could."""
    return Finding(Level.WARN, topic, says, mend)


def fail(topic: str, says: str, mend: str = "") -> Finding:
    """It does not work like this."""
    return Finding(Level.FAIL, topic, says, mend)


def worst(findings: Collection[Finding]) -> Level:
    """The verdict over all of them."""
    levels = {finding.level for finding in findings}
    return next((level for level in (Level.FAIL, Level.WARN) if level in levels), Level.OK)


def refusals(findings: Collection[Finding]) -> list[str]:
    """Those that keep Fairlead from starting, as sentences."""
    return [str(finding) for finding in findings if finding.level is Level.FAIL]


# ---------------------------------------------------------------------------------------------------------------------- machine


def machine(found: Machine, config: Config | None = None) -> list[Finding]:
    """The kernel and the rights of this process. With a configuration also what that one needs of them."""
    findings = [rights(found.capabilities, config), kernel(found.release), type_information(found.btf)]
    findings += [bpf_file_system(found.bpffs, found.user), lockdown(found.lockdown)]
    findings += [compiler(jit=found.jit)] if found.jit is not None else []
    findings += clock(found.clock)
    return findings + ([descriptors(found.descriptors, config)] if config else [])


def rights(capabilities: int, config: Config | None = None) -> Finding:
    """Which capabilities are missing, and what for."""
    missing = [name for bit, name in _NEEDED.items() if not capabilities >> bit & 1]
    if capabilities >> _SYS_ADMIN & 1:  # it includes the newer two (Linux 5.8)
        missing = [name for name in missing if name == "CAP_NET_ADMIN"]
    if missing:
        return fail("rights", f"needs root, or the capabilities it lacks: {', '.join(missing)}", _SUDO)
    asking = {check.type for service in config.services for check in service.checks} if config else set()
    if asking & _RAW_CHECKS and not capabilities >> _NET_RAW & 1:
        kinds = " and ".join(sorted(asking & _RAW_CHECKS))
        return fail("rights", f"{kinds} checks need the capability that it lacks: CAP_NET_RAW", _SUDO)
    return ok("rights", "every capability that is needed is there")


def kernel(release: str) -> Finding:
    """Whether the kernel is new enough."""
    numbers = tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in release.split(".")[:2])
    floor = ".".join(map(str, KERNEL_FLOOR))
    if numbers < KERNEL_FLOOR:
        return fail("kernel", f"needs Linux {floor} or newer, this is {release}", "install and boot a newer kernel")
    return ok("kernel", f"Linux {release}")


def type_information(there: bool) -> Finding:
    """Whether the kernel describes its types."""
    if not there:
        says = "needs a kernel with BTF, and /sys/kernel/btf/vmlinux does not exist"
        return fail("btf", says, "boot a kernel that was built with CONFIG_DEBUG_INFO_BTF=y")
    return ok("btf", "the kernel describes its types")


def bpf_file_system(found: BpfFileSystem, user: str = "root") -> Finding:
    """Whether what is pinned outlives this process."""
    if not found.point:
        where = "/sys/fs/bpf" if found.path.startswith("/sys/fs/bpf") else "DIRECTORY"
        extra = "  (and name a directory in it with --bpffs if it is not that one)"
        return fail("bpffs", f"{found.path} is not in a BPF file system", f"mount -t bpf bpf {where}{extra}")
    if not found.outlives:
        says = f"{found.point} is mounted in this mount namespace only; the data plane would vanish with it"
        extra = "  (`ip netns exec` makes such namespaces)"
        return fail("bpffs", says, f"nsenter --mount --target 1 mount -t bpf bpf {found.point}{extra}")
    if not found.writable:
        mend = f"{'' if found.passable else f'sudo chmod a+x {found.point} && '}sudo install -d -o {user} -m 0700 {found.path}"
        return fail("bpffs", f"{user} may not pin anything in {found.path}", mend)
    return ok("bpffs", f"{found.path} is in the BPF file system at {found.point}")


def lockdown(mode: str) -> Finding:
    """Lockdown for confidentiality refuses BPF programs that read the kernel's memory; ours read packets and their own tables."""
    if mode == "confidentiality":
        says = "the kernel is locked down for confidentiality, with which Fairlead was never tried"
        return warn("lockdown", says, "boot with lockdown=integrity if the programs are refused")
    return ok("lockdown", f"the kernel's lockdown is {mode}" if mode else "the kernel has no lockdown, or does not show it")


def compiler(*, jit: bool) -> Finding:
    """Interpreted programs work, too."""
    if not jit:
        return warn("jit", "BPF programs are interpreted, and slow", "sysctl -w net.core.bpf_jit_enable=1")
    return ok("jit", "BPF programs are compiled")


def clock(found: Clock) -> list[Finding]:
    """Nothing is decided by the wall clock, but everything that is said of the past is."""
    findings = []
    if found.newest is not None and found.newest > found.at + JUMP:
        says = f"the clock was set back by {_span(found.newest - found.at)} or more since Fairlead last wrote a file"
        findings.append(warn("clock", f"{says}; times in status and log contradict each other", "timedatectl"))
    ahead = found.at - found.hardware if found.hardware is not None else 0.0
    if min(ahead % 900, -ahead % 900) > JUMP:  # whole quarters of an hour: the hardware keeps local time
        says = f"the clock is {_span(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} the hardware's: one of them jumped"
        findings.append(warn("clock", says, "timedatectl set-ntp true, then hwclock --systohc"))
    if found.synchronised is False:
        says = "the clock is not synchronised: times in status and log will not match those of other machines"
        findings.append(warn("clock", says, "timedatectl set-ntp true, or install chrony"))
    return findings or [ok("clock", "the clock is synchronised" if found.synchronised else "the clock may not be asked")]


def _span(seconds: float) -> str:
    for many, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * many:
            return f"{seconds / many:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def descriptors(most: int, config: Config) -> Finding:
    """Each probe under way is an open file. Those that services share are counted more than once: to see that takes too long."""
    asked = sum(len(service.checks) * len(service.backends) for service in config.services)
    needed = asked + 256  # and those that the daemon has without any
    if 0 <= most < needed:
        says = f"{asked} probes may be under way at once, but only {most} files may be open"
        return warn("files", says, f"ulimit -Hn {needed}  (LimitNOFILE={needed} in the systemd unit)")
    return ok("files", f"{asked} probes may be under way at once, there is room for all")


# ------------------------------------------------------------------------------------------------------------------- interfaces


def interfaces(names: Sequence[str], links: Sequence[Link], ours: Collection[int]) -> list[Finding]:
    """What keeps Fairlead from running on these interfaces. `ours` are the indices of those that a program of ours is on."""
    if not names:
        mend = "give one on the command line, or `interfaces:` in the configuration"
        return [fail("interface", "no interface is named", mend)]
    known = {link.name: link for link in links}
    there = ", ".join(sorted(set(known) - {"lo"})) or "none"
    return [_interface(name, known.get(name), there, ours) for name in names]


def _interface(name: str, link: Link | None, there: str, ours: Collection[int]) -> Finding:
    if link is None:
        return fail("interface", f"there is no interface {name}; there are: {there}")
    if not link.mac:
        return fail("interface", f"{name} does not carry Ethernet frames, as it has no MAC address")
    if link.ifindex in ours:
        return ok("program", f"{name} runs Fairlead's XDP program, or what is on it may not be seen")
    if link.foreign_xdp:
        says = f"{name} already runs an XDP program that is not Fairlead's, id {link.foreign_xdp}"
        return fail("program", says, f"ip link set dev {name} xdp off  (if nobody needs it)")
    return ok("program", f"{name} has no XDP program of anybody else")


def nic(found: Nic, cpus: int, *, several: bool) -> Iterator[Finding]:
    """How well an interface will do. With `several` of them packets may leave by another one than they came in by."""
    name = found.link.name
    if not found.link.up:
        yield warn("link", f"{name} is down", f"ip link set dev {name} up")
    yield _native(name, found, several=several)
    if found.link.mtu > PAGE_MTU:
        says = f"{name} has an MTU of {found.link.mtu}, but most drivers run XDP natively up to {PAGE_MTU} only, some up to less"
        yield warn("mtu", f"{says}; where not, generic mode is used", f"ip link set dev {name} mtu {PAGE_MTU}")
    else:
        yield ok("mtu", f"{name} has an MTU of {found.link.mtu}, which fits into one page")
    for each in sorted(found.offloads):
        says = f"{name} has {each} on, which breaks XDP; a start switches it off, and `fairlead detach` on again"
        yield warn("offloads", says, f"ethtool -K {name} {each} off")
    if not found.offloads:
        yield ok("offloads", f"{name} has no offload on that breaks XDP")
    if 0 < found.queues < cpus:
        says = f"{name} has {_many(found.queues, 'receive queue')} for {_many(cpus, 'CPU')}: no more of them will forward"
        yield warn("queues", says, f"ethtool -L {name} combined {cpus}  (as many as the NIC has: ethtool -l {name})")
    elif found.queues:
        yield ok("queues", f"{name} has {_many(found.queues, 'receive queue')} for {_many(cpus, 'CPU')}")


def _native(name: str, found: Nic, *, several: bool) -> Finding:
    driver = found.driver or "its driver"
    slow = f"ethtool -i {name}  (another NIC or a newer kernel may do better)"
    if found.features is None:
        return ok("xdp", f"{name}: this kernel does not say what {driver} can do; native XDP is tried, generic XDP the fallback")
    if not found.features & XDP_BASIC:
        return warn("xdp", f"{name}: {driver} has no native XDP; generic mode is used, which is slower", slow)
    if several and not found.features & XDP_TRANSMIT:
        says = f"{name}: {driver} does not say that it sends what others redirect to it; some do once XDP is attached"
        return warn("xdp", says, slow)
    return ok("xdp", f"{name}: {driver} runs XDP natively")


def _many(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


# ---------------------------------------------------------------------------------------------------------------------- network


def addresses(config: Config, own: Collection[Address], here: Collection[Address]) -> list[Finding]:
    """Whether probes and BGP have an address to speak from: `own` are those of our interfaces, `here` all of this machine."""
    findings = []
    for version, given, key in ((4, config.address, "address"), (6, config.address6, "address6")):
        served = any(vip.version == version for vip in config.vips())
        if not served or any(a.version == version and not a.is_link_local for a in own):
            continue
        if given is None:
            says = f"no address: the interface has no IPv{version} address for probes to come from"
            findings.append(fail("address", says, f"give it one, or set `{key}:` to another of this machine's"))
        elif given not in here:
            says = f"{key} {given} is not an address of this machine, and the interface has no IPv{version} address"
            findings.append(fail("address", says, f"ip address add {given} dev INTERFACE, or correct `{key}:`"))
    if config.peers and config.address is None and not any(a.version == 4 for a in own):
        says = "no address: BGP needs an IPv4 address as router id"
        findings.append(fail("address", says, "set `address:`"))
    return findings or [ok("address", "probes have an address to come from")]


def vip(address: Address, *, local: bool, error: str, holder: str = "") -> Finding | None:
    """Why this VIP cannot be served, if it cannot: `local` and `error` are what a route look-up for it says.

    `holder` is the interface that has it as its address, "" where only a route says that it is this machine's.
    """
    if local:
        says = f"VIP {address} is an address of this machine: it would cut off what listens there"
        if holder:
            return fail(
                "vip", says, f"ip address delete {address}/{address.max_prefixlen} dev {holder}  (ip address show to {address})"
            )
        return fail("vip", says, f"remove the route that says so  (ip route show table local match {address})")
    if "blackhole" in error or "unreachable" in error or "prohibited" in error:
        mend = f"remove that route from the main table  (ip route show match {address})"
        return fail("vip", f"VIP {address} cannot be probed, {error}", mend)
    return None


def vips(answers: Mapping[Address, tuple[bool, str]], holders: Mapping[Address, str]) -> list[Finding]:
    """All of them: (local, error) of each; `holders` are the interfaces by the addresses that they have."""
    found = (
        vip(address, local=local, error=error, holder=holders.get(address, "")) for address, (local, error) in answers.items()
    )
    bad = [each for each in found if each]
    return bad or [ok("vip", f"{_many(len(answers), 'VIP')}: neither addresses of this machine nor swallowed by its routes")]


def reverse_path(address: Address, name: str, strictness: int) -> Finding:
    """What a reverse-path filter does to the answers of probes."""
    kind, why = (
        ("strict", f"its route does not leave by {name}") if strictness == STRICT else ("loose", "there is no route to it")
    )
    says = f"probes of {address} will go unanswered: rp_filter on {name} is {kind} and {why}"
    off = f"sysctl -w net.ipv4.conf.{name}.rp_filter=0 net.ipv4.conf.all.rp_filter=0"
    mend = f"{off}  (or give {address} a route out of {name})"
    return warn("rp_filter", says, mend)
