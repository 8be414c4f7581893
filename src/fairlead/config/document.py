"""The whole file: every top-level section in turn, then what only the whole can tell."""

from __future__ import annotations

from dataclasses import replace

from fairlead.config import machine, scalars, sinks
from fairlead.config.addresses import address4, address6
from fairlead.config.api import read_api
from fairlead.config.bgp import Router, Speaking, read_bgp, read_prefixes
from fairlead.config.capacity import report_capacity
from fairlead.config.conflicts import report_conflicts, report_oddities
from fairlead.config.nodes import Section, Value, section
from fairlead.config.services import Draft, read_catalogue, read_services
from fairlead.config.settings import Settings, read_calm, scheduler
from fairlead.config.vocabulary import DOCUMENT
from fairlead.model import Cluster, Config, Limits, Logging, ProbeConfig, Reject, Service, Timeouts

_DRAIN_TIME = 10.0  # seconds
_STOP_TIME = 1.0


def read_document(root: Value) -> Config | None:
    """The configuration; complete only if the report has no error."""
    said = section(root, DOCUMENT)
    if said is None:
        return None
    if said.get("services") is None:
        root.error("there is no `services`", "a configuration needs at least that")
    drafts = _drafts(said)
    config = _config(said, drafts)
    report_conflicts(config, drafts, root.report)
    report_capacity(config, drafts, said.get("limits") or said.get("services") or root)
    if root.report.failed:
        return None
    report_oddities(config, root)
    return replace(config, warnings=root.report.problems())


def _drafts(said: Section) -> list[Draft]:
    top = Settings(scheduler=said.take("scheduler", scheduler), **read_calm(said))
    catalogue = read_catalogue(said.get("servers"), said.get("policy"))
    services = said.get("services")
    return read_services(services, catalogue, top) if services else []


def _config(said: Section, drafts: list[Draft]) -> Config:
    router = Router(said.take("address", address4), said.take("address6", address6), read_prefixes(said.get("prefixes")))
    bgp = said.get("bgp")
    speaking = read_bgp(bgp, router) if bgp else Speaking()
    if bgp and speaking.peers and said.get("address") is None:
        bgp.error("BGP needs a router ID", "add a top-level `address`, an IPv4 address of this machine")
    return Config(
        services=_services(drafts),
        interfaces=said.take("interfaces", machine.interfaces) or (),
        address=router.address,
        address6=router.address6,
        peers=speaking.peers,
        listen=speaking.listen,
        aggregates=speaking.aggregates,
        drain_time=_DRAIN_TIME if speaking.drain_time is None else speaking.drain_time,
        stop_time=_STOP_TIME if speaking.stop_time is None else speaking.stop_time,
        probe=said.take("probe", machine.probe) or ProbeConfig(),
        cluster=said.take("cluster", machine.cluster) or Cluster(),
        timeouts=said.take("timeouts", machine.timeouts) or Timeouts(),
        limits=said.take("limits", machine.limits) or Limits(),
        vlans=machine.vlans(said.get("vlans"), said.get("vlans6"), (router.address, router.address6)),
        api=read_api(said),
        logging=said.take("logging", sinks.logging) or Logging(),
        compat=said.take("compat", scalars.choice({"vc5": "vc5"})) or "",
        blocked=said.take("block", machine.blocked) or (),
        count_prefixes=said.take("count-prefixes", scalars.boolean) or False,
        attach_delay=said.take("attach-delay", scalars.duration(0, 60)) or 0.0,
        path=said.value.report.path,
    )


def _services(drafts: list[Draft]) -> tuple[Service, ...]:
    """Sorted by key. What one service says of unknown ports holds for its whole VIP."""
    rejecting = {d.service.key.vip for d in drafts if d.service.reject is Reject.UNREACHABLE}
    services = (replace(d.service, reject=Reject.UNREACHABLE) if d.service.key.vip in rejecting else d.service for d in drafts)
    return tuple(sorted(services, key=lambda s: s.key.sort_key))
