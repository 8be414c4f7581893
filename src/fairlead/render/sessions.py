"""BGP sessions as a router shows its neighbours."""

from __future__ import annotations

from fairlead.model import BgpStatus, PeerStatus
from fairlead.render.figures import span, table
from fairlead.render.wrong import away, peer_troubles, trouble


def bgp(b: BgpStatus, now: float) -> str:
    """Every session in a line, and below what is wrong; `now` is a Unix time."""
    listening = f"listening on {b.listen}" if b.listen else "not listening"
    rows = [
        (
            p.address,
            str(p.remote_as or "-"),
            p.state,
            span(now - p.since) if p.since else "-",
            str(len(p.routes)),
            str(len(p.withheld)),
            str(p.counters.established),
        )
        for p in b.peers
    ]
    parts = [[f"BGP router {b.router_id}, {listening}"]]
    parts.append(table(("PEER", "AS", "STATE", "FOR", "ROUTES", "WITHHELD", "UPS"), rows) if rows else ["no peers"])
    wrong = [*away(b.drained, leaving=b.leaving), *(text for p in b.peers for text in peer_troubles(p))]
    parts.append([f"# {text}" for text in wrong])
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def peer(p: PeerStatus, now: float) -> str:
    """All about one session, as a router shows a neighbour."""
    kind = "" if not (p.remote_as and p.local_as) else ", iBGP" if p.remote_as == p.local_as else ", eBGP"
    lines = [f"BGP peer {p.address}, AS {p.remote_as or 'not known yet'}{kind}; we are AS {p.local_as}"]
    lines.append(f"  {p.state}{f' for {span(now - p.since)}' if p.since else ''}, {_ups(p)}")
    if p.state != "Established" and trouble(p):
        lines.append(f"  not up: {trouble(p)}")
    if p.local:
        lines.append(f"  our end {p.local}, its router id {p.remote_id or 'not known yet'}")
    if p.state == "Established":
        timers = f"hold time {p.hold_time} s, keepalive every {p.keepalive:g} s" if p.hold_time else "hold time 0: no timers"
        lines.append(f"  {timers}")
    lines += _capabilities(p)
    c = p.counters
    lines.append(f"  messages: {c.messages_in} in, {c.messages_out} out; updates: {c.updates_in} in, {c.updates_out} out")
    lines.append(f"  prefixes received: {c.prefixes_in}, none kept; malformed updates: {c.malformed_in}")
    lines += [f"  routes sent: {len(p.routes)}", *(f"    {text}" for text in p.details or p.routes)]
    if p.withheld:
        lines += [f"  routes withheld: {len(p.withheld)}", *(f"    {text}" for text in p.withheld)]
    if p.last_error:
        lines.append(f"  last error{f', {span(now - p.last_error_at)} ago' if p.last_error_at else ''}: {p.last_error}")
    return "\n".join(lines) + "\n"


def _ups(p: PeerStatus) -> str:
    """A session that goes on over a restart of the daemon is up, and did not come up since."""
    if p.state == "Established" and not p.counters.established:
        return "since before this daemon's start"
    return f"came up {_times(p.counters.established)}"


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


def _capabilities(p: PeerStatus) -> list[str]:
    """Each with who offers it."""
    found = [*p.ours, *(word for word in p.theirs if word not in p.ours)]
    width = max((len(word) for word in found), default=0)
    who = {(True, True): "both", (True, False): "ours", (False, True): "theirs"}
    lines = [f"    {word:{width}}  {who[word in p.ours, word in p.theirs]}" for word in found]
    return ["  capabilities", *lines] if lines else []
