"""Can the API be served over TCP as the configuration says? The ports, and the files of tokens and certificates."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from fairlead.core.doctor import fail, ok, warn
from fairlead.model import Address, Api
from fairlead.model.machine import Finding

_FILES = "ls -l FILE  (`token-file` and `tls` in the configuration name what Fairlead reads)"


def api(wanted: Api, taken: Mapping[int, Collection[Address]], faults: Sequence[str], exposed: Collection[str]) -> list[Finding]:
    """`taken`: where others listen, by port; `faults`: what is wrong with the files; `exposed`: those that everybody may read."""
    found = [_port(address, port, taken.get(port, ())) for address, port in wanted.listen]
    found += [fail("api", says, _FILES) for says in faults]
    found += [warn("api", f"everybody on this machine may read {path}", f"chmod o-r {path}") for path in sorted(exposed)]
    return found


def _port(address: Address, port: int, taken: Collection[Address]) -> Finding:
    where = f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
    if not any(_meet(address, other) for other in taken):
        return ok("api", f"{where} is free for the API, or ours already")
    says = f"the API cannot be served on {where}: somebody else listens on TCP port {port}"
    mend = f"ss -ltnp sport = :{port}  (stop that program, or give `listen` in the configuration another port, or `none`)"
    return fail("api", says, mend)


def _meet(one: Address, other: Address) -> bool:
    """Of two families they may meet too, or not: the kernel alone can tell, once it is tried."""
    return one.version == other.version and (one == other or one.is_unspecified or other.is_unspecified)
