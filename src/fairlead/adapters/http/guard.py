"""What a request over TCP must bring before anything else is looked at: the right Host, no foreign Origin, the token.

A browser that runs another site's page can send requests here. Such a page cannot forge `Host` (RFC 9110 section 7.2), `Origin`
(RFC 6454) or `Sec-Fetch-Site` (W3C Fetch Metadata), and it does not have the token. A name that an attacker has lead to this
address (DNS rebinding) shows in `Host`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from fairlead.adapters.http.access import Access
from fairlead.adapters.http.replies import error

READING = frozenset(["GET", "HEAD", "OPTIONS"])
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::([0-9]{1,5}))?")
_REALM = 'Bearer realm="fairlead"'
_SAME = frozenset(["same-origin", "none"])  # of Sec-Fetch-Site


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered; `told` is worth an event: it looks like somebody who tries."""

    code: int
    says: str
    headers: Mapping[str, str]
    told: bool = False


def judge(access: Access, method: str, headers: Mapping[str, list[str]], *, public: bool) -> Refusal | None:
    """Why this request is refused, None if it is not. `headers` by lower-case name; `public` routes need no token."""
    return _host(access, headers) or _origin(method, headers) or (None if public else _token(access, method, headers))


def _host(access: Access, headers: Mapping[str, list[str]]) -> Refusal | None:
    given = headers.get("host", [])
    match = _HOST.fullmatch(given[0]) if len(given) == 1 else None
    if match is None:
        return Refusal(400, "a request says which host it is for: one Host header", {})
    name = match[1].lower().removesuffix(".")
    if name == "localhost" or name in access.hosts or _is_address(name.strip("[]")):
        return None
    return Refusal(403, f"nobody here is called {name}: `hosts` in the configuration lists names of this API", {}, told=True)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _origin(method: str, headers: Mapping[str, list[str]]) -> Refusal | None:
    site = headers.get("sec-fetch-site", ["none"])[0]
    followed = method in READING and headers.get("sec-fetch-mode", [""])[0] == "navigate"  # a link, which may lead here
    if site not in _SAME and not followed:
        return Refusal(403, "a page of another site may not ask here", {}, told=True)
    for origin in headers.get("origin", []):
        scheme, _, host = origin.lower().partition("://")
        if scheme not in ("http", "https") or host != headers["host"][0].lower():
            return Refusal(403, f"a page of {origin[:100]!r} may not ask here", {}, told=True)
    return None


def _token(access: Access, method: str, headers: Mapping[str, list[str]]) -> Refusal | None:
    reads = method in READING
    given = headers.get("authorization", [])
    if not given:
        if reads and access.public_read:
            return None
        says = f"{'reading' if reads else 'a change'} needs the token: Authorization: Bearer TOKEN"
        if not access.tokens:
            says = f"{'nothing can be read' if reads else 'nothing can be changed'} over TCP: the configuration has no token-file"
        return Refusal(401, says, {"www-authenticate": _REALM})
    scheme, _, token = given[0].partition(" ")
    if len(given) == 1 and scheme.lower() == "bearer" and access.knows(token.strip().encode("latin-1")):
        return None
    return Refusal(401, "this is not the token", {"www-authenticate": f'{_REALM}, error="invalid_token"'}, told=True)


class Guarded:
    """An application behind `judge`. `access` says what holds now; `told` hears of refusals that somebody should look at."""

    def __init__(
        self, app: ASGIApp, access: Callable[[], Access], public: Collection[str], told: Callable[[str, str], None]
    ) -> None:
        self._app = app
        self._access = access
        self._public = frozenset(public)
        self._told = told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on, or refuse without reading the body."""
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        refusal = judge(self._access(), scope["method"], headers, public=scope["path"] in self._public)
        if refusal is None:
            await self._app(scope, receive, send)
            return
        if refusal.told:
            self._told(scope["client"][0], refusal.says)
        answer = error(refusal.says, refusal.code, {**refusal.headers, "connection": "close"})
        await answer(scope, receive, send)
