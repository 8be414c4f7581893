"""Passwords of BGP sessions (TCP-MD5, RFC 2385), each in a file of its own."""

from __future__ import annotations

import pathlib
import stat

from fairlead.errors import Refused

LONGEST = 80  # octets: TCP_MD5SIG_MAXKEYLEN of linux/tcp.h


def read(path: str) -> bytes:
    """The file's one line, without its end; Refused where that is no password. Blocking."""
    try:
        data = pathlib.Path(path).read_bytes()
    except OSError as e:
        raise Refused([f"cannot read the password file {path}: {e.strerror}"]) from None
    line = data.removesuffix(b"\n").removesuffix(b"\r")
    if not line or b"\n" in line or b"\0" in line:
        raise Refused([f"the password file {path} must hold one line, and nothing else"])
    if len(line) > LONGEST:
        raise Refused([f"the password in {path} has {len(line)} octets: TCP-MD5 takes {LONGEST} at most"])
    return line


def exposed(path: str) -> bool:
    """Whether users other than its owner and group may read it; false where it cannot be seen."""
    try:
        return bool(pathlib.Path(path).stat().st_mode & stat.S_IROTH)
    except OSError:
        return False
