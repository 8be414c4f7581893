"""What is wrong and what to do about it, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from fairlead.model import PeerStatus, ServiceStatus, Status
from fairlead.render.figures import service_name, span

_NEARLY_FULL = 0.9  # of a limit


def sentences(s: Status, now: float) -> list[str]:
    """What is wrong, one sentence each, starting with `# `; none when all is well."""
    found = [f"# warning: {text}" for text in s.warnings]
    found += away(s.drained, leaving=s.leaving)
    for service in s.services:
        found += _service_sentences(service, now)
    found += [f"# {v.address} is withheld: {v.reason}" for v in s.vips if not v.announced and v.reason]
    found += [
        f"# BGP peer {p.address} is {p.state}: {p.last_error}" for p in s.peers if p.state != "Established" and p.last_error
    ]
    found += [
        f"# {x.used:,} of {x.limit:,} {x.name} are in use: raise `{x.key}`" for x in s.limits if x.used >= _NEARLY_FULL * x.limit
    ]
    if s.repairs:
        found.append(f"# {s.repairs} rows did not hold what was written and were repaired")
    return found


def _service_sentences(service: ServiceStatus, now: float) -> Iterator[str]:
    name = service_name(service)
    for b in service.backends:
        if b.state == "down":
            yield f"# {b.address} is down for {name}: {b.reason}{_since(b.since, now)}"
        elif b.state == "drain" and b.penalty and b.reason.startswith("went down too often"):
            yield f"# {b.address} of {name} {b.reason}"
    if service.state != "up" and service.reason:
        yield f"# {name} is {service.state}: {service.reason}"
    elif service.reason:
        yield f"# {name}: {service.reason}"
    if service.applied not in ("done", "pending: the next pass"):
        yield f"# {name} is not applied: {service.applied}"


def _since(moment: float, now: float) -> str:
    return f", for {span(now - moment)}" if moment else ""


def away(drained: str, *, leaving: bool) -> list[str]:
    """The sentence about `fairlead drain self`, if it holds."""
    if not drained:
        return []
    how = "its routes are marked, and go soon" if leaving else "nothing is announced (`fairlead undrain` ends it)"
    return [f"# this balancer is {drained}: {how}"]


def trouble(p: PeerStatus) -> str:
    """Why a session is not up, as far as anybody knows."""
    return p.why or p.last_error
