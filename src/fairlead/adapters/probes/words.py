"""What a probe says, for an operator: short, and with how long it took."""

from __future__ import annotations

import errno
import os

_WORDS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
    errno.EHOSTUNREACH: "host unreachable",
    errno.ENETUNREACH: "no route for probes",
    errno.EADDRNOTAVAIL: "the probe's source address is not on this machine",
    errno.EPERM: "not permitted to send the probe (CAP_NET_ADMIN, CAP_NET_RAW, or a firewall's output rule)",
    errno.EMFILE: "too many open files",
}


class Failed(Exception):
    """A probe did not pass; the text says why, without the time that it took."""


def words(error: OSError) -> str:
    """What happened to a connection, for an operator."""
    number = error.errno or 0
    return _WORDS.get(number) or (os.strerror(number).lower() if number else str(error) or "connection lost")


def after(seconds: float) -> str:
    """`after 0.4 ms`, `after 12 ms`, `after 1.4 s`."""
    if seconds < 1:
        return f"after {seconds * 1000:.{1 if seconds < 0.001 else 0}f} ms"
    return f"after {seconds:.1f} s"
