"""What is wrong and what to do about it, in sentences; the worst first.

One place for all who ask: `fairlead status`, its exit code, and `problems` of the API. A note is what an operator should know of,
while everything works as the configuration says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fairlead.model import BackendStatus, PeerStatus, ServiceStatus, Status
from fairlead.render.figures import service_name, span

_NEARLY_FULL = 0.9  # of a limit
_MOST = 20  # backends that are named one by one
# What a reason says -> what to do about it; {} are VIP, port and backend. The first that fits.
_MENDS = (
    ("on its loopback?", "on {backend}: `ip addr add {vip} dev lo`"),
    ("does not answer either", "is {backend} on, and in this network?"),
    ("connection refused", "does anything serve {vip} port {port} on {backend}?"),
    ("on which Fairlead does not run", "add it to `interfaces`"),
    ("needs a tunnel", "give the service a `tunnel`"),
    ("nobody answers for its address", "is {backend} on, and in this network?"),
)


def sentences(s: Status, now: float) -> list[str]:
    """Notes and troubles, each with a `# ` before it; none when all is well. `now` is a Unix time."""
    return [*(f"# warning: {text}" for text in notes(s, now)), *(f"# {text}" for text in troubles(s, now))]


def notes(s: Status, now: float) -> list[str]:
    """What works, and still should be looked at."""
    found = [text for text in s.warnings if text not in s.failures]
    if s.repairs:
        rows = (
            "1 row did not hold what was written and was"
            if s.repairs == 1
            else f"{s.repairs} rows did not hold what was written and were"
        )
        found.append(f"{rows} repaired")
    for sink in s.sinks:
        lost = sink.dropped + sink.refused
        if sink.troubled or lost:
            waiting = f"{sink.queued} events wait" if sink.troubled and sink.queued else ""
            what = ", ".join(filter(None, (waiting, "" if not lost else f"{lost} events are lost"))) or "it takes no events"
            said = f": {sink.last_error}{_for(sink.last_error_at, now, ', {} ago')}" if sink.last_error else ""
            found.append(f"{sink.name}: {what}{said}")
    return found


def troubles(s: Status, now: float) -> list[str]:
    """What is degraded: traffic is not balanced or announced as the configuration wants it, or soon will not be."""
    found = away(s.drained, leaving=s.leaving)
    if not s.interfaces:
        found.append("no interface carries our programs, so nothing is forwarded (why: `fairlead doctor`)")
    found += s.failures
    found += [text for service in s.services for text in service_troubles(service)]
    found += [f"{v.address} is withheld: {v.reason}" for v in s.vips if not v.announced and v.reason and not s.drained]
    found += [text for p in s.peers for text in peer_troubles(p)]
    found += backend_troubles(s.services, now)
    found += [
        f"{x.used:,} of {x.limit:,} {x.name} are in use: raise `{x.key}`" for x in s.limits if x.used >= _NEARLY_FULL * x.limit
    ]
    return found


def service_troubles(service: ServiceStatus) -> Iterator[str]:
    """Of a service as a whole; `reason` has whatever the plan found, also where enough backends are left."""
    name = service_name(service)
    if service.state != "up" and service.reason:
        yield f"{name} is {service.state}: {service.reason}"
    elif service.reason:
        yield f"{name}: {service.reason}"
    if service.applied not in ("done", "pending: the next pass"):
        yield f"{name} is not applied: {service.applied}"


def backend_troubles(services: Iterable[ServiceStatus], now: float) -> list[str]:
    """One sentence for each backend that is down or kept out, of however many services; no more than a screen of them."""
    named: dict[str, list[tuple[ServiceStatus, BackendStatus]]] = {}
    others = set[str]()  # there may be a hundred thousand
    for service in services:
        for b in service.backends:
            if b.state != "up" and (b.state == "down" or _damped(b)):
                if b.address in named or len(named) < _MOST:
                    named.setdefault(b.address, []).append((service, b))
                else:
                    others.add(b.address)
    found = [_backend(cases, now) for cases in named.values()]
    if others:
        more = "1 more backend is" if len(others) == 1 else f"{len(others)} more backends are"
        found.append(f"{more} down (`fairlead backends --state down` lists them)")
    return found


def _damped(b: BackendStatus) -> bool:
    return b.state == "drain" and b.penalty > 0 and b.reason.startswith("went down too often")


def _backend(cases: list[tuple[ServiceStatus, BackendStatus]], now: float) -> str:
    """In the words of the first service that it is down for; it counts in how many others."""
    service, b = cases[0]
    others = len(cases) - 1
    where = service_name(service) + (f" and {others} other service{'s' * (others != 1)}" if others else "")
    if _damped(b):
        return f"{b.address} of {where} {b.reason}"
    hint = mend(service, b) or f"its checks: `fairlead backends {b.address}`"
    return f"{b.address} is down for {where}: {b.reason}{_for(b.since, now, ', for {}')} ({hint})"


def mend(service: ServiceStatus, b: BackendStatus) -> str:
    """What to do about a backend that is down, "" where its reason leaves only a look at it."""
    text = next((text for words, text in _MENDS if words in b.reason), "")
    return text.format(vip=service.vip, port=b.port or "any", backend=b.address)


def _for(moment: float, now: float, words: str) -> str:
    return words.format(span(now - moment)) if moment else ""


def peer_troubles(p: PeerStatus) -> Iterator[str]:
    """Of a session that is not up."""
    if p.state != "Established":
        why = trouble(p) or "no reason is known yet"
        yield f"BGP peer {p.address} is {p.state}: {why} (all about it: `fairlead bgp {p.address}`)"


def away(drained: str, *, leaving: bool) -> list[str]:
    """That `fairlead drain self` holds."""
    if not drained:
        return []
    how = "its routes are marked, and go soon" if leaving else "nothing is announced"
    return [f"this balancer is {drained}: {how} (`fairlead undrain` ends it)"]


def trouble(p: PeerStatus) -> str:
    """Why a session is not up, as far as anybody knows."""
    return p.why or p.last_error
