"""What the file says of the machine: interfaces, VLANs, probes, timeouts, table sizes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from ipaddress import IPv6Network, ip_address, ip_interface

from fairlead.config import scalars
from fairlead.config.addresses import prefix
from fairlead.config.nodes import Entry, Section, Value, entries, items, list_of, section
from fairlead.config.report import shown
from fairlead.config.scalars import words
from fairlead.config.vocabulary import CLUSTER, LIMITS, PROBE, TIMEOUTS
from fairlead.model import Address, Cluster, Limits, Prefix, ProbeConfig, Timeouts, Vlan

_MAPPED = IPv6Network("::ffff:0:0/96")
# The kernel's own tables, 253 default, 254 main, 255 local; 0 means none. See ip-route(8).
_KERNEL_TABLES = range(253, 256)
# Three timeouts share a clock whose 256 ticks are four times the longest or, rounded to a power of two, up to eight times.
_STEPS = 32


def interfaces(value: Value) -> tuple[str, ...] | None:
    """Names of interfaces, each once."""
    found = list_of(scalars.interface, "a name or a list of names")(value)
    for name in dict.fromkeys(n for n in found or () if (found or ()).count(n) > 1):
        value.error(f"interface `{name}` is listed twice")
    return found


def blocked(value: Value) -> tuple[Prefix, ...] | None:
    """Sources that may send nothing to any VIP: prefixes, each once."""
    found = items(value, "a list of prefixes")
    read: dict[Prefix, Value] = {}
    for item in found or ():
        one = prefix(item)
        if one is None:
            continue
        if one in read:
            item.error(f"{one} is listed twice", "keep one")
        elif not one.prefixlen:
            item.error(f"{one} is everybody", "block what is narrower")
        elif isinstance(one, IPv6Network) and one.subnet_of(_MAPPED):
            item.error(f"{one} is IPv4 in the dress of IPv6", "write it as IPv4")
        read.setdefault(one, item)
    return tuple(sorted(read, key=lambda p: (p.version, int(p.network_address), p.prefixlen)))


def probe(value: Value) -> ProbeConfig | None:
    """The numbers by which health checks find their way."""
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


def cluster(value: Value) -> Cluster | None:
    """What instances share."""
    said = section(value, CLUSTER)
    return Cluster(said.take("key-file", scalars.file_name)) if said else None


def timeouts(value: Value) -> Timeouts | None:
    """How long flow entries may be silent."""
    said = section(value, TIMEOUTS)
    if said is None:
        return None
    hour, week = scalars.duration(1, 3600), scalars.duration(1, 7 * 86400)
    longs = {"confirmed": said.take("confirmed", week)}
    shorts = {name: said.take(name, hour) for name in ("embryonic", "closing", "udp")}
    found = replace(Timeouts(), **{name: seconds for name, seconds in (shorts | longs).items() if seconds is not None})
    fine = (found.embryonic, found.closing, found.udp)
    if min(fine) * _STEPS < max(fine):
        says = f"a timeout of {min(fine):g} s may take up to {max(fine) / _STEPS:g} s longer"
        value.warn(says, f"`embryonic`, `closing` and `udp` share one clock; its steps follow from the longest, {max(fine):g} s")
    return found


def limits(value: Value) -> Limits | None:
    """How much the tables hold."""
    said = section(value, LIMITS)
    if said is None:
        return None
    most = {"services": 65536, "destinations": (1 << 20) - 1, "slots": 3 << 26, "flows": 1 << 28}
    found = {name: said.take(name, scalars.integer(1, top)) for name, top in most.items()}
    return replace(Limits(), **{name: number for name, number in found.items() if number is not None})


def vlans(four: Value | None, six: Value | None, own: Collection[Address | None]) -> tuple[Vlan, ...]:
    """The subnets of `vlans` and `vlans6`, sorted by family and id. `own` are this machine's addresses: none is a gateway."""
    found: list[tuple[Vlan, Value]] = []
    for value, version in ((four, 4), (six, 6)):
        said = entries(value, "a mapping of VLAN ids to subnets", "such as `10: 10.1.10.0/24`") if value else None
        found += [pair for entry in (said or {}).values() if (pair := _vlan(entry, version)) is not None]
    for vlan, at in found:
        if vlan.gateway is not None and vlan.gateway in own:
            hint = f"the host part names the subnet's router: write it, or {vlan.subnet} for none"
            at.error(f"{vlan.gateway}, the gateway of VLAN {vlan.id}, is this balancer's own address", hint)
    _report_overlaps(found)
    return tuple(sorted((vlan for vlan, _ in found), key=lambda v: (v.subnet.version, v.id)))


def _report_overlaps(found: list[tuple[Vlan, Value]]) -> None:
    """In the order of addresses, one look at the widest so far is enough."""
    widest: Vlan | None = None
    for vlan, at in sorted(found, key=lambda f: (f[0].subnet.version, int(f[0].subnet.network_address), f[0].subnet.prefixlen)):
        if widest is not None and widest.subnet.version == vlan.subnet.version and widest.subnet.overlaps(vlan.subnet):
            at.error(f"{vlan.subnet} overlaps {widest.subnet} of VLAN {widest.id}", "a server must be in one VLAN")
        else:
            widest = vlan


def _vlan(entry: Entry, version: int) -> tuple[Vlan, Value] | None:
    number = scalars.integer(1, 4094)(entry.key.named("a VLAN id"))
    value = entry.value.named(f"VLAN {shown(entry.name)}")
    text = words(value, "a subnet such as 10.1.10.0/24")
    if number is None or text is None:
        return None
    subnet = _subnet(value, text, version)
    return (Vlan(number, *subnet), value) if subnet else None


def _subnet(value: Value, text: str, version: int) -> tuple[Prefix, Address | None] | None:
    """The network, and the host in it that the text names as its gateway."""
    try:
        found = ip_interface(text.replace("%", " "))  # no zones: the subnet says where it is
    except ValueError:
        value.error(f"{shown(text)} is not a subnet", "such as 10.1.10.0/24, or 10.1.10.1/24 with the gateway 10.1.10.1")
        return None
    if text.partition("/")[2] != str(found.network.prefixlen):
        value.error(f"{shown(text)} has no prefix length", f"such as {found.ip}/{24 if found.version == 4 else 64}")
        return None
    if found.version != version:
        key = "`vlans`" if found.version == 4 else "`vlans6`"
        value.error(f"{text} is IPv{found.version}", f"it belongs under {key}")
        return None
    gateway = None if found.ip == found.network.network_address else ip_address(found.ip.packed)
    if gateway is not None and version == 4 and found.network.prefixlen < 31 and gateway == found.network.broadcast_address:
        value.error(f"{gateway} is the broadcast address of {found.network}", "name the gateway, or none: the first address")
        return None
    return found.network, gateway
