"""Looks a machine over, and changes nothing: facts from the adapters, judged by `core/doctor.py`.

`fairlead doctor` shows everything that is found; a start and a reload are refused on what fails.
"""

from __future__ import annotations

import asyncio
import os
import pathlib
from collections.abc import Collection, Mapping, Sequence

from fairlead import config as configuration
from fairlead.adapters import http, machine, offloads, passwords, plumbing, system
from fairlead.adapters.netlink import RTN_LOCAL, Network
from fairlead.core import doctor as judge
from fairlead.core import doctor_api as judge_api
from fairlead.core import doctor_bgp as judge_bgp
from fairlead.errors import ConfigError, KernelError, Refused
from fairlead.model import Address, Api, Config, Link, Problem
from fairlead.model.machine import Finding, Level, Nic


async def visit(path: str | None, names: tuple[str, ...], bpffs: str, state: str) -> list[Finding]:
    """What `fairlead doctor` shows. `path` names a configuration, `names` are interfaces that win over those in it."""
    config, findings = _configuration(path) if path else (None, [])
    network = Network(lambda: None)
    await network.open()
    try:
        found = await examine(network, config, names or (config.interfaces if config else ()), bpffs, state)
    finally:
        await network.close()
    return findings + found


def _configuration(path: str) -> tuple[Config | None, list[Finding]]:
    try:
        config = configuration.parse(pathlib.Path(path).read_text(encoding="utf-8", errors="surrogateescape"), path)
    except ConfigError as e:
        return None, [judge.fail("config", _said(problem), problem.hint) for problem in e.problems]
    except OSError as e:
        return None, [judge.fail("config", f"cannot read {path}: {e.strerror}", f"ls -l {path}")]
    warnings = [judge.warn("config", _said(problem), problem.hint) for problem in config.warnings]
    return config, warnings or [judge.ok("config", f"{path} is good")]


def _said(problem: Problem) -> str:
    return f"{problem.position}: {problem.says}"


def verdict(findings: Sequence[Finding]) -> str:
    """The worst level of all: "ok", "warn" or "fail"."""
    return judge.worst(findings).value


def missing_rights() -> str:
    """Why this process may not do what Fairlead does, "" if it may."""
    found = judge.rights(machine.capabilities())
    return str(found) if found.level is Level.FAIL else ""


async def examine(
    network: Network, config: Config | None, names: Sequence[str], bpffs: str, state: str, *, all_paths: bool = True
) -> list[Finding]:
    """Everything: the machine, and with a configuration its interfaces and their network.

    Without `all_paths` no route to any backend is looked up; a daemon that starts does so for itself.
    """
    findings = judge.machine(machine.read(bpffs, state), config)
    if config is None and not names:
        return findings
    findings += await misfits(network, config or Config(()), names, bpffs)
    links = [link for link in network.managed(names) if link.mac]
    cpus = len(os.sched_getaffinity(0))
    for link in links:
        findings += judge.nic(_nic(link, bpffs), cpus, several=len(links) > 1)
    if config is not None:
        here = {a.ip for found in network.addresses().values() for a in found}
        findings += await filtered(network, await _devices(network, config)) if all_paths else []
        findings += _speaking(config, here) + await asyncio.to_thread(_serving, config.api)
    return findings


def _speaking(config: Config, here: Collection[Address]) -> list[Finding]:
    """What BGP needs of this machine; a daemon of ours that listens already is in nobody's way."""
    ours = machine.sockets(system.instance_owner())
    number = config.listen.port if config.listen is not None else judge_bgp.PORT
    taken = [found.address for found in machine.listeners(number) if found.inode not in ours]
    faults = {}
    for path in {peer.password_file for peer in config.peers} - {""}:
        try:
            passwords.read(path)
        except Refused as e:
            faults[path] = str(e)
    exposed = {peer.password_file for peer in config.peers if peer.password_file and passwords.exposed(peer.password_file)}
    return judge_bgp.port(config, here, taken) + judge_bgp.passwords(config, faults, exposed)


def _serving(api: Api) -> list[Finding]:
    """What the API over TCP needs; a daemon of ours that serves it already is in nobody's way."""
    ours = machine.sockets(system.instance_owner())
    taken = {port: [f.address for f in machine.listeners(port) if f.inode not in ours] for _, port in api.listen}
    faults: Sequence[str] = ()
    try:
        http.read_access(api)
    except Refused as e:
        faults = e.reasons
    exposed = {path for path in (api.token_file, api.key) if path and http.exposed(path)}
    return judge_api.api(api, taken, faults, exposed)


async def misfits(network: Network, config: Config, names: Sequence[str], bpffs: str) -> list[Finding]:
    """Whether this configuration can run on this machine's network."""
    links = network.managed(names)
    holders = {a.ip: network.name(index) for index, found in network.addresses().items() for a in found}
    here = set(holders)
    ours = network.related(links, config.vlans)
    own = {a.ip for index in ours for a in network.addresses().get(index, ())}
    every = network.links()
    unknown = not machine.bpf_file_system(bpffs).point  # which is said elsewhere: what runs there may be ours
    taken = [link.ifindex for link in every if link.foreign_xdp and (unknown or system.our_link(bpffs, link.ifindex))]
    members = [link.name for link in links if link.bond]
    findings = [judge.fail("interface", text) for text in network.misnamed(names)]
    findings += judge.interfaces([*names, *members], every, taken)
    if links:
        findings += judge.addresses(config, own, here)
    answers = {vip: await network.route(vip) for vip in config.vips()}
    if answers:
        findings += judge.vips({vip: (a.kind == RTN_LOCAL or vip in here, a.error) for vip, a in answers.items()}, holders)
    return findings


def _nic(link: Link, bpffs: str) -> Nic:
    try:
        on = frozenset(offloads.switched_on(link.name) & offloads.harmful(link.name))
    except KernelError:  # it went this moment, or its driver does not say
        on = frozenset()
    return Nic(
        link,
        ours=system.our_link(bpffs, link.ifindex),
        driver=offloads.driver(link.name),
        features=machine.xdp_features(link.ifindex),
        offloads=on,
        queues=machine.queues(link.name),
    )


async def _devices(network: Network, config: Config) -> dict[Address, set[str]]:
    """Over which devices the answers to probes of each IPv4 VIP come, by the routes to its backends."""
    found: dict[Address, set[str]] = {}
    names: dict[Address, str] = {}
    for service in config.services:
        if service.key.vip.version == 4:
            for backend in service.backends:
                if backend.address not in names:
                    names[backend.address] = network.name((await network.route(backend.address)).ifindex)
                found.setdefault(service.key.vip, set()).add(names[backend.address])
    return {vip: devices - {""} for vip, devices in found.items()}


async def filtered(network: Network, devices: Mapping[Address, set[str]]) -> list[Finding]:
    """An answer comes from the VIP over the device to its backend: a filter there may ask how the VIP is reached."""
    strict = {name: plumbing.reverse_path(name) for name in {n for names in devices.values() for n in names}}
    found: list[Finding] = []
    for vip, names in devices.items():
        filtering = sorted(name for name in names if strict[name])
        if not filtering:
            continue
        answer = await network.route(vip)
        for name in filtering:
            elsewhere = strict[name] == judge.STRICT and network.name(answer.ifindex) != name
            if answer.error or elsewhere:
                found.append(judge.reverse_path(vip, name, strict[name]))
    if not found and devices:
        found.append(judge.ok("rp_filter", "no reverse-path filter stops the answers of probes"))
    return found
