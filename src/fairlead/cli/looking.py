"""Commands that show what the running daemon knows: one look, or one after the other with --watch."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from fairlead import render
from fairlead.cli.online import Denied, decode, get
from fairlead.cli.showing import DEGRADED, How, Shown, show
from fairlead.model import BgpStatus, BlockStatus, FlowTable, ServiceStatus, SourcesStatus, Status


def status(path: str, how: How) -> int:
    """`fairlead status`."""

    def look() -> Shown:
        found = get(path, "/v1/status")
        shown, now = decode(Status, found), time.time()
        return Shown(render.status(shown, now), found, DEGRADED if render.troubles(shown, now) else 0)

    return show(look, how)


def services(path: str, wanted: str | None, how: How) -> int:
    """`fairlead services`: all, or all about one."""

    def look() -> Shown:
        found, now = get(path, "/v1/status"), time.time()
        shown = decode(Status, found)
        chosen = _of_service(shown.services, wanted)
        vips = {vip.address: vip for vip in shown.vips}
        if wanted and len(chosen) == 1:
            text = render.service(chosen[0], vips.get(chosen[0].vip), now)
        else:
            text = render.services(chosen, vips, now)
        return Shown(text, _plain(chosen), _code(chosen, now))

    return show(look, how)


def backends(path: str, wanted: str | None, service: str | None, state: str | None, how: How) -> int:
    """`fairlead backends`: all, those of a service or in a state, or all about one."""

    def look() -> Shown:
        found, now = get(path, "/v1/status"), time.time()
        chosen = _with(_of_service(decode(Status, found).services, service), wanted, state)
        text = render.backend(chosen, now) if wanted else render.backends(chosen, now)
        listed = [
            {"service": render.service_name(s), "name": s.name, "backend": dataclasses.asdict(b)}
            for s in chosen
            for b in s.backends
        ]
        return Shown(text, listed, _code(chosen, now))

    return show(look, how)


def _of_service(services: Sequence[ServiceStatus], wanted: str | None) -> list[ServiceStatus]:
    """Those that the operator means by `192.0.2.10:80/tcp`, by a VIP or by a name; Denied if there are none."""
    if wanted is None:
        return list(services)
    found = [s for s in services if wanted in {render.service_name(s), s.name, s.vip}]
    if not found:
        raise Denied(f"there is no service {wanted} (`fairlead services` lists them)")
    return found


def _with(services: Sequence[ServiceStatus], address: str | None, state: str | None) -> list[ServiceStatus]:
    """The same without the backends that are not meant; Denied if one is named that is nowhere."""

    def left(s: ServiceStatus) -> ServiceStatus:
        kept = tuple(b for b in s.backends if address in {None, b.address} and state in {None, b.state})
        return dataclasses.replace(s, backends=kept)

    if address and not any(b.address == address for s in services for b in s.backends):
        raise Denied(f"there is no backend {address} (`fairlead backends` lists them)")
    return [s for s in map(left, services) if s.backends]


def _plain(services: Sequence[ServiceStatus]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(s) for s in services]


def _code(services: Sequence[ServiceStatus], now: float) -> int:
    return DEGRADED if render.troubles_of(services, now) else 0


def bgp(path: str, peer: str | None, how: How) -> int:
    """`fairlead bgp`."""

    def look() -> Shown:
        found = get(path, f"/v1/bgp?{urlencode({'peer': peer} if peer else {})}")
        shown, now = decode(BgpStatus, found), time.time()
        text = render.peer(shown.peers[0], now) if peer and shown.peers else render.bgp(shown, now)
        return Shown(text, found, DEGRADED if any(p.state != "Established" for p in shown.peers) else 0)

    return show(look, how)


def flows(path: str, backend: str | None, service: str | None, how: How) -> int:
    """`fairlead flows`."""
    words = {name: word for name, word in (("backend", backend), ("service", service)) if word}

    def look() -> Shown:
        found = get(path, f"/v1/flows?{urlencode(words)}")
        if backend and not found["services"]:
            raise Denied(f"there is no backend {backend} {f'for {service}' if service else 'in the tables'}")
        return Shown(render.flows(decode(FlowTable, found)), found)

    return show(look, how)


def blocks(path: str, how: How) -> int:
    """`fairlead block`: what is blocked."""

    def look() -> Shown:
        found = get(path, "/v1/blocks")
        return Shown(render.blocks([decode(BlockStatus, each) for each in found], time.time()), found)

    return show(look, how)


def sources(path: str, most: int, how: How) -> int:
    """`fairlead sources`."""

    def look() -> Shown:
        found = get(path, f"/v1/sources?most={most}")
        return Shown(render.sources(decode(SourcesStatus, found)), found)

    return show(look, how)
