"""Before anything is changed: what the operator gave, whether it fits this machine, and what to say about it. Only reads."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, ip_address

from fairlead import config as configuration
from fairlead import doctor
from fairlead._native import layout_hash
from fairlead.adapters import passwords, system
from fairlead.adapters.kernel import rehearse
from fairlead.adapters.netlink import Network
from fairlead.core import keys
from fairlead.core.doctor import refusals
from fairlead.core.flow_time import misfit
from fairlead.core.geometry import beyond
from fairlead.errors import Refused
from fairlead.model import Address, Config, Geometry, Link
from fairlead.model.machine import Level

OTHER_KEY = "the cluster's key cannot change while flows hang on it: `fairlead detach`, then start again"
_SOMEWHERE = (ip_address("203.0.113.1"), ip_address("2001:db8:ffff::1"))  # RFC 5737, 3849: looked up, never sent to


@dataclass(frozen=True, slots=True)
class Options:
    """The words of `fairlead run`; `confirm` in seconds."""

    config: str
    interfaces: tuple[str, ...]
    socket: str
    bpffs: str
    generic: bool
    confirm: float | None
    state: str  # directory for what outlives the daemon and the data plane


def load(path: str) -> Config:
    """Read and parse; ConfigError, or Refused if the file cannot be read."""
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as e:
        raise Refused([f"cannot read {path}: {e.strerror}"]) from None
    return parse(text, path)


def parse(text: str, path: str) -> Config:
    """The configuration in a text, with the passwords that it names files for; `path` names it. ConfigError, or Refused."""
    found = configuration.parse(text, path)
    _require_files(found)
    if not any(peer.password_file for peer in found.peers):
        return found
    read = {name: passwords.read(name) for name in {peer.password_file for peer in found.peers} - {""}}
    return replace(found, peers=tuple(replace(peer, password=read.get(peer.password_file)) for peer in found.peers))


def _require_files(config: Config) -> None:
    """What is named as a file for logging in to clusters can be read; Refused with all that cannot."""
    searches = config.logging.searches
    named = {f"{s.kind}: {key}": name for s in searches for key, name in s.files().items() if name is not None}
    problems = []
    for what, name in named.items():
        try:
            pathlib.Path(name).read_bytes()
        except OSError as e:
            problems.append(f"{what}: cannot read {name}: {e.strerror}")
    if problems:
        raise Refused(problems)


def secret(config: Config) -> bytes:
    """What the cluster shares; nothing where no key file is named."""
    path = config.cluster.key_file
    try:
        return pathlib.Path(path).read_bytes() if path else b""
    except OSError as e:
        raise Refused([f"cannot read the cluster's key {path}: {e.strerror}"]) from None


def own_addresses(network: Network, indices: Iterable[int]) -> set[Address]:
    """The addresses that these interfaces have."""
    found = network.addresses()
    return {a.ip for index in indices for a in found.get(index, ())}


def geometry_problems(present: Geometry, config: Config) -> list[str]:
    """Why tables that are there, and forward, cannot serve this configuration."""
    problem = misfit(present, config.timeouts)
    return ([f"timeouts: {problem}"] if problem else []) + beyond(present, config)


def require_fitting(present: Geometry, config: Config) -> None:
    """Refused if the tables that are there cannot serve this configuration."""
    problems = geometry_problems(present, config)
    if problems:
        raise Refused(problems)


async def require(network: Network, config: Config, names: Sequence[str], bpffs: str, problems: Sequence[str]) -> None:
    """Refused if there are any problems, with all there are: those that are known already, and what does not fit this machine."""
    found = [*problems, *refusals(await doctor.misfits(network, config, names, bpffs))]
    if found:
        raise Refused(found)


async def admit(network: Network, config: Config, options: Options, problems: Sequence[str]) -> list[str]:
    """Before a start: Refused if anything fails; else what there is to warn of, but for what a daemon looks after by itself."""
    names = options.interfaces or config.interfaces
    findings = await doctor.examine(network, config, names, options.bpffs, options.state, all_paths=False)
    found = [*problems, *refusals(findings)]
    if found:
        raise Refused(found)
    return [str(each) for each in findings if each.level is Level.WARN and each.topic not in {"offloads", "link", "api"}]


async def carriers(network: Network, links: Sequence[Link], bpffs: str) -> list[str]:
    """Warnings that name the interfaces whose loss would hurt, before a driver resets them; not those that we are on already."""
    default = {(await network.route(address)).ifindex for address in _SOMEWHERE}
    ssh = system.ssh_address()
    warnings = []
    for link in links:
        over = network.related([link])
        carried = ["this ssh session"] if ssh in map(str, own_addresses(network, over)) else []
        carried += ["the default route"] if over & default else []
        if carried and not system.our_link(bpffs, link.ifindex):
            warnings.append(f"{link.name} carries {' and '.join(carried)}; {system.NATIVE_ATTACH_HINT}")
    return warnings


async def routers(network: Network) -> set[Address]:
    """The gateways of our default routes."""
    found = [await network.route(address) for address in _SOMEWHERE]
    return {answer.gateway for answer in found if answer.gateway is not None}


def router_id(network: Network, config: Config, links: Sequence[Link]) -> IPv4Address:
    """The configured address, else the lowest IPv4 address of our interfaces; a placeholder where no BGP is spoken."""
    own = [a for a in own_addresses(network, network.related(links, config.vlans)) if isinstance(a, IPv4Address)]
    return config.address or min(own, default=IPv4Address("127.0.0.1"))


def trial(options: Options) -> str:
    """What `succession.trial` asks for: that this version would start, which it is, and what its tables look like.

    FairleadError if it would not. Nothing is changed.
    """
    config = load(options.config)
    rehearse(options.bpffs, keys.derive(secret(config)), config.probe.mark)
    return json.dumps({"version": system.version(), "layout": layout_hash()})
