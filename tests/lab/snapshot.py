"""Everything of a namespace that Fairlead promises to leave as it was."""

from __future__ import annotations

import difflib
from pathlib import Path

from tests.lab.kit import Lab

# what the kernel changes by itself from one second to the next
_RESTLESS = (
    "fs.dentry-state",
    "fs.file-nr",
    "fs.inode-",
    "fs.aio-nr",
    "fs.quota",
    "kernel.random.",
    "kernel.ns_last_pid",
    "kernel.pty.nr",
)
_RESTLESS += (
    "kernel.sched_domain",
    "kernel.bpf_stats",
    "net.netfilter.nf_conntrack_count",
    "kernel.perf_",
    "vm.stat",
    "kernel.tainted",
)
_QUESTIONS = {
    "nft": ("nft", "list", "ruleset"),
    "rules": ("sh", "-c", "ip rule; ip -6 rule"),
    "routes": ("sh", "-c", "ip route show table all; ip -6 route show table all"),
    "addresses": ("sh", "-c", "ip -o link | sed 's/ mode .*//'; ip -o addr | sed 's/valid_lft.*//'"),
    "offloads": ("ethtool", "-k", "eth0"),
    "queues": ("tc", "qdisc", "show", "dev", "eth0"),
    "filters": ("sh", "-c", "tc filter show dev eth0 egress 2>&1; tc filter show dev eth0 ingress 2>&1"),
    "bpf": ("bpftool", "net"),
    "neighbours": ("sh", "-c", "ip neigh show nud permanent; ip neigh show proxy"),
    "sysctls": ("sh", "-c", "grep -rs '' /proc/sys || true"),  # what `sysctl -a` shows: the command is not everywhere
}


def snapshot(lab: Lab, host: str = "balancer1") -> dict[str, str]:
    """The answers to all questions, and the names of what is pinned."""
    found = {name: lab.run(host, *command) for name, command in _QUESTIONS.items()}
    sysctls = [line.removeprefix("/proc/sys/").replace("/", ".") for line in sorted(found["sysctls"].splitlines())]
    assert any(line.startswith("net.ipv4.ip_forward:") for line in sysctls), "two empty answers would be equal too"
    found["sysctls"] = "\n".join(line for line in sysctls if not line.startswith(_RESTLESS))
    bpffs = Path(lab.env()["FAIRLEAD_BPFFS"]).parent
    found["pins"] = "\n".join(sorted(str(path) for path in bpffs.rglob("*")))
    return found


def differences(before: dict[str, str], after: dict[str, str]) -> str:
    """What differs, as text; "" if nothing does."""
    lines: list[str] = []
    for name, was in before.items():
        lines += difflib.unified_diff(was.splitlines(), after[name].splitlines(), name, name, lineterm="", n=0)
    return "\n".join(lines)
