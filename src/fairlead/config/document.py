"""The whole file: every top-level section in turn, then what only the whole can tell."""

from __future__ import annotations

from dataclasses import replace

from fairlead.config import scalars
from fairlead.config.addresses import address4, address6
from fairlead.config.bgp import Router, read_bgp, read_prefixes
from fairlead.config.conflicts import report_conflicts, report_oddities
from fairlead.config.nodes import Section, Value, list_of, section
from fairlead.config.services import read_catalogue, read_services
from fairlead.config.settings import scheduler
from fairlead.config.vocabulary import CLUSTER, DOCUMENT, PROBE
from fairlead.model import Cluster, Config, ProbeConfig

# The kernel's own tables, 253 default, 254 main, 255 local; 0 means none. See ip-route(8).
_KERNEL_TABLES = range(253, 256)


def read_document(root: Value) -> Config | None:
    """The configuration; complete only if the report has no error."""
    said = section(root, DOCUMENT)
    if said is None:
        return None
    said.take("scheduler", scheduler)
    router = Router(said.take("address", address4), said.take("address6", address6), read_prefixes(said.get("prefixes")))
    bgp, services = said.get("bgp"), said.get("services")
    drafts = read_services(services, read_catalogue(said.get("servers"), said.get("policy"))) if services else []
    if services is None:
        root.error("there is no `services`", "a configuration needs at least that")
    peers = read_bgp(bgp, router) if bgp else ()
    if bgp and peers and said.get("address") is None:
        bgp.error("BGP needs a router ID", "add a top-level `address`, an IPv4 address of this machine")
    config = Config(
        services=tuple(sorted((d.service for d in drafts), key=lambda s: s.key.sort_key)),
        interfaces=said.take("interfaces", _interfaces) or (),
        address=router.address,
        address6=router.address6,
        peers=peers,
        probe=said.take("probe", _probe) or ProbeConfig(),
        cluster=said.take("cluster", _cluster) or Cluster(),
        path=root.report.path,
    )
    report_conflicts(config, drafts, root.report)
    if root.report.failed:
        return None
    report_oddities(config, root)
    return replace(config, warnings=root.report.problems())


def _interfaces(value: Value) -> tuple[str, ...] | None:
    found = list_of(scalars.interface, "a name or a list of names")(value)
    for name in dict.fromkeys(n for n in found or () if (found or ()).count(n) > 1):
        value.error(f"interface `{name}` is listed twice")
    return found


def _probe(value: Value) -> ProbeConfig | None:
    said = section(value, PROBE)
    if said is None:
        return None
    default = ProbeConfig()
    mark = said.take("mark", scalars.integer(1, 0xFFF, hexadecimal=True))
    # A rule behind the one for the main table (32766) would never be looked at.
    priority = said.take("priority", scalars.integer(1, 32765))
    return ProbeConfig(mark or default.mark, priority or default.priority, _table(said) or default.table)


def _table(said: Section) -> int | None:
    found = said.take("table", scalars.integer(1, (1 << 32) - 1))
    given = said.get("table")
    if given is not None and found in _KERNEL_TABLES:
        given.error(f"routing table {found} is the kernel's own", "use a number that no one else uses, such as 7070")
    return found


def _cluster(value: Value) -> Cluster | None:
    said = section(value, CLUSTER)
    return Cluster(said.take("key-file", scalars.file_name)) if said else None
