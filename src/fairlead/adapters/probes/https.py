"""HTTP over TLS: the same request in a TLS session of its own, with SNI; chain and name are looked at if the check says so.

A full handshake each time, for a resumed session would not look at the certificate. It costs about a millisecond of computing, in
the loop: an instance can make some 800 a second.
"""

from __future__ import annotations

import functools
import ssl

from fairlead.adapters.probes.attempt import Ask, Ended
from fairlead.adapters.probes.engine import Engine
from fairlead.adapters.probes.http import Http, request
from fairlead.adapters.probes.words import Failed


@functools.cache
def context(verify: bool) -> ssl.SSLContext:
    """One context for all checks that look at certificates, and one for those that do not."""
    made = ssl.create_default_context()
    made.set_alpn_protocols(["http/1.1"])
    if not verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


class Https(Http):
    """TLS in memory; what it has to say goes through the connection."""

    __slots__ = ("_in", "_out", "_shaken", "_tls")

    def __init__(self, engine: Engine, ask: Ask, ended: Ended) -> None:
        super().__init__(engine, ask, ended)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._shaken = False
        self._tls: ssl.SSLObject

    def connected(self) -> None:
        """Say hello."""
        self.heard("connected, but TLS was not set up")
        name = server_name(self.ask.check.host) or str(self.ask.target.vip)
        try:
            self._tls = context(self.ask.check.verify).wrap_bio(self._in, self._out, server_hostname=name)
        except ValueError:
            raise Failed(f"{name!r} is no name for a server") from None
        self._shake()

    def received(self, data: bytes) -> None:
        """Feed the session."""
        self._in.write(data)
        if not self._shaken:
            self._shake()
        if self._shaken and not self.over:
            self._decrypt()

    def _shake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLCertVerificationError as e:
            raise Failed(f"its certificate is not good: {e.verify_message}") from None
        except ssl.SSLError as e:
            raise Failed(_tls_words(e)) from None
        self._shaken = True
        self.heard("connected, but no answer")
        self._tls.write(self.ask.question(request))
        self._flush()

    def _decrypt(self) -> None:
        try:
            while not self.over:
                data = self._tls.read(1 << 14)
                if not data:
                    super().finished()
                    return
                super().received(data)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            super().finished()
        except ssl.SSLError as e:
            raise Failed(_tls_words(e)) from None

    def _flush(self) -> None:
        data = self._out.read()
        if data:
            self.send(data)

    def finished(self) -> None:
        """The connection's end may come without TLS's own."""
        if not self._shaken:
            raise Failed("closed while TLS was set up")
        super().finished()


def server_name(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0] if host.count(":") == 1 else host


def _tls_words(error: ssl.SSLError) -> str:
    return f"TLS: {(error.reason or str(error)).lower().replace('_', ' ')}"
