"""GoBGP as a lab's router: configuration, start, questions. Pure: paths go in, texts come out.

GoBGP knows no kernel. The zebra that Debian has beside it speaks a younger dialect (FRR 8.4; GoBGP 3.10 dies of it), so `fib`
hands to the kernel what it has decided, all paths of a VIP at once.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from fairlead.lab.topology import Host, Role, Topology

FIB = PurePosixPath(__file__).with_name("fib.py")


def files(topology: Topology, host: Host, home: PurePosixPath, daemon: str, client: str) -> dict[str, str]:
    """Name under the host's directory -> text: `bin/gobgp-start` runs it in the foreground, `bin/gobgp COMMAND...` asks it."""
    ask = f"{client} --target unix://{home}/api"
    return {
        "gobgp.toml": conf(topology, host),
        "bin/gobgp": f'#!/bin/sh\n# the lab\'s own GoBGP: gobgp neighbor\nexec {ask} "$@"\n',
        "bin/gobgp-start": _start(home, daemon),
    }


def conf(topology: Topology, host: Host) -> str:
    """It waits for the balancers, helps them restart, and takes the VIP prefixes from them."""
    peering = topology.peering
    parts = [f'[global.config]\nas = {peering.router_as}\nrouter-id = "{host.address(4)}"\n', _POLICY]
    for number, prefix in enumerate(peering.prefixes):
        length = 128 if ":" in prefix else 32
        parts.append(
            f'[[defined-sets.prefix-sets]]\nprefix-set-name = "vips{number}"\n'
            f'[[defined-sets.prefix-sets.prefix-list]]\nip-prefix = "{prefix}"\nmasklength-range = "{length}..{length}"\n'
        )
    parts.append('[[policy-definitions]]\nname = "vips"\n')
    parts += [_statement(f"vips{number}") for number in range(len(peering.prefixes))]
    parts += [_neighbour(balancer.address(4), peering.balancer_as) for balancer in topology.of(Role.BALANCER)]
    return "".join(parts)


_POLICY = """\
[global.use-multiple-paths.config]
enabled = true
[global.apply-policy.config]
import-policy-list = ["vips"]
default-import-policy = "reject-route"
default-export-policy = "reject-route"
"""


def _statement(prefixes: str) -> str:
    return f"""\
[[policy-definitions.statements]]
name = "{prefixes}"
[policy-definitions.statements.conditions.match-prefix-set]
prefix-set = "{prefixes}"
[policy-definitions.statements.actions]
route-disposition = "accept-route"
"""


def _neighbour(address: str, number: int) -> str:
    families = "".join(
        f'[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = "ipv{version}-unicast"\n'
        "[neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true\n"
        for version in (4, 6)
    )
    return f"""\
[[neighbors]]
[neighbors.config]
neighbor-address = "{address}"
peer-as = {number}
[neighbors.transport.config]
passive-mode = true
[neighbors.graceful-restart.config]
enabled = true
helper-only = true
restart-time = 120
{families}"""


def _start(home: PurePosixPath, daemon: str) -> str:
    return f"""\
#!/bin/sh
set -eu
cd {home}
[ ! -e fib.pid ] || kill -9 "$(cat fib.pid)" 2>/dev/null || true # of a run before
rm -f api
python3 {FIB} {home}/bin/gobgp &
echo $! >fib.pid
exec {daemon} -f {home}/gobgp.toml --pprof-disable --api-hosts unix://{home}/api
"""
