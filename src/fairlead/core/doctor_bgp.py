"""Is this machine fit to speak BGP? The port that peers dial, and the files that hold passwords."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from fairlead.core.doctor import fail, ok, warn
from fairlead.model import Address, Config, Listen
from fairlead.model.machine import Finding

PORT = 179


def port(config: Config, here: Collection[Address], taken: Collection[Address]) -> list[Finding]:
    """Whether peers that dial reach Fairlead, or somebody else. `taken`: the addresses on which others listen at the port."""
    if not config.peers:
        return []
    if config.listen is not None:
        return [_listening(config.listen, taken)]
    if not taken:
        return [ok("port", f"nobody listens on TCP port {PORT}")]
    if any(peer.address in here or peer.address.is_loopback for peer in config.peers):
        return [ok("port", f"a BGP daemon of this machine listens on TCP port {PORT}, and is a peer")]
    says = f"somebody listens on TCP port {PORT}: a session that a router opens is not Fairlead's, and may disturb ours"
    return [warn("port", says, f"ss -ltnp sport = :{PORT}  (stop that BGP daemon, or make it a peer)")]


def _listening(wanted: Listen, taken: Collection[Address]) -> Finding:
    in_the_way = [address for address in taken if _meets(address, wanted)]
    if not in_the_way:
        return ok("port", f"TCP port {wanted.port} is free for peers to dial, or ours already")
    where = ", ".join(sorted({"every address" if a.is_unspecified else str(a) for a in in_the_way}))
    says = f"`listen` wants TCP port {wanted.port}, and somebody else listens on it ({where})"
    mend = f"ss -ltnp sport = :{wanted.port}  (stop that BGP daemon, or give `listen` addresses that it does not use)"
    return fail("port", says, mend)


def _meets(taken: Address, wanted: Listen) -> bool:
    """Two listeners are in each other's way on one address, and where either is on all of them."""
    return not wanted.addresses or taken.is_unspecified or taken in wanted.addresses


def passwords(config: Config, faults: Mapping[str, str], exposed: Collection[str]) -> list[Finding]:
    """The files that peers' passwords are in: `faults` says what is wrong with one, those in `exposed` are readable for all."""
    paths = sorted({peer.password_file for peer in config.peers} - {""})
    found = []
    for path in paths:
        if path in faults:
            found.append(fail("password", faults[path], f"install -m 0600 /dev/stdin {path}  (and type the password)"))
        elif path in exposed:
            found.append(warn("password", f"everybody on this machine may read the password in {path}", f"chmod o-r {path}"))
        else:
            found.append(ok("password", f"{path} holds a password"))
    return found
