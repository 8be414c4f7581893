"""Posts a message to a webhook: one HTTP request, in a thread of its own, within a time limit that holds for all of it.

In a thread, because a name's look-up and a TLS handshake must not hold up the event loop; in one that nobody waits for at the
end, because a receiver that hangs must not hold up a restart either. Redirections are not followed: a message goes where the
configuration says.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import http.client
import socket
import ssl
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

from fairlead.model import Alert, Delivery

WITHIN = 15.0  # seconds for one request, from the name's look-up to the answer's end
_SILENCE = 10.0  # seconds without a byte
_LONGEST = 4096  # octets of an answer that are looked at
_AGENT = "fairlead"


class Poster:
    """Posts to one place; one request at a time. `within` seconds is what each may take."""

    def __init__(self, rule: Alert, *, within: float = WITHIN) -> None:
        self._rule = rule
        self._within = within

    def unusable(self) -> str:
        """What is wrong with the files that the configuration names, "" for nothing. Blocking; the receiver is not asked."""
        try:
            _url(self._rule)
            if self._rule.token_file:
                secret(self._rule.token_file)
            if self._rule.ca_file:
                ssl.create_default_context(cafile=self._rule.ca_file)
        except _Unusable as e:
            return str(e)
        except OSError as e:
            return f"{self._rule.ca_file}: {_reason(e)}"
        return ""

    async def post(self, body: bytes) -> Delivery:
        """What the other side said; status 0 with a reason where it came to no answer."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Delivery] = loop.create_future()
        request = _Request(self._rule, body)

        def settle(delivery: Delivery) -> None:
            if not answered.done():
                answered.set_result(delivery)

        def work() -> None:
            delivery = request.run()
            with contextlib.suppress(RuntimeError):  # the loop is gone, and so is who asked
                loop.call_soon_threadsafe(settle, delivery)

        threading.Thread(target=work, name=f"alert {self._rule.kind}", daemon=True).start()
        try:
            async with asyncio.timeout(self._within):
                return await answered
        except TimeoutError:
            return Delivery(0, f"no answer within {self._within:g} s")
        finally:
            request.abort()


class _Request:
    """One request; `abort` ends it from another thread."""

    def __init__(self, rule: Alert, body: bytes) -> None:
        self._rule = rule
        self._body = body
        self._target = "/"
        self._connection: http.client.HTTPConnection | None = None
        self._aborted = False

    def run(self) -> Delivery:
        """All of it; never raises."""
        try:
            return self._run(_url(self._rule))
        except _Unusable as e:
            return Delivery(0, str(e))
        except ssl.SSLCertVerificationError as e:
            return Delivery(0, f"its certificate is not valid: {e.verify_message}")
        except (OSError, http.client.HTTPException) as e:
            return Delivery(0, _reason(e))
        finally:
            self._close()

    def _run(self, url: urllib.parse.SplitResult) -> Delivery:
        connection = self._connection = self._dial(url)
        headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": _AGENT, "Connection": "close"}
        if self._rule.token_file:
            headers["Authorization"] = f"Bearer {secret(self._rule.token_file)}"
        if self._aborted:
            raise _Unusable("given up")
        connection.request("POST", self._target, self._body, headers)
        response = connection.getresponse()
        return judged(response.status, response.read(_LONGEST), response.headers.get("Retry-After"), time.time())

    def _dial(self, url: urllib.parse.SplitResult) -> http.client.HTTPConnection:
        """Straight to the receiver, or through the proxy that the environment names (`https_proxy`, `no_proxy`)."""
        host, port, secure = str(url.hostname), url.port, url.scheme == "https"
        proxy = None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(url.scheme)
        over = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}") if proxy else None
        where = (host, port) if over is None else (str(over.hostname), over.port or 3128)
        self._target = urllib.parse.urlunsplit(("", "", url.path or "/", url.query, ""))
        if secure:
            trusted = ssl.create_default_context(cafile=self._rule.ca_file)
            made = http.client.HTTPSConnection(*where, timeout=_SILENCE, context=trusted)
            if over is not None:
                made.set_tunnel(host, port or 443)
            return made
        if over is not None:  # RFC 9112 section 3.2.2
            self._target = urllib.parse.urlunsplit((*url[:4], ""))
        return http.client.HTTPConnection(*where, timeout=_SILENCE)

    def abort(self) -> None:
        """Whatever it waits for on its connection ends at once."""
        self._aborted = True
        connection = self._connection
        if connection is not None and isinstance(connection.sock, socket.socket):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)  # not TLS's, which the other thread is in

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class _Unusable(Exception):
    """What the configuration names does not lead anywhere."""


def _url(rule: Alert) -> urllib.parse.SplitResult:
    text = secret(rule.url_file) if rule.url_file else rule.url
    try:
        url = urllib.parse.urlsplit(text)
        usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0 and url.username is None
    except ValueError:
        usable = False
    if not usable or not text.isascii() or not text.isprintable() or " " in text:
        raise _Unusable(f"{rule.url_file or 'the URL'} holds no URL such as https://alerts.example.net/hook")
    return url


def secret(path: str) -> str:
    """The one line of a file. Read each time, so that it may be changed without a reload."""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as e:
        raise _Unusable(f"cannot read {path}: {e.strerror}") from None
    except ValueError:
        raise _Unusable(f"{path} is not text") from None


def judged(status: int, body: bytes, retry: str | None, now: float) -> Delivery:
    """An answer. Teams' connectors say 200 and put what really happened into the text: it counts."""
    text = " ".join(body.decode("utf-8", "replace").split())[:200]
    _, found, rest = text.partition("returned HTTP error ")
    if status == http.HTTPStatus.OK and found and rest[:3].isdigit():
        status = int(rest[:3])
    says = f"HTTP {status}{f': {text}' if text and status >= 300 else ''}"
    return Delivery(status, says, _seconds(retry, now))


def _seconds(retry: str | None, now: float) -> float | None:
    """Retry-After, RFC 9110 section 10.2.3: seconds, or a date."""
    if retry is None:
        return None
    if retry.strip().isdigit():
        return float(retry[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry).timestamp() - now)
    except ValueError:
        return None


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {_SILENCE:g} s"
    if isinstance(error, http.client.RemoteDisconnected):
        return "the connection was closed without an answer"
    if isinstance(error, http.client.HTTPException):
        return f"not an HTTP answer ({type(error).__name__})"
    return str(getattr(error, "strerror", None) or error)
