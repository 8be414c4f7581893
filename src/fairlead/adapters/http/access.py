"""Who may ask over TCP, as read from the files that the configuration names. All of it blocks."""

from __future__ import annotations

import hashlib
import hmac
import pathlib
import re
import ssl
import stat
from dataclasses import dataclass

from fairlead.errors import Refused
from fairlead.model import Api

_SHORTEST, _LONGEST = 16, 512  # characters of a token: it is all that stands between a network and the balancer
_LARGEST = 64 << 10  # octets of a token file
_MAKE_ONE = "`openssl rand -hex 32` makes one"


@dataclass(frozen=True, slots=True)
class Access:
    """What a request over TCP is held against. `tokens` are digests, so that comparing tells nothing, lengths included."""

    tokens: tuple[bytes, ...] = ()
    public_read: bool = False
    hosts: frozenset[str] = frozenset()
    tls: ssl.SSLContext | None = None

    def knows(self, token: bytes) -> bool:
        """Whether it is one of the tokens; takes as long whether it nearly is or not."""
        digest = hashlib.sha256(token).digest()
        return sum(hmac.compare_digest(digest, known) for known in self.tokens) > 0


def read_access(api: Api) -> Access:
    """The files read. Refused with every reason why they cannot be used."""
    problems: list[str] = []
    tokens: tuple[bytes, ...] = ()
    tls: ssl.SSLContext | None = None
    try:
        tokens = _tokens(api.token_file) if api.token_file is not None else ()
    except Refused as e:
        problems += e.reasons
    try:
        tls = _context(api.certificate, api.key) if api.certificate is not None and api.key is not None else None
    except Refused as e:
        problems += e.reasons
    if problems:
        raise Refused(problems)
    return Access(tokens, api.public_read, frozenset(api.hosts), tls)


def exposed(path: str) -> bool:
    """Whether users other than its owner and group may read a file; false where it cannot be seen."""
    try:
        return bool(pathlib.Path(path).stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def _tokens(path: str) -> tuple[bytes, ...]:
    try:
        with pathlib.Path(path).open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as e:
        raise Refused([f"cannot read the token file {path}: {e.strerror}; {_MAKE_ONE}"]) from None
    if len(data) > _LARGEST:
        raise Refused([f"the token file {path} is larger than {_LARGEST >> 10} KiB: it takes one token a line"])
    lines = [line.strip() for line in data.splitlines()]
    found = [line for line in lines if line and not line.startswith(b"#")]
    if not found:
        raise Refused([f"the token file {path} holds no token; {_MAKE_ONE}"])
    wrong = [number for number, line in enumerate(lines, 1) if line in found and not re.fullmatch(rb"[!-~]{16,512}", line)]
    if wrong:
        wanted = f"a token is {_SHORTEST} to {_LONGEST} printable ASCII characters without blanks"
        raise Refused([f"{path}:{wrong[0]}: {wanted}; {_MAKE_ONE}"])
    return tuple(hashlib.sha256(line).digest() for line in found)


def _context(certificate: str, key: str) -> ssl.SSLContext:
    for what, path in (("certificate", certificate), ("key", key)):
        try:
            with pathlib.Path(path).open("rb"):
                pass
        except OSError as e:
            raise Refused([f"cannot read the TLS {what} {path}: {e.strerror}"]) from None
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["http/1.1"])
    try:
        made.load_cert_chain(certificate, key, password=_no_passphrase)
    except (ssl.SSLError, ValueError, _Encrypted) as e:
        raise Refused([_tls_problem(certificate, key, e)]) from None
    return made


class _Encrypted(Exception):
    """The key asks for a passphrase, and there is nobody to type one."""


def _no_passphrase() -> str:
    raise _Encrypted


def _tls_problem(certificate: str, key: str, error: Exception) -> str:
    if isinstance(error, _Encrypted):
        return f"the TLS key {key} is encrypted, and nobody is there to type a passphrase: `openssl pkey -in {key}` decrypts it"
    reason = (getattr(error, "reason", None) or str(error)).replace("_", " ").lower()
    if "mismatch" in reason:
        return f"the TLS key {key} does not belong to the first certificate in {certificate}: the server's own comes first"
    which = "" if _has(certificate, b"CERTIFICATE") else f": {certificate} holds no certificate in PEM"
    which = which or ("" if _has(key, b"PRIVATE KEY") else f": {key} holds no private key in PEM")
    return f"cannot use the TLS certificate {certificate} with the key {key}{which or f': {reason}'}"


def _has(path: str, what: bytes) -> bool:
    return re.search(rb"-----BEGIN [A-Z ]*" + what, pathlib.Path(path).read_bytes()) is not None
