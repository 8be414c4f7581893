"""FRR as a lab's router: configuration, start from unpacked files, questions. Pure: paths go in, texts come out."""

from __future__ import annotations

from pathlib import PurePosixPath

from fairlead.lab.topology import Host, Role, Topology

LIBRARIES = "../../lib/$(uname -m)-linux-gnu"  # of a package that is unpacked, seen from its daemons


def files(topology: Topology, host: Host, home: PurePosixPath, daemons: str) -> dict[str, str]:
    """Name under the host's directory -> text: `bin/frr-start` runs it in the foreground, `bin/frr COMMAND...` asks it."""
    return {"frr.conf": conf(topology, host), "bin/frr-start": _start(home, daemons), "bin/frr": _ask(home)}


def conf(topology: Topology, host: Host) -> str:
    """It waits for the balancers, takes the VIP prefixes from them and hands all paths of a VIP to the kernel."""
    peering = topology.peering
    peers = [balancer.address(4) for balancer in topology.of(Role.BALANCER)]
    lines = [
        "log stdout",
        *(f"ip prefix-list VIPS permit {p} ge 32" for p in peering.prefixes if ":" not in p),
        *(f"ipv6 prefix-list VIPS permit {p} ge 128" for p in peering.prefixes if ":" in p),
        f"router bgp {peering.router_as}",
        f" bgp router-id {host.address(4)}",
        " no bgp ebgp-requires-policy",
        " no bgp default ipv4-unicast",
        *(line for peer in peers for line in (f" neighbor {peer} remote-as {peering.balancer_as}", f" neighbor {peer} passive")),
    ]
    for family in ("ipv4", "ipv6"):
        lines += [f" address-family {family} unicast", "  maximum-paths 16"]
        lines += [line for peer in peers for line in (f"  neighbor {peer} activate", f"  neighbor {peer} prefix-list VIPS in")]
        lines.append(" exit-address-family")
    return "\n".join(lines) + "\n"


def _start(home: PurePosixPath, daemons: str) -> str:
    """FRR insists on users and groups that only its package makes: they stand in copies, mounted over the machine's.

    `ip netns exec` has given this process a mount namespace of its own, so that nobody else sees them.
    """
    options = f"-u root -g root -z {home}/zserv --vty_socket {home} -f {home}/frr.conf -P 0"
    return f"""\
#!/bin/sh
set -eu
cd {home}
there=$(cd {daemons}/{LIBRARIES} && pwd)
export LD_LIBRARY_PATH=$there/frr:$there
(cat /etc/passwd && echo 'frr:x:64001:64001::/:/bin/false') >passwd
(cat /etc/group && echo 'frr:x:64001:' && echo 'frrvty:x:64002:root,frr') >group
mount --bind passwd /etc/passwd
mount --bind group /etc/group
[ ! -e zebra.pid ] || kill -9 "$(cat zebra.pid)" 2>/dev/null || true # of a run before
rm -f ./*.vty zserv
{daemons}/zebra {options} -i {home}/zebra.pid &
until [ -S zserv ]; do sleep 0.05; done
exec {daemons}/bgpd {options} -i {home}/bgpd.pid
"""


def _ask(home: PurePosixPath) -> str:
    """What vtysh would do, which insists on PAM: a command ends with NUL, an answer with three and the return code."""
    return f"""\
#!/usr/bin/env python3
# the lab's own FRR: frr show bgp summary
import socket, sys
link = socket.socket(socket.AF_UNIX)
link.connect("{home}/bgpd.vty")
for line in ("enable", " ".join(sys.argv[1:])):
    link.sendall(line.encode() + b"\\0")
    answer = b""
    while answer[-4:-1] != b"\\0\\0\\0":
        answer += link.recv(65536)
print(answer[:-4].decode(), end="")
sys.exit(answer[-1])
"""
