"""Parts of what is known, for who does not want all of it: services, backends, VIPs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from fairlead.adapters.http.calls import Absent, Call, Question, Text, Word
from fairlead.model import BackendStatus, Protocol, ServiceKey, ServiceStatus, Status, VipStatus

_STATE = Word("state", "only those in this state", choices=("up", "down"))
_STATES = Word("state", "only those in this state", choices=("up", "down", "drain", "disabled"))
_VIP = Word("vip", "only those of this VIP", example="192.0.2.10")
_NAME = Word("name", "only those of services with this name", example="web")
_SERVICE = Word("service", "a service: its VIP, port and protocol, or its name", required=True, example="192.0.2.10:80/tcp")
_ADDRESS = Word("address", "only this backend", example="10.1.0.11")


@dataclass(frozen=True, slots=True)
class Happened:
    """An event. `id` rises from each to the next, also over restarts; `at` is a Unix time, `level` a syslog severity.

    `about` is the service or ""; `facts` are the fields of its type, as docs/reference/events.md has them.
    """

    id: int
    at: float
    name: str
    level: int
    text: str
    about: str
    facts: Mapping[str, str | int | float | bool | None]


@dataclass(frozen=True, slots=True)
class Member:
    """A backend of one service: `service` is "192.0.2.10:80/tcp", `name` what the configuration calls it."""

    service: str
    name: str
    backend: BackendStatus


def spelled(service: ServiceStatus) -> str:
    """The service's key, as all else names it."""
    return str(ServiceKey(ip_address(service.vip), service.port, Protocol[service.protocol.upper()]))


def views(known: Callable[[], Awaitable[Status]]) -> dict[str, Call]:
    """The routes that show a part of the status."""

    async def services(question: Question) -> list[ServiceStatus]:
        wanted = {name: text for name, text in question.words.items() if name in ("state", "vip", "name")}
        return [s for s in (await known()).services if all(_same(getattr(s, name), text) for name, text in wanted.items())]

    async def service(question: Question) -> ServiceStatus:
        return _one((await known()).services, question.words["service"])

    async def backends(question: Question) -> list[Member]:
        said, found = question.words, (await known()).services
        if "service" in said:
            found = (_one(found, said["service"]),)
        return [
            Member(spelled(s), s.name, backend)
            for s in found
            for backend in s.backends
            if _same(backend.address, said.get("address", backend.address)) and backend.state == said.get("state", backend.state)
        ]

    async def vips(question: Question) -> list[VipStatus]:
        return [vip for vip in (await known()).vips if vip.state == question.words.get("state", vip.state)]

    async def healthy(_: Question) -> Text:
        return Text("ok\n")

    one = Word("service", "only those of this service: VIP, port and protocol, or its name", example="192.0.2.10:80/tcp")
    return {
        "GET /v1/services": Call(services, "Services with their backends", list[ServiceStatus], (_STATE, _VIP, _NAME)),
        "GET /v1/services/{service}": Call(service, "One service", ServiceStatus, (_SERVICE,)),
        "GET /v1/backends": Call(backends, "Backends, once for each service", list[Member], (_STATES, _ADDRESS, one)),
        "GET /v1/vips": Call(vips, "VIPs, and why one is not announced", list[VipStatus], (_STATE,)),
        "GET /healthz": Call(healthy, "Whether the daemon answers, nothing else", str, media=Text("").media, public=True),
    }


def _same(found: str, wanted: str) -> bool:
    """As text, or as addresses that may be written in several ways."""
    try:
        return found == wanted or ip_address(found) == ip_address(wanted.strip("[]"))
    except ValueError:
        return False


def _one(services: tuple[ServiceStatus, ...], wanted: str) -> ServiceStatus:
    found = [service for service in services if wanted in (service.name, spelled(service))]
    if len(found) > 1:
        raise Absent([f"{len(found)} services are called {wanted}: {', '.join(map(spelled, found))}"])
    if not found:
        raise Absent([f"there is no service {wanted}"])
    return found[0]
